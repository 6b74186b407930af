"""Tables of pages made from results: rows, marks in the pages, and writing or checking them.

A table stands between `<!-- NAME: made by SCRIPT -->` and `<!-- end of NAME -->` in a page of docs/, in the README or
in notes of research/. One table may stand in several pages.
"""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from spikebridge.data.io.atomic import write_text

RESEARCH = Path(__file__).resolve().parent.parent
PROJECT = RESEARCH.parent
DOCS = PROJECT / "docs"
MISSING = "Not measured yet."


def result_file(script: str) -> Path:
    """The result file of a script of `research`, given by its path without a suffix: "speed/peers"."""
    folder, name = script.rsplit("/", 1)
    return RESEARCH / folder / "results" / f"{name}.json"


def path_in_project(script: Path) -> str:
    """The path of a script as pages name it."""
    return script.resolve().relative_to(PROJECT).as_posix()


def line(*cells: str) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def head(*cells: str) -> str:
    """The first two lines of a table."""
    return "\n".join([line(*cells), "|" + "---|" * len(cells)])


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A whole table."""
    return "\n".join([head(*titles), *(line(*row) for row in rows)])


def table_of(rows: Sequence[Any], columns: Mapping[str, Callable[[Any], str]]) -> str:
    """A whole table from the title of each column and the function that makes its cells from rows of results."""
    return table(tuple(columns), [tuple(cell(row) for cell in columns.values()) for row in rows])


def measured(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A whole table, or a line that says that there are no results yet."""
    return table(titles, rows) if rows else MISSING


def measured_of(rows: Sequence[Any], columns: Mapping[str, Callable[[Any], str]]) -> str:
    """The same from the title and the cells of each column."""
    return table_of(rows, columns) if rows else MISSING


def pages_of(script: str) -> list[Path]:
    """The pages with a mark of a script."""
    pages = [PROJECT / "README.md", *DOCS.rglob("*.md"), *RESEARCH.rglob("NOTES.md")]
    return [page for page in sorted(pages) if f": made by {script} -->" in page.read_text(encoding="utf-8")]


def filled(page: str, tables: Mapping[str, str], script: str) -> str:
    """The page with each of its tables between its marks."""
    marks = re.compile(
        rf"<!-- (?P<name>[^:\n]+): made by {re.escape(script)} -->.*?<!-- end of (?P=name) -->", re.DOTALL
    )

    def block(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in tables:
            raise SystemExit(f"a page has the mark of a table {name!r} of {script}; it makes {', '.join(tables)}")
        return f"<!-- {name}: made by {script} -->\n\n{tables[name]}\n\n<!-- end of {name} -->"

    return marks.sub(block, page)


def write_or_check(
    script: Path, description: str | None, tables: Mapping[str, str], draw: Callable[[], None] | None = None
) -> int:
    """Writes the pages of a script and their figures; with --check it only compares, exit code 1 if they differ."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check

    name = path_in_project(script)
    old = {page: page.read_text(encoding="utf-8") for page in pages_of(name)}
    new = {page: filled(text, tables, name) for page, text in old.items()}
    unused = [table for table in tables if not any(f"<!-- {table}: made by {name}" in text for text in old.values())]

    # a table that no page shows would not be looked at again
    if unused:
        raise SystemExit(f"no page has the table {unused[0]!r} of {name}")
    if check:
        return int(new != old)

    if draw is not None:
        draw()

    for page, text in new.items():
        write_text(page, text)

    return 0
