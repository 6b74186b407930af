"""Parts of a senses network: what weighs the senses, and what decides to look."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.deploy.stages.neurons import POOLED
from spikebridge.neurons import Neuron, Stateful

_CONTRAST = 4.0  # of nearness
_MAX_TERMS = 256  # whose number is counted
GateKind: TypeAlias = Literal["rule", "learned", "every", "always", "never"]


class EvidenceReadout(nn.Module):
    """A linear map of concatenated features without a bias, so that a sense that is silent says nothing."""

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_inputs, num_outputs, bias=False)

    def forward(self, *features: Tensor) -> Tensor:
        return self.linear(torch.cat(features, -1))


class Join(nn.Module):
    """The concatenation of features."""

    def forward(self, *features: Tensor) -> Tensor:
        return torch.cat(features, -1)


class Newest(nn.Module):
    """The newest sample of a block."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, block: Tensor) -> Tensor:
        return block.flatten(1)[:, -self.size :]


class SeenState(NamedTuple):
    """The picture of the last look."""

    picture: Tensor


class Seen(Stateful):
    """1 where a look shows something that the last one did not, `(B, 1)`."""

    def initial_state(self, x_t: Tensor) -> SeenState:
        return SeenState(torch.zeros_like(x_t))

    def step(self, x_t: Tensor, state: SeenState, **modulation: Any) -> tuple[Tensor, SeenState]:
        is_new = (x_t > 0).flatten(1).any(1) & (x_t != state.picture).flatten(1).any(1)
        return is_new.to(x_t.dtype).unsqueeze(1), SeenState(x_t)


class Features(nn.Module):
    """A dense layer on the values of a slow sensor or on a block of samples, with ReLU."""

    def __init__(self, num_inputs: int, num_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_inputs, num_features)

    def forward(self, values: Tensor) -> Tensor:
        return torch.relu(self.linear(values.flatten(1)))


class _Shown(nn.Module):
    """1 where a picture shows something, 0 elsewhere."""

    def forward(self, pictures: Tensor) -> Tensor:
        return torch.where(pictures > 0, 1.0, 0.0).to(pictures.dtype)


class _Nearness(nn.Module):
    """The nearness of a picture: 0 of nothing, and of what is as near as the middle."""

    def forward(self, pictures: Tensor) -> Tensor:
        return torch.where(pictures > 0, _CONTRAST * (pictures - 0.5), 0.0)


