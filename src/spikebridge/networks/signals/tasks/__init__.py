"""Tasks of the signals recipe."""
