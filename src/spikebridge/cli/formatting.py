"""Results as text for a terminal: plain columns."""

import re
from collections.abc import Sequence
from typing import Any

from spikebridge.recipes.outline import Listing

_MAX_ANSWERS = 10  # in a line


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows under the names of the first row; numbers to the right, words to the left."""
    if not rows:
        return "nothing"

    names = list(rows[0])
    cells = [[_value_text(row.get(name), name) for name in names] for row in rows]
    widths = [max(len(name), *(len(line[column]) for line in cells)) for column, name in enumerate(names)]
    # a column with a number is one of numbers, although some are missing
    to_right = [any(isinstance(row.get(name), int | float) for row in rows) for name in names]
    lines = []

    for line in [names, *cells]:
        padded = [
            text.rjust(w) if right else text.ljust(w) for text, w, right in zip(line, widths, to_right, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())

    return "\n".join(lines)


def without_markdown(text: str) -> str:
    """A text for a terminal: tables of Markdown in plain columns."""
    return re.sub(r"(?m)^\|.*\n(?:\|.*(?:\n|$))+", lambda found: _columns(found[0]), text)


def _columns(markdown: str) -> str:
    names, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines()]
    lines = table([dict(zip(names, row, strict=False)) for row in rows]).splitlines()
    return "".join(f"    {line}\n" for line in lines)


def _value_text(value: Any, column: str = "") -> str:
    """A value as text with four significant digits; None is a dash, the standard deviation ("sd") of one seed "n/a"."""
    if value is None and column.split(" ")[0] == "sd":
        return "n/a (needs 2 seeds)"
    if value is None:
        return "-"
    # before numbers, since a bool is an integer
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_value_text(item)}" for name, item in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(_value_text(item) for item in value) or "-"

    return str(value)


def results(values: dict[str, Any]) -> str:
    """Results: single values first, then every list of rows as a table under its name."""
    tables = {name: value for name, value in values.items() if _is_table(value)}
    singles = {name: value for name, value in values.items() if name not in tables}
    blocks = [facts(singles)] if singles else []
    blocks += [f"{name}\n{table(rows)}" for name, rows in tables.items()]

    return "\n\n".join(blocks) or "no results"


def facts(values: dict[str, Any], indent: str = "") -> str:
    """Names and values in two columns; a value that has names of its own is indented under its name.

    A list of rows is left out: inside of a value it is for machines.
    """
    values = {name: value for name, value in values.items() if not _is_table(value)}
    plain = [name for name, value in values.items() if not isinstance(value, dict)]
    width = max((len(name) for name in plain), default=0)
    lines = []

    for name, value in values.items():
        if isinstance(value, dict):
            lines.append(f"{indent}{name}")
            lines += [facts(value, indent + "  ")] if value else []
        else:
            lines.append(f"{indent}{name:<{width}}  {_value_text(value)}")

    return "\n".join(lines)


def final_answers(answers: Sequence[dict[str, Any]]) -> str:
    """The last line about a stream of samples: the answers of its windows or utterances, in the order of time."""
    if not answers:
        return "no answer: there was only silence or steady noise"

    shown = [f"{one['answer']} ({100 * one['share']:.0f} %)" for one in answers[-_MAX_ANSWERS:]]
    if len(answers) == 1:
        return f"the answer was {shown[0]}"

    return f"the answers were {', '.join(shown)}; the last answer was {answers[-1]['answer']}"


def listing(recipes: Sequence[Listing], blocks: dict[str, list[Listing]]) -> str:
    """Recipes and building blocks, for `spikebridge list`."""
    lines = ["recipes", *(_entry(recipe) for recipe in recipes)]
    for kind, entries in blocks.items():
        if entries:
            lines += ["", kind, *(_entry(entry) for entry in entries)]

    return "\n".join(lines)


def data_sets(entries: Sequence[dict[str, Any]]) -> str:
    """Data sets, for `spikebridge data`: present ones, and for the others the missing files and their source."""
    lines = []
    for entry in entries:
        lines.append(f"{'here' if entry['present'] else '-':<6}{entry['name']:<10} {entry['about']}")
        if not entry["present"]:
            lines.append(f"{'':<17}missing: {', '.join(entry['missing'])}")
        lines.append(f"{'':<17}from {entry['source']} ({entry['licence']})")

    return "\n".join(lines)


def findings(rows: Sequence[dict[str, Any]]) -> str:
    """The doctor's findings, or one line where there are none."""
    if not rows:
        return "no findings: the networks look healthy"

    line = "{severity}: {network}: {where} is {kind}: {what}\n  remedy: {remedy}"
    return "\n".join(line.format(**one) for one in rows)


def operations(rows: Sequence[dict[str, Any]]) -> str:
    """A paragraph for each operation; an arrow marks the path that runs here."""
    lines = []
    for row in rows:
        lines.append(f"{row['operation']}: {row['about']}")
        for path in row["paths"]:
            mark = "->" if path["path"] == row["here"] else "  "
            lines.append(f"  {mark} {path['path']:<10} {path['when']}")

    return "\n".join(lines)


def _entry(entry: Listing) -> str:
    presets = f" (presets: {', '.join(entry.presets)})" if entry.presets else ""
    return f"  {entry.name:<18} {entry.summary}{presets}".rstrip()


def _is_table(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(row, dict) for row in value)
