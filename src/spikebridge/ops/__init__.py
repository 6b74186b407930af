"""Faster ways to the same numbers. `with reference():` turns them off; every test passes with and without."""

from spikebridge.ops.reference import is_reference, reference

__all__ = ["is_reference", "reference"]
