"""Quantisation of hybrid networks: calibration, fake integers with gradients, and the integer model."""
