"""A layer of LIF neurons of every library, with the same equation: decay 1/2, threshold 1, hard reset to 0.

Each is a function that makes a module from `(T, B, *N)` to spikes `(T, B, *N)`, in the way its own library runs a whole
sequence. The surrogate is the arctan where there is one (Norse has none: its own fast sigmoid).
"""

import math
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from shutil import which

import torch
from torch import Tensor, nn

from spikebridge.neurons import LIF, Arctan
from spikebridge.ops import reference, without_native
from spikebridge.ops.sequence import native

HALF = 1 / math.log(2)  # with dt = 1 s the decay is 1/2


class Ours(nn.Module):
    """This package's layer on one of its paths."""

    def __init__(self, path: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__()
        self.path = path
        self.layer = LIF(HALF, dt=1.0, surrogate=Arctan())

    def forward(self, x: Tensor) -> Tensor:
        with self.path():
            spikes, _ = self.layer(x)
        return spikes


class SpikingJelly(nn.Module):
    """`LIFNode` in multi-step mode."""

    def __init__(self) -> None:
        super().__init__()
        from spikingjelly.activation_based import neuron, surrogate

        gradient = surrogate.ATan(2.0)
        self.layer = neuron.LIFNode(tau=2.0, decay_input=False, surrogate_function=gradient, step_mode="m")

    def forward(self, x: Tensor) -> Tensor:
        self.layer.reset()
        return self.layer(x)


class Compiled(nn.Module):
    """A layer compiled by inductor for one shape, when it is first run."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.layer = make()
        # an earlier run of the script leaves nothing to this one
        torch.compiler.config.force_disable_caches = True
        self.compiled = torch.compile(self.layer)

    def forward(self, x: Tensor) -> Tensor:
        spikes: Tensor = self.compiled(x)
        return spikes


class SnnTorch(nn.Module):
    """`Leaky` in the loop that its users write, over `unbind(0)`, the fastest form of it."""

    def __init__(self) -> None:
        super().__init__()
        import snntorch
        from snntorch import surrogate

        gradient = surrogate.atan(alpha=2.0)
        self.layer = snntorch.Leaky(beta=0.5, spike_grad=gradient, reset_mechanism="zero", reset_delay=False)

    def forward(self, x: Tensor) -> Tensor:
        memory = self.layer.reset_mem()
        outputs = []
        for x_t in x.unbind(0):
            spikes, memory = self.layer(x_t, memory)
            outputs.append(spikes)

        return torch.stack(outputs)


class Norse(nn.Module):
    """`LIFBoxCell` lifted over time. Its input is halved, so is its threshold."""

    def __init__(self) -> None:
        super().__init__()
        from norse.torch import LIFBoxCell
        from norse.torch.functional.lif_box import LIFBoxParameters
        from norse.torch.module.lift import Lift

        numbers = LIFBoxParameters(tau_mem_inv=torch.tensor(500.0), v_th=torch.tensor(0.5))
        self.layer = Lift(LIFBoxCell(numbers, dt=0.001))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


class Sinabs(nn.Module):
    """`LIF` with one spike a step. It has the batch first."""

    def __init__(self) -> None:
        super().__init__()
        from sinabs.activation import MembraneReset, SingleSpike
        from sinabs.layers import LIF as SinabsLIF  # noqa: N811

        self.layer = SinabsLIF(
            tau_mem=HALF,
            norm_input=False,
            spike_fn=SingleSpike,
            reset_fn=MembraneReset(),
            surrogate_grad_fn=lambda v, threshold: Arctan().derivative(v - threshold),
        )

    def forward(self, x: Tensor) -> Tensor:
        self.layer.reset_states()
        return self.layer(x.transpose(0, 1)).transpose(0, 1)


def every_library() -> dict[str, Callable[[], nn.Module]]:
    """Functions that make a layer, by name; a library that is not installed is left out."""
    ours = {"pytorch": partial(Ours, without_native), "loop": partial(Ours, reference)}
    if native.available():
        ours = {"native": partial(Ours, nullcontext), **ours}

    makers: dict[str, Callable[[], nn.Module]] = dict(ours)
    for name, layer in (
        ("SpikingJelly", SpikingJelly),
        ("snnTorch", SnnTorch),
        ("Norse", Norse),
        ("sinabs", Sinabs),
    ):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                layer()
        except ImportError:
            continue

        makers[name] = layer

    return makers


def compiled_libraries() -> dict[str, Callable[[], nn.Module]]:
    """Functions that make a compiled layer, by name: our plain loop and SpikingJelly's; none without a C++ compiler."""
    makers = {name: make for name, make in every_library().items() if name in ("loop", "SpikingJelly")}
    return {f"{name}, compiled": partial(Compiled, make) for name, make in makers.items()} if which("c++") else {}
