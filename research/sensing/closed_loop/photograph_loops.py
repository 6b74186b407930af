"""The tracker from the first box (C) on photographs that no weights were trained on.

    python research/sensing/closed_loop/photograph_loops.py                                # four minutes of one core
    python research/sensing/closed_loop/photograph_loops.py --run FOLDER --claims 1 1.5 2  # of a run; writes nothing

Generated scenes of validation photographs. Films, frames alone: 16 in which parts of photographs move over another one,
and 16 of a camera before a photograph, whose target is a part of it. 10 scenes of 0.9 s have events. AUC, default
settings, of both shipped weights (seed 0), and of the correlation filter alone. `--claims` are factors of the standard
deviation that the detector claims: on these scenes it may be chosen. Writes results/photograph_loops.json.
"""

import argparse
import json
from collections.abc import Iterator
from math import log
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from research.sensing.variants.films import film_parts
from spikebridge.data.io.atomic import write_text
from spikebridge.data.recordings.recording import Recording
from spikebridge.data.simulation.families import family_recording
from spikebridge.data.simulation.render import scene_seeds
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.evaluation.protocols import at_frames, one_pass_evaluation
from spikebridge.pretrained import shipped_run
from spikebridge.training.run.environment import describe_environment
from spikebridge.training.run.run import Run

_RESULTS = Path(__file__).with_name("results") / "photograph_loops.json"
_NUM_FILMS = 32
_NUM_SCENES = 10
_SECONDS = 0.9


def _recordings() -> Iterator[tuple[str, Recording]]:
    for number, (film, _) in enumerate(film_parts("validation", _NUM_FILMS)):
        yield ("films, parts of photographs" if number % 2 else "films, moving objects"), film
    for seed in scene_seeds("validation", _NUM_SCENES):
        yield "with events", family_recording("photographs", seed, _SECONDS)


def _loops(tracker: Any, recordings: list[tuple[str, Recording]]) -> dict[str, float]:
    """Mean AUC of each kind, and their mean."""
    found: dict[str, list[float]] = {}
    for kind, recording in recordings:
        has_events = recording.events.num_events > 0
        result = one_pass_evaluation(recording, tracker.with_options(synchronous=not has_events, warns=False))
        found.setdefault(kind, []).append((result if has_events else at_frames(recording, result)).score().auc)

    means = {kind: fmean(values) for kind, values in found.items()}
    return {**means, "mean": fmean(means.values())}


def _claiming(run: Run, factor: float) -> Any:
    tracker: Any = sensing.tracker(run, "learned", 0)
    # the spread is the exponential of this output
    with torch.no_grad():
        tracker.sensing.detector.votes.bias[-1] += log(factor)
    return tracker


def main() -> None:
    """Prints a row for each tracker; without a run writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a run of the sensing recipe")
    parser.add_argument("--claims", type=float, nargs="+", default=[1.0], help="factors of what the detector claims")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    recordings = list(_recordings())

    if asked.run is not None:
        for factor in asked.claims:
            print(factor, _loops(_claiming(Run.open(asked.run), factor), recordings), flush=True)
        return

    default: Any = shipped_run("sensing")
    research: Any = shipped_run("sensing_research")
    trackers = {
        "sensing": sensing.tracker(default),
        "sensing_research": sensing.tracker(research, "learned", 0),
        "filter": sensing.tracker(default).with_options(detector="filter"),
    }

    rows = {}
    for name, tracker in trackers.items():
        rows[name] = _loops(tracker, recordings)
        print(name, rows[name], flush=True)

    environment = describe_environment(seed=0, threads=1)
    found = {
        "command": "python research/sensing/closed_loop/photograph_loops.py",
        "rows": rows,
        "environment": environment,
    }

    write_text(_RESULTS, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
