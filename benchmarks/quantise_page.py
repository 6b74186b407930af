"""The tables of docs/how-to/quantise.md, made from benchmarks/results/quantize.json.

python benchmarks/quantise_page.py           # writes the page
python benchmarks/quantise_page.py --check   # exit code 1 where the page says something else than the results
"""

import argparse
import json
import re
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "quantize.json"
PAGE = HERE.parent / "docs" / "how-to" / "quantise.md"
BEGIN, END = "<!-- {name}: made by benchmarks/quantise_page.py -->", "<!-- end of {name} -->"
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
    return _table(head, rows)


def sensing(results: Row) -> str:
    """Distance of protocol A, and what the quantised parts and the real ones take together."""
    rows = []
    for row in results["sensing"]:
        before, after = (row[when]["mean_distance_px"] for when in ("before", "after"))
        figures = (f"{before:.3f}", f"{after:.3f}", f"{row['loss_px']:+.3f}")
        rows.append((row["network"], *figures, *_costs([row]), _clipped([row])))
    return _table(("network", "before px", "after px", "loss px", "kB", "operations", "nJ", "most clipped"), rows)


def filled(page: str, results: Row) -> str:
    """The page with every table made anew."""
    for block in (digits, sensing):
        begin, end = BEGIN.format(name=block.__name__), END.format(name=block.__name__)
        between = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        if not between.search(page):
            raise SystemExit(f"{PAGE.name} has no table {block.__name__}")
        text = f"{begin}\n\n{block(results)}\n\n{end}"
        page = between.sub(lambda _, text=text: text, page)
    return page


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


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> int:
    """Writes or checks the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    page = PAGE.read_text(encoding="utf-8")
    new = filled(page, json.loads(RESULTS.read_text(encoding="utf-8")))
    if check:
        return int(new != page)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
