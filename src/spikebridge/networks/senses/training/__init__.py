"""Training of a senses network: augmentation, single senses, folds."""
