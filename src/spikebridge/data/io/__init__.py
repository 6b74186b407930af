"""Reading files of unknown origin: sizes are checked before memory is taken, and nothing is executed."""
