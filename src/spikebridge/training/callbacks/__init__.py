"""Callbacks of a training: early stopping, best and averaged weights, loggers."""
