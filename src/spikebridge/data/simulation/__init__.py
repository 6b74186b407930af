"""Simulated event cameras and generated scenes with exact boxes."""
