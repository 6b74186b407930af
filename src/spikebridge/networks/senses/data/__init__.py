"""Trials of several sensors: files, clocks, sets."""
