"""Experiments beside the reasoning network: a network that answers directly, the budget of errors, folds, videos."""
