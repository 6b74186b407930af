"""Figures of a trial: accuracy matrix, inference, representation."""
