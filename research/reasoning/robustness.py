"""Robustness of the reasoning graph and of the symbolic executor to faults and to errors of perception.

    python research/reasoning/robustness.py --data FOLDER [--every 4] [--seeds 3] [--parts faults rule errors]

The questions are real explanatory ones of CLEVRER (every n-th); scenes are noisy unless stated. Faults of the graph:
noise of weights, neurons that never fire, spikes that do not arrive, weights of few bits; each preset, and the default
one with five copies of each neuron. Errors of perception: the thresholds of the collision rule swept (Fig. 4d of the
paper), and collisions missed, added, shifted, attributes flipped on near-truth scenes. They are also measured with the
executor, with the executor and a guess if it refuses (its expected score), and with the executor on the first 20
events, as in the published graph. A guess is right half of the time, so a graph that guesses is no better.
"""

import argparse
import json
import math
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from research.reasoning.graphs.faulty_graph import FaultyOptions, GraphFaults
from research.reasoning.graphs.published_graph import MAX_EVENTS, published
from research.reasoning.scenes import QuestionSet, real_questions
from spikebridge.networks.reasoning.data.scene import ATTRIBUTES, Scene
from spikebridge.networks.reasoning.events.collision_unit import FixedCollisionUnit
from spikebridge.networks.reasoning.events.reader import CollisionReader
from spikebridge.networks.reasoning.executor import Executor
from spikebridge.networks.reasoning.graph.layout import PRESETS
from spikebridge.networks.reasoning.graph.run import run_questions
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "robustness.json"
PARTS = ("faults", "rule", "errors")
COPIES = 5
NO_FAULTS = GraphFaults()
GRAPHS: dict[str, FaultyOptions] = {
    f"compartment x{COPIES}": FaultyOptions(PRESETS["compartment"], copies=COPIES),
    "paper": published(),
    **{name: FaultyOptions(preset) for name, preset in PRESETS.items()},
}
FAULTS: dict[str, list[GraphFaults]] = {
    "weight noise": [GraphFaults(weight_noise=noise) for noise in (0.01, 0.02, 0.05)],
    "neurons lost": [GraphFaults(lost=share) for share in (0.01, 0.05)],
    "spikes deleted": [GraphFaults(deleted=share) for share in (0.001, 0.01)],
    "bits": [GraphFaults(bits=bits) for bits in (8, 4, 3)],
}
TARGETS = {"weight noise 0.01", "neurons lost 0.01", "spikes deleted 0.01"}
DEFAULT_RULE = {"near": 20.0, "jolt": 1.0}
SWEEPS = {"jolt": (0.25, 0.5, 1.0, 2.0, 4.0), "near": (12.0, 16.0, 20.0, 24.0, 28.0)}


def in_percent(chances: Sequence[Sequence[float]]) -> dict[str, float]:
    """Accuracy by option and by question, from the chance of each option of each question to be right."""
    options = [chance for row in chances for chance in row]
    return {
        "per_option": round(100 * statistics.fmean(options), 2),
        "per_question": round(100 * statistics.fmean(math.prod(row) for row in chances), 2),
    }


def score_graph(data: QuestionSet, options: FaultyOptions, faults: GraphFaults = NO_FAULTS) -> dict[str, float]:
    """The accuracy of a graph with faults."""
    answers = run_questions(data.scenes, data.questions, replace(options, faults=faults))
    rows = []
    for question, row in zip(data.questions, answers, strict=True):
        rows.append([float(a.value == truth) for a, truth in zip(row, question.answers, strict=True)])

    return in_percent(rows)


def score_executors(data: QuestionSet) -> dict[str, dict[str, float]]:
    """The accuracy of the executor, with a guess if it refuses, and on the published number of events."""
    scores: dict[str, dict[str, float]] = {}
    for name, guess, clip in (
        ("executor", 0.0, None),
        ("executor + guess", 0.5, None),
        ("executor, clips", 0.0, MAX_EVENTS),
    ):
        executors = {scene.video: Executor(scene) for scene in data.scenes}
        rows = []
        refusals = 0

        for executor in executors.values():
            del executor.seen.events[len(executor.seen.events) if clip is None else clip :]

        for question in data.questions:
            outcomes = [executors[question.video].run(program).value for program in question.programs]
            refusals += outcomes.count(None)
            pairs = zip(outcomes, question.answers, strict=True)
            rows.append([guess if value is None else float(value == truth) for value, truth in pairs])

        scores[name] = {**in_percent(rows), "refusals": refusals}

    return scores


