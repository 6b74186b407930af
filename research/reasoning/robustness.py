"""Robustness of the reasoning graph to its own faults and to errors of perception, beside the symbolic executor.

    python research/reasoning/robustness.py --data FOLDER [--every 4] [--seeds 3] [--parts faults rule errors]

Real explanatory questions of CLEVRER (every n-th), noisy scenes unless said. Faults of the graph: noise of weights,
neurons that never fire, spikes that do not arrive, weights of few bits; each preset, and the default one with five
copies of each neuron. Errors of perception: the thresholds of the collision rule swept (Fig. 4d of the paper), and
collisions missed, added, shifted, attributes flipped on nearly true scenes. Beside every figure of perception stand the
executor, the executor with a fair coin where it refuses (its expected score), and the executor with the clip at 20
events that the published graph has. A guess is right half the time here, so a graph that guesses is no better.
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
from research.reasoning.scenes import Asked, asked_of_data
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


def graded(asked: Asked, given: Sequence[Sequence[float]]) -> dict[str, float]:
    """Percent of options and of questions; a grade is the chance that an option is right."""
    options = [grade for row in given for grade in row]
    return {
        "per_option": round(100 * statistics.fmean(options), 2),
        "per_question": round(100 * statistics.fmean(math.prod(row) for row in given), 2),
    }


def by_graph(asked: Asked, options: FaultyOptions, faults: GraphFaults = NO_FAULTS) -> dict[str, float]:
    """The score of a graph with faults."""
    answers = run_questions(asked.scenes, asked.questions, replace(options, faults=faults))

    rows = [
        [float(a.value == truth) for a, truth in zip(given, question.answers, strict=True)]
        for question, given in zip(asked.questions, answers, strict=True)
    ]
    return graded(asked, rows)


def by_executor(asked: Asked) -> dict[str, dict[str, float]]:
    """The executor's score, with a coin where it refuses, and with the published clip."""
    found: dict[str, dict[str, float]] = {}
    for name, guess, clip in (
        ("executor", 0.0, None),
        ("executor + guess", 0.5, None),
        ("executor, clips", 0.0, MAX_EVENTS),
    ):
        executors = {scene.video: Executor(scene) for scene in asked.scenes}
        rows = []
        refusals = 0

        for executor in executors.values():
            executor.events = executor.events[:clip]

        for question in asked.questions:
            outcomes = [executors[question.video].run(program).value for program in question.programs]
            refusals += outcomes.count(None)
            pairs = zip(outcomes, question.answers, strict=True)
            rows.append([guess if value is None else float(value == truth) for value, truth in pairs])

        found[name] = {**graded(asked, rows), "refusals": refusals}

    return found


