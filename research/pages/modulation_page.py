"""The tables and figures of the pages about modulation, made from results of research/modulation.

python research/pages/modulation_page.py           # writes the pages
python research/pages/modulation_page.py --check   # exit code 1 where a page differs from the results
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from research.pages.made_page import DOCS, result_file, table, write_or_check

SHIPPED = DOCS.parent / "src" / "spikebridge" / "pretrained" / "modulation" / "runs" / "hmn" / "seed-0" / "results.json"
CORRELATION = "correlation of gates with overlap"
UNLEARNED = ("hmn", "projection", "xdg_ewc", "group_ewc", "gated_ann")
BRANCHES = {"default": "-", "original": "`original` (rate read-out, no leak, no bias, T = 10; lr .05, lambda 5000)"}
SHOWN = ("one picture", "just learnt", "forgetting", "transfer")
# the methods of the short table, and what it says of each
OVERVIEW = ("single", "hmn", "projection", "xdg_ewc", "group_ewc", "snn_ewc", "ann_ewc")
OVERVIEW_SHOWN = ("ACC", "forgetting", "transfer")
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
    by_method = {row["method"]: row for row in results["methods"]}
    lines = []

    for method, name in METHODS.items():
        # larger data sets have fewer methods
        if method in by_method:
            row = by_method[method]
            spread = f" ({_share(row['sd'])})" if row["seeds"] > 1 else ""
            lines.append((name, str(row["seeds"]), _share(row["ACC"]) + spread, *(_share(row[k]) for k in SHOWN)))

    return table(("method", "seeds", "ACC", *SHOWN), lines)


def overview(digits: Mapping[str, Any], mnist: Mapping[str, Any]) -> str:
    """A row a method, with its figures on both data sets."""
    by_set = {
        name: {row["method"]: row for row in results["methods"]}
        for name, results in (("digits", digits), ("MNIST", mnist))
    }
    titles = [f"{name} {key}" for name in by_set for key in OVERVIEW_SHOWN]
    lines = [
        (METHODS[method], *(_share(rows[method][key]) for rows in by_set.values() for key in OVERVIEW_SHOWN))
        for method in OVERVIEW
    ]

    return table(("method", *titles), lines)


def openings(rows: Sequence[Mapping[str, Any]]) -> str:
    """A row an opening: learned gates, plain and shared, random ones, and those of the oracle."""
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
    """A share with three digits and without the zero before its point."""
    if value is None:
        return "-"
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3f}"


def similarity(shipped: Mapping[str, Any], methods: Sequence[Mapping[str, Any]]) -> str:
    """Agreement of gates with the similarity of tasks, and gains of an ANN with the same gates."""
    by_method = {row["method"]: row for row in methods}
    lines = [
        ("correlation of gate cosines with task similarity (3b), shipped network", f"{shipped[CORRELATION]:.3f}", "-"),
        ("silhouette of the gates by group (3e), shipped network", f"{shipped['silhouette']:.3f}", "-"),
    ]

    lines += [
        (f"{words}, digits, 4 seeds (3g)", _share(by_method["hmn"][key]), _share(by_method["gated_ann"][key]))
        for key, words in (("ACC", "ACC"), ("transfer", "transfer"), ("forgetting", "forgetting"))
    ]
    return table(("measure", "SNN", "ANN with the same gates"), lines)


def draw(shipped: Mapping[str, Any], reshuffled: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]) -> None:
    """The figures of the page about similar tasks."""
    from research.modulation.similarity import embedding_map, matrix_map
    from spikebridge.analysis.plots.figures import accuracy_lines, to_svg

    group = shipped["group"]
    figures = {
        "overlap": matrix_map(shipped["overlap"], group, "similarity of tasks", (0.0, 1.0)),
        "gates": matrix_map(shipped["gate similarity"], group, "cosine of gates", (0.0, 1.0)),
        "activity": matrix_map(shipped["activity correlation"], group, "correlation of activity", (0.0, 1.0)),
        "plane": embedding_map(shipped["embedding"], group, shipped["unseen"], "gates in a plane"),
    }
    for data, curves in reshuffled.items():
        shares = 100 * (1 - np.array(next(iter(curves.values()))["shares"]))
        series = {METHODS[name].partition(":")[0]: 100 * np.array(curve["given"]) for name, curve in curves.items()}
        figures[f"unlearned-{data}"] = accuracy_lines(shares, series, "permutation in common with a learned task [%]")

    for name, figure in figures.items():
        (DOCS / "images" / f"modulation-{name}.svg").write_text(to_svg(figure, name), encoding="utf-8")


def main() -> int:
    """Writes or checks the pages."""
    results, opening, branch, shipped = (
        json.loads(result_file(f"modulation/{script}").read_text())
        for script in ("methods", "opening", "branch", "similarity")
    )
    tables = {name: methods(results[name]) for name in ("digits", "mnist", "open20", "small")}
    tables["overview"] = overview(results["digits"], results["mnist"])
    tables |= {"opening": openings(opening["rows"]), "branch": branches(branch["rows"])}
    tables["similarity"] = similarity(shipped, results["digits"]["methods"])
    reshuffled = {
        data: {name: seeds[0]["reshuffled"] for name, seeds in results[data]["cells"].items() if name in UNLEARNED}
        for data in ("digits", "mnist")
    }

    return write_or_check(Path(__file__), __doc__, tables, lambda: draw(shipped, reshuffled))


if __name__ == "__main__":
    sys.exit(main())
