"""Generated videos of rolling objects, and questions in words to train the parser."""
