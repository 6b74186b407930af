"""Replays of recordings on one time line, for pages."""
