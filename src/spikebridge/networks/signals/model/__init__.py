"""Models of the signals recipe: the network of a sensor, the beat detector and its baseline."""
