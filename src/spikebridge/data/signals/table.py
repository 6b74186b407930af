"""Series from a CSV of channels: one line a sample, one column a channel.

| column | content |
|---|---|
| `series` | optional: lines of one series have one value |
| `label`, `group` | optional, numbers or texts, one value a series |
| `time` | optional: seconds, at equal steps within a series; gives the rate |
| any other | a channel; an empty cell is a missing value |

A series ends where `series`, `label` or `group` changes.
"""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikebridge.data.io.number_text import parse_real
from spikebridge.data.io.safe_open import read_text
from spikebridge.data.signals.arrays import refuse_two_rates
from spikebridge.data.signals.series import SensorSeries, check_rate, named_column
from spikebridge.errors import DataError, did_you_mean

_MAX_BYTES = 2**27
_OF_A_SERIES = ("series", "label", "group")
_MOST_CHANNELS = 4096
_UNEVEN = 0.1  # of a step, by which a time may miss its place


def read_csv_series(path: Path, rate_hz: float | None = None) -> SensorSeries:
    """Series of a CSV; see the table above.

    Args:
        path: the file.
        rate_hz: samples a second, for a file without a column `time`.

    Raises:
        DataError: the file is missing, damaged or too large, a line does not fit, the times are uneven, or there is no
            rate or another one than the times have.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "mine.csv"
        >>> _ = path.write_text("series,label,ax,ay\\n0,rest,0.5,1\\n0,rest,0.25,1\\n1,wave,2,3\\n")
        >>> series = read_csv_series(path, rate_hz=50)
        >>> len(series), series.channel_names, series[0].tolist()
        (2, ('ax', 'ay'), [[0.5, 1.0], [0.25, 1.0]])
    """
    table = _read_table(path)
    columns = table.columns
    channels = [name for name in columns if name not in (*_OF_A_SERIES, "time")]
    if not channels:
        raise DataError(f"{path}: expected a column a channel beside {', '.join(columns)}, but there is none.")

    samples = np.stack([_numbers(table, name) for name in channels], axis=1)
    changes = np.zeros(len(table.lines), bool)
    changes[0] = True

    for name in _OF_A_SERIES:
        if name in columns:
            texts = np.array(columns[name])
            changes[1:] |= texts[1:] != texts[:-1]

    starts = np.flatnonzero(changes).astype(np.int64)
    stops = np.append(starts[1:], len(table.lines)).astype(np.int64)
    if rate_hz is not None:
        check_rate(rate_hz)

    if "time" in columns:
        rate_hz = _rate_of_times(table, starts, stops, rate_hz)

    if rate_hz is None:
        raise DataError(
            f"{path}: expected a column 'time' in seconds, or the samples a second with rate_hz=, but there is neither."
        )

    label, label_names = _places(table, "label", starts)
    group, group_names = _places(table, "group", starts)

    return SensorSeries(
        samples.astype(np.float32),
        starts,
        stops,
        float(rate_hz),
        label,
        group,
        label_names,
        group_names,
        tuple(channels),
    )


class _Table(NamedTuple):
    """The cells of a table, column by column.

    Attributes:
        path: of the file, for messages.
        columns: cells by the name of their column.
        lines: the line of the file on which each row stands; blank lines are no rows.
    """

    path: Path
    columns: dict[str, list[str]]
    lines: list[int]

    def at(self, row: int) -> str:
        """File and line of a row, for messages."""
        return f"{self.path}, line {self.lines[row]}"


def _read_table(path: Path) -> _Table:
    reader = csv.reader(read_text(path, "a table with a column a channel", _MAX_BYTES).splitlines())
    try:
        lines = []
        rows = []
        for row in reader:
            if row:
                lines.append(reader.line_num)
                rows.append(row)
    except csv.Error as error:
        raise DataError(f"{path}: expected a table of values with commas, but {error}.") from None

    if len(rows) < 2:
        raise DataError(f"{path}: expected a header and at least one line, but there are {len(rows)} lines.")

    header = [name.strip() for name in rows[0]]
    if "" in header or len({*header}) < len(header) or len(header) > _MOST_CHANNELS:
        raise DataError(
            f"{path}, line {lines[0]}: expected different names of columns, but found {','.join(header)!r:.80}."
        )

    for wanted in ("label", "group", "series", "time"):
        for name in header:
            if name.lower() in (wanted, f"{wanted}s") and name != wanted:
                raise DataError(
                    f"{path}, line {lines[0]}: {did_you_mean(name, [wanted, *_OF_A_SERIES, 'time'])} "
                    "It would be a channel."
                )

    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(header):
            raise DataError(f"{path}, line {line}: expected {len(header)} values, but there are {len(row)}.")

    columns = {name: [row[place] for row in rows[1:]] for place, name in enumerate(header)}
    return _Table(path, columns, lines[1:])


def _numbers(table: _Table, name: str) -> NDArray[np.float64]:
    """The numbers of a column; an empty cell is NaN."""
    texts = [cell.strip() or "nan" for cell in table.columns[name]]
    joined = "".join(texts)

    try:
        if not joined.isascii() or "_" in joined:
            raise ValueError
        return np.array(texts).astype(np.float64)
    except ValueError:
        pass

    numbers = []
    for row, text in enumerate(texts):
        try:
            numbers.append(parse_real(text))
        except ValueError as error:
            raise DataError(f"{table.at(row)}, {name}: {error}.") from None

    return np.array(numbers)


def _rate_of_times(table: _Table, starts: NDArray[np.int64], stops: NDArray[np.int64], given: float | None) -> float:
    """The samples a second, from the steps of the column `time` inside the series."""
    path = table.path
    time = _numbers(table, "time")
    if not np.isfinite(time).all():
        raise DataError(f"{table.at(int(np.argmin(np.isfinite(time))))}, time: expected seconds, but found none.")

    rates: dict[str, float] = {}
    for number, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
        if stop - start < 2:
            continue

        step = (time[stop - 1] - time[start]) / (stop - 1 - start)
        expected = time[start] + step * np.arange(stop - start)
        with np.errstate(invalid="ignore", over="ignore"):
            missed = np.abs(time[start:stop] - expected)

        if not step > 0 or not (missed <= _UNEVEN * step).all():
            first = start + int(np.argmax(~(missed <= _UNEVEN * step))) if step > 0 else start
            raise DataError(
                f"{table.at(first)}, time: expected equal steps within a series, but series {number} is uneven; "
                "nothing is resampled: bring the samples to equal steps first."
            )

        rates[str(number)] = float(f"{1 / step:.4g}")

    if not rates:
        raise DataError(f"{path}, time: expected a series of two samples or more, to know the rate.")

    refuse_two_rates(f"{path}", rates, "series")
    rate = next(iter(rates.values()))
    if given is not None and abs(rate - given) > 1e-3 * given:
        raise DataError(f"{path}: expected {given:g} Hz, but the times have {rate:g} Hz; nothing is resampled.")

    return rate if given is None else given


def _places(table: _Table, name: str, starts: NDArray[np.int64]) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    if name not in table.columns:
        return None, ()

    texts = [table.columns[name][start].strip() for start in starts.tolist()]
    if "" in texts:
        raise DataError(f"{table.at(int(starts[texts.index('')]))}: expected a {name}, but it is empty.")

    return named_column(name, texts, len(texts))
