"""The integer model as plain C99: weights as tables, one step function, no allocation, no floats."""
