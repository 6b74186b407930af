"""The networks that listen for a fall: a cheap gate on every block of samples wakes an ANN on the last two seconds.

| gate | always on | wakes |
|---|---|---|
| `cascade` | a threshold on the acceleration | a tiny ANN, which wakes the ANN |
| `threshold` | a threshold on the acceleration | the ANN |
| `snn` | a small SNN on coded changes of the acceleration | the ANN |
| `always` | the ANN | |
"""

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.hybrid import HybridNetwork, SignedDelta, Transmission, Wake, every, ticks
from spikebridge.hybrid.network.link import Link
from spikebridge.neurons import CubaLIF, Integrator, Sequential, Stateful, Triangle

GATES = ("cascade", "threshold", "snn", "always")
BLOCK = 10  # samples of a tick
DT = 0.02  # [s] of a sample
_NUM_BLOCKS = 10  # of the window
_PIECE = 5  # samples that are summed up together
_PER_PIECE = 5
NUM_VALUES = _NUM_BLOCKS * (BLOCK // _PIECE) * _PER_PIECE
_STAY = {"small": 5, "big": 2}  # ticks for which a flag keeps a stage awake
_HIDDEN = 16  # of the SNN
_QUANTUM = 0.25  # [g]
_MEAN_S = 0.2  # of the output of the SNN


class Pieces(nn.Module):
    """A block of acceleration `(B, 10, C)` as largest and smallest size and means of pieces of 0.1 s, `(B, 10)`."""

    def forward(self, block: Float[Tensor, "B S C"]) -> Float[Tensor, "B N"]:
        pieces = block[..., :3].unflatten(1, (-1, _PIECE))
        size = pieces.norm(dim=-1)
        return torch.cat([size.amax(2), size.amin(2), pieces.mean(2).flatten(1)], -1)

    def counted(self, output: Tensor) -> dict[str, float]:
        """Squares of three values a sample, and two comparisons and five additions."""
        samples = len(output) * BLOCK
        return {"macs": 3 * samples, "compares": 2 * samples, "adds": 5 * samples}


class RingState(NamedTuple):
    """The values of the last blocks, `(B, K, N)`."""

    blocks: Tensor


class BlockRing(Stateful):
    """A buffer of the last blocks, the oldest first."""

    def initial_state(self, x_t: Tensor) -> RingState:
        return RingState(x_t.new_zeros(len(x_t), _NUM_BLOCKS, x_t.shape[1]))

    def step(self, x_t: Tensor, state: RingState, **modulation: Any) -> tuple[Tensor, RingState]:
        after = RingState(torch.cat([state.blocks[:, 1:], x_t[:, None]], 1))
        return after.blocks.flatten(1), after

    def counted(self, output: tuple[Tensor, RingState]) -> dict[str, float]:
        """The newest values are written, and nothing is moved."""
        return {"adds": output[0].numel() / _NUM_BLOCKS}


class _Above(nn.Module):
    """1 where the largest value of the first two is above a threshold: the sizes of the newest block."""

    threshold: Tensor

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.register_buffer("threshold", torch.tensor(float(threshold)))

    def forward(self, pieces: Tensor) -> Tensor:
        return (pieces[:, : BLOCK // _PIECE].amax(1, keepdim=True) > self.threshold).to(pieces.dtype)


class _Small(nn.Module):
    """A tiny ANN on the sizes of the window: a logit, less its threshold."""

    threshold: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4 * _NUM_BLOCKS, 10), nn.ReLU(), nn.Linear(10, 1))
        self.register_buffer("threshold", torch.zeros(()))

    def forward(self, window: Tensor) -> Tensor:
        sizes = window.unflatten(1, (_NUM_BLOCKS, -1))[..., :4]
        return (self.layers(sizes.flatten(1) - 1) > self.threshold).to(window.dtype)


class _Big(nn.Module):
    """The ANN on the window: a logit, less its threshold, so that above 0 it is an alarm."""

    threshold: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(NUM_VALUES, 96), nn.ReLU(), nn.Dropout(0.2), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 1)
        )
        self.register_buffer("threshold", torch.zeros(()))

    def forward(self, window: Tensor) -> Tensor:
        return (self.layers(window) > self.threshold).to(window.dtype)


