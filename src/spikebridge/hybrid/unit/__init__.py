"""The hybrid unit and its stages: window, kernel, nonlinearity, discretizer."""
