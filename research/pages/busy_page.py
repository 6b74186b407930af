"""The table of docs/how-to/choose-threads.md, made from the results of busy.py.

python research/pages/busy_page.py           # writes the page
python research/pages/busy_page.py --check   # exit code 1 where the page says something else than the results
"""

import json
import sys
from pathlib import Path
from typing import Any

from research.pages.made_page import DOCS, MISSING, head, line, result_file, write_or_check

RESULTS = result_file("project/busy")
PAGE = DOCS / "how-to" / "choose-threads.md"


def times(measured: dict[str, Any]) -> str:
    """A row a work, a column a setting: seconds quiet / busy; last the ratio of auto to the best setting."""
    rows = measured["rows"]
    settings = list(dict.fromkeys(row["threads"] for row in rows))
    titles = [{"unset": "PyTorch's default", "auto": "`auto`"}.get(name, name) for name in settings]
    lines = [head("seconds, quiet / busy", *titles, "`auto` : best, quiet / busy", "results differ by at most")]

    for work in dict.fromkeys(row["work"] for row in rows):
        own = {row["threads"]: row for row in rows if row["work"] == work}
        cells = [f"{_seconds(own, name, 'quiet')} / {_seconds(own, name, 'busy')}" for name in settings]
        ratios = " / ".join(_ratio(own, load) for load in ("quiet", "busy"))
        apart = [row["difference"] for row in own.values() if row["difference"] is not None]
        lines.append(line(work, *cells, ratios, f"{max(apart):.1g}" if apart else "-"))

    alone = [row["quiet"] for row in rows if row["threads"] == "1" and row["quiet"]["seconds"] is not None]
    share = min(one["cpu"] / one["seconds"] for one in alone)
    state = f"{measured['cores']} cores. One thread, quiet: CPU time is at least {share:.2f} of the wall time."

    return "\n".join([*lines, "", state])


def _seconds(rows: dict[str, Any], setting: str, load: str) -> str:
    value = rows[setting][load]["seconds"] if setting in rows else None
    return "-" if value is None else f"{value:.1f}"


def _ratio(rows: dict[str, Any], load: str) -> str:
    known = {name: row[load]["seconds"] for name, row in rows.items() if row[load]["seconds"] is not None}
    return f"{known['auto'] / min(known.values()):.2f}" if "auto" in known else "-"


def main() -> int:
    """Writes or checks the page."""
    table = times(json.loads(RESULTS.read_text(encoding="utf-8"))) if RESULTS.exists() else MISSING
    return write_or_check(PAGE, {"threads": table}, Path(__file__), __doc__ or "")


if __name__ == "__main__":
    sys.exit(main())