def mean_and_deviation(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean over seeds, and the standard deviation."""
    result = {}
    for name in ("per_option", "per_question"):
        values = [row[name] for row in rows]
        result[name] = round(statistics.fmean(values), 2)
        result[f"{name}_sd"] = round(statistics.stdev(values), 2) if len(values) > 1 else 0.0

    return result


def measure_faults(data: QuestionSet, seeds: int) -> list[dict[str, object]]:
    """The accuracy of each graph with each fault."""
    rows: list[dict[str, object]] = []
    for name, options in GRAPHS.items():
        clean = score_graph(data, options)
        rows.append({"graph": name, "fault": "none", **clean})
        print(rows[-1], flush=True)

        for kind, levels in FAULTS.items():
            for level in levels:
                size = next(v for v in (level.weight_noise, level.lost, level.deleted, level.bits) if v)
                # rounding is not random
                num_seeds = 1 if kind == "bits" else seeds
                runs = [score_graph(data, options, replace(level, seed=s)) for s in range(num_seeds)]
                scores = mean_and_deviation(runs)
                share = round(100 * scores["per_option"] / clean["per_option"], 1)
                measured = {**scores, "percent_of_clean": share, "seeds": num_seeds}
                row = {"graph": name, "fault": f"{kind} {size}", **measured}

                if row["fault"] in TARGETS and name == f"compartment x{COPIES}":
                    row |= {"target_percent_of_clean": 90, "met": share >= 90}

                rows.append(row)
                print(row, flush=True)

    return rows


def score_all(data: QuestionSet) -> dict[str, object]:
    """The accuracy of the default and the published graph, and of the executors."""
    graphs = {name: score_graph(data, GRAPHS[name]) for name in ("compartment", "paper")}
    return {**graphs, **score_executors(data)}


def sweep_rule(data: QuestionSet) -> list[dict[str, object]]:
    """The accuracy with collisions of the rule at several thresholds: strict ones miss, loose ones add collisions."""
    rows: list[dict[str, object]] = []
    settings = [{**DEFAULT_RULE, name: value} for name, values in SWEEPS.items() for value in values]
    for setting in {tuple(setting.items()): setting for setting in settings}.values():
        scenes = CollisionReader(FixedCollisionUnit(setting["near"], setting["jolt"]))(data.scenes)
        number = sum(len(scene.collisions) for scene in scenes) / len(scenes)
        scores = score_all(data._replace(scenes=scenes))
        rows.append({"rule": setting, "collisions_a_video": round(number, 2), **scores})
        print(rows[-1], flush=True)

    return rows


def missed(scene: Scene, rng: np.random.Generator, share: float) -> Scene:
    """The scene without a share of its collisions."""
    return scene.with_collisions(scene.collisions[rng.random(len(scene.collisions)) >= share])


def added(scene: Scene, rng: np.random.Generator, share: float) -> Scene:
    """The scene with random collisions, on average a share of those that it has."""
    number = rng.poisson(share * len(scene.collisions)) if scene.num_objects > 1 else 0
    rows = [[int(rng.integers(0, 26)) * 5, *rng.choice(scene.num_objects, 2, replace=False)] for _ in range(number)]
    return scene.with_collisions(np.concatenate([scene.collisions, np.array(rows, dtype=np.int64).reshape(-1, 3)]))


def shifted(scene: Scene, rng: np.random.Generator, frames: float) -> Scene:
    """The scene with collisions at other frames, by a standard deviation of frames."""
    rows = scene.collisions.copy()
    rows[:, 0] = np.clip(rows[:, 0] + np.round(rng.normal(0, frames, len(rows))), 0, 127)
    return scene.with_collisions(rows)


def flipped(scene: Scene, rng: np.random.Generator, share: float) -> Scene:
    """The scene with another value for a share of the attributes."""
    triples: list[tuple[str, str, str]] = []
    for triple in scene.objects:
        values = [
            str(rng.choice([v for v in ATTRIBUTES[kind] if v != value])) if rng.random() < share else value
            for kind, value in zip(ATTRIBUTES, triple, strict=True)
        ]
        triples.append((values[0], values[1], values[2]))

    return replace(scene, objects=tuple(triples))


ERRORS: dict[str, tuple[Callable[[Scene, np.random.Generator, float], Scene], tuple[float, ...]]] = {
    "collisions missed": (missed, (0.05, 0.2)),
    "collisions added": (added, (0.05, 0.2)),
    "collisions shifted": (shifted, (2.5, 10.0)),
    "attributes flipped": (flipped, (0.02, 0.1)),
}


def measure_errors(data: QuestionSet, seeds: int) -> list[dict[str, object]]:
    """The accuracy with one kind of error at a time, on near-truth scenes."""
    rows: list[dict[str, object]] = [{"error": "none", **score_all(data)}]
    for kind, (change, sizes) in ERRORS.items():
        for size in sizes:
            runs = []
            for seed in range(seeds):
                rng = np.random.default_rng(seed)
                runs.append(score_all(data._replace(scenes=[change(scene, rng, size) for scene in data.scenes])))

            means = {name: mean_and_deviation([run[name] for run in runs]) for name in runs[0]}  # type: ignore[misc]
            rows.append({"error": kind, "size": size, "seeds": seeds, **means})
            print(rows[-1], flush=True)

    return rows


def main() -> None:
    """Runs the parts and writes their results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    folder = os.environ.get("SPIKEBRIDGE_DATA")
    parser.add_argument("--data", type=Path, default=folder, required=folder is None, help="folder with clevrer/")
    parser.add_argument("--every", type=int, default=4, help="take every n-th question")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    noisy = real_questions(options.data, every=options.every)
    near = real_questions(options.data, "scenes_near_truth.jsonl.gz", every=options.every)
    results: dict[str, object] = json.loads(options.out.read_text()) if options.out.exists() else {}

    for part in options.parts:
        rows: list[dict[str, object]]
        if part == "faults":
            rows = measure_faults(noisy, options.seeds)
        elif part == "rule":
            rows = [{"rule": "as perceived", **score_all(noisy)}, *sweep_rule(noisy)]
        else:
            rows = measure_errors(near, options.seeds)

        # written part by part, so that a stopped run leaves its results
        results[part] = {
            "questions": len(noisy.questions),
            "options": sum(len(question.choices) for question in noisy.questions),
            "scenes": near.name if part == "errors" else noisy.name,
            "rows": rows,
            "environment": describe_environment(),
        }

        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
