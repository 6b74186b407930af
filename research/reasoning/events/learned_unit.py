"""A learned track unit with the interface of the designed one, trained on the true events of training videos."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from research.reasoning.events.truth import TrueEvents
from spikebridge.hybrid import HybridUnit, Tumbling
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.events import collision_inputs as inputs
from spikebridge.networks.reasoning.events.collision_unit import Residual, TemporalConvolution, temporal_conv
from spikebridge.networks.reasoning.events.events import EVENT_KINDS
from spikebridge.networks.reasoning.events.track_events import KINDS, EventSpike, border_distances, track_channels

_NUM_CHANNELS = 16
_NAMES = [EVENT_KINDS[kind] for kind in KINDS]


class _TrackScores(nn.Module):
    """Scores of every kind of event at every sample, above 0 at a peak beyond its threshold, and frames."""

    thresholds: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*(Residual(num_features, dilation) for dilation in (1, 2, 4, 1)))
        self.at = temporal_conv(num_features, 2 * len(KINDS), width=1)
        self.register_buffer("thresholds", torch.zeros(len(KINDS)))

    def forward(self, h: Tensor) -> Tensor:
        scores, offsets = self.raw(h)
        frames = inputs.FRAMES_PER_SAMPLE * (torch.arange(scores.shape[-1]) + offsets)
        peaks = F.max_pool1d(scores, 3, 1, 1)
        above = torch.where(scores == peaks, scores - self.thresholds[:, None], -1.0)
        return torch.stack([above, frames], 1)

    def raw(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Log-odds and offsets in samples, each `(B, E, T)`."""
        rows = self.at(self.body(h.unsqueeze(2).contiguous(memory_format=torch.channels_last)))[:, :, 0]
        return rows.unflatten(1, (2, len(KINDS))).unbind(1)


class LearnedTrackUnit(HybridUnit):
    """The learned unit: temporal convolution, residual network, spikes at peaks of the scores."""

    def __init__(self, num_features: int = 32) -> None:
        super().__init__(
            Tumbling(inputs.NUM_SAMPLES),
            TemporalConvolution(_NUM_CHANNELS, num_features),
            _TrackScores(num_features),
            EventSpike(),
        )

    def stages(self, x: Tensor):
        """The stages for the input of the designed unit."""
        return super().stages(signals(x))

    def raw(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Log-odds and offsets for the input of the designed unit."""
        return self.nonlinearity.raw(self.kernel.last(signals(x)))


def signals(x: Tensor) -> Tensor:
    """Scaled places, motion, visibility, collisions and distances from the borders `(T, O, 16)`."""
    places, others = x[..., :2], x[..., 2:]
    speed = inputs.velocity(places)
    channels = (
        (places - inputs.HEIGHT / 2) / inputs.SCALES["place"],
        speed / inputs.SCALES["velocity"],
        speed / 0.5,
        inputs.acceleration(places) / inputs.SCALES["acceleration"],
        others,
        (speed.norm(dim=-1, keepdim=True) + 0.02).log(),
        border_distances(places) / 10,
    )
    return torch.cat(channels, -1).clamp(-8, 8)


def targets(scene: Scene, truth: TrueEvents) -> tuple[Tensor, Tensor]:
    """1 at the sample of each true event, 0 elsewhere, NaN where it is unclear; and offsets: `(O, E, T)` each."""
    shape = scene.num_objects, len(KINDS), inputs.NUM_SAMPLES
    happens = np.zeros(shape, dtype=np.float32)
    offsets = np.zeros(shape, dtype=np.float32)
    number_of = {triple: o for o, triple in enumerate(scene.objects)}
    for table, value in ((truth.unclear, np.nan), (truth.events, 1.0)):
        for kind, events in table.items():
            for triple, frame in events:
                if triple in number_of:
                    sample = min(round(frame / 5), inputs.NUM_SAMPLES - 1)
                    at = number_of[triple], _NAMES.index(kind)
                    # unclear in the whole surrounding
                    if np.isnan(value):
                        happens[at][max(0, sample - 1) : sample + 2] = value
                    else:
                        happens[at][sample] = value
                        offsets[at][sample] = frame / 5 - sample

    return torch.from_numpy(happens), torch.from_numpy(offsets)


def train(scenes: Sequence[Scene], truths: Sequence[TrueEvents], seed: int, epochs: int = 12) -> LearnedTrackUnit:
    """Trains a unit: cross-entropy of events, absolute error of their frames; AdamW with a one-cycle rate."""
    x = torch.cat([track_channels(scene) for scene in scenes], 1)
    happens, offsets = (torch.cat(part) for part in zip(*map(targets, scenes, truths), strict=True))
    torch.manual_seed(seed)
    unit = LearnedTrackUnit()
    batch_size = 256
    steps = epochs * -(-x.shape[1] // batch_size)
    optimizer = torch.optim.AdamW(unit.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.2)

    for _ in range(epochs):
        for rows in torch.randperm(x.shape[1]).split(batch_size):
            batch = x[:, rows].clone()
            # the mirror image of a scene is a scene
            mirrored = torch.rand(len(rows)) < 0.5
            batch[:, mirrored, 1] = inputs.HEIGHT - batch[:, mirrored, 1]
            scores, frames = unit.raw(batch)
            known = ~happens[rows].isnan()
            wanted = happens[rows].nan_to_num()
            loss = F.binary_cross_entropy_with_logits(scores[known], wanted[known], pos_weight=torch.tensor(3.0))
            error = ((frames - offsets[rows]).abs() * wanted).sum() / wanted.sum().clamp(min=1)
            optimizer.zero_grad()
            (20 * loss + error).backward()
            nn.utils.clip_grad_norm_(unit.parameters(), 5.0)
            optimizer.step()
            schedule.step()

    return unit.eval()
