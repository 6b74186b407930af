"""spikebridge: hybrid neural networks, artificial and spiking, linked by hybrid units."""

from importlib.metadata import version

from spikebridge._moved import install

__version__ = version("spikebridge")
install()
