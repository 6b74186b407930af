"""Which implementation of the scheme serves a signal."""

from spikebridge.ops.steps import backward_steps, forward_steps

__all__ = ["backward_steps", "forward_steps"]
