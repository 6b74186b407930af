"""Targets of the reasoning network with the measured values, from the results of the benchmarks.

    python research/reasoning/accuracy.py       # and parallelism.py, robustness.py, videos.py: each its own results
    python research/reasoning/targets.py        # then this one table, results/targets.json

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

    for scenes, published in (("noisy scenes", (94.23, 89.14)), ("near-truth scenes", (99.94, 99.77))):
        for measure, share in zip(("per_option", "per_question"), published, strict=True):
            measured = 100 * real[scenes]["paper"][measure]
            target = f"{share} within .2"
            yield _row(f"`paper`, {scenes}, {_words(measure)}", measured, target, abs(measured - share) <= 0.2)

    near = 100 * real["near-truth scenes"]["compartment"]["per_option"]
    yield _row("near-truth scenes, per option", near, "at least 99.9", near >= 99.9)
    learned = real["noisy scenes, learned units, every seed"]["compartment"]

    for measure, minimum in (("per_option", 98), ("per_question", 94)):
        mean = 100 * learned[measure]["mean"]
        sd = 100 * learned[measure]["sd"]
        row = _row(f"noisy scenes, learned unit, {_words(measure)}", mean, f"at least {minimum}", mean >= minimum)
        yield row | {"sd": round(sd, 2), "seeds": len(learned[measure]["seeds"])}

    goal = 100 * learned["per_option"]["mean"]
    yield _row("the same, the goal, per option", goal, "at least 99", goal >= 99)
    share = 100 * silver["noisy scenes, learned units"]["compartment"]["per_option"]
    yield _row("silver descriptive, noisy scenes", share, "at least 97, if reachable", share >= 97)
    ceiling = 100 * silver["error budget, learned"]["all true"]["per_option"]
    yield _row("the same with every perceived part true: the ceiling", ceiling, "-", None)
    what_if = sets["silver counterfactual"]["noisy scenes, learned units"]["compartment, causal"]
    share = 100 * what_if["per_option"]
    yield _row("silver counterfactual, noisy scenes, per option", share, "above 80", share > 80)


def speed(results: Mapping[str, Any]) -> Iterator[Row]:
    """Speed of the batched graph relative to other ways, on the real questions."""
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
    """Share of the accuracy without faults that is left with faults, in percent."""
    for row in results["faults"]["rows"]:
        if "target_percent_of_clean" in row:
            minimum = row["target_percent_of_clean"]
            share = row["percent_of_clean"]
            figure = f"left of clean, {row['graph']}, {row['fault']}"
            yield _row(figure, share, f"at least {minimum}", share >= minimum)


def videos(results: Mapping[str, Any]) -> Iterator[Row]:
    """Generated videos, from pixels and words, percent of questions."""
    for kind, minimum in results["targets_per_question"].items():
        measured = 100 * results["rows"]["test"][kind]["per_question"]
        yield _row(f"generated videos, {kind}", measured, f"at least {100 * minimum:.0f}", measured >= 100 * minimum)

    for kind in results["targets_per_question"]:
        yield _row(f"outside ranges, {kind}", 100 * results["rows"]["outside"][kind]["per_question"], "-", None)


def rows() -> list[Row]:
    """All targets, each with the file of its measured value."""
    makers = {"accuracy": accuracy, "parallelism": speed, "robustness": faults, "videos": videos}
    table: list[Row] = []
    for name, make in makers.items():
        file = RESULTS / f"{name}.json"
        table += [row | {"from": file.name} for row in make(json.loads(file.read_text()))]

    return table


def _row(figure: str, measured: float, target: str, met: bool | None) -> Row:
    return {"figure": figure, "measured": round(measured, 2), "target": target, "met": met}


def _words(measure: str) -> str:
    return measure.replace("_", " ")


def main() -> int:
    """Writes the table and prints it, or checks the written one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the written table differs")
    check = parser.parse_args().check
    file = RESULTS / "targets.json"
    table = rows()

    if check:
        return int(json.loads(file.read_text()) != {"targets": table})

    write_text(file, json.dumps({"targets": table}, indent=1) + "\n")
    for row in table:
        verdict = {True: "met", False: "missed", None: ""}[row["met"]]
        print(f"{row['figure']:<75} {row['measured']:>8} {row['target']:<28} {verdict}")

    return 0


if __name__ == "__main__":
    sys.exit(main())