def mean_and_spread(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean over seeds, and the standard deviation."""
    found = {}
    for name in ("per_option", "per_question"):
        values = [row[name] for row in rows]
        found[name] = round(statistics.fmean(values), 2)
        found[f"{name}_sd"] = round(statistics.stdev(values), 2) if len(values) > 1 else 0.0

    return found


def faults_of_the_graph(asked: Asked, seeds: int) -> list[dict[str, object]]:
    """Every graph under every fault."""
    rows: list[dict[str, object]] = []
    for name, options in GRAPHS.items():
        clean = by_graph(asked, options)
        rows.append({"graph": name, "fault": "none", **clean})
        print(rows[-1], flush=True)

        for kind, levels in FAULTS.items():
            for level in levels:
                size = next(v for v in (level.weight_noise, level.lost, level.deleted, level.bits) if v)
                drawn = 1 if kind == "bits" else seeds
                scores = mean_and_spread([by_graph(asked, options, replace(level, seed=s)) for s in range(drawn)])
                share = round(100 * scores["per_option"] / clean["per_option"], 1)
                row = {"graph": name, "fault": f"{kind} {size}", **scores, "percent_of_clean": share, "seeds": drawn}

                if row["fault"] in TARGETS and name == f"compartment x{COPIES}":
                    row |= {"target_percent_of_clean": 90, "met": share >= 90}

                rows.append(row)
                print(row, flush=True)

    return rows


def beside(asked: Asked) -> dict[str, object]:
    """The graph, as default and as published, beside the executor."""
    graphs = {name: by_graph(asked, GRAPHS[name]) for name in ("compartment", "paper")}
    return {**graphs, **by_executor(asked)}


def thresholds_swept(asked: Asked) -> list[dict[str, object]]:
    """Collisions read by the rule at other thresholds: strict misses, loose invents."""
    rows: list[dict[str, object]] = []
    settings = [{**DEFAULT_RULE, name: value} for name, values in SWEEPS.items() for value in values]
    for setting in {tuple(setting.items()): setting for setting in settings}.values():
        scenes = CollisionReader(FixedCollisionUnit(setting["near"], setting["jolt"]))(asked.scenes)
        number = sum(len(scene.collisions) for scene in scenes) / len(scenes)
        rows.append({"rule": setting, "collisions_a_video": round(number, 2), **beside(asked._replace(scenes=scenes))})
        print(rows[-1], flush=True)

    return rows


def missed(scene: Scene, rng: np.random.Generator, share: float) -> Scene:
    """A share of the collisions is not seen."""
    return scene.with_collisions(scene.collisions[rng.random(len(scene.collisions)) >= share])


def added(scene: Scene, rng: np.random.Generator, share: float) -> Scene:
    """As many collisions are made up as a share of those that were, on average."""
    number = rng.poisson(share * len(scene.collisions)) if scene.num_objects > 1 else 0
    made = [[int(rng.integers(0, 26)) * 5, *rng.choice(scene.num_objects, 2, replace=False)] for _ in range(number)]
    return scene.with_collisions(np.concatenate([scene.collisions, np.array(made, dtype=np.int64).reshape(-1, 3)]))


def shifted(scene: Scene, rng: np.random.Generator, frames: float) -> Scene:
    """Collisions are seen earlier or later, spread by so many frames."""
    rows = scene.collisions.copy()
    rows[:, 0] = np.clip(rows[:, 0] + np.round(rng.normal(0, frames, len(rows))), 0, 127)
    return scene.with_collisions(rows)


def flipped(scene: Scene, rng: np.random.Generator, share: float) -> Scene:
    """A share of the attributes is taken for another value of its kind."""
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


def errors_of_perception(asked: Asked, seeds: int) -> list[dict[str, object]]:
    """One kind of error at a time, on nearly true scenes."""
    rows: list[dict[str, object]] = [{"error": "none", **beside(asked)}]
    for kind, (change, sizes) in ERRORS.items():
        for size in sizes:
            runs = []
            for seed in range(seeds):
                rng = np.random.default_rng(seed)
                runs.append(beside(asked._replace(scenes=[change(scene, rng, size) for scene in asked.scenes])))

            means = {who: mean_and_spread([run[who] for run in runs]) for who in runs[0]}  # type: ignore[misc]
            rows.append({"error": kind, "size": size, "seeds": seeds, **means})
            print(rows[-1], flush=True)

    return rows


def main() -> None:
    """Runs the parts and writes them down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = os.environ.get("SPIKEBRIDGE_DATA")
    parser.add_argument("--data", type=Path, default=known, required=known is None, help="folder with clevrer/")
    parser.add_argument("--every", type=int, default=4, help="take every n-th question")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    noisy = asked_of_data(options.data, every=options.every)
    near = asked_of_data(options.data, "scenes_near_truth.jsonl.gz", every=options.every)
    found: dict[str, object] = json.loads(options.out.read_text()) if options.out.exists() else {}

    for part in options.parts:
        rows: list[dict[str, object]]
        if part == "faults":
            rows = faults_of_the_graph(noisy, options.seeds)
        elif part == "rule":
            rows = [{"rule": "as perceived", **beside(noisy)}, *thresholds_swept(noisy)]
        else:
            rows = errors_of_perception(near, options.seeds)

        # written part by part, so that a long run leaves what it has
        found[part] = {
            "questions": len(noisy.questions),
            "options": sum(len(question.choices) for question in noisy.questions),
            "scenes": near.about if part == "errors" else noisy.about,
            "rows": rows,
            "environment": describe_environment(),
        }

        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
