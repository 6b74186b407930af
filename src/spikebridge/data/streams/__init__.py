"""Live streams: sources of events and frames, binned as they arrive."""
