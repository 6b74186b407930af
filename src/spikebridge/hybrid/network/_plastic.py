"""Plastic weights of the parts of a network: from its state into the parameters."""

from typing import Any

from spikebridge.hybrid.network.wake import WakeState
from spikebridge.neurons.state import Reduce, write_weights


class _PlasticParts:
    """The method of a hybrid network that speaks of its plastic weights."""

    def write_back(self, state: Any, reduce: Reduce | None = None) -> None:
        """Makes the weights in the state of a stream the parameters of their parts.

        Args:
            state: that the network returned.
            reduce: "mean" over the samples, or a function from weights `(B, *W)` to `(*W)`; None needs samples with
                the same weights, as of one sample.

        Raises:
            ConfigError: no plastic weights, or weights that differ from sample to sample.
        """
        network: Any = self
        network.check_stream(state, {})
        parts = {name: own.part if isinstance(own, WakeState) else own for name, own in state.parts.items()}
        write_weights(dict(network.parts.items()), parts, reduce)
