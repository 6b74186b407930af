"""Collision units: hybrid units that detect from two tracks whether the objects collide, and at which frame.

| unit | W window | H kernel | F nonlinearity | Q discretizer |
|---|---|---|---|---|
| learned | whole video, 26 samples | temporal convolution | residual network | threshold |
| fixed | whole video, 26 samples | window history | rule on acceleration and distance | threshold |

A spike means "these two objects collide"; its second channel is the frame. The learned unit is trained alone, on an
objective of its own (R. Zhao et al., 2022, Fig. 1e, way 2). The rule has two limits and nothing to train. Both
velocities have to change, so that impacts of a third object do not count.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.axes import Signal, Step, Windows
from spikebridge.errors import ConfigError
from spikebridge.hybrid import HybridUnit, Tumbling
from spikebridge.hybrid.unit.discretizer import Discretizer
from spikebridge.hybrid.unit.kernel import Kernel
from spikebridge.networks.reasoning.events import collision_inputs as inputs
from spikebridge.neurons.surrogate import ARCTAN
from spikebridge.ops.precision import cast_for

_PEAK_WIDTH = 2  # samples on either side of the highest score that give the frame


class _WindowSamples(NamedTuple):
    """The last samples of a window, oldest first."""

    last: Float[Tensor, "B T *N"]


class WindowHistory(Kernel):
    """The samples of a window in one tensor, at its end: `(B, *N, C, T)` for an input `(B, *N, C)`."""

    is_vectorized = True

    def __init__(self, num_samples: int = inputs.NUM_SAMPLES) -> None:
        super().__init__()
        self.num_samples = num_samples

    def initial_state(self, x_t: Step) -> _WindowSamples:
        return _WindowSamples(x_t.new_zeros((x_t.shape[0], self.num_samples, *x_t.shape[1:])))

    def step(
        self, x_t: Step, state: _WindowSamples, **modulation: object
    ) -> tuple[Float[Tensor, "B *M"], _WindowSamples]:
        samples = torch.cat([state.last[:, 1:], x_t.unsqueeze(1)], 1)
        return self.last(samples.movedim(1, 0)), _WindowSamples(samples)

    def last(self, x: Signal) -> Float[Tensor, "B *M"]:
        return x.movedim(0, -1)


class TemporalConvolution(WindowHistory):
    """The samples of a window convolved in time, at its end: two-sided inside the window, and still causal."""

    is_vectorized = True

    def __init__(self, num_channels: int, num_features: int) -> None:
        super().__init__()
        self.convolution = temporal_conv(num_channels, num_features, width=5)

    def last(self, x: Signal) -> Float[Tensor, "B *M"]:
        rows = cast_for(self.convolution, x.movedim(0, -1))
        features = self.convolution(rows.flatten(0, -3).unsqueeze(2)).squeeze(2)
        return features.unflatten(0, rows.shape[:-2])


def temporal_conv(num_inputs: int, num_outputs: int, width: int = 3, dilation: int = 1) -> nn.Conv2d:
    """A convolution over the last axis of `(B, F, 1, T)`; with channels last three times as fast as `Conv1d`."""
    padding = dilation * (width // 2)
    return nn.Conv2d(num_inputs, num_outputs, (1, width), padding=(0, padding), dilation=(1, dilation))


class Residual(nn.Module):
    """Residual block of two temporal convolutions."""

    def __init__(self, num_features: int, dilation: int) -> None:
        super().__init__()
        self.first = temporal_conv(num_features, num_features, dilation=dilation)
        self.second = temporal_conv(num_features, num_features, dilation=dilation)
        self.norm_in = nn.GroupNorm(4, num_features)
        self.norm_between = nn.GroupNorm(4, num_features)

    def forward(self, x: Float[Tensor, "B F 1 T"]) -> Float[Tensor, "B F 1 T"]:
        """The input plus the residual."""
        h = self.first(F.silu(self.norm_in(x)))
        return x + self.second(F.silu(self.norm_between(h)))


class _CollisionTimeScores(nn.Module):
    """Scores of "collides at sample t" for every t, and of "never": a pair collides at most once."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*(Residual(num_features, dilation) for dilation in (1, 2, 4, 1)))
        self.at = temporal_conv(num_features, 1, width=1)
        self.never = nn.Sequential(nn.Linear(2 * num_features, num_features), nn.SiLU(), nn.Linear(num_features, 1))

    def forward(self, h: Float[Tensor, "B V F T"]) -> Float[Tensor, "B T2"]:
        """Mean scores over both orders of a pair, so that the result is symmetric."""
        # channels last is three times as fast for these narrow convolutions
        rows = self.body(h.flatten(0, 1).unsqueeze(2).contiguous(memory_format=torch.channels_last))
        never = self.never(torch.cat([rows.mean(-1), rows.amax(-1)], 1).squeeze(-1))
        scores = torch.cat([self.at(rows)[:, 0, 0], never], -1)
        return scores.unflatten(0, h.shape[:2]).mean(1)


