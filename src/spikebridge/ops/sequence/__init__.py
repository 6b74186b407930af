"""Neurons over time in one call: charge, fire, reset, forward and backward, in PyTorch and in plain C."""
