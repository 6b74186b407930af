"""Data of the signals recipe: sets, windows, front ends, augmentation."""
