"""The hybrid network: graph, checks, execution, delivery and shape inference."""
