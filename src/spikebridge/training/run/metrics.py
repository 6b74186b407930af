"""Metrics of a training: rows as JSON lines."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from spikebridge.data.io.atomic import append_text, write_text
from spikebridge.data.io.json_text import parse_json
from spikebridge.data.io.safe_open import read_bytes
from spikebridge.errors import DataError
from spikebridge.training.run.config_io import to_plain

Row: TypeAlias = dict[str, Any]
_MAX_BYTES = 2**28
# JSON lacks these numbers, so `to_plain` writes words
_NUMBERS = {"inf": float("inf"), "-inf": float("-inf"), "nan": float("nan")}
_log = logging.getLogger(__name__)


class MetricsFile:
    """Rows of a file of JSON lines; a file that is not there has no rows."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: Mapping[str, Any]) -> None:
        """Writes one row to the disk."""
        line = json.dumps(to_plain(dict(row), "row"), allow_nan=False) + "\n"
        append_text(self.path, line)

    def rows(self) -> list[Row]:
        """All rows; a line that a killed process left unfinished is left out."""
        lines = self._lines()
        if lines and not lines[-1].endswith("\n"):
            _log.warning("%s: the last line is unfinished and left out", self.path)
            lines.pop()

        return [self._row(line, number) for number, line in enumerate(lines, start=1)]

    def truncate(self, num_rows: int) -> None:
        """Keeps only the first rows: a resumed training writes the later ones again."""
        lines = self._lines()
        if sum(line.endswith("\n") for line in lines) < num_rows:
            raise DataError(f"{self.path} should hold {num_rows} rows, but holds {len(lines)}: it was changed by hand")

        if len(lines) > num_rows:
            write_text(self.path, "".join(lines[:num_rows]))

    def _lines(self) -> list[str]:
        if not self.path.exists() or (self.path.is_file() and self.path.stat().st_size == 0):
            return []
        content = read_bytes(self.path, "rows of metrics", _MAX_BYTES)
        return content.decode("utf-8", errors="replace").splitlines(keepends=True)

    def _row(self, line: str, number: int) -> Row:
        row = parse_json(line, f"{self.path} is damaged at line {number}")
        if not isinstance(row, dict):
            raise DataError(f"{self.path} is damaged at line {number}: a row is an object, but this is {line.strip()}")
        return {name: _NUMBERS.get(value, value) if isinstance(value, str) else value for name, value in row.items()}
