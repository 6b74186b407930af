"""Sequences of tasks for continual learning, made from one data set."""
