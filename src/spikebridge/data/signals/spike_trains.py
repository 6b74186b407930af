"""Spike trains of HDF5 files as series: Spiking Heidelberg Digits (SHD) and Spiking Speech Commands (SSC).

| array | content |
|---|---|
| `spikes/times` | a list for each sample: times [s] |
| `spikes/units` | a list for each sample: the unit of each spike, 0 to 699 |
| `labels` | a number for each sample |
| `extra/speaker` | optional: a number for each sample, kept as the group |
| `extra/keys` | optional: names of the classes |

A series is one sample, its channels are the 700 units, and a value is the number of spikes in a bin. The rate of the
series is that of the bins, 100 a second where none is given.

Source: B. Cramer, Y. Stradmann, J. Schemmel, F. Zenke, IEEE Transactions on Neural Networks and Learning Systems
33:2744 (2022).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikebridge.data.io.column import concatenate_chunks
from spikebridge.data.io.hdf5 import open_hdf5
from spikebridge.data.signals.series import SensorSeries, assemble_series, check_rate
from spikebridge.errors import DataError

_NUM_UNITS = 700
_BINS_PER_SECOND = 100.0
_MAX_SECONDS = 60.0  # of a sample
_MAX_SPIKES = 2**22  # of a sample
_MAX_BYTES = 2**34  # of all bins, which lie in a temporary file
_ARRAYS = ("spikes/times", "spikes/units", "labels")


def read_spike_trains(path: Path, rate_hz: float | None = None) -> SensorSeries:
    """Series of a file of spike trains, in `rate_hz` bins a second; see the table above."""
    bins_per_second = _BINS_PER_SECOND if rate_hz is None else rate_hz
    check_rate(bins_per_second)

    with open_hdf5(path, "an HDF5 file of spike trains") as h5:
        number, label, names, speaker = _columns(path, h5)
        spikes = h5["spikes"]
        lengths: list[int] = []

        def chunks() -> Iterator[dict[str, NDArray[np.float32]]]:
            total = 0
            for index in range(number):
                where = f"{path}, sample {index}"
                counts = _binned(where, spikes["times"][index], spikes["units"][index], bins_per_second)
                lengths.append(len(counts))
                total += counts.nbytes
                if total > _MAX_BYTES:
                    raise DataError(f"{path}: expected bins of at most {_MAX_BYTES} bytes; take fewer a second.")
                yield {"samples": counts}

        samples = concatenate_chunks(chunks(), {"samples": np.float32})["samples"]

    units = [str(unit) for unit in range(_NUM_UNITS)]
    return assemble_series(
        samples, lengths, bins_per_second, units, label, speaker, label_names=names, name="spike_trains"
    )


def _columns(path: Path, h5: Any) -> tuple[int, NDArray[Any], list[str] | None, NDArray[Any] | None]:
    """The number of samples, their labels, the names of the classes, and the speakers."""
    import h5py

    for name in _ARRAYS:
        if not isinstance(h5.get(name), h5py.Dataset):
            raise DataError(f"{path}: expected the arrays {', '.join(_ARRAYS)}, but there is no {name}.")

    number = len(h5["labels"]) if h5["labels"].ndim == 1 else -1
    for name in _ARRAYS:
        if h5[name].shape != (number,) or number < 1:
            raise DataError(f"{path}, {name}: expected one entry a sample, but got the shape {h5[name].shape}.")

    for name in _ARRAYS[:2]:
        if h5py.check_vlen_dtype(h5[name].dtype) is None:
            raise DataError(f"{path}, {name}: expected a list of numbers for each sample, but got {h5[name].dtype}.")

    label = h5["labels"][()]
    if label.dtype.kind not in "iu":
        raise DataError(f"{path}, labels: expected integers, but got {label.dtype}.")

    # names and speakers are optional: arrays that do not fit are ignored
    names = None
    speaker = None
    keys = h5.get("extra/keys")
    if isinstance(keys, h5py.Dataset) and keys.ndim == 1 and keys.dtype.kind in "SO":
        names = [str(one.decode("utf-8", "replace") if isinstance(one, bytes) else one) for one in keys[()]]
        if len({*names}) != len(names) or int(label.max()) >= len(names):
            names = None

    speakers = h5.get("extra/speaker")
    if isinstance(speakers, h5py.Dataset) and speakers.shape == (number,) and speakers.dtype.kind in "iu":
        speaker = speakers[()]

    return number, label, names, speaker


def _binned(where: str, times: Any, units: Any, rate_hz: float) -> NDArray[np.float32]:
    """The spikes of one sample, counted in bins, `(T, 700)`."""
    if np.shape(times) != np.shape(units) or np.ndim(times) != 1 or len(times) > _MAX_SPIKES:
        expected = f"a time and a unit for each of at most {_MAX_SPIKES} spikes"
        raise DataError(f"{where}: expected {expected}, but got {np.shape(times)} and {np.shape(units)}.")

    if np.asarray(times).dtype.kind != "f" or np.asarray(units).dtype.kind not in "iu":
        raise DataError(f"{where}: expected times as floats and units as integers.")

    seconds = np.asarray(times, np.float64)
    channels = np.asarray(units, np.int64)
    if not ((seconds >= 0) & (seconds <= _MAX_SECONDS)).all():
        raise DataError(f"{where}: expected times from 0 to {_MAX_SECONDS:g} s, but found others.")

    outside = (channels < 0) | (channels >= _NUM_UNITS)
    if outside.any():
        raise DataError(f"{where}: expected units from 0 to {_NUM_UNITS - 1}, but found {channels[outside][0]}.")

    places = (seconds * rate_hz).astype(np.int64)
    counts = np.zeros((int(places.max(initial=0)) + 1, _NUM_UNITS), np.float32)
    # plain indexing would count two spikes of one bin once
    np.add.at(counts, (places, channels), 1)

    return counts
