"""Spiking parts in the integers of a neuromorphic chip, the rest of the network beside it."""
