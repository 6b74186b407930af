"""One-dimensional sensors: series of samples with a label and a group each, their files, checks and splits."""
