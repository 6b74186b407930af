"""Marked heart beats: a generated heart, added noise, and detections counted within a tolerance of the marks."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from spikebridge.data.signals.series import SensorSeries, make_series

_TOLERANCE = 0.05  # largest time between a beat and its detection [s]


class BeatCounts(NamedTuple):
    """Numbers of detected beats, missed beats, and detections without a beat."""

    hits: int
    missed: int
    false: int

    @property
    def errors(self) -> int:
        """Missed beats and false detections."""
        return self.missed + self.false

    @property
    def sensitivity(self) -> float:
        """Share of the beats that are detected [%]."""
        return 100 * self.hits / max(1, self.hits + self.missed)

    @property
    def precision(self) -> float:
        """Share of the detections that are beats [%]."""
        return 100 * self.hits / max(1, self.hits + self.false)

    @property
    def accuracy(self) -> float:
        """Detected beats among beats and false detections."""
        return self.hits / max(1, self.hits + self.errors)


def match_beats(detected: Int64[np.ndarray, " M"], true: Int64[np.ndarray, " K"], rate_hz: float) -> BeatCounts:
    """Pairs detections with beats in order of time, each with one at most."""
    hits = 0
    detection = 0
    beat = 0

    while detection < len(detected) and beat < len(true):
        distance = int(detected[detection]) - int(true[beat])
        if abs(distance) <= _TOLERANCE * rate_hz:
            hits += 1
            detection += 1
            beat += 1
        elif distance < 0:
            detection += 1
        else:
            beat += 1

    return BeatCounts(hits, len(true) - hits, len(detected) - hits)


def with_noise(ecg: Float[Tensor, "T C"], snr_db: float | None, seed: int = 0) -> Float[Tensor, "T C"]:
    """An ECG with white noise; the ratio is that of the variances of signal and noise, for each channel."""
    if snr_db is None:
        return ecg

    noise = torch.randn(ecg.shape, generator=torch.Generator().manual_seed(seed), dtype=ecg.dtype)
    return ecg + noise * (ecg.var(0) * 10 ** (-snr_db / 10)).sqrt()


def generated_heart(seconds: float = 90.0, seed: int = 0) -> SensorSeries:
    """One recording of two channels [mV]: narrow pulses at irregular intervals, a wide wave behind each, and noise."""
    generator = np.random.default_rng(seed)
    rate_hz = 360.0
    length = round(seconds * rate_hz)
    beats = np.cumsum(generator.uniform(0.67, 1.0, int(seconds / 0.67) + 1) * rate_hz).astype(np.int64)
    beats = beats[beats < length - rate_hz / 6]
    sample = np.arange(length)
    ecg = 0.02 * generator.standard_normal((length, 2))

    for beat in beats.tolist():
        # from a ninth of a second before the beat to the end of its T wave
        near = slice(max(0, beat - round(rate_hz / 9)), beat + round(rate_hz / 1.8))
        pulse = np.exp(-(((sample[near] - beat) / (0.011 * rate_hz)) ** 2) / 2)
        wave = 0.2 * np.exp(-(((sample[near] - beat) / rate_hz - 0.3) ** 2) / (2 * 0.07**2))
        ecg[near] += np.stack([pulse + wave, 0.6 * pulse + wave], 1)

    return replace(make_series([ecg], rate_hz, channel_names=("MLII", "V5")), marks=beats)
