"""The tables of methods in docs/explanation/modulation.md, made from benchmarks/results/modulation.json.

python benchmarks/modulation_page.py           # writes the page
python benchmarks/modulation_page.py --check   # exit code 1 where the page says something else than the results
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from made_page import DOCS, table, write_or_check

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "modulation.json"
PAGE = DOCS / "explanation" / "modulation.md"
TABLES = ("digits", "mnist", "open20", "small")
SHOWN = ("one picture", "just learnt", "forgetting", "transfer")
# in the order of the page
METHODS = {
    "single": "a network a task (ceiling)",
    "hmn": "HMN: learned unit (`dissimilarity`), EWC",
    "hmn_shared": "HMN, alike tasks share .9 of a gate",
    "hmn_similarity": "HMN, `similarity`",
    "hmn_bins": "HMN, `bins`",
    "hmn_no_ewc": "HMN without EWC",
    "projection": "fixed random projection, EWC",
    "projection_shared": "the same, shared gates",
    "untrained": "untrained backbone, EWC",
    "xdg_ewc": "XdG, EWC (told the task)",
    "xdg_si": "XdG, SI",
    "xdg": "XdG",
    "group_ewc": "oracle group gate, EWC (told the group)",
    "group": "oracle group gate",
    "gated_ann": "ANN with HMN's gates, EWC",
    "per_sample": "HMN trained with a gate a picture",
    "wide_ewc": "SNN with HMN's parameters, EWC",
    "snn_ewc": "SNN, EWC",
    "snn_si": "SNN, SI",
    "snn_meta": "SNN, metaplasticity",
    "snn": "SNN",
    "ann_ewc": "ANN, EWC",
    "ann": "ANN",
}


def methods(results: Mapping[str, Any]) -> str:
    """A row a method, with the standard deviation of ACC over its seeds."""
    found = {row["method"]: row for row in results["methods"]}
    lines = []
    for method, name in METHODS.items():
        if method in found:
            row = found[method]
            spread = f" ({_share(row['sd'])})" if row["seeds"] > 1 else ""
            lines.append((name, str(row["seeds"]), _share(row["ACC"]) + spread, *(_share(row[k]) for k in SHOWN)))
    return table(("method", "seeds", "ACC", *SHOWN), lines)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}".removeprefix("0")


def main() -> int:
    """Writes or checks the page."""
    results = json.loads(RESULTS.read_text())
    return write_or_check(PAGE, {name: methods(results[name]) for name in TABLES}, Path(__file__), __doc__)


if __name__ == "__main__":
    sys.exit(main())
