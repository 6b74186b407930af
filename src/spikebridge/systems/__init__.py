"""Systems: several networks as one graph."""
