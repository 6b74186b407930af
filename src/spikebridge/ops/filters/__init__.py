"""Filters over time: leaky sums, means, alpha functions, finite impulse responses, differences."""
