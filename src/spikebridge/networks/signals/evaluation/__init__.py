"""evaluation of the signals recipe."""
