"""Recordings of frames, binned events and boxes on one clock, in every known layout."""
