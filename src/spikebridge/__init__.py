"""spikebridge: hybrid neural networks, artificial and spiking, linked by hybrid units."""

from importlib.metadata import version

from spikebridge._moved import install
from spikebridge.threads import set_threads as set_threads
from spikebridge.threads import threads_in_use as threads_in_use

__version__ = version("spikebridge")
install()
