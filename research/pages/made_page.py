"""Tables of pages made from results: rows, marks in the page, and writing or checking it."""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

RESEARCH = Path(__file__).resolve().parent.parent
DOCS = RESEARCH.parent / "docs"
MISSING = "Not measured yet."


def result_file(script: str) -> Path:
    """The result file of a script of `research`, given by its path without a suffix: "speed/peers"."""
    folder, name = script.rsplit("/", 1)
    return RESEARCH / folder / "results" / f"{name}.json"


def path_in_project(script: Path) -> str:
    """The path of a script as pages name it."""
    return script.resolve().relative_to(RESEARCH.parent).as_posix()


def line(*cells: str) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def head(*cells: str) -> str:
    """The first two lines of a table."""
    return "\n".join([line(*cells), "|" + "---|" * len(cells)])


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A whole table."""
    return "\n".join([head(*titles), *(line(*row) for row in rows)])


def measured(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A whole table, or a line that says that nothing was measured yet."""
    return table(titles, rows) if rows else MISSING


def filled(page: str, tables: Mapping[str, str], script: str) -> str:
    """The page with every table between its marks."""
    for name, text in tables.items():
        begin = f"<!-- {name}: made by {script} -->"
        end = f"<!-- end of {name} -->"
        between_marks = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        if not between_marks.search(page):
            raise SystemExit(f"the page has no block {name}")
        made = f"{begin}\n\n{text}\n\n{end}"
        page = between_marks.sub(lambda _, made=made: made, page)

    return page


def write_or_check(
    page: Path, tables: Mapping[str, str], script: Path, description: str, draw: Callable[[], None] | None = None
) -> int:
    """Writes the page and its figures; with --check it only compares.

    Args:
        page: the page.
        tables: the text between each pair of marks.
        script: the script that makes them.
        description: the text of its --help.
        draw: makes the figures of the page.

    Returns:
        The exit code: 1 where the page differs from the results.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    old = page.read_text(encoding="utf-8")
    new = filled(old, tables, path_in_project(script))

    if check:
        return int(new != old)

    if draw is not None:
        draw()

    draft = page.with_suffix(".md.part")
    draft.write_text(new, encoding="utf-8")
    draft.replace(page)

    return 0
