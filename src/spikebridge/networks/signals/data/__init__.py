"""data of the signals recipe."""
