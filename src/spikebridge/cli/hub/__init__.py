"""Runs and bundles on a hub."""
