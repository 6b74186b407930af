"""Tasks, methods, gates and the trials of the modulation network."""
