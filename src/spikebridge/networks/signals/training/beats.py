"""Trains a beat detector: the filters and spiking neurons on marked beats, then the threshold on the noise.

Stretched, scaled and inverted pieces stand in for beats of other shapes, and added noise for other recordings. Both are
made of the training part alone.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.signals.data.beats import match_beats, with_noise
from spikebridge.networks.signals.model.beats import LATENCY, MEAN_OF, RATE_HZ, held_at_both_ends, places_of, scores_of

_NEAR, _AROUND = 4, 14  # samples around a beat that are beat, and that count for neither
_BEAT_WEIGHT = 4.0
_OFFSET = 2.0  # of the membrane, so that silence is no beat
_SETTLE = 60  # samples at the start of a piece that do not count
_SNRS = (None, 24.0, 12.0, 6.0, 3.0, 0.0, -3.0)
_FACTORS = tuple(float(f) for f in np.arange(0.4, 1.61, 0.1))


class BeatTraining(NamedTuple):
    """Settings of the training."""

    steps: int = 450
    batch: int = 24
    piece: int = 6 * RATE_HZ
    learning_rate: float = 5e-3
    seed: int = 0


def train_beats(
    network: HybridNetwork,
    ecg: Float[Tensor, "T C"],
    beats: Int64[np.ndarray, " M"],
    settings: BeatTraining | None = None,
) -> list[float]:
    """Trains the detector in place; gives the losses of the filters.

    Args:
        network: of `beat_network`.
        ecg: the training part [mV], each channel less its median.
        beats: samples of its beats.
        settings: of the training.
    """
    settings = BeatTraining() if settings is None else settings
    chance, noise = np.random.default_rng(settings.seed), torch.Generator().manual_seed(settings.seed)
    snn = network.parts["snn"]
    optimizer = torch.optim.Adam(snn.parameters(), lr=settings.learning_rate)
    losses = []
    for step in range(settings.steps):
        optimizer.param_groups[0]["lr"] = settings.learning_rate * (1 - step / settings.steps) + 1e-4
        pieces = [_piece(ecg, beats, settings.piece, chance) for _ in range(settings.batch)]
        x, target, weight = (torch.stack(column, 1) for column in zip(*pieces, strict=True))
        snr = torch.from_numpy(chance.uniform(-3, 24, (1, settings.batch, 1))).to(x.dtype)
        x = x + torch.randn(x.shape, generator=noise, dtype=x.dtype) * (ecg.var(0) * 10 ** (-snr / 10)).sqrt()
        score = scores_of(network.train(), x) - _OFFSET
        loss = F.binary_cross_entropy_with_logits(score[_SETTLE:], target[_SETTLE:], weight[_SETTLE:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    _train_threshold(network.eval(), ecg, beats, settings)
    return losses


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
    target, weight = torch.zeros(length), torch.ones(length)
    inside = beats[(beats >= first) & (beats < first + taken)]
    places = np.rint((inside - first) * (length - 1) / (taken - 1)).astype(int) + LATENCY
    for place in places:
        weight[max(0, place - _AROUND) : place + _AROUND + 1] = 0
    for place in places:  # after all of the above, which may reach over the next beat
        weight[place - _NEAR : place + _NEAR + 1] = _BEAT_WEIGHT
        target[place - _NEAR : place + _NEAR + 1] = 1
    return x, target, weight


def _train_threshold(
    network: HybridNetwork, ecg: Tensor, beats: Int64[np.ndarray, " M"], settings: BeatTraining
) -> None:
    """Fits the ANN to the factor with the fewest errors at each level of noise, the middle one of several."""
    neuron: Any = network.parts["snn"].get_submodule("beat")
    ann = network.parts["ann"]
    factors = torch.tensor(_FACTORS).unsqueeze(1)
    powers, chosen = [], []
    for snr in _SNRS:
        noisy = with_noise(ecg, snr, settings.seed + 1)
        with torch.no_grad():
            score = scores_of(network, held_at_both_ends(noisy).unsqueeze(1)).expand(-1, len(factors)).unsqueeze(2)
            spikes, _ = neuron(score, v_threshold=factors * neuron.v_threshold)
        errors = [match_beats(places_of(row), beats, RATE_HZ).errors for row in spikes[..., 0].T]
        best = [factor for factor, wrong in zip(_FACTORS, errors, strict=True) if wrong == min(errors)]
        change = torch.diff(noisy, dim=0).square()
        powers.append(change[: len(change) // MEAN_OF * MEAN_OF].reshape(-1, MEAN_OF, ecg.shape[1]).mean(1))
        chosen.append(torch.full((len(powers[-1]), 1), best[len(best) // 2]))
    x, y = torch.cat(powers), torch.cat(chosen).log()
    optimizer = torch.optim.Adam(ann.parameters(), lr=0.02)
    for _ in range(300):
        loss = (ann(x).log() - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
