"""A folder of WAV files as series: labels in folder names, or in a CSV.

| layout | label | group |
|---|---|---|
| `LABEL/NAME.wav` | the folder | none |
| `LABEL/SPEAKER_nohash_NUMBER.wav` (Google Speech Commands) | the folder | the speaker |
| any, with `labels.csv`: a header `file,label` or `file,label,group`, then one file a line | from the table | from it |

Google Speech Commands: P. Warden, arXiv 1804.03209 (2018). Its lists give the key `split`: 0 training, 1 validation,
2 test. Its long recordings of noise, `_background_noise_`, are no words and are left out.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikebridge.data.io.column import concatenate_chunks
from spikebridge.data.io.safe_open import read_lines, read_text
from spikebridge.data.signals.arrays import refuse_two_rates
from spikebridge.data.signals.series import SensorSeries, assemble_series
from spikebridge.data.signals.wav import read_wav
from spikebridge.errors import DataError

TABLE = "labels.csv"
_MAX_TABLE_BYTES = 2**26
_MAX_FILES = 10**6
_COMMANDS = re.compile(r"([0-9a-f]{8})_nohash_\d+\.wav")
_NOISE = "_background_noise_"
_LISTS = {"validation_list.txt": 1, "testing_list.txt": 2}


class _LabelledFile(NamedTuple):
    path: Path
    label: str
    group: str | None


def read_wav_folder(folder: Path) -> SensorSeries:
    """The WAV files of a folder as series, in the order of the table, or of label and name.

    Nothing is resampled, and no channel is dropped.
    """
    files = _from_table(folder) if (folder / TABLE).exists() else _from_names(folder)
    if not files:
        raise DataError(f"{folder}: expected WAV files in folders named by their labels, or {TABLE}, but found none.")

    # the rate of each file, the first file with a number of channels, and all lengths, filled by the generator
    rates: dict[str, float] = {}
    first_with: dict[int, str] = {}
    lengths: list[int] = []

    def chunks() -> Iterator[dict[str, NDArray[np.float32]]]:
        for file in files:
            samples, rate_hz = read_wav(file.path)
            name = file.path.relative_to(folder).as_posix()
            rates[name] = rate_hz
            first_with.setdefault(samples.shape[1], name)
            lengths.append(len(samples))

            if len(first_with) > 1:
                counts = " and ".join(f"{name} has {number}" for number, name in first_with.items())
                raise DataError(f"{folder}: expected files of one number of channels, but {counts}.")
            yield {"samples": samples}

    samples = concatenate_chunks(chunks(), {"samples": np.float32})["samples"]
    refuse_two_rates(f"{folder}", rates, "file")
    channel_names = [str(channel) for channel in range(*first_with)]
    labels = [file.label for file in files]
    groups = [file.group for file in files]
    is_commands = all(_COMMANDS.fullmatch(file.path.name) for file in files)

    return assemble_series(
        samples,
        lengths,
        next(iter(rates.values())),
        channel_names,
        labels,
        None if None in groups else groups,
        keys={"split": _splits(folder, files)} if is_commands else {},
        name="speech_commands" if is_commands else "own",
    )


def _from_names(folder: Path) -> list[_LabelledFile]:
    paths = sorted(one for one in folder.rglob("*") if one.suffix.lower() == ".wav" and not _is_ignored(one, folder))
    if len(paths) > _MAX_FILES:
        raise DataError(f"{folder}: expected at most {_MAX_FILES} WAV files, but there are {len(paths)}.")

    files = []
    for path in paths:
        if path.parent.parent != folder:
            remedy = f"files in other places need {TABLE} with the header file,label,group"
            raise DataError(f"{path}: expected {folder}/LABEL/{path.name}, a folder named by the label; {remedy}.")

        speaker = _COMMANDS.fullmatch(path.name)
        files.append(_LabelledFile(path, path.parent.name, speaker[1] if speaker else None))

    return files


def _is_ignored(path: Path, folder: Path) -> bool:
    """True if a file is hidden, or a recording of noise without a word."""
    parts = path.relative_to(folder).parts
    return any(part.startswith(".") for part in parts) or _NOISE in parts


def _from_table(folder: Path) -> list[_LabelledFile]:
    path = folder / TABLE
    lines = read_lines(path, "a table of files and labels", _MAX_TABLE_BYTES)
    try:
        first, *rows = csv.reader(lines)
    except csv.Error as error:
        raise DataError(f"{path}: expected a table of files and labels, but {error}.") from None

    header = [name.strip() for name in first]
    if header not in (["file", "label"], ["file", "label", "group"]):
        raise DataError(
            f"{path}: expected the header 'file,label' or 'file,label,group', but got {','.join(header):.70}"
        )

    files = []
    for line, row in enumerate(rows, start=2):
        if not row:
            continue
        if len(row) != len(header):
            raise DataError(f"{path}, line {line}: expected {len(header)} values, but there are {len(row)}.")

        name, label, *group = (word.strip() for word in row)
        inside = folder / name
        if not name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise DataError(f"{path}, line {line}: expected a file below {folder}, but found {name!r}.")

        if not label or group == [""]:
            raise DataError(f"{path}, line {line}: expected a {' and a '.join(header[1:])}, but one is empty.")

        files.append(_LabelledFile(inside, label, group[0] if group else None))

    return files


def _splits(folder: Path, files: list[_LabelledFile]) -> NDArray[np.int64]:
    """The part of each file of Google Speech Commands: 0 training, 1 validation, 2 test."""
    listed: dict[str, int] = {}
    for name, number in _LISTS.items():
        if (folder / name).exists():
            listed |= dict.fromkeys(read_text(folder / name, "a list of files", _MAX_TABLE_BYTES).split(), number)

    return np.array([listed.get(file.path.relative_to(folder).as_posix(), 0) for file in files], np.int64)
