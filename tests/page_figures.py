"""Tables of figures in pages: which there are, how each is marked, and which figures no result file holds.

A table of figures is made by a script, or has one of two marks in front:

    <!-- copied from research/x/results/y.json -->     several files, one after the other
    <!-- not measured: the reason -->                  sizes, formulas, names
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, pstdev, stdev
from typing import Any, NamedTuple

MADE = re.compile(r"<!-- (?P<name>[^:\n]+): made by [^\n]+ -->.*?<!-- end of (?P=name) -->", re.DOTALL)
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"(?:<!-- (?P<mark>[^\n]*?) -->\n+)?(?P<rows>(?:^\|.*\n)+)", re.MULTILINE)
CELLS = re.compile(r"(?<!\\)\|")
NOT_TEXT = re.compile(r"`[^`]*`|\]\([^)]*\)")
NUMBER = re.compile(r"(?<![\w.])[-+−]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e-?\d+)?(?!\w)")
FIGURE = re.compile(r"^\W*\.?\d|\d\.\d|[\s(]\.\d|±")
MIN_FIGURES = 3

# a result may be a share where a page says per cent, and seconds where it says milliseconds
FACTORS = (1, 100, 1000)


class Table(NamedTuple):
    """A typed table of a page."""

    line: int
    mark: str
    cells: tuple[str, ...]

    @property
    def figures(self) -> list[str]:
        """The cells with figures."""
        return [cell for cell in self.cells if FIGURE.search(cell)]

    @property
    def sources(self) -> list[str]:
        """The files that the mark names."""
        return self.mark.removeprefix("copied from ").split() if self.mark.startswith("copied from ") else []


def typed_tables(text: str) -> list[Table]:
    """The tables of a page that no script makes, without their titles and the names of their rows."""
    for hidden in (MADE, CODE):
        text = hidden.sub(lambda match: "\n" * match[0].count("\n"), text)

    tables = []
    for match in TABLE.finditer(text):
        rows = [CELLS.split(row)[2:-1] for row in match["rows"].splitlines()[2:]]
        cells = tuple(NOT_TEXT.sub("", cell).strip() for row in rows for cell in row)
        tables.append(Table(text.count("\n", 0, match.start("rows")) + 1, match["mark"] or "", cells))

    return tables


def unmarked(text: str) -> list[int]:
    """The lines of the tables of figures whose source is not named."""
    tables = [table for table in typed_tables(text) if len(table.figures) >= MIN_FIGURES]
    return [table.line for table in tables if not table.sources and not table.mark.startswith("not measured: ")]


def unfounded(table: Table, results: Sequence[Any]) -> list[str]:
    """The figures of a copied table that no result rounds to."""
    groups = [group for result in results for group in groups_of(result)]
    figures = [figure for cell in table.figures for figure in re.split(r"[;,](?!\d)", cell)]
    missing = []

    for figure in figures:
        texts = NUMBER.findall(figure)
        together = " ± " in figure
        numbers = [one for group in groups for one in group]
        found = any(all(rounds_to(group, one) for one in texts) for group in groups) if together else all(
            rounds_to(numbers, one) for one in texts
        )
        if not found:
            missing.append(figure.strip())

    return missing


def rounds_to(numbers: Sequence[float], text: str) -> bool:
    """True if one of the numbers, as a share or in thousandths too, rounds to the figure."""
    text = text.replace(",", "").replace("−", "-")
    digits, _, exponent = text.partition("e")
    decimals = len(digits.partition(".")[2])
    half = 0.5000001 * 10.0 ** (int(exponent or 0) - decimals)

    return any(abs(factor * number - float(text)) <= half for number in numbers for factor in FACTORS)


def groups_of(result: Any) -> Iterator[list[float]]:
    """Numbers that belong together: those of one object; mean and standard deviation of one list."""
    if isinstance(result, Mapping):
        yield numbers_in(result.values())
        for value in result.values():
            yield from groups_of(value)
    elif isinstance(result, Sequence) and not isinstance(result, str):
        yield summary(numbers_in(result))
        objects = [one for one in result if isinstance(one, Mapping)]
        for key in {key for one in objects for key in one}:
            yield summary(numbers_in(one.get(key) for one in objects))
        for value in result:
            yield from groups_of(value)


def numbers_in(values: Any) -> list[float]:
    """The numbers among some values."""
    return [float(one) for one in values if isinstance(one, int | float) and not isinstance(one, bool)]


def summary(numbers: list[float]) -> list[float]:
    """The numbers with their mean and standard deviations."""
    return [*numbers, fmean(numbers), pstdev(numbers), stdev(numbers)] if len(numbers) > 1 else numbers


def read(path: Path) -> Any:
    """A result file."""
    return json.loads(path.read_text(encoding="utf-8"))
