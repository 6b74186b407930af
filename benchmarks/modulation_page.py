"""The tables of docs/explanation/modulation.md and docs/reference/modulation.md, made from benchmarks/results.

python benchmarks/modulation_page.py           # writes the pages
python benchmarks/modulation_page.py --check   # exit code 1 where a page differs from the results
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from made_page import DOCS, table, write_or_check

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PAGES = {
    DOCS / "explanation" / "modulation.md": ("digits", "mnist", "opening"),
    DOCS / "reference" / "modulation.md": ("open20", "branch", "small"),
}
BRANCHES = {"default": "-", "original": "`original` (rate read-out, no leak, no bias, T = 10; lr .05, lambda 5000)"}
SHOWN = ("one picture", "just learnt", "forgetting", "transfer")
# in the order of the page
METHODS = {
    "single": "a network a task (ceiling)",
    "hmn": "HMN: learned unit (`dissimilarity`), EWC",
    "hmn_shared": "HMN, similar tasks share .9 of a gate",
    "hmn_similarity": "HMN, `similarity`",
    "hmn_bins": "HMN, `bins`",
    "hmn_no_ewc": "HMN without EWC",
    "projection": "fixed random projection, EWC",
    "projection_shared": "the same, shared gates",
    "untrained": "untrained backbone, EWC",
    "xdg_ewc": "XdG, EWC (given the task)",
    "xdg_si": "XdG, SI",
    "xdg": "XdG",
    "group_ewc": "oracle group gate, EWC (given the group)",
    "group": "oracle group gate",
    "gated_ann": "ANN with HMN's gates, EWC",
    "per_sample": "HMN trained with a gate for each image",
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


def openings(rows: Sequence[Mapping[str, Any]]) -> str:
    """A row an opening: learned gates, plain and shared, beside random ones and the oracle's."""
    both = ("hmn", "hmn_shared", "xdg_ewc", "group_ewc")
    titles = ("opening", "seeds", "HMN: ACC, transfer", "shared gates", "XdG, EWC", "oracle, EWC")
    lines = [
        (
            _share(row["opening"]),
            str(row["seeds"]),
            *(f"{_share(row[f'{name} ACC'])}, {_share(row[f'{name} transfer'])}" for name in both),
            f"{row['hmn transfer over xdg_ewc']:.1f} times",
            _share(row["hmn_shared ACC + transfer above group_ewc"]),
        )
        for row in rows
    ]
    return table((*titles, "transfer, HMN over XdG", "ACC + transfer, shared over oracle"), lines)


def branches(rows: Sequence[Mapping[str, Any]]) -> str:
    """A row a part of the branch that differs from `default`."""
    shown = ("acc", "just_learnt_first", "just_learnt_last", "transfer")
    lines = [
        (BRANCHES.get(row["row"], row["row"]), str(row["seeds"]), *(_share(row[k]) for k in shown)) for row in rows
    ]
    return table(("differs from `default` in", "seeds", "ACC", "just learnt, first 4", "last 4", "transfer"), lines)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3f}"


def main() -> int:
    """Writes or checks the pages."""
    results, opening, branch = (
        json.loads((RESULTS / f"modulation{part}.json").read_text()) for part in ("", "_opening", "_branch")
    )
    tables = {name: methods(results[name]) for name in ("digits", "mnist", "open20", "small")}
    tables |= {"opening": openings(opening["rows"]), "branch": branches(branch["rows"])}
    codes = [
        write_or_check(page, {name: tables[name] for name in names}, Path(__file__), __doc__)
        for page, names in PAGES.items()
    ]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
