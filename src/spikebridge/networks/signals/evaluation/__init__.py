"""Evaluation of the signals recipe: accuracy and cost."""
