"""Tables of figures in pages: which there are, how each is marked, and which figures no result file holds.

A table of figures is made by a script, or has one of two marks in front:

    <!-- copied from research/x/results/y.json -->     one file, or one for each row
    <!-- not measured: the reason -->                  sizes, formulas, names
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import fmean, pstdev, stdev
from typing import Any, NamedTuple

MADE = re.compile(r"<!-- (?P<name>[^:\n]+): made by [^\n]+ -->.*?<!-- end of (?P=name) -->", re.DOTALL)
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"(?:<!-- (?P<mark>[^\n]*?) -->\n+)?(?P<rows>(?:^\|.*\n)+)", re.MULTILINE)
CELLS = re.compile(r"(?<!\\)\|")
NOT_TEXT = re.compile(r"`[^`]*`|\]\([^)]*\)")
NUMBER = re.compile(r"(?<![\w.])[-+−]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e-?\d+)?(?!\w)")
FIGURE = re.compile(r"^\W*\.?\d|\d\.\d|[\s(]\.\d|±")
SPREAD = re.compile(r"±|^\S+ \([\d.]+\)$")
MIN_FIGURES = 3
MAX_SEEDS = 20
# a result may be a share where a page says per cent, and seconds where it says milliseconds
FACTORS = (1, 100, 1000)


class Table(NamedTuple):
    """A typed table of a page: its rows without titles and without the names of the rows."""

    line: int
    mark: str
    rows: tuple[tuple[str, ...], ...]

    @property
    def num_figures(self) -> int:
        """The number of cells with figures."""
        return sum(FIGURE.search(cell) is not None for row in self.rows for cell in row)

    @property
    def sources(self) -> list[str]:
        """The files that the mark names."""
        return self.mark.removeprefix("copied from ").split() if self.mark.startswith("copied from ") else []


def typed_tables(text: str) -> list[Table]:
    """The tables of a page that no script makes."""
    for hidden in (MADE, CODE):
        text = hidden.sub(lambda match: "\n" * match[0].count("\n"), text)

    tables = []
    for match in TABLE.finditer(text):
        lines = match["rows"].splitlines()[2:]
        rows = tuple(tuple(NOT_TEXT.sub("", cell).strip() for cell in CELLS.split(line)[2:-1]) for line in lines)
        tables.append(Table(text.count("\n", 0, match.start("rows")) + 1, match["mark"] or "", rows))

    return tables


def unmarked(text: str) -> list[int]:
    """The lines of the tables of figures whose source is not named."""
    tables = [table for table in typed_tables(text) if table.num_figures >= MIN_FIGURES]
    return [table.line for table in tables if not table.sources and not table.mark.startswith("not measured: ")]


def unfounded(table: Table, results: Sequence[Any]) -> list[str]:
    """The figures of a copied table that its result does not hold, of one result or of one for each row."""
    if len(results) == 1:
        results = [*results] * len(table.rows)

    return [
        figure
        for row, result in zip(table.rows, results, strict=True)
        for figure in unfounded_in_row(row, list(numbers_of(result)), list(means_of(result)))
    ]


def unfounded_in_row(row: Sequence[str], numbers: list[float], means: list[tuple[float, float]]) -> list[str]:
    """The figures of a row that are no rounding of a number; of a mean with its spread, of such a pair."""
    missing = []
    for cell in filter(FIGURE.search, row):
        # a comma between digits is part of a number
        for figure in re.split(r"[;,](?!\d)", cell):
            texts = NUMBER.findall(figure)
            if SPREAD.search(figure) and len(texts) > 1:
                is_found = any(rounds_to([mean], texts[0]) and rounds_to([spread], texts[1]) for mean, spread in means)
            else:
                is_found = all(rounds_to(numbers, text) for text in texts)

            if not is_found:
                missing.append(figure.strip())

    return missing


def rounds_to(numbers: Sequence[float], text: str) -> bool:
    """True if one of the numbers, in its unit, in per cent or in thousandths, rounds to the figure."""
    digits, _, exponent = text.replace(",", "").replace("−", "-").partition("e")
    scale = 10.0 ** int(exponent or 0)
    half_of_the_last_digit = 0.5 * scale * 10.0 ** -len(digits.partition(".")[2])

    return any(
        abs(factor * number - float(digits) * scale) <= half_of_the_last_digit * (1 + 1e-6)
        for number in numbers
        for factor in FACTORS
    )


def is_number(value: Any) -> bool:
    """True for a number of JSON, which has true and false too."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def numbers_of(result: Any) -> Iterator[float]:
    """The numbers of a result, and the means of its lists."""
    if is_number(result):
        yield result
    elif isinstance(result, Mapping):
        for value in result.values():
            yield from numbers_of(value)
    elif isinstance(result, list):
        # in a curve of a hundred points every figure of three digits is found
        if len(result) <= MAX_SEEDS or not all(isinstance(value, float) for value in result):
            for value in result:
                yield from numbers_of(value)

        yield from (number for pair in spreads(result) for number in pair)


def means_of(result: Any) -> Iterator[tuple[float, float]]:
    """Means with their standard deviations: neighbours in an object, or of a list of seeds."""
    if isinstance(result, Mapping):
        yield from pairwise(filter(is_number, result.values()))
        for value in result.values():
            yield from means_of(value)
    elif isinstance(result, list):
        yield from spreads(result)
        for value in result:
            yield from means_of(value)


def spreads(values: list[Any]) -> Iterator[tuple[float, float]]:
    """Mean and standard deviation of a list of numbers, or of each entry of a list of objects."""
    if len(values) < 2:
        return

    if all(map(is_number, values)):
        yield fmean(values), stdev(values)
        yield fmean(values), pstdev(values)
    elif all(isinstance(value, Mapping) for value in values):
        for key in values[0]:
            yield from spreads([value[key] for value in values if is_number(value.get(key))])
