"""Experiments with the reasoning network: generated questions, an ANN twin, error budget, folds, videos."""
