"""Streaming: networks and bundles, stepped by a live stream in real time."""
