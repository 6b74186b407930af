"""Evaluation of trackers: protocols, metrics, latencies, baselines, and `spikebridge eval sensing`."""
