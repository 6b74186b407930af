"""What the signals networks are compared with."""
