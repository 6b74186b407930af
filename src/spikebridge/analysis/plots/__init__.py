"""Figures of numbers, and diagrams of networks and bundles, as SVG."""
