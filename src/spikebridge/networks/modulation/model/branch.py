"""The branch: a spiking classifier of two hidden layers whose neurons are opened and closed by a modulation signal.

`inlet -> neurons -> gate -> fc2 -> neurons -> gate -> fc3 -> read-out`. The signal V of a hidden layer (1 open, 0
closed) acts on gates or thresholds and is an argument, so one set of weights serves many tasks.

Source: R. Zhao et al., Nature Communications 13:3427 (2022), eqs. 18-19, and its released code for the settings named
`ORIGINAL`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid import Gate, GateModulation, ThresholdModulation
from spikebridge.neurons import LIF, Integrator, Rectangle, Sequential
from spikebridge.neurons.stateless import over_time

DT = 1e-3
_GATES = GateModulation()
_NUM_LAYERS = 2


@dataclass(frozen=True)
class BranchSettings:
    """Neurons and read-out of the branch.

    Args:
        neuron: "snn", or "ann" for ReLU units that see one step.
        num_steps: steps T for which an image is held; a recording has its own.
        v_threshold: of hidden and, with readout "rate", output neurons.
        leak: share of the membrane potential left after a step; 1 is no leak.
        bias: whether layers have biases.
        readout: "integrator" is the last membrane potential of non-spiking neurons, "mean" its mean over time, "rate"
            the firing rate of output neurons.
        logit_scale: factor of the logits.
        surrogate_width: width of the rectangular surrogate gradient around the threshold.
        learn_threshold: train one threshold for each hidden neuron.

    Raises:
        ConfigError: a value out of range.
    """

    neuron: Literal["snn", "ann"] = "snn"
    num_steps: int = 5
    v_threshold: float = 0.2
    leak: float = 0.5
    bias: bool = True
    readout: Literal["integrator", "mean", "rate"] = "integrator"
    logit_scale: float = 1.0
    surrogate_width: float = 1.0
    learn_threshold: bool = False

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ConfigError(f"a branch needs num_steps of 1 or more, but got {self.num_steps}")
        if not 0 < self.leak <= 1:
            raise ConfigError(f"leak is the share of a membrane left after a step, above 0 to 1, but got {self.leak}")
        if not self.logit_scale > 0:
            raise ConfigError(f"a branch needs logit_scale > 0, but got {self.logit_scale}")

    @property
    def tau(self) -> float:
        """The time constant that leaves `leak` of the membrane potential after one step of `DT` [s]."""
        return math.inf if self.leak == 1 else -DT / math.log(self.leak)


# the released code: no leak, no bias, spiking outputs, rates as logits
ORIGINAL = BranchSettings(num_steps=10, leak=1.0, bias=False, readout="rate")
DEFAULT = BranchSettings()


class Branch(nn.Module):
    """A classifier d - C1 - C2 - classes whose hidden neurons are opened and closed by an argument.

    Args:
        num_inputs: d.
        num_hidden: C1 and C2.
        num_classes: of the answer.
        settings: neurons and read-out.

    Raises:
        ConfigError: not two hidden layers.

    Example:
        >>> branch = Branch(4, (6, 6), settings=BranchSettings(num_steps=3))
        >>> branch(torch.rand(1, 2, 4)).shape  # an image, held for 3 steps
        torch.Size([2, 10])
        >>> closed = branch.modulation([torch.zeros(6), torch.zeros(6)])
        >>> torch.equal(branch(torch.rand(1, 2, 4), **closed), branch(torch.rand(1, 2, 4), **closed))
        True
    """

    def __init__(
        self, num_inputs: int, num_hidden: tuple[int, int], num_classes: int = 10, settings: BranchSettings = DEFAULT
    ) -> None:
        super().__init__()
        if len(num_hidden) != _NUM_LAYERS:
            raise ConfigError(f"a branch has {_NUM_LAYERS} hidden layers, but got sizes {tuple(num_hidden)}")

        self.sizes = (num_inputs, *num_hidden, num_classes)
        self.settings = settings
        bias = settings.bias
        self.inlet = nn.Linear(num_inputs, num_hidden[0], bias)

        self.body = Sequential(
            layer1=_neurons(settings, num_hidden[0]),
            gate1=Gate(),
            fc2=nn.Linear(num_hidden[0], num_hidden[1], bias),
            layer2=_neurons(settings, num_hidden[1]),
            gate2=Gate(),
            fc3=nn.Linear(num_hidden[1], num_classes, bias),
            out=_readout(settings),
        )

    @property
    def num_hidden(self) -> tuple[int, int]:
        """C1 and C2."""
        return self.sizes[1], self.sizes[2]

    def modulation(
        self, signals: Sequence[Float[Tensor, "..."]], by: ThresholdModulation | GateModulation = _GATES
    ) -> dict[str, Any]:
        """The arguments that open and close hidden neurons: `branch(x, **branch.modulation(signals))`.

        Args:
            signals: V of both layers, `(C,)` for all samples, `(B, C)` for each sample or `(T, B, C)` for each step.
            by: the quantity that V acts on.
        """
        kind = "gate" if by.quantity == "gate" else "layer"
        return {f"{kind}{n}.{by.quantity}": by.effect(v) for n, v in enumerate(signals, 1)}

    def forward(self, x: Float[Tensor, "T B N"], **modulation: Any) -> Float[Tensor, "B K"]:
        """Logits of each sample.

        Args:
            x: a recording, or `(1, B, d)` for an image, which is held for `num_steps` steps.
            modulation: of quantities inside the body, by path.

        Returns:
            `(B, num_classes)`.

        Raises:
            ShapeError: the wrong number of inputs.
        """
        if x.shape[-1] != self.sizes[0] or x.ndim != 3:
            raise ShapeError(f"the branch needs (T, B, {self.sizes[0]}), but got {tuple(x.shape)}")

        current = over_time(self.inlet, x)
        if len(x) == 1:
            # a held image gives the same current in every step
            num_steps = 1 if self.settings.neuron == "ann" else self.settings.num_steps
            current = current.expand(num_steps, *current.shape[1:])

        y, _ = self.body(current, **modulation)
        return self.read(y)

    def read(self, y: Float[Tensor, "T B K"]) -> Float[Tensor, "B K"]:
        """The logits from the output neurons' values of every step."""
        last = self.settings.neuron == "ann" or self.settings.readout == "integrator"
        return self.settings.logit_scale * (y[-1] if last else y.mean(0))

    def initialise(
        self, generator: torch.Generator, fan_in: tuple[float, float] | None = None, gain: float = 0.7
    ) -> "Branch":
        """Draws weights and biases from U(-a, a) with a = gain / sqrt(open fan-in).

        Scaling by the whole fan-in leaves a small open part too weak to fire.

        Args:
            generator: one seed gives the same weights for every fan-in, up to their scale.
            fan_in: open neurons of both hidden layers; None is all.
            gain: above 0.

        Returns:
            the branch itself.
        """
        reads = (self.sizes[0], *(fan_in or self.num_hidden))
        with torch.no_grad():
            for name, number in zip(("inlet", "body.fc2", "body.fc3"), reads, strict=True):
                bound = gain / math.sqrt(max(number, 1))
                for parameter in self.get_submodule(name).parameters():
                    draw = torch.rand(parameter.shape, generator=generator)
                    parameter.copy_((2 * draw - 1) * bound)

        return self


def _neurons(settings: BranchSettings, num_neurons: int) -> nn.Module:
    if settings.neuron == "ann":
        return nn.ReLU()

    learned = settings.learn_threshold
    threshold = torch.full((num_neurons,), settings.v_threshold) if learned else settings.v_threshold

    return LIF(
        settings.tau,
        dt=DT,
        v_threshold=threshold,
        surrogate=Rectangle(settings.surrogate_width),
        learn=("v_threshold",) if learned else (),
    )


def _readout(settings: BranchSettings) -> nn.Module:
    if settings.neuron == "ann":
        return nn.Identity()
    if settings.readout == "rate":
        return _neurons(replace(settings, learn_threshold=False), 1)
    return Integrator(settings.tau, dt=DT)
