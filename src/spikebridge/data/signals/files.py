"""Series from a file or folder, by its kind: npz, CSV of channels, WAV files, HDF5 of spike trains."""

from collections.abc import Callable
from pathlib import Path

from spikebridge.data.catalog import find_files
from spikebridge.data.signals.arrays import read_npz_series
from spikebridge.data.signals.checks import check_series
from spikebridge.data.signals.series import SensorSeries, make_series
from spikebridge.data.signals.spike_trains import read_spike_trains
from spikebridge.data.signals.table import read_csv_series
from spikebridge.data.signals.wav import read_wav
from spikebridge.data.signals.wav_folder import read_wav_folder
from spikebridge.errors import DataError, did_you_mean


def read_series(path: Path, rate_hz: float | None = None, *, checked: bool = True) -> SensorSeries:
    """Series of a sensor from a file or folder. Nothing is resampled, mixed down, filled or left out.

    Args:
        path: an `.npz` (`data/signals/arrays.py` has its arrays), a `.csv` of channels, a `.wav`, a folder of WAV
            files, or an `.h5` of spike trains (SHD, SSC), which are counted in bins.
        rate_hz: samples a second, for a file that does not say it; if it does, the two must agree. Of spike trains
            these are the bins a second.
        checked: refuse series with an error, such as NaN; False is for `check_series`, which lists them.

    Raises:
        DataError: the file is missing, damaged, of an unknown kind, or its series have an error.

    Example:
        >>> import numpy as np
        >>> path = Path(getfixture("tmp_path")) / "mine.npz"
        >>> np.savez(path, samples=np.arange(8.0), starts=[0, 3, 8], label=["rest", "wave"], rate_hz=50)
        >>> read_series(path)[0].ravel().tolist()
        [0.0, 1.0, 2.0]
    """
    if path.is_dir():
        if rate_hz is not None:
            raise DataError(f"{path}: WAV files say their rate themselves; leave rate_hz out.")
        series = read_wav_folder(path)
    elif path.suffix.lower() not in SERIES_FORMATS:
        raise DataError(f"{path}: no reader for series in {path.suffix!r}; {did_you_mean(path.suffix, SERIES_FORMATS)}")
    else:
        series = SERIES_FORMATS[path.suffix.lower()](path, rate_hz)

    for finding in check_series(series) if checked else []:
        if finding.level == "error":
            raise DataError(f"{path}: {finding} (`spikebridge data check {path}` lists everything).")

    return series


def find_series(name: str, data: Path | None = None) -> SensorSeries:
    """A known set in the data folder: `spoken_digits`, `myo`, `watch` or `ecg_100`."""
    (path,) = find_files(name, data)
    return read_series(path)


def _wav(path: Path, rate_hz: float | None) -> SensorSeries:
    samples, stored = read_wav(path)
    if rate_hz is not None and stored != rate_hz:
        raise DataError(f"{path}: expected {rate_hz:g} Hz, but the file says {stored} Hz; nothing is resampled.")
    return make_series([samples], stored)


SERIES_FORMATS: dict[str, Callable[[Path, float | None], SensorSeries]] = {
    ".npz": read_npz_series,
    ".csv": read_csv_series,
    ".wav": _wav,
    ".h5": read_spike_trains,
    ".hdf5": read_spike_trains,
}
