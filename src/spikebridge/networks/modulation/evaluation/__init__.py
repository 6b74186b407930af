"""Figures of a trial: accuracy matrix, task inference, memory."""
