"""model of the signals recipe."""
