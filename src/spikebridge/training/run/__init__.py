"""Run folders: settings, metrics, checkpoints, weights, the environment, and the lock."""
