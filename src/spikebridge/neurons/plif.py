"""LIF neurons that learn their time constant (W. Fang et al., ICCV 2021).

The time constant is stored as its logarithm, so it stays positive, in seconds, whatever the optimizer does. In NIR
it is a `LIF`.
"""

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from spikebridge.neurons.lif import LIF


class PLIF(LIF):
    """`LIF` whose `tau` is trained, one for the layer or one a neuron; the arguments are those of `LIF`.

    Example:
        >>> [name for name, _ in PLIF(tau=0.02, dt=0.001).named_parameters()]
        ['log_tau']
    """

    def __init__(
        self, tau: Tensor | float = 0.02, *, dt: float, learn: str | Iterable[str] = (), **settings: Any
    ) -> None:
        also = (learn,) if isinstance(learn, str) else tuple(learn)
        super().__init__(tau, dt=dt, learn=("tau", *also), **settings)
