"""The table of docs/explanation/first-hour.md, made from the results of first_hour.py.

python research/pages/first_hour_page.py           # writes the page
python research/pages/first_hour_page.py --check   # exit code 1 where the page says something else than the results
"""

import json
import sys
from pathlib import Path
from typing import Any

from research.pages.made_page import DOCS, MISSING, result_file, table, write_or_check

RESULTS = result_file("project/first_hour")
PAGE = DOCS / "explanation" / "first-hour.md"
WALKS = ("readme", "train", "track", "deploy")


def times(measured: dict[str, Any], name: str) -> str:
    """A row a step: the line of the page, what is typed, seconds quiet and busy; last the sum."""
    walk = measured.get("walks", {}).get(name)
    if walk is None:
        return MISSING

    loads = [load for load in ("quiet", "busy") if load in walk]
    rows = [
        (str(each[0]["line"]), _typed(each[0]["what"]), *map(_seconds, each))
        for each in zip(*(walk[load] for load in loads), strict=True)
    ]

    sums = [f"**{sum(row['seconds'] for row in walk[load]):.0f}**" for load in loads]
    state = f"{measured['cores']} cores, load average {measured['load_before']} before the first walk."
    titles = ("line", "what is typed", *(f"seconds, {load}" for load in loads))

    return "\n".join([table(titles, [*rows, ("", "all", *sums)]), "", state])


def _typed(what: str) -> str:
    return what if what.startswith("Python: ") else f"`{' '.join(what.split())}`".replace("|", "\\|")


def _seconds(row: dict[str, Any]) -> str:
    return "failed" if "failed" in row else f"{row['seconds']:.1f}"


def main() -> int:
    """Writes or checks the page."""
    measured = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    return write_or_check(PAGE, {name: times(measured, name) for name in WALKS}, Path(__file__), __doc__ or "")


if __name__ == "__main__":
    sys.exit(main())
