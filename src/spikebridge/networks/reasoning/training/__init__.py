"""Training of the units, the detector and the parser, and their labels."""
