"""The tables of methods in docs/explanation/modulation.md, made from benchmarks/results/modulation.json.

python benchmarks/modulation_page.py           # writes the page
python benchmarks/modulation_page.py --check   # exit code 1 where the page says something else than the results
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "modulation.json"
PAGE = HERE.parent / "docs" / "explanation" / "modulation.md"
BEGIN, END = "<!-- {name}: made by benchmarks/modulation_page.py -->", "<!-- end of {name} -->"
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


def table(results: Mapping[str, Any]) -> str:
    """A row a method, with the standard deviation of ACC over its seeds."""
    found = {row["method"]: row for row in results["methods"]}
    head = ("method", "seeds", "ACC", *SHOWN)
    lines = [_line(*head), "|" + "---|" * len(head)]
    for method, name in METHODS.items():
        if method in found:
            row = found[method]
            spread = f" ({_share(row['sd'])})" if row["seeds"] > 1 else ""
            lines.append(_line(name, str(row["seeds"]), _share(row["ACC"]) + spread, *(_share(row[k]) for k in SHOWN)))
    return "\n".join(lines)


def written(page: str, results: Mapping[str, Any]) -> str:
    """The page with every table as the results have it."""
    for name in TABLES:
        begin, end = BEGIN.format(name=name), END.format(name=name)
        before, rest = page.split(begin)  # a page without the mark is no page to write into
        _, after = rest.split(end)
        page = f"{before}{begin}\n\n{table(results[name])}\n\n{end}{after}"
    return page


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}".removeprefix("0")


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Writes or checks the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    page = PAGE.read_text()
    new = written(page, json.loads(RESULTS.read_text()))
    if check:
        return int(new != page)
    draft = PAGE.with_suffix(".md.part")
    draft.write_text(new)
    draft.replace(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
