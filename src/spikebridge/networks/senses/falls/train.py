"""Training of the stages of a fall detector, and their thresholds, chosen on people left out."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from spikebridge.errors import DataError
from spikebridge.hybrid import TappedDelay
from spikebridge.networks.senses.data.trials import Trials, refuse_other_units
from spikebridge.networks.senses.falls.model import (
    BLOCK,
    DT,
    GATES,
    NUM_BLOCKS,
    FallStages,
    Pieces,
    is_impact,
    sizes_of,
    with_size,
)
from spikebridge.networks.senses.training.train import SensesLearning
from spikebridge.ops.modes import evaluating

ALARM_S = 1.0  # after the end of a fall
_IMPACT_S = 1.0  # from the start of a fall to its impact, at the least
_MISSED = 8.0  # weight of a missed fall in a gate
_HARD = 0.995  # of falls with an impact above the threshold, on people left out
_WOKEN = 0.98  # of falls that pass a gate
_FOUND = 0.96  # of falls with an alarm behind all gates
_PARTS = 4  # of the people, left out in turn for the thresholds
_TURNS = 3  # copies at other angles, for each place of the blocks
_PLACES = 3
_LIVELY_G = 2.0
_QUIET_STEP = 8  # ticks
_SHIFTS = (-1, 0, 1)  # blocks, of the windows about an impact
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
    recording = trials.sensors.get("wrist")
    if recording is None or len(recording.shape) != 1 or recording.shape[0] < 3 or trials.spans is None:
        raise DataError(
            "a fall detector needs a sensor 'wrist' of three axes [g], and fall_start_s and fall_end_s (NaN for no "
            f"fall), but the data has {', '.join(trials.sensors)}"
        )

    pieces = [_at_rate(*recording.of(trial))[offset:, :3] for trial in range(len(trials))]
    refuse_other_units(np.concatenate(pieces))
    length = np.array([max(1, len(one) // BLOCK) for one in pieces])
    blocks = np.zeros((int(length.max()) * BLOCK, len(pieces), 3), np.float32)
    for trial, one in enumerate(pieces):
        number = min(len(one), length[trial] * BLOCK)
        blocks[:number, trial] = one[:number]
        blocks[number:, trial] = one[-1] if len(one) else 0

    ends = np.stack([trials.spans[:, 0] + _IMPACT_S, trials.spans[:, 1] + ALARM_S], 1)
    ticks = np.floor(np.nan_to_num((ends / DT - offset) / BLOCK, nan=0.0)).astype(np.int64)
    ticks[:, 1] = np.minimum(ticks[:, 1], length)

    return Listened(
        torch.from_numpy(blocks).unflatten(0, (-1, BLOCK)).transpose(1, 2),
        torch.from_numpy(length),
        torch.from_numpy(ticks),
        trials.person,
    )


def _at_rate(values: Float[np.ndarray, "N C"], times: Float[np.ndarray, " N"]) -> Float[np.ndarray, "M C"]:
    """The newest value every 20 ms."""
    at = np.arange(times[0], times[-1] + DT / 2, DT) if len(times) else times
    return values[np.searchsorted(times, at + 1e-6, side="right") - 1]


def windows_of(data: Listened) -> Float[Tensor, "T B N"]:
    """The windows that an ANN sees at each tick."""
    pieces = Pieces()(data.blocks.flatten(0, 1)).unflatten(0, data.blocks.shape[:2])
    return TappedDelay(NUM_BLOCKS)(pieces)[0].flatten(2)


def turned(data: Listened, generator: torch.Generator) -> Listened:
    """Recordings as from a wrist worn at any angle."""
    number = len(data.length)
    turn, triangle = torch.linalg.qr(torch.randn(number, 3, 3, generator=generator))
    turn = turn * triangle.diagonal(dim1=1, dim2=2).sign()[:, None]
    turn = turn * torch.linalg.det(turn)[:, None, None]
    return data._replace(blocks=torch.einsum("tbsc,bdc->tbsd", data.blocks, turn))


def _ticks(data: Listened) -> tuple[Bool[Tensor, "T B"], Bool[Tensor, "T B"]]:
    """Ticks inside the span of a fall, and ticks that are no fall: those after one are neither."""
    tick = torch.arange(len(data.blocks))[:, None]
    inside = (tick >= data.span[:, 0]) & (tick < data.span[:, 1]) & data.is_fall
    before = torch.where(data.is_fall, data.span[:, 0], data.length)
    return inside, tick < torch.minimum(before, data.length)


def _threshold(scores: Float[Tensor, "T B"], data: Listened, recall: float) -> float:
    """The threshold that the largest scores in the spans of this share of falls reach."""
    inside, _ = _ticks(data)
    best = scores.masked_fill(~inside, -math.inf).amax(0)[data.is_fall].sort().values
    return float(best[int((1 - recall) * len(best))]) - 1e-6


def train_stages(copies: list[Listened], config: SensesLearning, seed: int) -> FallStages:
    """Trains all stages on copies of the recordings, with thresholds from people left out.

    Parts of the people are left out in turn: the scores of their falls set the thresholds of the stages.
    """
    if not copies[0].is_fall.any():
        raise DataError("there is no fall among the people of the training; fall_start_s and fall_end_s name them")

    people = np.unique(copies[0].person)
    tests = []
    scores = []
    for part in range(min(_PARTS, len(people))):
        inside = np.isin(copies[0].person, people[part::_PARTS])
        # a person who is alone sets the own thresholds
        kept = np.flatnonzero(~inside | inside.all())
        others = [copy.select(kept) for copy in copies]
        tests.append(np.flatnonzero(inside))
        scores.append(stage_scores(_trained(others, config, seed), copies[0].select(tests[-1])))

    stages = _trained(copies, config, seed)
    joined = StageScores(*(torch.cat(column, 1) for column in zip(*scores, strict=True)))
    _set_thresholds(stages, joined, copies[0].select(np.concatenate(tests)))

    return stages.eval()


class StageScores(NamedTuple):
    """Scores at each tick, `(T, B)`: the size of an impact, what the SNN said at most, and logits of each ANN."""

    size: Tensor
    said: Tensor
    small: Tensor
    big: Tensor
    listening: Tensor


@torch.no_grad()
def stage_scores(stages: FallStages, data: Listened) -> StageScores:
    """The scores of all stages on recordings; the size is -inf where there is no impact."""
    with evaluating(stages):
        windows = windows_of(data)
        said = stages.spiking.scores(_samples(data.blocks))[0].unflatten(0, (-1, BLOCK)).amax(1).sigmoid()
        heard = TappedDelay(NUM_BLOCKS)(said)[0].amax((2, 3))
        small, big, listening = (part(windows)[..., 0] for part in (stages.small, stages.big, stages.listening))

    sizes = sizes_of(windows)
    return StageScores(sizes.amax(-1).masked_fill(~is_impact(sizes), -math.inf), heard, small, big, listening)


def gate_logits(stages: FallStages, scores: StageScores) -> dict[str, Float[Tensor, "T B"]]:
    """The logits of the last ANN behind each gate, -inf where it sleeps."""
    is_quiet = scores.size <= stages.impact
    asleep = {
        "cascade": is_quiet | (scores.small <= stages.waking),
        "threshold": is_quiet,
        "snn": is_quiet | (scores.said <= stages.said),
    }
    woken = {gate: scores.big.masked_fill(flags, -math.inf) for gate, flags in asleep.items()}
    return {**woken, "always": scores.listening}


def _set_thresholds(stages: FallStages, scores: StageScores, data: Listened) -> None:
    stages.impact.fill_(_threshold(scores.size, data, _HARD))
    is_quiet = scores.size <= stages.impact
    stages.said.fill_(_threshold(scores.said.masked_fill(is_quiet, -math.inf), data, _WOKEN))
    stages.waking.fill_(_threshold(scores.small.masked_fill(is_quiet, -math.inf), data, _WOKEN))

    logits = gate_logits(stages, scores)
    for place, gate in enumerate(GATES):
        stages.alarms[place] = _threshold(logits[gate], data, _FOUND)


def _trained(copies: list[Listened], config: SensesLearning, seed: int) -> FallStages:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stages = FallStages()
        generator = torch.Generator().manual_seed(seed)
        rows = [_examples(copy) for copy in copies]
        windows, labels = (torch.cat(column) for column in zip(*rows, strict=True))
        _train_windows(stages.big, windows, labels, config, generator)
        _train_windows(stages.small, windows, labels, config, generator, _MISSED)
        lively = [_examples(copy, every=True) for copy in copies[:2]]
        windows, labels = (torch.cat(column) for column in zip(*lively, strict=True))
        _train_windows(stages.listening, windows, labels, config, generator)
        _train_spiking(stages, copies[1], config, generator)

    return stages.eval()


def _examples(data: Listened, every: bool = False) -> tuple[Tensor, Tensor]:
    """Windows about an impact, or every lively one and some at rest, and 1 for those of a fall."""
    windows = windows_of(data)
    inside, other = _ticks(data)
    sizes = sizes_of(windows)
    kept = (inside | other) & (sizes.amax(-1) > _LIVELY_G)
    if every:
        # rest is most of a day, and one window of it is as good as the next
        kept[::_QUIET_STEP] |= (inside | other)[::_QUIET_STEP]
    else:
        kept &= torch.stack([is_impact(sizes, shift) for shift in _SHIFTS]).any(0)

    return windows[kept], inside[kept].float()


def _batches(
    number: int, config: SensesLearning, generator: torch.Generator, size: int
) -> Iterator[tuple[Tensor, float]]:
    """Places of each batch, and the share of the training that is done."""
    steps = math.ceil(number / size)
    for epoch in range(config.epochs if number else 0):
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
    return with_size(blocks.transpose(0, 1).flatten(1, 2))


def copies_of(trials: Trials, seed: int) -> list[Listened]:
    """The recordings as they are and turned at random, each cut into blocks at several places."""
    generator = torch.Generator().manual_seed(seed)
    offsets = [0, *torch.randperm(BLOCK - 1, generator=generator)[: _PLACES - 1].add(1).tolist()]
    cut = [listen(trials, offset) for offset in offsets]
    return [copy for one in cut for copy in (one, *(turned(one, generator) for _ in range(_TURNS)))]
