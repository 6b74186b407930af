"""The beat detector of Pan and Tompkins: band-pass, slope, square, moving mean, two adaptive thresholds.

J. Pan, W. Tompkins, "A real-time QRS detection algorithm", IEEE Transactions on Biomedical Engineering 32, 1985. The
band-pass (5 to 15 Hz) is a Butterworth filter in place of the paper's integer filters for 200 Hz.
"""

import numpy as np
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

_WINDOW = 0.15  # of the moving mean [s]
_DELAY = 0.02  # of the band-pass [s]
_REFRACTORY = 0.2  # shortest interval of beats [s]
_T_WAVE = 0.36  # time after a beat within which a flat peak is a T wave [s]
_SEARCH_BACK = 1.66  # mean intervals without a beat, after which a lower threshold counts
_LEARNING = 2.0  # time from which the first thresholds are taken [s]


def pan_tompkins(ecg: Float[np.ndarray, " N"], rate_hz: float) -> Int64[np.ndarray, " M"]:
    """Samples of the beats of one channel."""
    band = sosfilt(butter(2, (5, 15), "bandpass", fs=rate_hz, output="sos"), ecg)
    slope = np.convolve(band, np.array([1, 2, 0, -2, -1]) * rate_hz / 8)[: len(ecg)]
    width = round(_WINDOW * rate_hz)
    energy = np.convolve(slope**2, np.ones(width) / width)[: len(ecg)]
    peaks = 1 + np.flatnonzero((energy[1:-1] >= energy[:-2]) & (energy[1:-1] > energy[2:]))
    places = set()

    for peak in _beat_peaks(peaks, energy, slope, rate_hz):
        # the energy peaks after the beat, which is the largest value of the band before, less the delay of the filter
        first = max(0, peak - width)
        largest = first + int(np.argmax(np.abs(band[first : peak + 1])))
        places.add(max(0, largest - round(_DELAY * rate_hz)))

    return np.array(sorted(places), np.int64)


def _beat_peaks(
    peaks: Int64[np.ndarray, " P"], energy: Float[np.ndarray, " N"], slope: Float[np.ndarray, " N"], rate_hz: float
) -> list[int]:
    """The peaks of the energy that are beats."""
    start = energy[: round(_LEARNING * rate_hz)]
    signal = float(start.max()) / 2
    noise = float(start.mean()) / 2
    beats: list[int] = []
    rejected: list[int] = []  # since the last beat

    def accept(peak: int, weight: float) -> None:
        nonlocal signal
        signal = weight * float(energy[peak]) + (1 - weight) * signal
        beats.append(peak)
        rejected.clear()

    for peak in peaks.tolist():
        threshold = noise + 0.25 * (signal - noise)
        intervals = np.diff(beats[-9:])
        if len(intervals) > 1 and peak - beats[-1] > _SEARCH_BACK * intervals.mean() and rejected:
            best = max(rejected, key=lambda one: energy[one])
            if energy[best] > threshold / 2:
                accept(best, 0.25)

        if beats and peak - beats[-1] < _REFRACTORY * rate_hz:
            continue

        is_t_wave = (
            bool(beats)
            and peak - beats[-1] < _T_WAVE * rate_hz
            and _steepest(slope, peak, rate_hz) < _steepest(slope, beats[-1], rate_hz) / 2
        )
        if energy[peak] > threshold and not is_t_wave:
            accept(peak, 0.125)
        else:
            noise = 0.125 * float(energy[peak]) + 0.875 * noise
            rejected.append(peak)

    return beats


def _steepest(slope: NDArray[np.floating], peak: int, rate_hz: float) -> float:
    """The largest slope in the window before a peak."""
    return float(np.abs(slope[max(0, peak - round(_WINDOW * rate_hz)) : peak + 1]).max())
