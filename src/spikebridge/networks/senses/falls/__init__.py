"""Falls from a wrist: stages of wakes, always on."""
