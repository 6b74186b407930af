"""A creature: sensing, modulation and reasoning as one `HybridNetwork` on a live stream."""
