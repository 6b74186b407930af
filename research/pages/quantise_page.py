"""The tables of docs/how-to/quantise.md, made from research/deploy/results/integers.json.

python research/pages/quantise_page.py           # writes the page
python research/pages/quantise_page.py --check   # exit code 1 where the page says something else than the results
"""

import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from research.pages.made_page import DOCS, MISSING, result_file, table, write_or_check

RESULTS = result_file("deploy/integers")
C_RESULTS = result_file("deploy/c_model")
PAGE = DOCS / "how-to" / "quantise.md"
Row = dict[str, Any]


def digits(results: Row) -> str:
    """Accuracy, memory, energy of the digits networks, means over seeds."""
    rows = []
    for row in results["digits"]:
        seeds = row["seeds"]
        before, after = (100 * fmean(seed[when] for seed in seeds) for when in ("before", "after"))
        spread = "" if row["sd"] is None else f" ± {row['sd']:.2f}"
        loss = row["loss_points"] + 0.0 if abs(row["loss_points"]) >= 0.005 else 0.0
        accuracy = (f"{before:.2f}", f"{after:.2f}", f"{loss:.2f}{spread}")
        rows.append((row["network"], row["numbers"], *accuracy, *_costs(seeds), _clipped(seeds)))

    head = ("network", "numbers", "before %", "after %", "loss, points", "kB", "operations", "nJ", "most clipped")
    return table(head, rows)


def sensing(results: Row) -> str:
    """Distance of protocol A, and what the quantised parts and the real ones take together."""
    rows = []
    for row in results["sensing"]:
        before, after = (row[when]["mean_distance_px"] for when in ("before", "after"))
        figures = (f"{before:.3f}", f"{after:.3f}", f"{row['loss_px']:+.3f}")
        rows.append((row["network"], *figures, *_costs([row]), _clipped([row])))

    return table(("network", "before px", "after px", "loss px", "kB", "operations", "nJ", "most clipped"), rows)


def c_models(results: Row) -> str:
    """Bytes and times of the C of digits networks."""
    rows = []
    for row in results["rows"]:
        sizes = (f"{row[name] / 1000:.1f}" for name in ("table bytes", "state bytes", "code and tables"))
        small = row.get("Cortex-M4 code and tables")
        times = (f"{row['us a tick']:.1f}", f"{row['cycles a tick'] / 1000:.0f} k", f"{row['us a tick in numpy']:.0f}")
        rows.append((row["network"], *sizes, "-" if small is None else f"{small / 1000:.1f}", *times))

    titles = (
        "network",
        "tables kB",
        "state kB",
        "code + tables kB, x86-64",
        "Cortex-M4",
        "us a tick",
        "cycles a tick",
        "us in numpy",
    )
    return table(titles, rows)


def _costs(seeds: list[Row]) -> tuple[str, str, str]:
    """Kilobytes of weights, operations and energy a sample, before and after; dashes where they were not counted."""
    if "expenses" not in seeds[0]:
        return "-", "-", "-"

    memory = [fmean(seed["memory"][name] for seed in seeds) / 1000 for name in ("parameters", "integers")]
    spent = {name: fmean(seed["expenses"][name] for seed in seeds) for name in seeds[0]["expenses"]}
    operations = [spent[name] / 1000 for name in ("operations", "operations after")]
    energy = [spent[name] for name in ("energy nJ", "energy nJ after")]

    return f"{memory[0]:.0f} → {memory[1]:.0f}", f"{operations[0]:.0f} k → {operations[1]:.0f} k", _change(energy)


def _change(pair: list[float]) -> str:
    return f"{pair[0]:.0f} → {pair[1]:.0f}"


def _clipped(seeds: list[Row]) -> str:
    """The signal that left its grid most often in any seed."""
    if "clipped" not in seeds[0]:
        return "-"

    found = [(share, path) for seed in seeds for path, share in seed["clipped"]]
    share, path = max(found, default=(0.0, ""))

    return f"`{path}` {100 * share:.2f} %" if path else "none"


def main() -> int:
    """Writes or checks the page."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    tables = {block.__name__: block(results) for block in (digits, sensing)}
    tables["c_models"] = c_models(json.loads(C_RESULTS.read_text(encoding="utf-8"))) if C_RESULTS.exists() else MISSING
    return write_or_check(PAGE, tables, Path(__file__), __doc__)


if __name__ == "__main__":
    sys.exit(main())
