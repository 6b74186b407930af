"""Training of the stages of a fall detector, and their thresholds, chosen on people left out."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from spikebridge.networks.senses.data.trials import Trials
from spikebridge.networks.senses.falls.model import BLOCK, DT, BlockRing, FallStages, Pieces, with_size
from spikebridge.networks.senses.training.train import SensesLearning
from spikebridge.ops.modes import evaluating

_ALARM_S = 1.0  # after the end of a fall
_IMPACT_S = 1.0  # from the start of a fall to its impact, at the least
_MISSED = 8.0  # weight of a missed fall in a gate
_RECALL = (0.985, 0.975, 0.975, 0.96)  # of falls that pass threshold, gates and alarm, on people left out
_COPIES = 3
_CUT_S = 8.0  # of a recording, for the SNN


class Listened(NamedTuple):
    """Recordings of a wrist: blocks `(T, B, 10, 3)` [g], ticks of each, the ticks of a fall from and to, person."""

    blocks: Float[Tensor, "T B S C"]
    length: Int64[Tensor, " B"]
    span: Int64[Tensor, "B 2"]
    person: Int64[np.ndarray, " B"]

    @property
    def is_fall(self) -> Bool[Tensor, " B"]:
        """True for recordings of a fall."""
        return self.span[:, 1] > 0

    def select(self, places: Int64[np.ndarray, " K"]) -> "Listened":
        """Some of the recordings."""
        index = torch.from_numpy(places)
        return Listened(self.blocks[:, index], self.length[index], self.span[index], self.person[places])


def listen(trials: Trials, offset: int = 0) -> Listened:
    """The recordings of trials in blocks; the first `offset` samples are left out. Rest follows their end."""
    recording = trials.sensors["wrist"]
    pieces = [recording.of(trial)[0][offset:, :3] for trial in range(len(trials))]
    length = np.array([max(1, len(one) // BLOCK) for one in pieces])
    blocks = np.zeros((int(length.max()) * BLOCK, len(pieces), 3), np.float32)
    for trial, one in enumerate(pieces):
        number = min(len(one), length[trial] * BLOCK)
        blocks[:number, trial] = one[:number]
        blocks[number:, trial] = one[-1] if len(one) else 0

    spans = np.full((len(trials), 2), np.nan) if trials.spans is None else trials.spans
    ends = np.stack([spans[:, 0] + _IMPACT_S, spans[:, 1] + _ALARM_S], 1)
    ticks = np.floor(np.nan_to_num((ends / DT - offset) / BLOCK, nan=0.0)).astype(np.int64)
    ticks[:, 1] = np.minimum(ticks[:, 1], length)

    return Listened(
        torch.from_numpy(blocks).unflatten(0, (-1, BLOCK)).transpose(1, 2),
        torch.from_numpy(length),
        torch.from_numpy(ticks),
        trials.person,
    )


def windows_of(data: Listened) -> Float[Tensor, "T B N"]:
    """The windows that an ANN sees at each tick."""
    pieces = Pieces()(data.blocks.flatten(0, 1)).unflatten(0, data.blocks.shape[:2])
    return BlockRing()(pieces)[0]


def turned(data: Listened, generator: torch.Generator) -> Listened:
    """Recordings as from a wrist worn at any angle."""
    number = len(data.length)
    turn, triangle = torch.linalg.qr(torch.randn(number, 3, 3, generator=generator))
    turn = turn * triangle.diagonal(dim1=1, dim2=2).sign()[:, None]
    return data._replace(blocks=torch.einsum("tbsc,bdc->tbsd", data.blocks, turn))


def _ticks(data: Listened) -> tuple[Bool[Tensor, "T B"], Bool[Tensor, "T B"]]:
    """Ticks inside the span of a fall, and ticks that are no fall: those after one are neither."""
    tick = torch.arange(len(data.blocks))[:, None]
    inside = (tick >= data.span[:, 0]) & (tick < data.span[:, 1]) & data.is_fall
    before = torch.where(data.is_fall, data.span[:, 0], data.length)
    return inside, tick < torch.minimum(before, data.length)


def _best(scores: Float[Tensor, "T B"], data: Listened) -> Float[Tensor, " B"]:
    """The largest score of each fall inside its span."""
    inside, _ = _ticks(data)
    return scores.masked_fill(~inside, -math.inf).amax(0)[data.is_fall]


def _threshold(best: Float[Tensor, " F"], recall: float) -> float:
    """The threshold that this share of falls reaches."""
    return float(best.sort().values[int((1 - recall) * len(best))]) - 1e-6


def train_stages(copies: list[Listened], config: SensesLearning, seed: int) -> FallStages:
    """Trains all stages on copies of the recordings, with thresholds from people left out.

    Two halves of the people are left out in turn: the scores of their falls set the thresholds of the stages.
    """
    people = np.unique(copies[0].person)
    scores: list[list[Tensor]] = [[], [], [], []]
    for half in (people[::2], people[1::2]):
        inside = np.isin(copies[0].person, half)
        others = [copy.select(np.flatnonzero(~inside)) for copy in copies]
        stages = _trained(others, config, seed)
        test = copies[0].select(np.flatnonzero(inside))
        for row, score in zip(scores, _stage_scores(stages, test), strict=True):
            row.append(_best(score, test))

    stages = _trained(copies, config, seed)
    parts = (stages.above, stages.spiking, stages.small, stages.big)
    for part, row, recall in zip(parts, scores, _RECALL, strict=True):
        part.get_buffer("threshold").fill_(_threshold(torch.cat(row), recall))

    return stages.eval()


@torch.no_grad()
def _stage_scores(stages: FallStages, data: Listened) -> list[Float[Tensor, "T B"]]:
    """The scores at each tick: the size, and the logits of the SNN, the tiny ANN and the ANN, of what a stay covers."""
    with evaluating(stages):
        windows = windows_of(data)
        sizes = windows.unflatten(2, (10, -1))[..., -1, :2].amax(2)
        small = stages.small.layers(windows.unflatten(2, (10, -1))[..., :4].flatten(2) - 1)[..., 0]
        big = stages.big.layers(windows)[..., 0]
        spiking = stages.spiking.scores(_samples(data.blocks))[0][..., 0]

    return [sizes, spiking.unflatten(0, (-1, BLOCK)).amax(1), small, big]


def _trained(copies: list[Listened], config: SensesLearning, seed: int) -> FallStages:
    """All stages, trained on the recordings; thresholds are those of the untrained ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stages = FallStages()
        generator = torch.Generator().manual_seed(seed)
        rows = [_examples(copy) for copy in copies]
        windows, labels = (torch.cat(column) for column in zip(*rows, strict=True))
        _train_windows(stages.big.layers, windows, labels, config, generator)
        sizes = windows.unflatten(1, (10, -1))[..., :4].flatten(1) - 1
        _train_windows(stages.small.layers, sizes, labels, config, generator, _MISSED)
        _train_spiking(stages, copies[1], config, generator)

    return stages.eval()


