"""Scene and question files, read as checked plain data."""
