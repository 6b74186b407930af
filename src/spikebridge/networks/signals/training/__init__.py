"""training of the signals recipe."""