def _examples(data: Listened, min_g: float = 1.8) -> tuple[Tensor, Tensor]:
    """Windows with something in them, and 1 for those of a fall."""
    windows = windows_of(data)
    inside, other = _ticks(data)
    lively = windows.unflatten(2, (10, -1))[..., -5:, :2].flatten(2).amax(2) > min_g
    kept = (inside | other) & lively

    return windows[kept], inside[kept].float()


def _batches(
    number: int, config: SensesLearning, generator: torch.Generator, size: int
) -> Iterator[tuple[Tensor, float]]:
    """Places of each batch, and the share of the training that is done."""
    steps = math.ceil(number / size)
    for epoch in range(config.epochs):
        for index, places in enumerate(torch.randperm(number, generator=generator).split(size)):
            yield places, (epoch + index / steps) / config.epochs


def _train_windows(
    layers: nn.Module,
    x: Tensor,
    labels: Tensor,
    config: SensesLearning,
    generator: torch.Generator,
    missed: float = 1.0,
) -> None:
    optimizer = torch.optim.AdamW(layers.parameters(), lr=config.lr, weight_decay=0.02)
    layers.train()
    for places, done in _batches(len(x), config, generator, 256):
        optimizer.param_groups[0]["lr"] = config.lr * (1 - done)
        logits = layers(x[places])[:, 0]
        loss = F.binary_cross_entropy_with_logits(logits, labels[places], pos_weight=torch.tensor(missed))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _train_spiking(stages: FallStages, data: Listened, config: SensesLearning, generator: torch.Generator) -> None:
    """Trains the SNN on the largest score of each recording, cut around its fall or at any place."""
    gate = stages.spiking
    cut = min(round(_CUT_S / DT / BLOCK), len(data.blocks))
    optimizer = torch.optim.AdamW(gate.parameters(), lr=2 * config.lr, weight_decay=0.02)
    for places, done in _batches(len(data.length), config, generator, 32):
        optimizer.param_groups[0]["lr"] = 2 * config.lr * (1 - done)
        latest = torch.where(data.is_fall[places], data.span[places, 0] + 3, data.length[places])
        first = (torch.rand(len(places), generator=generator) * (latest - cut).clamp(min=1)).long()
        first = torch.where(data.is_fall[places], (data.span[places, 1] - cut).clamp(min=0), first)
        ticks = (first + torch.arange(cut)[:, None]).clamp(max=len(data.blocks) - 1)
        blocks = data.blocks[ticks, places]
        scores = gate.scores(_samples(blocks))[0][..., 0]
        label = data.is_fall[places].float()
        loss = F.binary_cross_entropy_with_logits(scores.amax(0), label, pos_weight=torch.tensor(_MISSED))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(gate.parameters(), 2.0)
        optimizer.step()


def _samples(blocks: Float[Tensor, "T B S C"]) -> Float[Tensor, "U B 4"]:
    """The samples of blocks, with their sizes."""
    return with_size(blocks.transpose(0, 1).flatten(1, 2))


def copies_of(trials: Trials, seed: int) -> list[Listened]:
    """The recordings as they are, and copies that were turned and cut at other places."""
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.randint(1, BLOCK, (_COPIES - 1,), generator=generator).tolist()
    return [listen(trials), *(turned(listen(trials, offset), generator) for offset in offsets)]
