"""The branch: a spiking classifier of two hidden layers whose neurons are opened and closed by a modulation signal.

`inlet -> neurons -> gate -> fc2 -> neurons -> gate -> fc3 -> read-out`. The signal V of a hidden layer (1 open, 0
closed) acts on gates or thresholds and is an argument, so one set of weights serves many tasks.

The open neurons of a branch are an exact sub-network: a closed neuron has no effect, so its rows and columns can be
left out. Outputs and gradients stay the same, and closed weights cannot change, not even by momentum, Adam's moments or
weight decay.

Source: R. Zhao et al., Nature Communications 13:3427 (2022), eqs. 18-19.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid import Gate, GateModulation, ThresholdModulation
from spikebridge.neurons import LIF, Integrator, Rectangle, Sequential
from spikebridge.neurons.quantity import names_of_floats
from spikebridge.neurons.stateless import over_time

DT = 1e-3
_GATES = GateModulation()
_NUM_LAYERS = 2


@dataclass(frozen=True)
class BranchSettings:
    """Neurons and read-out of the branch.

    Args:
        neuron: "snn", or "ann" for ReLU units that read one step.
        num_steps: steps T for which an image is held; a recording has its own.
        v_threshold: threshold of hidden neurons.
        leak: share of the membrane potential left after a step; 1 is no leak.
        logit_scale: factor of the logits, the last membrane potentials of non-spiking neurons.

    Raises:
        ConfigError: a value out of range.

    Example:
        >>> round(BranchSettings(leak=0.5).tau, 6)  # exp(-1 ms / tau) = 0.5
        0.001443
    """

    neuron: Literal["snn", "ann"] = "snn"
    num_steps: int = 5
    v_threshold: float = 0.2
    leak: float = 0.5
    logit_scale: float = 1.0

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


class Branch(nn.Module):
    """A classifier d - C1 - C2 - classes whose hidden neurons are opened and closed by an argument.

    Args:
        num_inputs: d.
        num_hidden: C1 and C2.
        num_classes: classes of the answer.
        settings: settings of neurons and read-out; None for the defaults.

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

    GATED_AXES: ClassVar[dict[str, tuple[int, ...]]] = {
        "inlet.weight": (1, 0),
        "inlet.bias": (1,),
        "body.fc2.weight": (2, 1),
        "body.fc2.bias": (2,),
        "body.fc3.weight": (0, 2),
        "body.fc3.bias": (0,),
    }
    """The hidden layer whose neurons lie along each axis of a parameter; 0 is none."""

    def __init__(
        self,
        num_inputs: int,
        num_hidden: tuple[int, int],
        num_classes: int = 10,
        settings: BranchSettings | None = None,
    ) -> None:
        super().__init__()
        if len(num_hidden) != _NUM_LAYERS:
            raise ConfigError(f"a branch has {_NUM_LAYERS} hidden layers, but got sizes {tuple(num_hidden)}")

        self.sizes = (num_inputs, *num_hidden, num_classes)
        self.settings = settings or BranchSettings()
        self.inlet = nn.Linear(num_inputs, num_hidden[0])

        self.body = Sequential(
            layer1=self.neurons(num_hidden[0]),
            gate1=Gate(),
            fc2=nn.Linear(num_hidden[0], num_hidden[1]),
            layer2=self.neurons(num_hidden[1]),
            gate2=Gate(),
            fc3=nn.Linear(num_hidden[1], num_classes),
            out=self.readout(),
        )

    @property
    def num_hidden(self) -> tuple[int, int]:
        """C1 and C2."""
        return self.sizes[1], self.sizes[2]

    def neurons(self, num_neurons: int) -> nn.Module:
        """The neurons of a hidden layer."""
        settings = self.settings
        if settings.neuron == "ann":
            return nn.ReLU()

        return LIF(settings.tau, dt=DT, v_threshold=settings.v_threshold, surrogate=Rectangle(1.0))

    def readout(self) -> nn.Module:
        """The output neurons."""
        return nn.Identity() if self.settings.neuron == "ann" else Integrator(self.settings.tau, dt=DT)

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
            modulation: values for quantities inside the body, by path.

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
        """The logits from the values of the output neurons in every step."""
        return self.settings.logit_scale * y[-1]

    def initialise(
        self, generator: torch.Generator, fan_in: tuple[float, float] | None = None, gain: float = 0.7
    ) -> "Branch":
        """Draws weights and biases from U(-a, a) with a = gain / sqrt(open fan-in).

        Args:
            generator: one seed gives the same weights for every fan-in, up to their scale.
            fan_in: open neurons of both hidden layers; None is all.
            gain: above 0.

        Returns:
            The branch.
        """
        # scaled by the whole fan-in, a small open part would be too weak to fire
        inputs = (self.sizes[0], *(fan_in or self.num_hidden))
        with torch.no_grad():
            for name, number in zip(("inlet", "body.fc2", "body.fc3"), inputs, strict=True):
                bound = gain / math.sqrt(max(number, 1))
                for parameter in self.get_submodule(name).parameters():
                    draw = torch.rand(parameter.shape, generator=generator)
                    parameter.copy_((2 * draw - 1) * bound)

        return self


