"""Events of single objects: the designed track unit beside a learned one, on the true events of CLEVRER's videos.

    python research/reasoning/events/measure.py

Needs the scenes of `SPIKEBRIDGE_DATA`. Collisions are those of the shipped collision unit, which has seen none of these
videos. The learned unit is trained on training videos from 0 with three seeds, its thresholds are chosen on others from
3000; both units are scored on videos from 4000, on the validation videos with a real question, and on generated videos.
An event is found if it is of the same object and at most 5 frames away.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from research.reasoning.events.learned_unit import LearnedTrackUnit, train
from research.reasoning.events.truth import KINDS, TrueEvents, generated_events, read_true_scenes, true_events
from spikebridge.data.catalog import find_files
from spikebridge.hybrid import HybridUnit
from spikebridge.networks.reasoning.data.clevrer_questions import read_questions
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.events.events import EVENT_KINDS
from spikebridge.networks.reasoning.events.track_events import KINDS as UNIT_KINDS
from spikebridge.networks.reasoning.events.track_events import TrackEventUnit, detect_track_events
from spikebridge.networks.reasoning.simulation.video import generate_video
from spikebridge.networks.reasoning.training.trained_units import learned_reader
from spikebridge.pretrained import shipped_run

RESULTS = Path(__file__).parents[1] / "results" / "track_events.json"
TOLERANCE = 5  # frames
_THRESHOLDS = (-1.0, 0.0, 1.0, 2.0)


def matches(
    found: Sequence[tuple[Any, float]], true: Sequence[tuple[Any, float]], unclear: Sequence[tuple[Any, float]]
) -> tuple[int, int, int]:
    """Found, false and missed events; a true event is found once, and unclear ones count for nothing."""
    left = list(true)
    false = 0
    for triple, frame in sorted(found, key=lambda event: event[1]):
        near = [event for event in left if event[0] == triple and abs(event[1] - frame) <= TOLERANCE]
        if near:
            left.remove(min(near, key=lambda event: abs(event[1] - frame)))
        elif not any(event[0] == triple and abs(event[1] - frame) <= TOLERANCE for event in unclear):
            false += 1

    return len(true) - len(left), false, len(left)


def score(unit: HybridUnit, scenes: Sequence[Scene], truths: Sequence[TrueEvents]) -> dict[str, dict[str, float]]:
    """Precision, recall and F1 of each kind."""
    counts = {kind: np.zeros(3) for kind in KINDS}
    for scene, truth in zip(scenes, truths, strict=True):
        rows = detect_track_events(scene, unit).tolist()
        for kind in KINDS:
            found = [(scene.objects[o], frame) for k, frame, o in rows if EVENT_KINDS[k] == kind]
            counts[kind] += matches(found, truth.events[kind], truth.unclear[kind])

    return {
        kind: {
            "precision": round(float(hit / max(hit + false, 1)), 4),
            "recall": round(float(hit / max(hit + missed, 1)), 4),
            "f1": round(float(2 * hit / max(2 * hit + false + missed, 1)), 4),
            "true": int(hit + missed),
        }
        for kind, (hit, false, missed) in counts.items()
        # truth may not tell a kind at all
        if hit + missed
    }


def choose_thresholds(unit: LearnedTrackUnit, scenes: Sequence[Scene], truths: Sequence[TrueEvents]) -> None:
    """Sets the threshold of each kind to the one with the best F1."""
    table = []
    for threshold in _THRESHOLDS:
        unit.nonlinearity.thresholds.fill_(float(threshold))
        scores = score(unit, scenes, truths)
        table.append([scores[kind]["f1"] if kind in scores else 0.0 for kind in KINDS])

    best = np.array(_THRESHOLDS)[np.argmax(table, axis=0)]
    by_kind = dict(zip(KINDS, best, strict=True))
    values = [float(by_kind.get(EVENT_KINDS[kind], 3.0)) for kind in UNIT_KINDS]
    unit.nonlinearity.thresholds.copy_(torch.tensor(values))


def with_collisions(scenes: Sequence[Scene]) -> list[Scene]:
    """The scenes with the collisions of the shipped unit; entrances and exits stay as perceived."""
    run = shipped_run("reasoning")
    if run is None:
        raise SystemExit("no run of the reasoning network is shipped")

    reader = learned_reader(run)
    reader.presence = None
    return [scene for k in range(0, len(scenes), 250) for scene in reader(scenes[k : k + 250])]


def videos_of_real_questions(paths: dict[str, Path]) -> tuple[list[Scene], list[TrueEvents]]:
    """The validation videos with a real question."""
    videos = {question.video for question in read_questions(paths["questions_explanatory_real.jsonl.gz"])}
    pairs = [pair for pair in read_true_scenes(paths["scenes_masks.jsonl.gz"]) if pair[0].video in videos]
    return with_collisions([s for s, _ in pairs]), [true_events(s, truth) for s, truth in pairs]


def generated_videos(number: int) -> tuple[list[Scene], list[TrueEvents]]:
    """Generated test videos with noise of 0.1 px on all places, and their own collisions."""
    generator = np.random.default_rng(7)
    scenes = []
    truths = []
    for k in range(number):
        video = generate_video("test", k)
        scene = video.scene()
        noise = generator.normal(0, 0.1, scene.positions.shape)
        scenes.append(replace(scene, positions=scene.positions + noise))
        truths.append(generated_events(video))

    return scenes, truths


def training_videos(paths: dict[str, Path], first: int, number: int) -> tuple[list[Scene], list[TrueEvents]]:
    """Some training videos."""
    pairs = list(read_true_scenes(paths["scenes_train_perceived.jsonl.gz"], first, number))
    return with_collisions([s for s, _ in pairs]), [true_events(s, truth) for s, truth in pairs]


def add_means(results: dict[str, Any]) -> None:
    """Adds mean, lowest and highest F1 of the learned units."""
    for rows in results.values():
        for kind in rows["designed"] if "learned" in rows else ():
            values = [one[kind]["f1"] for one in rows["learned"]]
            summary = {"mean": round(fmean(values), 4), "min": min(values), "max": max(values)}
            rows.setdefault("learned_f1", {})[kind] = summary


def main() -> None:
    """Measures, prints, and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-train", type=int, default=1500, help="training videos of the learned unit")
    parser.add_argument("--num-scored", type=int, default=800, help="training videos on which both are scored")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--only-designed", action="store_true", help="no learned unit; nothing is written")
    options = parser.parse_args()

    folder = next(path.parent for path in find_files("clevrer"))
    paths = {path.name: path for path in folder.iterdir()}
    sets: dict[str, Callable[[], tuple[list[Scene], list[TrueEvents]]]] = {
        "training videos from 4000": lambda: training_videos(paths, 4000, options.num_scored),
        "validation videos with a real question": lambda: videos_of_real_questions(paths),
        "generated test videos": lambda: generated_videos(200),
    }
    scored = {name: make() for name, make in sets.items()}
    results: dict[str, Any] = {name: {"designed": score(TrackEventUnit(), *rows)} for name, rows in scored.items()}

    if not options.only_designed:
        train_set = training_videos(paths, 0, options.num_train)
        choice_set = training_videos(paths, 3000, 200)
        for seed in range(options.seeds):
            unit = train(*train_set, seed, options.epochs)
            choose_thresholds(unit, *choice_set)
            for name, rows in scored.items():
                results[name].setdefault("learned", []).append(score(unit, *rows))
                print(name, "learned, seed", seed, {k: v["f1"] for k, v in results[name]["learned"][-1].items()})

    add_means(results)
    for name, rows in results.items():
        print(name)
        for kind in rows["designed"]:
            print(f"  {kind:5} designed {rows['designed'][kind]}  learned F1 {rows.get('learned_f1', {}).get(kind)}")

    if not options.only_designed:
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
