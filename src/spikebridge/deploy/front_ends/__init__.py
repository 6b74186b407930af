"""Front ends in arrays: from samples of a sensor to the inputs of a network, for numpy and C."""
