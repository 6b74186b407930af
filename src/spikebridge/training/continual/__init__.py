"""Continual learning: tasks one after the other, sub-networks, and methods that protect earlier tasks."""
