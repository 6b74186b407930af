"""Integer."""
