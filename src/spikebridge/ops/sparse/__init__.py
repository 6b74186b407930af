"""Live steps by events: a prepared network computes for active inputs alone."""
