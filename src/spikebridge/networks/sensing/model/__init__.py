"""The sensing network: pathways, hybrid unit, head and motion prior; its target detector and background."""
