"""Marked heart beats: a generated heart, added noise, and detections counted within a tolerance of the marks."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from spikebridge.data.signals.series import SensorSeries, make_series

_TOLERANCE = 0.05
"""Time by which a detection may miss its beat [s]."""


class BeatCounts(NamedTuple):
    """Beats found, beats missed, and detections without a beat."""

    found: int
    missed: int
    false: int

    @property
    def errors(self) -> int:
        """Missed beats and false detections."""
        return self.missed + self.false

    @property
    def sensitivity(self) -> float:
        """Share of the beats that were found [%]."""
        return 100 * self.found / max(1, self.found + self.missed)

    @property
    def precision(self) -> float:
        """Share of the detections that are beats [%]."""
        return 100 * self.found / max(1, self.found + self.false)


def match_beats(
    detected: Int64[np.ndarray, " M"], true: Int64[np.ndarray, " K"], rate_hz: float, tolerance: float = _TOLERANCE
) -> BeatCounts:
    """Pairs detections with beats in order of time, each with one at most.

    Args:
        detected: samples, ascending.
        true: samples, ascending.
        rate_hz: samples a second.
        tolerance: the largest distance of a pair [s].

    Example:
        >>> match_beats(np.array([100, 130, 400]), np.array([101, 200, 410]), rate_hz=360)
        BeatCounts(found=2, missed=1, false=1)
    """
    i = j = found = 0
    while i < len(detected) and j < len(true):
        distance = int(detected[i]) - int(true[j])
        if abs(distance) <= tolerance * rate_hz:
            found = found + 1
            i = i + 1
            j = j + 1
        elif distance < 0:
            i += 1
        else:
            j += 1

    return BeatCounts(found, len(true) - found, len(detected) - found)


def with_noise(ecg: Float[Tensor, "T C"], snr_db: float | None, seed: int = 0) -> Float[Tensor, "T C"]:
    """An ECG with white noise; the ratio is that of the variances of signal and noise, for each channel.

    Args:
        ecg: the recording.
        snr_db: signal-to-noise ratio [dB]; None adds nothing.
        seed: draws the noise.

    Example:
        >>> ecg = torch.randn(4000, 1, generator=torch.Generator().manual_seed(1))
        >>> noise = with_noise(ecg, 6.0) - ecg
        >>> round(10 * torch.log10(ecg.var() / noise.var()).item())
        6
    """
    if snr_db is None:
        return ecg

    draw = torch.randn(ecg.shape, generator=torch.Generator().manual_seed(seed), dtype=ecg.dtype)
    return ecg + draw * (ecg.var(0) * 10 ** (-snr_db / 10)).sqrt()


def generated_heart(seconds: float = 90.0, seed: int = 0, rate_hz: float = 360.0) -> SensorSeries:
    """One recording of two channels [mV]: narrow pulses at irregular distances, a wide wave behind each, and noise.

    Args:
        seconds: of the recording.
        seed: draws distances and noise.
        rate_hz: samples a second.

    Returns:
        A series whose `marks` are the samples of the pulses.

    Example:
        >>> heart = generated_heart(30)
        >>> heart[0].shape, heart.marks[:3].tolist()
        ((10800, 2), [316, 590, 836])
    """
    generator = np.random.default_rng(seed)
    length = round(seconds * rate_hz)
    second = rate_hz
    beats = np.cumsum(generator.uniform(0.67, 1.0, int(seconds / 0.67) + 1) * second).astype(np.int64)
    beats = beats[beats < length - second / 6]
    time = np.arange(length)
    ecg = 0.02 * generator.standard_normal((length, 2))

    for beat in beats.tolist():
        near = slice(max(0, beat - round(second / 9)), beat + round(second / 1.8))
        pulse = np.exp(-(((time[near] - beat) / (0.011 * second)) ** 2) / 2)
        wave = 0.2 * np.exp(-(((time[near] - beat) / second - 0.3) ** 2) / (2 * 0.07**2))
        ecg[near] += np.stack([pulse + wave, 0.6 * pulse + wave], 1)

    return replace(make_series([ecg], rate_hz, channel_names=("MLII", "V5")), marks=beats)
