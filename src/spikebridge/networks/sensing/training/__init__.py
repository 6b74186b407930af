"""Datasets, augmentation, objectives and phases of training the sensing network."""
