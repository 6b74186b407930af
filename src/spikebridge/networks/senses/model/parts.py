"""Parts of a senses network: what weighs the senses, and what decides to look."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.neurons import Stateful

_CONTRAST = 4.0  # of nearness
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


class Seen(nn.Module):
    """1 where a picture shows something, `(B, 1)`."""

    def forward(self, pictures: Tensor) -> Tensor:
        return (pictures.flatten(1).amax(1, keepdim=True) > 0).to(pictures.dtype)


class Features(nn.Module):
    """A dense layer on the values of a slow sensor or on a block of samples, with ReLU."""

    def __init__(self, num_inputs: int, num_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_inputs, num_features)

    def forward(self, values: Tensor) -> Tensor:
        return torch.relu(self.linear(values.flatten(1)))


class Eye(nn.Module):
    """A small convolutional network on pictures `(B, H, W)` of 0 to 1; a picture of nothing has features of 0.

    It sees where something is, and how near: 0 is nothing, and nearness is about one half.
    """

    def __init__(self, size: tuple[int, int], num_features: int, channels: Sequence[int] = (8, 16, 24)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((2, *channels[:-1]), channels, strict=True):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]

        self.convolutions = nn.Sequential(*layers)
        left = [-(-one // 2 ** len(channels)) for one in size]
        self.dense = nn.Linear(channels[-1] * left[0] * left[1], num_features)

    def forward(self, pictures: Float[Tensor, "B H W"]) -> Float[Tensor, "B N"]:
        something = (pictures > 0).to(pictures.dtype)
        layers = torch.stack([something, _CONTRAST * (pictures - 0.5) * something], 1)
        features = self.dense(self.convolutions(layers).flatten(1))

        return something.flatten(1).amax(1, keepdim=True) * features


class EvidenceState(NamedTuple):
    """The sum of what was said, `(B, K)`, and how often `(B, 1)`."""

    total: Tensor
    number: Tensor


class PooledEvidence(Stateful):
    """The evidence so far: the sum over the square root of the number, since looks at one action are much alike.

    Example:
        >>> y, _ = PooledEvidence()(torch.tensor([1.0, 1.0, 1.0, 5.0]).reshape(4, 1, 1))
        >>> y.flatten().tolist()[-1]
        4.0
    """

    def initial_state(self, x_t: Tensor) -> EvidenceState:
        return EvidenceState(torch.zeros_like(x_t), torch.zeros_like(x_t[:, :1]))

    def step(self, x_t: Tensor, state: EvidenceState, **modulation: Any) -> tuple[Tensor, EvidenceState]:
        after = EvidenceState(state.total + x_t, state.number + 1)
        return pooled(*after), after


def pooled(total: Tensor, count: Tensor) -> Tensor:
    """A sum over the square root of the number of its terms, 0 without terms."""
    return total * count.clamp(min=1) ** -0.5


class Answer(nn.Module):
    """The weighted sum of the evidence of the senses, as logits."""

    def __init__(self, num_senses: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_senses))

    def forward(self, *evidence: Tensor) -> Tensor:
        return sum(w * one for w, one in zip(self.weight, evidence, strict=True))


class GateState(NamedTuple):
    """Ticks to the next look, ticks of a sure answer, ticks without any change `(B,)`, and the last values `(B, C)`."""

    wait: Tensor
    sure: Tensor
    still: Tensor
    values: Tensor


class LookGate(Stateful):
    """The decision to look, at the ticks of the sensor that looks.

    A look is taken where something moves, at most every `min_wait` ticks, and not once the answer has been sure; also
    where the sensor that listens is dead, which is no change at all for `hold` ticks. The
    rule asks if the motion is above a threshold; the learned gate, if the gain that it expects of a look is; `every`
    and `always` ask for nothing. `ready` is 1 where the answer has been sure for `hold` ticks.

    Args:
        kind: a word of `GateKind`; it may be set later.
        num_classes: classes of the answer.
        num_values: values of the sensor that listens.
        threshold: of the motion.
        min_wait: ticks from one look to the next.
        confidence: the probability from which an answer is sure.
        hold: ticks for which it has to be.
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
        hold: int = 5,
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
        top = torch.softmax(answer, -1).amax(-1)
        sure = torch.where(top >= self.confidence, state.sure + 1, 0)
        is_ready = sure >= self.hold
        still = torch.where((x_t == state.values).flatten(1).all(1), state.still + 1, 0)
        # a sensor that is alive has noise: where nothing changes it is dead, and the eye is all there is
        is_dead = (still >= self.hold) & (self.kind != "never")
        wanted = self._wanted(x_t, top) | is_dead
        if self.kind not in ("every", "always"):
            wanted = wanted & ~is_ready

        look = wanted & (state.wait <= 0)
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
