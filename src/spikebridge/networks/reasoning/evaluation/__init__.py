"""Accuracy of the graph and of the executor on files of questions, and by source of the collisions."""
