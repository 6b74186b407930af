"""Detection of a target in a frame by what was learned of it while it was tracked."""
