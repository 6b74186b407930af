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
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikebridge.data.io.number_text import parse_real
from spikebridge.data.io.safe_open import read_lines
from spikebridge.data.signals.arrays import refuse_two_rates
from spikebridge.data.signals.series import SensorSeries, assemble_series, check_rate
from spikebridge.errors import DataError, did_you_mean

_MAX_BYTES = 2**27
_SERIES_COLUMNS = ("series", "label", "group")
_MAX_CHANNELS = 4096
_MAX_JITTER = 0.1  # of a time, in steps


def read_csv_series(path: Path, rate_hz: float | None = None) -> SensorSeries:
    """Series of a CSV; see the table above. `rate_hz` is for a file without a column `time`."""
    table = _read_table(path)
    columns = table.columns
    channels = [name for name in columns if name not in (*_SERIES_COLUMNS, "time")]
    if not channels:
        raise DataError(f"{path}: expected a column a channel beside {', '.join(columns)}, but there is none.")

    samples = np.stack([_numbers(table, name) for name in channels], axis=1)
    changes = np.zeros(len(table.lines), bool)
    changes[0] = True

    for name in _SERIES_COLUMNS:
        if name in columns:
            cells = np.array(columns[name])
            changes[1:] |= cells[1:] != cells[:-1]

    starts = np.flatnonzero(changes).astype(np.int64)
    stops = np.append(starts[1:], len(table.lines)).astype(np.int64)
    if rate_hz is not None:
        check_rate(rate_hz)

    if "time" in columns:
        rate_hz = _rate_of_times(table, starts, stops, rate_hz)

    if rate_hz is None:
        raise DataError(f"{path}: expected a column 'time' in seconds, or rate_hz=, the samples a second.")

    label = _cells_of_series(table, "label", starts)
    group = _cells_of_series(table, "group", starts)

    return assemble_series(samples.astype(np.float32), (stops - starts).tolist(), rate_hz, channels, label, group)


class _Table(NamedTuple):
    """The cells of a table by the name of their column, and the line of the file of each row."""

    path: Path
    columns: dict[str, list[str]]
    lines: list[int]  # blank lines are no rows

    def at(self, row: int) -> str:
        """File and line of a row, for messages."""
        return f"{self.path}, line {self.lines[row]}"


def _read_table(path: Path) -> _Table:
    reader = csv.reader(read_lines(path, "a table with a column a channel", _MAX_BYTES))
    try:
        # an editor counts blank lines too
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise DataError(f"{path}: expected a table of values with commas, but {error}.") from None

    if len(rows) < 2:
        raise DataError(f"{path}: expected a header and at least one line, but there are {len(rows)} lines.")

    first, names = rows[0]
    header = [name.strip() for name in names]
    _check_header(f"{path}, line {first}", header)
    for line, row in rows:
        if len(row) != len(header):
            raise DataError(f"{path}, line {line}: expected {len(header)} values, but there are {len(row)}.")

    columns = {name: [row[place] for _, row in rows[1:]] for place, name in enumerate(header)}
    return _Table(path, columns, [line for line, _ in rows[1:]])


def _check_header(where: str, header: list[str]) -> None:
    """Refuses repeated names of columns, and misspelt ones of special columns, which would be channels."""
    if "" in header or len({*header}) < len(header) or len(header) > _MAX_CHANNELS:
        raise DataError(f"{where}: expected different names of columns, but found {','.join(header)!r:.80}.")

    for special in (*_SERIES_COLUMNS, "time"):
        for name in header:
            if name.lower() in (special, f"{special}s") and name != special:
                known = [special, *_SERIES_COLUMNS, "time"]
                raise DataError(f"{where}: {did_you_mean(name, known)} It would be a channel.")


def _numbers(table: _Table, name: str) -> NDArray[np.float64]:
    """The numbers of a column; an empty cell is NaN."""
    cells = [cell.strip() or "nan" for cell in table.columns[name]]
    joined = "".join(cells)

    # numpy parses a long column much faster, but also takes the words that `parse_real` refuses
    if joined.isascii() and "_" not in joined:
        with suppress(ValueError):
            return np.array(cells).astype(np.float64)

    numbers = []
    for row, cell in enumerate(cells):
        try:
            numbers.append(parse_real(cell))
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
            is_even = np.abs(time[start:stop] - expected) <= _MAX_JITTER * step

        if not step > 0 or not is_even.all():
            first = start + int(np.argmin(is_even)) if step > 0 else start
            where = f"{table.at(first)}, time"
            raise DataError(f"{where}: expected equal steps, but series {number} is uneven; nothing is resampled.")

        # rounded, so that series of one device have one rate
        rates[str(number)] = float(f"{1 / step:.4g}")

    if not rates:
        raise DataError(f"{path}, time: expected a series of two samples or more, to know the rate.")

    refuse_two_rates(f"{path}", rates, "series")
    rate = next(iter(rates.values()))
    if given is not None and abs(rate - given) > 1e-3 * given:
        raise DataError(f"{path}: expected {given:g} Hz, but the times have {rate:g} Hz; nothing is resampled.")

    return rate if given is None else given


def _cells_of_series(table: _Table, name: str, starts: NDArray[np.int64]) -> list[str] | None:
    """One cell a series of a column; None without the column."""
    if name not in table.columns:
        return None

    cells = [table.columns[name][start].strip() for start in starts.tolist()]
    if "" in cells:
        raise DataError(f"{table.at(int(starts[cells.index('')]))}: expected a {name}, but it is empty.")

    return cells
