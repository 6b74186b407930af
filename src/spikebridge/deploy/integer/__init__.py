"""The integer model: a quantised network in numpy, without floats and without torch."""
