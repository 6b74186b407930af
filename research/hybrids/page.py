"""The tables of the gallery page on hybrids of the literature, made from results of research/hybrids.

python research/hybrids/page.py           # writes the page
python research/hybrids/page.py --check   # exit code 1 where the page differs from the results
"""

import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from research.pages.made_page import result_file, table, write_or_check

Row = dict[str, Any]


def scores(hybrid: Row) -> str:
    """The scores of one hybrid and of what stands beside it: mean, and the least and the largest of the seeds."""
    seeds = [row["scores"] for row in hybrid["seeds"]]
    lines = [(score, *_summary([row[score] for row in seeds])) for score in seeds[0]]
    return table(("measure", f"mean of {len(seeds)}", "least to largest"), lines)


def _summary(values: list[float]) -> tuple[str, str]:
    digits = 2 if max(map(abs, values)) < 10 else 1 if max(map(abs, values)) < 1000 else 0
    return f"{fmean(values):.{digits}f}", f"{min(values):.{digits}f} to {max(values):.{digits}f}"


def bundles(hybrids: dict[str, Row]) -> str:
    """A row a network: seconds of a run, and agreement of its bundle."""
    lines = []
    for row in hybrids.values():
        seconds = f"{fmean(seed['seconds'] for seed in row['seeds']):.0f}"
        for kind, bundle in row["bundles"].items():
            title = row["title"].partition(":")[0] + ("" if kind == "hybrid" else f", {kind}")
            figures = (f"{bundle['bytes'] / 1000:.0f}", f"{bundle['largest difference']:.0e}")
            lines.append((title, seconds, *figures, "yes" if bundle["agree"] else "no"))

    return table(("network", "seconds of a run", "bundle kB", "largest difference", "agrees"), lines)


def main() -> int:
    """Writes or checks the page."""
    hybrids = json.loads(result_file("hybrids/literature").read_text(encoding="utf-8"))["hybrids"]
    tables = {name: scores(row) for name, row in hybrids.items()} | {"bundles": bundles(hybrids)}
    return write_or_check(Path(__file__), __doc__, tables)


if __name__ == "__main__":
    sys.exit(main())
