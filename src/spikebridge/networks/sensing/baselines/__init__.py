"""Trackers that a network is compared with: motion alone, frames alone, events alone, and those of OpenCV."""
