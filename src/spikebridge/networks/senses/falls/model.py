"""The networks that listen for a fall: cheap gates wake an ANN on the last three seconds, at most once an impact.

A block of samples is an impact if it is above a threshold and the largest of 1.4 s before and after it.

| gate | always on | wakes |
|---|---|---|
| `cascade` | a threshold | at an impact a tiny ANN, which wakes the ANN |
| `threshold` | a threshold | at an impact the ANN |
| `snn` | a threshold, and an SNN on coded changes | the ANN, at an impact of which the SNN said enough |
| `always` | an ANN | |
"""

import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.hybrid import HybridNetwork, SignedDelta, TappedDelay, Transmission, Wake, every
from spikebridge.neurons import CubaLIF, Integrator, Sequential, Stateful, Triangle

GATES = ("cascade", "threshold", "snn", "always")
BLOCK = 10  # samples of a tick
DT = 0.02  # [s] of a sample
NUM_BLOCKS = 15  # of the window
_MIDDLE = 7  # the block of an impact in the window
_PIECE = 5  # samples that are summed up together
_PIECES = BLOCK // _PIECE
_PER_PIECE = 5
_NUM_VALUES = NUM_BLOCKS * _PIECES * _PER_PIECE
_HIDDEN = 16  # of the SNN
_SMALL = 14  # hidden units of the tiny ANN
_BIG = 32  # of the ANN
_QUANTUM = 0.25  # [g]
_MEAN_S = 0.2  # of the output of the SNN


class _Thresholded(nn.Module):
    threshold: Tensor

    def __init__(self, threshold: Tensor) -> None:
        super().__init__()
        self.register_buffer("threshold", threshold)


class _Peak(_Thresholded):
    """The largest size in a block of acceleration `(B, 10, C)`; 0 if no component can bring it above a threshold."""

    def forward(self, block: Float[Tensor, "B S C"]) -> Float[Tensor, "B 1"]:
        values = block[..., :3]
        is_hard = values.abs().amax(2) > self.threshold / math.sqrt(3)
        return (values.norm(dim=2) * is_hard).amax(1, keepdim=True)

    def counted(self, output: Tensor) -> dict[str, float]:
        # squares only where a component is large
        hard = int((output > 0).sum())
        return {"macs": 3 * BLOCK * hard, "compares": BLOCK * (3 * output.numel() + hard)}


class Pieces(nn.Module):
    """Acceleration in blocks as largest and smallest size and means of pieces of 0.1 s, `(B, K * 10)`."""

    def forward(self, blocks: Float[Tensor, "B *K S C"]) -> Float[Tensor, "B N"]:
        pieces = blocks[..., :3].flatten(1, -2).unflatten(1, (-1, _PIECES, _PIECE))
        size = pieces.norm(dim=-1)
        return torch.cat([size.amax(3), size.amin(3), pieces.mean(3).flatten(2)], 2).flatten(1)

    def counted(self, output: Tensor) -> dict[str, float]:
        """Three squares, two comparisons and three additions a sample; there are as many values as samples."""
        return {"macs": 3 * output.numel(), "compares": 2 * output.numel(), "adds": 3 * output.numel()}


def is_impact(sizes: Float[Tensor, "*B K"], shift: int = 0) -> Bool[Tensor, "*B"]:
    """True where the block with 1.4 s after it, or `shift` blocks earlier, is the largest of a window."""
    return sizes.argmax(-1) == _MIDDLE - shift


def sizes_of(window: Float[Tensor, "*B N"]) -> Float[Tensor, "*B K"]:
    """The largest size in each block of a window of `Pieces`."""
    return window.unflatten(-1, (NUM_BLOCKS, -1))[..., :_PIECES].amax(-1)


class _Impact(_Thresholded):
    """1 where a window of peaks `(B, K, 1)` has an impact above a threshold."""

    def forward(self, peaks: Float[Tensor, "B K 1"]) -> Float[Tensor, "B 1"]:
        sizes = peaks.flatten(1)
        is_middle = sizes.argmax(1, keepdim=True) == _MIDDLE
        return (is_middle & (sizes.amax(1, keepdim=True) > self.threshold)).float()

    def counted(self, output: Tensor) -> dict[str, float]:
        return {"compares": output.numel() * NUM_BLOCKS}


class _Sizes(nn.Module):
    """The largest and the smallest size in each block of a window, less gravity."""

    def forward(self, window: Float[Tensor, "*B N"]) -> Float[Tensor, "*B M"]:
        blocks = window.unflatten(-1, (NUM_BLOCKS, -1))
        return torch.cat([sizes_of(window), blocks[..., _PIECES : 2 * _PIECES].amin(-1)], -1) - 1


