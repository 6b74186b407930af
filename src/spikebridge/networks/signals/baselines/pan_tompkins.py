"""The beat detector of Pan and Tompkins, plain: band-pass, slope, square, moving sum, two adaptive thresholds.

J. Pan, W. Tompkins, "A real-time QRS detection algorithm", IEEE Transactions on Biomedical Engineering 32, 1985. The
band-pass (5 to 15 Hz) is a Butterworth filter in place of the paper's integer filters for 200 Hz.
"""

import numpy as np
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

_WINDOW = 0.15  # seconds
_REFRACTORY = 0.2
_T_WAVE = 0.36
_SEARCH_BACK = 1.66  # of the mean interval without a beat
_LEARNING = 2.0  # seconds from which the first thresholds come


def pan_tompkins(ecg: Float[np.ndarray, " N"], rate_hz: float) -> Int64[np.ndarray, " M"]:
    """Samples of the beats of one channel.

    Args:
        ecg: one channel.
        rate_hz: samples a second.

    Example:
        >>> t = np.arange(3600) / 360
        >>> ecg = np.exp(-(((t + 0.5) % 1.0 - 0.5) ** 2) / (2 * 0.01**2))  # a pulse every second
        >>> beats = pan_tompkins(ecg, 360)
        >>> bool((np.abs((beats[2:] / 360 + 0.5) % 1.0 - 0.5) < 0.05).all()), len(beats) >= 8
        (True, True)
    """
    band = sosfilt(butter(2, (5, 15), "bandpass", fs=rate_hz, output="sos"), ecg)
    slope = np.convolve(band, np.array([1, 2, 0, -2, -1]) * rate_hz / 8)[: len(ecg)]
    width = round(_WINDOW * rate_hz)
    energy = np.convolve(slope**2, np.ones(width) / width)[: len(ecg)]
    peaks = 1 + np.flatnonzero((energy[1:-1] >= energy[:-2]) & (energy[1:-1] > energy[2:]))
    found = _chosen(peaks, energy, slope, rate_hz)

    # the energy peaks behind the beat: the place is the largest band-passed value before, less the filter's delay
    delay = round(0.02 * rate_hz)
    places = [max(0, p - width) + int(np.argmax(np.abs(band[max(0, p - width) : p + 1]))) - delay for p in found]

    return np.array(sorted({max(0, place) for place in places}), np.int64)


def _chosen(
    peaks: Int64[np.ndarray, " P"], energy: Float[np.ndarray, " N"], slope: Float[np.ndarray, " N"], rate_hz: float
) -> list[int]:
    """The peaks of the energy that are beats."""
    first = energy[: round(_LEARNING * rate_hz)]
    signal = float(first.max()) / 2
    noise = float(first.mean()) / 2
    found: list[int] = []
    left: list[int] = []  # peaks between the thresholds since the last beat

    def accept(peak: int, weight: float) -> None:
        nonlocal signal
        signal = weight * float(energy[peak]) + (1 - weight) * signal
        found.append(peak)
        left.clear()

    for peak in peaks.tolist():
        threshold = noise + 0.25 * (signal - noise)
        gaps = np.diff(found[-9:])
        if len(gaps) > 1 and peak - found[-1] > _SEARCH_BACK * gaps.mean() and left:
            best = max(left, key=lambda one: energy[one])
            if energy[best] > threshold / 2:
                accept(best, 0.25)

        if found and peak - found[-1] < _REFRACTORY * rate_hz:
            continue

        is_t_wave = (
            bool(found)
            and peak - found[-1] < _T_WAVE * rate_hz
            and _steepest(slope, peak, rate_hz) < _steepest(slope, found[-1], rate_hz) / 2
        )
        if energy[peak] > threshold and not is_t_wave:
            accept(peak, 0.125)
        else:
            noise = 0.125 * float(energy[peak]) + 0.875 * noise
            left.append(peak)

    return found


def _steepest(slope: NDArray[np.floating], peak: int, rate_hz: float) -> float:
    return float(np.abs(slope[max(0, peak - round(_WINDOW * rate_hz)) : peak + 1]).max())
