"""NIR graphs: writing and reading spiking parts for chips and the libraries of the field."""