class _Largest(nn.Module):
    def forward(self, window: Float[Tensor, "*B K"]) -> Float[Tensor, "*B 1"]:
        return window.amax(-1, keepdim=True)


class _Flag(_Thresholded):
    """1 where what some layers give is above a threshold."""

    def __init__(self, layers: nn.Module, threshold: Tensor) -> None:
        super().__init__(threshold)
        self.layers = layers

    def forward(self, window: Float[Tensor, "B *N"]) -> Float[Tensor, "B 1"]:
        return (self.layers(window.flatten(1)) > self.threshold).float()


class _SpikingGate(Stateful):
    """An SNN on the samples of each block: the largest probability of a fall in it, from a leaky mean of its spikes."""

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

    def initial_state(self, x_t: Tensor) -> Any:
        values = with_size(x_t)
        return (self.code(values[None, :0], 0)[1], self.layers.initial_state(values[0]))

    def step(self, x_t: Tensor, state: Any, **modulation: Any) -> tuple[Tensor, Any]:
        scores, after = self.scores(with_size(x_t), state)
        return scores.amax(0).sigmoid(), after

    def scores(self, values: Float[Tensor, "T B 4"], state: Any = None) -> tuple[Float[Tensor, "T B 1"], Any]:
        coding, layers = (None, None) if state is None else state
        code, coding = self.code(values[None], len(values), coding)
        said, layers = self.layers(code[0], layers)
        return said, (coding, layers)


def with_size(block: Float[Tensor, "B S C"]) -> Float[Tensor, "S B 4"]:
    """The acceleration of each sample with its size."""
    values = block[..., :3].transpose(0, 1)
    return torch.cat([values, values.norm(dim=-1, keepdim=True)], -1)


class FallStages(nn.Module):
    """The layers of all gates, which are trained once, and their thresholds."""

    impact: Tensor
    said: Tensor
    waking: Tensor
    alarms: Tensor

    def __init__(self, impact: float = 2.0) -> None:
        super().__init__()
        self.spiking = _SpikingGate()
        self.small = nn.Sequential(_Sizes(), nn.Linear(2 * NUM_BLOCKS, _SMALL), nn.ReLU(), nn.Linear(_SMALL, 1))
        self.big = _big_layers()
        self.listening = _big_layers()
        for name, value in {"impact": impact, "said": 0.5, "waking": 0.0}.items():
            self.register_buffer(name, torch.tensor(value))
        self.register_buffer("alarms", torch.zeros(len(GATES)))


def _big_layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(_NUM_VALUES, _BIG), nn.ReLU(), nn.Dropout(0.2), nn.Linear(_BIG, 1))


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
    layers = stages.listening if gate == "always" else stages.big
    big = _Flag(layers, stages.alarms[GATES.index(gate)].clone())
    parts: dict[str, nn.Module] = {"pieces": Pieces(), "ring": TappedDelay(NUM_BLOCKS), "big": big}
    if gate == "always":
        # nothing sleeps, so that each block is summed up once
        return _connected(parts, ["wrist pieces", "pieces ring", "ring big"], [])

    parts |= {"peak": _Peak(stages.impact), "peaks": TappedDelay(NUM_BLOCKS), "impact": _Impact(stages.impact)}
    links = ["wrist peak", "peak peaks", "peaks impact", "wrist ring", "ring pieces", "pieces big"]
    if gate == "threshold":
        return _connected(parts, links, ["impact ring", "impact pieces", "impact big"])

    if gate == "cascade":
        parts["small"] = _Flag(stages.small, stages.waking)
        return _connected(
            parts, [*links, "pieces small"], ["impact ring", "impact pieces", "impact small", "small big"]
        )

    parts |= {"spiking": stages.spiking, "said": TappedDelay(NUM_BLOCKS), "small": _Flag(_Largest(), stages.said)}
    links += ["wrist spiking", "spiking said", "said small"]
    return _connected(parts, links, ["impact small", "small ring", "small pieces", "small big"])


def _connected(parts: dict[str, nn.Module], links: list[str], wakes: list[str]) -> HybridNetwork:
    signals, flags = ([pair.split() for pair in pairs] for pairs in (links, wakes))
    # at waking the ring is filled with the blocks that it missed
    asleep = [
        Wake(source, target, asleep="zero", gradient="none", replay=NUM_BLOCKS - 1 if target == "ring" else 0)
        for source, target in flags
    ]

    return HybridNetwork(
        dt=DT,
        inputs={"wrist": every(BLOCK * DT, (BLOCK - 1) * DT)},
        parts=parts,
        links=[*(Transmission(source, target) for source, target in signals), *asleep],
        outputs=["big", *(wake.awake for wake in asleep if not wake.replay)],
    )
