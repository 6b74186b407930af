"""The targets of the reasoning network beside what was measured, from the results of the benchmarks that measured it.

    python research/reasoning/accuracy.py       # and _parallelism, _robustness, _videos: each its own results
    python research/reasoning/targets.py        # then this one table, results/reasoning_targets.json

A figure that a target does not judge (a goal, a ceiling) has no verdict.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from spikebridge.data.io.atomic import write_text

RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]


def accuracy(results: Mapping[str, Any]) -> Iterator[Row]:
    """Real and silver questions, in percent."""
    sets = results["sets"]
    real = sets["real explanatory"]
    silver = sets["silver descriptive"]

    for scenes, wanted in (("noisy scenes", (94.23, 89.14)), ("near-truth scenes", (99.94, 99.77))):
        for by, published in zip(("per_option", "per_question"), wanted, strict=True):
            measured = 100 * real[scenes]["paper"][by]
            target = f"{published} within .2"
            yield _row(f"`paper`, {scenes}, {_said(by)}", measured, target, abs(measured - published) <= 0.2)

    near = 100 * real["near-truth scenes"]["compartment"]["per_option"]
    yield _row("near-truth scenes, per option", near, "at least 99.9", near >= 99.9)
    learned = real["noisy scenes, learned units, every seed"]["compartment"]

    for by, least in (("per_option", 98), ("per_question", 94)):
        mean = 100 * learned[by]["mean"]
        sd = 100 * learned[by]["sd"]
        row = _row(f"noisy scenes, learned unit, {_said(by)}", mean, f"at least {least}", mean >= least)
        yield row | {"sd": round(sd, 2), "seeds": len(learned[by]["seeds"])}

    goal = 100 * learned["per_option"]["mean"]
    yield _row("the same, the goal, per option", goal, "at least 99", goal >= 99)
    found = 100 * silver["noisy scenes, learned units"]["compartment"]["per_option"]
    yield _row("silver descriptive, noisy scenes", found, "at least 97, if reachable", found >= 97)
    ceiling = 100 * silver["error budget, learned"]["all true"]["per_option"]
    yield _row("the same with every perceived part true: the ceiling", ceiling, "-", None)
    what_if = sets["silver counterfactual"]["noisy scenes, learned units"]["compartment, causal"]
    found = 100 * what_if["per_option"]
    yield _row("silver counterfactual, noisy scenes, per option", found, "above 80", found > 80)


def speed(results: Mapping[str, Any]) -> Iterator[Row]:
    """How many times the engine is faster, on the real questions."""
    real = results["beside_one_at_a_time"][0]
    for name, key in (
        ("engine over one at a time as published, both `paper`", "paper_engine_over_loops"),
        ("engine over one at a time by the project's own building, both `compartment`", "engine_over_arrays"),
        ("engine in `compartment` over one at a time as published in `paper`", "engine_over_loops"),
    ):
        yield _row(name, real[key], "at least 20", real[key] >= 20)

    steps = {row["steps"] for row in results["growth_with_the_scene"]["rows"]}
    yield _row("numbers of steps over scenes of 2 to 128 objects", len(steps), "1", len(steps) == 1)
    power = results["growth_with_the_scene"]["power_of_run_time_in_connections_from_16_objects"]
    yield _row("power of the time in the connections", power, "near 1, or below", power <= 1.1)


def faults(results: Mapping[str, Any]) -> Iterator[Row]:
    """Percent of the clean share of right options that faults leave."""
    for row in results["faults"]["rows"]:
        if "target_percent_of_clean" in row:
            least = row["target_percent_of_clean"]
            left = row["percent_of_clean"]
            yield _row(f"left of clean, {row['graph']}, {row['fault']}", left, f"at least {least}", left >= least)


def videos(results: Mapping[str, Any]) -> Iterator[Row]:
    """Generated videos, from pixels and words, percent of questions."""
    for kind, least in results["targets_per_question"].items():
        measured = 100 * results["rows"]["test"][kind]["per_question"]
        yield _row(f"generated videos, {kind}", measured, f"at least {100 * least:.0f}", measured >= 100 * least)

    for kind in results["targets_per_question"]:
        yield _row(f"outside ranges, {kind}", 100 * results["rows"]["outside"][kind]["per_question"], "-", None)


def rows() -> list[Row]:
    """Every target, with the file that its figure is from."""
    makers = {"accuracy": accuracy, "parallelism": speed, "robustness": faults, "videos": videos}
    found: list[Row] = []
    for name, make in makers.items():
        file = RESULTS / f"{name}.json"
        found += [row | {"from": file.name} for row in make(json.loads(file.read_text()))]

    return found


def _row(figure: str, measured: float, target: str, met: bool | None) -> Row:
    return {"figure": figure, "measured": round(measured, 2), "target": target, "met": met}


def _said(by: str) -> str:
    return by.replace("_", " ")


def main() -> int:
    """Writes the table and prints it, or checks what is written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where the results say another")
    check = parser.parse_args().check
    table = RESULTS / "targets.json"
    found = rows()

    if check:
        return int(json.loads(table.read_text()) != {"targets": found})

    write_text(table, json.dumps({"targets": found}, indent=1) + "\n")
    for row in found:
        verdict = {True: "met", False: "missed", None: ""}[row["met"]]
        print(f"{row['figure']:<75} {row['measured']:>8} {row['target']:<28} {verdict}")

    return 0


if __name__ == "__main__":
    sys.exit(main())