class _SpikingGate(Stateful):
    """An SNN on the samples of each block: 1 where its largest output in the block is above its threshold.

    The output is a leaky mean of what the spikes say, at each sample.
    """

    threshold: Tensor

    def __init__(self) -> None:
        super().__init__()
        # a tick of the network is a block, so the time constants of a sample are given in blocks
        tau = BLOCK * torch.logspace(math.log10(0.05), math.log10(0.8), _HIDDEN)
        first = nn.Linear(4, _HIDDEN, bias=False)
        with torch.no_grad():
            first.weight *= 3 * _QUANTUM

        self.code = SignedDelta(_QUANTUM, 8)
        self.layers = Sequential(
            fc1=first,
            lif=CubaLIF(tau, tau.flip(0), surrogate=Triangle(1.0), learn=("tau", "tau_syn")),
            out=nn.Linear(_HIDDEN, 1),
            mean=Integrator(BLOCK * _MEAN_S, r=1 - math.exp(-DT / _MEAN_S)),
            dt=BLOCK * DT,
        )
        self.register_buffer("threshold", torch.zeros(()))

    def initial_state(self, x_t: Tensor) -> Any:
        values = with_size(x_t)
        return (self.code(values[None, :0], 0)[1], self.layers.initial_state(values[0]))

    def step(self, x_t: Tensor, state: Any, **modulation: Any) -> tuple[Tensor, Any]:
        scores, after = self.scores(with_size(x_t), state)
        return (scores.amax(0) > self.threshold).to(x_t.dtype), after

    def scores(self, values: Float[Tensor, "T B 4"], state: Any = None) -> tuple[Float[Tensor, "T B 1"], Any]:
        """The logits at each sample."""
        coding, layers = (None, None) if state is None else state
        code, coding = self.code(values[None], len(values), coding)
        said, layers = self.layers(code[0], layers)
        return said, (coding, layers)


def with_size(block: Float[Tensor, "B S C"]) -> Float[Tensor, "S B 4"]:
    """The acceleration of each sample with its size."""
    values = block[..., :3].transpose(0, 1)
    return torch.cat([values, values.norm(dim=-1, keepdim=True)], -1)


class FallStages(nn.Module):
    """The parts of all gates, which are trained once."""

    def __init__(self, threshold: float = 2.0) -> None:
        super().__init__()
        self.above = _Above(threshold)
        self.spiking = _SpikingGate()
        self.small = _Small()
        self.big = _Big()


def falls_network(gate: str, stages: FallStages | None = None) -> HybridNetwork:
    """A network with one of the gates of `GATES`: blocks `(T, B, 10, C)` of acceleration [g] to alarms, 0 or 1.

    Example:
        >>> outputs, _ = falls_network("cascade")({"wrist": torch.ones(15, 1, 10, 3)})
        >>> outputs["big"].sum().item(), outputs["big.awake"].sum().item()
        (0.0, 0.0)
    """
    if gate not in GATES:
        raise ConfigError(f"there is no gate {gate!r}; {did_you_mean(gate, GATES)}")

    stages = FallStages() if stages is None else stages
    parts: dict[str, nn.Module] = {"pieces": Pieces(), "ring": BlockRing(), "big": stages.big}
    links: list[Link] = [Transmission("wrist", "pieces"), Transmission("pieces", "ring"), Transmission("ring", "big")]
    outputs = ["big"]
    stay = {name: ticks(number * BLOCK) for name, number in _STAY.items()}

    if gate == "snn":
        parts["spiking"] = stages.spiking
        links += [
            Transmission("wrist", "spiking"),
            Wake("spiking", "big", asleep="zero", gradient="none", stay=stay["small"]),
        ]
    elif gate != "always":
        parts["above"] = stages.above
        links.append(Transmission("pieces", "above"))
        source = "above"
        if gate == "cascade":
            parts["small"] = stages.small
            links += [
                Transmission("ring", "small"),
                Wake("above", "small", asleep="zero", gradient="none", stay=stay["small"]),
            ]
            source = "small"
        awake = stay["big" if source == "small" else "small"]
        links.append(Wake(source, "big", asleep="zero", gradient="none", stay=awake))

    if gate != "always":
        outputs.append("big.awake")

    clock = every(BLOCK * DT, (BLOCK - 1) * DT)
    return HybridNetwork(dt=DT, inputs={"wrist": clock}, parts=parts, links=links, outputs=outputs)
