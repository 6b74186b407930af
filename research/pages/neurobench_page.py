"""The tables of docs/explanation/neurobench.md, made from results of neurobench_networks.py and neurobench_harness.py.

python research/pages/neurobench_page.py           # writes the page
python research/pages/neurobench_page.py --check   # exit code 1 where the page says something else than the results
"""

import json
import sys
from pathlib import Path
from typing import Any

from research.pages.made_page import DOCS, measured, result_file, write_or_check

PAGE = DOCS / "explanation" / "neurobench.md"
COUNTED = ("Effective_MACs", "Effective_ACs", "Dense")


def networks(rows: list[dict[str, Any]]) -> str:
    """A row a network."""
    titles = ("network", "parameters", "footprint kB", "connection sparsity", "activation sparsity")
    lines = []

    for row in rows:
        sizes = (str(row["ParameterCount"]), f"{row['Footprint'] / 1000:.1f}")
        sparsity = (f"{row['ConnectionSparsity']:.4f}", f"{row['ActivationSparsity']:.3f}")
        counts = (f"{row['SynapticOperations'][key] / 1000:.1f} k" for key in COUNTED)
        accuracy = row.get("ClassificationAccuracy")
        last = (f"{row['MembraneUpdates']:.0f}", "-" if accuracy is None else f"{100 * accuracy:.1f}")
        lines.append((f"{row['recipe']}: {row['network']}", *sizes, *sparsity, *counts, *last))

    return measured((*titles, *COUNTED, "membrane updates", "accuracy %"), lines)


def harness(models: list[dict[str, Any]]) -> str:
    """A row a measure: the figure of both, or of each."""
    keys = list(dict.fromkeys(key for row in models for key in row["ours"]))
    lines = []

    for key in keys:
        cells = []
        for row in models:
            ours = row["ours"].get(key)
            theirs = row["harness"].get(key)
            cells.append("-" if ours is None else _digits(ours) if ours == theirs else f"{ours}, harness {theirs}")

        lines.append((f"`{key}`", *cells))

    return measured(("measure", *(row["model"] for row in models)), lines)


def _digits(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(_digits(value[key]) for key in COUNTED)
    return repr(value)


def main() -> int:
    """Writes or checks the page."""
    known: dict[str, Any] = {"neurobench_networks": {"networks": []}, "neurobench_harness": {"models": []}}
    for name in known:
        if (file := result_file(f"deploy/{name}")).exists():
            known[name] = json.loads(file.read_text(encoding="utf-8"))

    tables = {
        "networks": networks(known["neurobench_networks"]["networks"]),
        "harness": harness(known["neurobench_harness"]["models"]),
    }
    return write_or_check(PAGE, tables, Path(__file__), __doc__ or "")


if __name__ == "__main__":
    sys.exit(main())
