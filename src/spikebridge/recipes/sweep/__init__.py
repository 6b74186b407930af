"""Sweeps: many trainings of a recipe, over settings and seeds or by a search, on one machine or many."""
