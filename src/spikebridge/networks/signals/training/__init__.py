"""Training of the signals recipe: the network of a sensor, the beat detector."""