class CollisionSpike(Discretizer):
    """A spike where "at some sample" exceeds "never" by the threshold (log-odds), and the frame of the collision."""

    v_threshold: Tensor

    def __init__(self, v_threshold: float) -> None:
        super().__init__()
        self.register_buffer("v_threshold", torch.tensor(v_threshold))
        self.surrogate = ARCTAN

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Float[Tensor, "K M B *N2"], None]:
        """From scores `(K, M, B, T + 1)` to spike and frame `(K, M, B, 2)`."""
        spikes = self.surrogate(log_odds(h) - self.v_threshold)
        return torch.stack([spikes, expected_frame(h)], -1), None


def log_odds(scores: Float[Tensor, "*B T"]) -> Float[Tensor, "*B"]:
    """Log-odds of a collision at some sample; the last score is that of none."""
    return scores[..., :-1].logsumexp(-1) - scores[..., -1]


def expected_frame(scores: Float[Tensor, "*B T"]) -> Float[Tensor, "*B"]:
    """The frame of a collision, between samples: the expectation over the samples around the likeliest one."""
    # the expectation over all samples would mix the peak with scores elsewhere in the video
    at = scores[..., :-1]
    samples = torch.arange(at.shape[-1], device=at.device)
    in_peak = (samples - at.argmax(-1, keepdim=True)).abs() <= _PEAK_WIDTH
    share = at.masked_fill(~in_peak, -torch.inf).softmax(-1)

    return inputs.FRAMES_PER_SAMPLE * (share * samples).sum(-1)


class CollisionUnit(HybridUnit):
    """The learned hybrid unit `Y = Q . F . H . W (X)` from the tracks of pairs to collisions."""

    def __init__(self, num_features: int = 48) -> None:
        super().__init__(
            Tumbling(inputs.NUM_SAMPLES),
            TemporalConvolution(inputs.NUM_CHANNELS, num_features),
            _CollisionTimeScores(num_features),
            CollisionSpike(0.0),
        )

    def scores(self, pairs: inputs.CandidatePairs, orders: int = 2) -> Float[Tensor, "P T2"]:
        """Scores of the nonlinearity for each pair, before the threshold."""
        x = inputs.signals(pairs.places, pairs.visible, pairs.third, pairs.kinds, orders)
        stages, _ = self.stages(x)
        return stages.nonlinearity[0, 0]

    def set_threshold(self, v_threshold: float) -> None:
        """Sets the threshold of the spike: the log-odds that a collision has to reach."""
        # another discretizer may stand in the unit, with a threshold of its own kind
        if isinstance(self.discretizer, CollisionSpike):
            self.discretizer.v_threshold.fill_(v_threshold)


_SCALE = 20.0  # of the rule's scores, so that they act as certain


class _AccelerationRule(nn.Module):
    """Scores of "collides at sample t" and of "never" by the rule: above 0 where both limits are passed."""

    def __init__(self, max_distance: float, min_acceleration: float) -> None:
        super().__init__()
        if not max_distance > 0 or not min_acceleration > 0:
            raise ConfigError(
                "the rule needs max_distance > 0 px and min_acceleration > 0 px/sample, but got "
                f"{max_distance} and {min_acceleration}"
            )

        self.max_distance = max_distance
        self.min_acceleration = min_acceleration

    def forward(self, h: Float[Tensor, "B V C T"]) -> Float[Tensor, "B T2"]:
        """From the window of a pair; both orders have the same accelerations and the same distance."""
        # the impact of a third object changes one velocity only, so the smaller change counts
        window = h[:, 0]
        changes = window[:, inputs.ACCELERATIONS].unflatten(1, (2, 2)).norm(dim=2) * inputs.SCALES["acceleration"]
        distance = window[:, inputs.DISTANCE] * inputs.SCALES["distance"]
        excess = (changes.amin(1) / self.min_acceleration).clamp(max=100) - 1

        # a score of 40 below never, or up to 20 times the excess above it, acts as certain
        scores = torch.where(distance < self.max_distance, _SCALE * excess, -_SCALE * 2)

        return torch.cat([scores, torch.zeros_like(scores[:, :1])], 1)


class FixedCollisionUnit(HybridUnit):
    """The rule as a hybrid unit, with the interface of the learned one."""

    def __init__(self, max_distance: float = 20.0, min_acceleration: float = 0.6) -> None:
        super().__init__(
            Tumbling(inputs.NUM_SAMPLES),
            WindowHistory(),
            _AccelerationRule(max_distance, min_acceleration),
            CollisionSpike(0.0),
        )
