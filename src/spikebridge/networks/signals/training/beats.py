"""Trains a beat detector: the filters and spiking neurons on marked beats, then the threshold on the noise.

Stretched, scaled and inverted pieces stand in for beats of other shapes, and added noise for other recordings. Both are
made of the training part alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor
from torch.utils.data import IterableDataset

from spikebridge.errors import ConfigError
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.signals.data.beats import match_beats, with_noise
from spikebridge.networks.signals.model.beats import LATENCY, MEAN_OF, RATE_HZ, held_at_both_ends, places_of, scores_of
from spikebridge.training.loop import fit
from spikebridge.training.phase import Phase
from spikebridge.training.run.run import Run
from spikebridge.training.settings import Settings, check_positive

_NEAR = 4  # samples around a beat that are beat, and that count for neither
_AROUND = 14
_BEAT_WEIGHT = 4.0
_OFFSET = 2.0  # of the membrane, so that silence is no beat
_SETTLE = 60  # samples at the start of a piece that do not count
_SNRS = (None, 24.0, 12.0, 6.0, 3.0, 0.0, -3.0)
_CHECKPOINT_EVERY = 50  # steps
_FACTORS = tuple(float(f) for f in np.arange(0.4, 1.61, 0.1))


@dataclass(frozen=True)
class BeatConfig:
    """A detector of beats and its training (task `detect`)."""

    neurons: int = 16
    """Filters, each with a spiking neuron."""
    threshold: float = 3.5
    """Threshold of the neuron that fires at a beat, before the ANN changes it."""
    steps: int = 450
    """Steps of the training."""
    batch_size: int = 24
    """Pieces of the recording in a step."""
    piece_seconds: float = 6.0
    """Length of a piece [s]."""
    lr: float = 0.005
    """Learning rate, falling to zero."""
    seconds: float | None = None
    """Use only the first so many seconds of the recording."""

    def __post_init__(self) -> None:
        """Checks the settings."""
        check_positive(self, ("neurons", "threshold", "steps", "batch_size", "lr"))
        if self.piece_seconds < 1 or not (self.seconds is None or self.seconds >= 30):
            raise ConfigError(
                "pieces last 1 s or more and a recording 30 s or more, but got "
                f"{self.piece_seconds} s and {self.seconds} s"
            )


def train_beats(
    network: HybridNetwork,
    ecg: Float[Tensor, "T C"],
    beats: Int64[np.ndarray, " M"],
    config: BeatConfig,
    seed: int = 0,
    run: Run | None = None,
    quiet: bool = True,
) -> list[float]:
    """Trains the detector in place; gives the losses of the filters.

    Args:
        network: of `beat_network`.
        ecg: the training part [mV], each channel less its median.
        beats: samples of its beats.
        config: of the training; the sizes of the network are not read.
        seed: of pieces and noise.
        run: where metrics and checkpoints go; a checkpoint that it holds is resumed.
        quiet: show no progress.
    """
    settings = Settings(
        seed=seed,
        batch_size=config.batch_size,
        accelerator="cpu",
        log_every=1,
        checkpoint_every=_CHECKPOINT_EVERY,
        quiet=quiet,
    )

    rows = fit(network, [_filter_phase(config)], _Pieces(ecg, beats, config, seed), settings=settings, run=run)
    _train_threshold(network.eval(), ecg, beats, seed)

    return [row["loss"] for row in rows if row["kind"] == "step"]


def _filter_phase(config: BeatConfig) -> Phase:
    def rate(step: int) -> float:
        return config.lr * (1 - step / config.steps) + 1e-4

    return Phase(
        "filters",
        train=("mix", "mix_to_snn", "snn"),
        objective=_missed_beats,
        epochs=1,
        optimizer=partial(torch.optim.Adam, lr=1.0),
        scheduler=lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, rate),
        scheduler_interval="step",
    )


def _missed_beats(network: HybridNetwork, batch: Sequence[Tensor]) -> Tensor:
    """The weighted cross-entropy of beat or no beat, sample by sample."""
    x, target, weight = (column.transpose(0, 1).contiguous() for column in batch)
    score = scores_of(network, x) - _OFFSET
    return F.binary_cross_entropy_with_logits(score[_SETTLE:], target[_SETTLE:], weight[_SETTLE:])


class _Pieces(IterableDataset[tuple[Tensor, Tensor, Tensor]]):
    """Random pieces of a recording with noise; every pass draws the same ones."""

    def __init__(self, ecg: Tensor, beats: Int64[np.ndarray, " M"], config: BeatConfig, seed: int) -> None:
        self.ecg = ecg
        self.beats = beats
        self.config = config
        self.seed = seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        config = self.config
        ecg = self.ecg
        chance = np.random.default_rng(self.seed)
        noise = torch.Generator().manual_seed(self.seed)
        length = round(config.piece_seconds * RATE_HZ)

        for _ in range(config.steps):
            pieces = [_piece(ecg, self.beats, length, chance) for _ in range(config.batch_size)]
            x = torch.stack([piece for piece, *_ in pieces], 1)
            snr = torch.from_numpy(chance.uniform(-3, 24, (1, config.batch_size, 1))).to(x.dtype)
            x = x + torch.randn(x.shape, generator=noise, dtype=x.dtype) * (ecg.var(0) * 10 ** (-snr / 10)).sqrt()

            for place, (_, target, weight) in enumerate(pieces):
                yield x[:, place], target, weight


def _piece(
    ecg: Tensor, beats: Int64[np.ndarray, " M"], length: int, chance: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """A piece of the recording, where its beats are, and the weight of each sample; half of them are stretched."""
    stretch = float(np.exp(chance.uniform(-0.35, 0.8))) if chance.random() < 0.5 else 1.0
    taken = min(int(length / stretch), len(ecg) - 1)
    first = int(chance.integers(0, len(ecg) - taken))
    x = F.interpolate(ecg[first : first + taken].T.unsqueeze(0), size=length, mode="linear", align_corners=True)[0].T
    sign = np.where(chance.random(ecg.shape[1]) < 0.3, -1.0, 1.0) if chance.random() < 0.6 else np.ones(ecg.shape[1])
    x = x * torch.from_numpy(sign * np.exp(chance.uniform(-0.5, 0.9))).to(x.dtype)
    target = torch.zeros(length)
    weight = torch.ones(length)
    inside = beats[(beats >= first) & (beats < first + taken)]
    places = np.rint((inside - first) * (length - 1) / (taken - 1)).astype(int) + LATENCY

    for place in places:
        weight[max(0, place - _AROUND) : place + _AROUND + 1] = 0

    for place in places:  # after all of the above, which may reach over the next beat
        weight[place - _NEAR : place + _NEAR + 1] = _BEAT_WEIGHT
        target[place - _NEAR : place + _NEAR + 1] = 1

    return x, target, weight


def _train_threshold(network: HybridNetwork, ecg: Tensor, beats: Int64[np.ndarray, " M"], seed: int) -> None:
    """Fits the ANN to the factor with the fewest errors at each level of noise, the middle one of several."""
    neuron: Any = network.parts["snn"].get_submodule("beat")
    ann = network.parts["ann"]
    factors = torch.tensor(_FACTORS)
    powers = []
    scores = []

    for snr in _SNRS:
        noisy = with_noise(ecg, snr, seed + 1)
        with torch.no_grad():
            scores.append(scores_of(network, held_at_both_ends(noisy).unsqueeze(1)))
        change = torch.diff(noisy, dim=0).square()
        powers.append(change[: len(change) // MEAN_OF * MEAN_OF].reshape(-1, MEAN_OF, ecg.shape[1]).mean(1))

    with torch.no_grad():  # every level of noise with every factor, in one pass
        score = torch.cat(scores, 1).repeat_interleave(len(factors), 1).unsqueeze(2)
        thresholds = factors.repeat(len(_SNRS)).unsqueeze(1) * neuron.v_threshold
        spikes = neuron(score, v_threshold=thresholds)[0][..., 0]

    chosen = []
    for number, power in enumerate(powers):
        columns = spikes[:, number * len(factors) : (number + 1) * len(factors)].T
        errors = [match_beats(places_of(column), beats, RATE_HZ).errors for column in columns]
        best = [factor for factor, wrong in zip(_FACTORS, errors, strict=True) if wrong == min(errors)]
        chosen.append(torch.full((len(power), 1), best[len(best) // 2]))

    x = torch.cat(powers)
    y = torch.cat(chosen).log()
    optimizer = torch.optim.Adam(ann.parameters(), lr=0.02)

    for _ in range(300):
        loss = (ann(x).log() - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
