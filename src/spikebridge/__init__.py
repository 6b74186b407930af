"""spikebridge: hybrid neural networks, artificial and spiking, linked by hybrid units."""

from importlib.metadata import version

__version__ = version("spikebridge")
