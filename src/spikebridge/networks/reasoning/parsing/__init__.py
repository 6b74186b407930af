"""From questions in words to programs of typed operators."""
