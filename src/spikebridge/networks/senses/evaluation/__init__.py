"""Scores of a senses network."""
