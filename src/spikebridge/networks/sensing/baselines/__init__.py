"""Trackers that a network is compared with: motion alone, and frames alone."""