class Eye(nn.Module):
    """A small convolutional network on pictures `(B, 1, H, W)` of 0 to 1: where something is, and how near."""

    def __init__(self, size: tuple[int, int], num_features: int, channels: Sequence[int] = (8, 16, 24)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((2, *channels[:-1]), channels, strict=True):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]

        self.shown = _Shown()
        self.nearness = _Nearness()
        self.convolutions = nn.Sequential(*layers)
        left = [-(-one // 2 ** len(channels)) for one in size]
        self.dense = nn.Linear(channels[-1] * left[0] * left[1], num_features)

    def forward(self, pictures: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B N"]:
        layers = torch.cat([self.shown(pictures), self.nearness(pictures)], 1)
        return self.dense(self.convolutions(layers).flatten(1))


class GatedMemory(nn.Module):
    """The step of a GRU, whose state is its own output one tick ago (K. Cho et al., 2014).

    Each gate has layers of its own, so that every operation has an integer form.
    """

    def __init__(self, num_inputs: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.reset = nn.Linear(num_inputs, size)
        self.keep = nn.Linear(num_inputs, size)
        self.new = nn.Linear(num_inputs, size)
        self.reset_by = nn.Linear(size, size, bias=False)
        self.keep_by = nn.Linear(size, size, bias=False)
        self.new_by = nn.Linear(size, size)

    def forward(self, x: Float[Tensor, "B N"], before: Float[Tensor, "B H"]) -> Float[Tensor, "B H"]:
        reset = torch.sigmoid(self.reset(x) + self.reset_by(before))
        keep = torch.sigmoid(self.keep(x) + self.keep_by(before))
        new = torch.tanh(self.new(x) + reset * self.new_by(before))

        return keep * before + (1 - keep) * new


class EvidenceState(NamedTuple):
    """The sum of what was said, and how often, `(B, K)` each."""

    total: Tensor
    number: Tensor


def _evidence_step(x_t: Tensor, state: EvidenceState, *, decays: Tensor) -> tuple[Tensor, EvidenceState]:
    total = state.total + x_t
    number = (state.number + 1).clamp(max=len(decays))
    return total * decays.to(x_t)[number.long() - 1], EvidenceState(total, number)


class PooledEvidence(Neuron):
    """The evidence so far: the sum over the square root of the number, since looks at one action are much alike.

    Example:
        >>> y, _ = PooledEvidence()(torch.tensor([1.0, 1.0, 1.0, 5.0]).reshape(4, 1, 1))
        >>> y.flatten().tolist()[-1]
        4.0
    """

    step_function = staticmethod(_evidence_step)
    array_form = POOLED

    def arguments(self, quantities: dict[str, Any]) -> dict[str, Any]:
        return {"decays": torch.arange(1, _MAX_TERMS + 1) ** -0.5}

    def initial_state(self, x_t: Tensor) -> EvidenceState:
        return EvidenceState(torch.zeros_like(x_t), torch.zeros_like(x_t))


class Answer(nn.Module):
    """The sum of the evidence of the senses, as logits: what a sense weighs is part of its read-out."""

    def __init__(self, num_senses: int) -> None:
        super().__init__()
        self.num_senses = num_senses

    def forward(self, *evidence: Tensor) -> Tensor:
        total = evidence[0]
        # by place, so that a trace with symbols can follow
        for place in range(1, self.num_senses):
            total = total + evidence[place]

        return total


class GateState(NamedTuple):
    """Ticks to the next look, ticks of a sure answer, ticks without any change `(B,)`, and the last values `(B, C)`."""

    wait: Tensor
    sure: Tensor
    still: Tensor
    values: Tensor


class LookGate(Stateful):
    """The decision to look, at the ticks of the sensor that looks.

    A look is taken where something moves, at most every `min_wait` ticks, and not once the answer has been sure; also,
    and twice as often, where the sensor that listens is dead, which is no change at all for `hold` ticks: then no
    answer is sure. The rule asks if the motion is above a threshold; the learned gate, if the gain that it expects of a
    look is; `every` and `always` ask for nothing. `ready` is 1 where the answer has had a probability of `confidence`
    for `hold` ticks; a look comes one tick later.
    """

    def __init__(
        self,
        kind: GateKind,
        num_classes: int,
        num_values: int,
        *,
        threshold: float = 0.4,
        min_wait: int = 5,
        confidence: float = 0.9,
        hold: int = 4,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.num_classes = num_classes
        self.min_wait = min_wait
        self.confidence = confidence
        self.hold = hold
        self.threshold = threshold
        self.score = nn.Linear(2 + num_values, 1)
        self.register_buffer("least_score", torch.zeros(()))

    def initial_state(self, x_t: Tensor) -> GateState:
        zeros = torch.zeros(x_t.shape[0], dtype=torch.int64, device=x_t.device)
        return GateState(zeros, zeros.clone(), zeros.clone(), torch.zeros_like(x_t))

    def step(  # type: ignore[override]
        self, x_t: Tensor, state: GateState, *, answer: Tensor, **modulation: Any
    ) -> tuple[Any, GateState]:
        """Values of the listening sensor `(B, C)` and the last answer `(B, K)` to `look` and `ready`, `(B, 1)`."""
        still = torch.where((x_t == state.values).flatten(1).all(1), state.still + 1, 0)
        # a sensor that is alive has noise: where nothing changes it is dead, and the eye is all there is
        is_dead = (still >= self.hold) & (self.kind in ("rule", "learned"))
        top = torch.softmax(answer, -1).amax(-1)
        sure = torch.where((top >= self.confidence) & ~is_dead, state.sure + 1, 0)
        is_ready = sure >= self.hold
        wanted = self._wanted(x_t, top) | is_dead
        if self.kind not in ("every", "always"):
            wanted = wanted & ~is_ready

        due = torch.where(is_dead, self.min_wait - max(1, self.min_wait // 2), 0)
        look = wanted & (state.wait <= due)
        pause = 0 if self.kind == "always" else self.min_wait - 1
        wait = torch.where(look, pause, (state.wait - 1).clamp(min=0))
        flags = {"look": look, "ready": is_ready}

        return {name: one.to(x_t.dtype).unsqueeze(1) for name, one in flags.items()}, GateState(wait, sure, still, x_t)

    def _wanted(self, x_t: Tensor, top: Tensor) -> Tensor:
        moving = motion(x_t)
        if self.kind == "rule":
            return moving > self.threshold
        if self.kind == "learned":
            return self.score(gate_features(x_t, top)).squeeze(1) > self.least_score

        return torch.full_like(moving, self.kind != "never", dtype=torch.bool)


def motion(values: Tensor) -> Tensor:
    """The length of the last three values: of the rotation, where a sensor has acceleration and rotation."""
    return values[..., -3:].norm(dim=-1)


def gate_features(values: Tensor, top: Tensor) -> Tensor:
    """The inputs of a learned gate: motion, the largest probability of the answer, sizes of the values."""
    return torch.cat([motion(values).unsqueeze(-1), top.unsqueeze(-1), values.abs()], -1)