def open_indices(branch: Branch, gates: Sequence[Bool[Tensor, "_"]]) -> dict[str, tuple[Tensor | None, ...]]:
    """Indices of the open neurons along each axis of each parameter of a branch; None is all."""
    if tuple(len(gate) for gate in gates) != branch.num_hidden:
        raise ShapeError(
            f"the branch has hidden layers of {branch.num_hidden} neurons, but got gates of "
            f"{tuple(len(gate) for gate in gates)}"
        )

    numbers: list[Tensor | None] = [None, *(gate.nonzero()[:, 0] for gate in gates)]
    if any(index is not None and len(index) == 0 for index in numbers):
        raise ShapeError(
            "a gate closes a whole layer, so nothing is left of the branch; raise rho, the share of open neurons"
        )

    axes = branch.GATED_AXES
    return {name: tuple(numbers[layer] for layer in axes[name]) for name, _ in branch.named_parameters()}


def extract_subnetwork(branch: Branch, gates: Sequence[Bool[Tensor, "_"]]) -> Branch:
    """The open part of a branch as a smaller branch, with copies of the open weights under the same names."""
    indices = open_indices(branch, gates)
    sizes = int(gates[0].sum()), int(gates[1].sum())
    # all weights come from the whole branch, so none are drawn
    with torch.device("meta"):
        part = type(branch)(branch.sizes[0], sizes, branch.sizes[3], branch.settings)

    whole = dict(branch.named_parameters())
    weights = {}

    for name, axes in indices.items():
        tensor = whole[name].detach()
        for axis, index in enumerate(axes):
            tensor = tensor if index is None else tensor.index_select(axis, index.to(tensor.device))
        weights[name] = tensor.clone()

    floats = names_of_floats(branch)
    weights |= {name: value for name, value in branch.state_dict().items() if name in floats}
    part.load_state_dict(weights, assign=True)

    return part.train(branch.training)


def per_sample_logits(
    branch: Branch, x: Float[Tensor, "T B N"], gates: Sequence[Bool[Tensor, "B _"]]
) -> Float[Tensor, "B K"]:
    """Logits with a gate for each sample, without gradients; samples with equal gates share one sub-network."""
    rows, member = torch.unique(torch.cat(list(gates), 1), dim=0, return_inverse=True)
    with torch.no_grad():
        # few samples share a gate: masks on the whole branch are faster than a sub-network for each sample
        if len(rows) > x.shape[1] // 2:
            return branch(x, **branch.modulation([gate.to(x.dtype) for gate in gates]))

        first = gates[0].shape[1]
        logits = x.new_empty(x.shape[1], branch.sizes[3])
        for number, row in enumerate(rows):
            chosen = (member == number).nonzero()[:, 0]
            logits[chosen] = extract_subnetwork(branch, [row[:first], row[first:]])(x[:, chosen])

    return logits
