"""Trains a beat detector: the filters and spiking neurons on marked beats, then the threshold on the noise.

Stretched, scaled and inverted pieces stand in for beats of other shapes, and added noise for other recordings. Both are
made of the training part alone.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor
from torch.utils.data import IterableDataset

from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.signals.data.beats import match_beats, with_noise
from spikebridge.networks.signals.model.beats import (
    LATENCY,
    NOISE_WINDOW,
    RATE_HZ,
    padded,
    scores_of,
    spike_beats,
    spiking_parts,
)
from spikebridge.training.loop import fit
from spikebridge.training.phase import Phase
from spikebridge.training.run.run import Run
from spikebridge.training.settings import Settings

_BATCH_SIZE = 24  # pieces of the recording in a training step
_PIECE_LENGTH = 6 * RATE_HZ
_LEARNING_RATE = 0.005  # falls to zero
_RETRAINING_RATE = 0.1  # of the rate of the training
_BEAT_RADIUS = 4  # samples on each side of a beat that are labelled as beat
_IGNORED_RADIUS = 14  # samples on each side of a beat that have no label
_BEAT_WEIGHT = 4.0
_OFFSET = 2.0  # of the membrane, so that silence is no beat
_SETTLING = 60  # samples at the start of a piece, when the filters still fill
_CHECKPOINT_PERIOD = 50  # steps
_SNRS = (None, 24.0, 12.0, 6.0, 3.0, 0.0, -3.0)  # [dB]
_FACTORS = tuple(float(factor) for factor in np.arange(0.4, 1.61, 0.1))


def train_beats(
    network: HybridNetwork,
    ecg: Float[Tensor, "T C"],
    beats: Int64[np.ndarray, " M"],
    num_steps: int,
    seed: int = 0,
    run: Run | None = None,
    quiet: bool = True,
) -> list[float]:
    """Trains the detector in place, and returns the losses of the filters."""
    settings = Settings(
        seed=seed,
        batch_size=_BATCH_SIZE,
        accelerator="cpu",
        log_every=1,
        checkpoint_every=_CHECKPOINT_PERIOD,
        quiet=quiet,
    )

    pieces = _Pieces(ecg, beats, num_steps, seed)
    rows = fit(network, [_filter_phase(network, num_steps)], pieces, settings=settings, run=run)
    _train_threshold(network.eval(), ecg, beats, seed)

    return [row["loss"] for row in rows if row["kind"] == "step"]


def retrain_beats(
    network: HybridNetwork, ecg: Float[Tensor, "T C"], beats: Int64[np.ndarray, " M"], num_steps: int, seed: int = 0
) -> None:
    """Trains the filters and spiking neurons further at a lower rate; the threshold stays as it is."""
    settings = Settings(seed=seed, batch_size=_BATCH_SIZE, accelerator="cpu", quiet=True)
    phase = _filter_phase(network, num_steps, _RETRAINING_RATE)
    fit(network, [phase], _Pieces(ecg, beats, num_steps, seed), settings=settings)


def _filter_phase(network: HybridNetwork, num_steps: int, factor: float = 1.0) -> Phase:
    def rate(step: int) -> float:
        return factor * (_LEARNING_RATE * (1 - step / num_steps) + 1e-4)

    return Phase(
        "filters",
        train=("mix", "mix_to_snn", *spiking_parts(network)),
        objective=_detection_loss,
        epochs=1,
        optimizer=partial(torch.optim.Adam, lr=1.0),
        scheduler=lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, rate),
        scheduler_interval="step",
    )


def _detection_loss(network: HybridNetwork, batch: Sequence[Tensor]) -> Tensor:
    x, target, weight = (column.transpose(0, 1).contiguous() for column in batch)
    score = scores_of(network, x) - _OFFSET
    return F.binary_cross_entropy_with_logits(score[_SETTLING:], target[_SETTLING:], weight[_SETTLING:])


class _Pieces(IterableDataset[tuple[Tensor, Tensor, Tensor]]):
    """Random pieces of a recording with noise; every pass draws the same ones."""

    def __init__(self, ecg: Tensor, beats: Int64[np.ndarray, " M"], num_steps: int, seed: int) -> None:
        self.ecg = ecg
        self.beats = beats
        self.num_steps = num_steps
        self.seed = seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        generator = np.random.default_rng(self.seed)
        noise_generator = torch.Generator().manual_seed(self.seed)
        variance = self.ecg.var(0)

        for _ in range(self.num_steps):
            pieces = [_piece(self.ecg, self.beats, generator) for _ in range(_BATCH_SIZE)]
            x = torch.stack([piece for piece, *_ in pieces], 1)
            snr = torch.from_numpy(generator.uniform(-3, 24, (1, _BATCH_SIZE, 1))).to(x.dtype)
            noise = torch.randn(x.shape, generator=noise_generator, dtype=x.dtype)
            x = x + noise * (variance * 10 ** (-snr / 10)).sqrt()

            for place, (_, target, weight) in enumerate(pieces):
                yield x[:, place], target, weight


def _piece(
    ecg: Tensor, beats: Int64[np.ndarray, " M"], generator: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    # half of the pieces are stretched, and in most of the pieces some channels are inverted
    stretch = float(np.exp(generator.uniform(-0.35, 0.8))) if generator.random() < 0.5 else 1.0
    length = min(int(_PIECE_LENGTH / stretch), len(ecg) - 1)
    start = int(generator.integers(0, len(ecg) - length))
    cut = ecg[start : start + length].T.unsqueeze(0)
    x = F.interpolate(cut, size=_PIECE_LENGTH, mode="linear", align_corners=True)[0].T

    num_channels = ecg.shape[1]
    inverts = generator.random() < 0.6
    sign = np.where(generator.random(num_channels) < 0.3, -1.0, 1.0) if inverts else np.ones(num_channels)
    x = x * torch.from_numpy(sign * np.exp(generator.uniform(-0.5, 0.9))).to(x.dtype)

    inside = beats[(beats >= start) & (beats < start + length)]
    places = np.rint((inside - start) * (_PIECE_LENGTH - 1) / (length - 1)).astype(int) + LATENCY
    target = torch.zeros(_PIECE_LENGTH)
    weight = torch.ones(_PIECE_LENGTH)

    for place in places:
        weight[max(0, place - _IGNORED_RADIUS) : place + _IGNORED_RADIUS + 1] = 0

    # after all of the above, whose ignored samples may reach over the next beat
    for place in places:
        weight[place - _BEAT_RADIUS : place + _BEAT_RADIUS + 1] = _BEAT_WEIGHT
        target[place - _BEAT_RADIUS : place + _BEAT_RADIUS + 1] = 1

    return x, target, weight


def _train_threshold(network: HybridNetwork, ecg: Tensor, beats: Int64[np.ndarray, " M"], seed: int) -> None:
    """Fits the ANN to the factor of the threshold with the fewest errors at each level of noise."""
    scores = []
    powers = []

    for snr in _SNRS:
        noisy = with_noise(ecg, snr, seed + 1)
        with torch.no_grad():
            scores.append(scores_of(network, padded(noisy).unsqueeze(1)))

        change = torch.diff(noisy, dim=0).square()
        whole = change[: len(change) // NOISE_WINDOW * NOISE_WINDOW]
        powers.append(whole.reshape(-1, NOISE_WINDOW, ecg.shape[1]).mean(1))

    factors = _best_factors(network, torch.cat(scores, 1), beats)
    x = torch.cat(powers)
    y = torch.cat([torch.full((len(power), 1), factor) for power, factor in zip(powers, factors, strict=True)]).log()
    ann = network.parts["ann"]
    optimizer = torch.optim.Adam(ann.parameters(), lr=0.02)

    for _ in range(300):
        loss = (ann(x).log() - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _best_factors(network: HybridNetwork, scores: Float[Tensor, "T L"], beats: Int64[np.ndarray, " M"]) -> list[float]:
    *_, last = spiking_parts(network).values()
    neuron: Any = last.get_submodule("beat")
    num_levels = scores.shape[1]

    # every level of noise with every factor, in one pass of the neuron
    with torch.no_grad():
        thresholds = torch.tensor(_FACTORS).repeat(num_levels).unsqueeze(1) * neuron.v_threshold
        repeated = scores.repeat_interleave(len(_FACTORS), 1).unsqueeze(2)
        spikes = neuron(repeated, v_threshold=thresholds)[0][..., 0]

    best = []
    for columns in spikes.T.split(len(_FACTORS)):
        errors = [match_beats(spike_beats(column), beats, RATE_HZ).errors for column in columns]
        equal = [factor for factor, count in zip(_FACTORS, errors, strict=True) if count == min(errors)]
        best.append(equal[len(equal) // 2])

    return best
