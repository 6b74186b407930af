"""Claim: networks of different kinds join to a larger one: sensing, modulation and reasoning on one stream.

    python research/claims/networks/creature.py           # writes results/creature.json
    python research/claims/networks/creature.py --quick   # a graph with a true memory, in seconds; printed only

A creature is trained for each seed, environment after environment, and asked questions about new scenes. One part of
each network is then removed: the SNN of the events, the environment's gates, the memory of events. Weights of a
finished training are kept in runs/creature, so that a stopped run resumes.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from research.claims.experiment import Results, main, save
from research.creature.conversation import Conversation, questions_of
from research.creature.evaluation import Watched, evaluate_creature, true_memory, watch
from research.creature.model import Creature, CreatureOptions
from research.creature.scene import BINS_A_FRAME, ENVIRONMENTS, CreatureScene, SceneRanges, generate_scene
from research.creature.training import (
    FIRST_UNSEEN_SEED,
    TrainingSizes,
    train_readouts,
    train_senses,
    training_scenes,
)
from spikebridge.deploy import compare_bundle, export

RUNS = Path("runs/creature")
SEEDS = (0, 1, 2)
SCENES = 2  # of each environment
TEST = SceneRanges(seconds=3.0)


class CachedScene(CreatureScene):
    """A scene whose frames and events are computed once."""

    frames = cache(CreatureScene.frames)
    events = cache(CreatureScene.events)


def test_scenes(number: int) -> dict[str, list[CreatureScene]]:
    """The scenes of each environment that the questions are about."""
    scenes: dict[str, list[CreatureScene]] = {}
    for name in ENVIRONMENTS:
        plain = [generate_scene(FIRST_UNSEEN_SEED + k, name, TEST) for k in range(number)]
        scenes[name] = [
            CachedScene(**{field.name: getattr(scene, field.name) for field in fields(scene)}) for scene in plain
        ]

    return scenes


def kept(creature: Creature, name: str, training: Callable[[], dict[str, float]]) -> float:
    """Trains a creature, or loads the weights of a stopped run; the processor time of the training [s]."""
    path = RUNS / f"{name}.safetensors"
    if path.exists():
        weights = load_file(path)
        cpu = float(weights.pop("cpu_s"))
        creature.load_state_dict(weights)
        return cpu

    start = time.process_time()
    print(name, training(), flush=True)
    cpu = time.process_time() - start
    RUNS.mkdir(parents=True, exist_ok=True)
    weights = {name: value.contiguous().clone() for name, value in creature.state_dict().items()}
    save_file({**weights, "cpu_s": torch.tensor(cpu)}, path)

    return cpu


def trained(seed: int, sizes: TrainingSizes) -> tuple[Creature, float]:
    """A trained creature, and the processor time of its training [s]."""
    torch.manual_seed(seed)
    creature = Creature()
    data = cache(lambda: training_scenes(sizes, seed))
    cpu = kept(creature, f"seed-{seed}-senses", lambda: train_senses(creature, data(), sizes, seed))

    return creature, cpu + kept(creature, f"seed-{seed}", lambda: train_readouts(creature, data(), sizes, seed))


def without(creature: Creature, part: str) -> Creature:
    """A creature with the same weights, without a part of one of the networks."""
    changes: dict[str, dict[str, Any]] = {
        "events (sensing)": {"has_events": False},
        "gates (modulation)": {"is_gated": False},
        "memory of events (reasoning)": {"remembers": False},
    }

    cut = Creature(replace(creature.options, **changes[part]))
    cut.load_state_dict(creature.state_dict(), strict=False)

    return cut


def summary(watched: list[Watched]) -> Results:
    """Scores of watched scenes, with a summary of the latencies."""
    scores = evaluate_creature(watched)
    latencies = sorted(scores.pop("latency_ms"))
    scores["latency_ms"] = {
        "median": round(statistics.median(latencies), 1) if latencies else None,
        "largest": latencies[-1] if latencies else None,
        "values": latencies,
    }

    return scores


def compare_with_bundle(creature: Creature, scene: CreatureScene) -> Results:
    """Comparison of a bundle with the creature at every level, up to the first contact, with a question."""
    talk = Conversation(creature)
    talk.ask(("objects", "metal", "filter_material", "count"))
    bins = min(288, 24 * -(-(scene.touches[0].bin + 12) // 24))

    inputs = {
        "frames": scene.frames()[: bins // BINS_A_FRAME, None],
        "events": scene.events()[:bins, None],
        "program": talk.advance(10 * bins)[0],
    }

    path = RUNS / "creature.bundle"
    if path.exists():
        raise SystemExit(f"remove {path} first")

    comparison = compare_bundle(
        export(creature, inputs, path, card={"command": "research/claims/networks/creature.py"})
    )
    return {
        "passed": all(row.passed for row in comparison.rows),
        "rows": len(comparison.rows),
        "bins": bins,
        "graph_spikes_that_differ": max(row.share or 0.0 for row in comparison.rows if row.name == "graph"),
    }


def quick_graph() -> Results:
    """Answers of an untrained creature's graph with a perfect memory, and those of the executor."""
    scene = generate_scene(3, "neon", replace(TEST, contacts=(2, 5)))
    creature = Creature(CreatureOptions(num_objects=4, num_readout=8, num_features=2))
    results: Results = {"questions": [], "true": [], "answers": []}

    for question in questions_of(scene):
        talk = Conversation(creature)
        talk.ask(question.question.program)
        program, (read, *_) = talk.advance(60)
        memory = true_memory(scene, question.first).expand(60, 1, -1)
        spikes, _ = creature.graph(creature.parts["stimuli"](program)[0], memory=memory)
        results["questions"].append(question.question.text)
        results["true"].append(question.truths[0][1])
        results["answers"].append(talk.answer(read, spikes[read.tick, 0]))

    return results


def run(quick: bool) -> Results:
    """Scores of all seeds, whole and without each part, saved after each step."""
    if quick:
        return quick_graph()

    sizes = TrainingSizes()
    scenes = test_scenes(SCENES)
    rows: list[Results] = []
    results = {"rows": rows, "scenes_each": SCENES, "command": "python research/claims/networks/creature.py"}
    all_scenes = [scene for of_one in scenes.values() for scene in of_one]

    for seed in SEEDS:
        creature, cpu = trained(seed, sizes)
        row: Results = {"seed": seed, "training_cpu_s": round(cpu)}
        watched = watch(creature, all_scenes)
        row["environments"] = {name: summary(watched[k * SCENES :][:SCENES]) for k, name in enumerate(scenes)}
        # the first scene of each environment, which the incomplete creatures watch too
        row["whole, the same scenes"] = summary(watched[::SCENES])
        row["without"] = {}
        rows.append(row)
        results["weights"] = sum(parameter.numel() for parameter in creature.parameters())
        save("creature", results)

        for part in ("events (sensing)", "gates (modulation)", "memory of events (reasoning)"):
            row["without"][part] = summary(watch(without(creature, part), all_scenes[::SCENES]))
            save("creature", results)

        if seed == SEEDS[0]:
            # the earliest contact makes the shortest stream
            shortest = min(all_scenes, key=lambda scene: scene.touches[0].bin)
            results["bundle"] = compare_with_bundle(creature, shortest)
            save("creature", results)

        print(row, flush=True)

    return results


if __name__ == "__main__":
    main("creature", __doc__, run)
