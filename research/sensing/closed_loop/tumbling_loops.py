"""Closed loops through generated scenes that are hard to hold on to: a measure of losing that needs no recording.

    python research/sensing/closed_loop/tumbling_loops.py     # the research weights; 3 minutes of one core

Each scene lasts for two and a half seconds, five times as long as those that pathways learn from, and the target passes
others and is passed by them; it may be hardly brighter than what is behind it, from the first frame on. Only the first
box is given.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from spikebridge.data.io.atomic import write_text
from spikebridge.data.recordings.recording import Recording
from spikebridge.data.simulation.render import render_recording
from spikebridge.data.simulation.tumbling_objects import TumblingObjects
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.data import DT
from spikebridge.networks.sensing.evaluation.protocols import one_pass_evaluation
from spikebridge.networks.sensing.evaluation.runner import join_results
from spikebridge.pretrained import shipped_run

RESULTS = Path(__file__).parent / "results" / "tumbling_loops.json"
SCENES = 24
SECONDS = 2.5
FIRST = 900_000  # no training has such a seed


def scenes() -> Iterator[Recording]:
    """Each with other sizes, speeds and backgrounds."""
    for i in range(SCENES):
        # a generator of its own, so that the picture of a scene does not reveal its settings
        generator = np.random.default_rng([777, i])
        scene = TumblingObjects(
            height=200,
            width=260,
            seed=FIRST + i,
            size=generator.uniform(22, 40),
            speed=generator.uniform(100, 260),
            num_distractors=int(generator.integers(1, 4)),
            num_panels=int(generator.integers(4, 10)),
            light_change=0.15,
            turning=generator.uniform(0.2, 1.2),
            tumbling=generator.uniform(0.4, 1),
        )

        yield render_recording(scene, duration=SECONDS, dt=DT, image_interval=DT, name=f"tumbling {i}")


def main() -> None:
    """Follows with every seed, and writes."""
    run = shipped_run("sensing_research")
    if run is None:
        raise SystemExit("no weights are shipped")

    filmed = list(scenes())
    rows: list[dict[str, Any]] = []

    for path in run.children():
        network, _, seed = path.partition("/seed-")
        tracker = sensing.tracker(run, network, int(seed))
        loops = [one_pass_evaluation(one, tracker, range(one.num_frames)) for one in filmed]
        whole = join_results(loops).score()
        each = [loop.score().lost_share for loop in loops]
        lost = sum(share > 0.1 for share in each)
        figures = {"auc": round(whole.auc, 3), "lost share": round(whole.lost_share, 3)}
        rows.append({"training": path, **figures, "scenes": len(loops), "lost for a tenth of the time": lost})
        print(rows[-1], flush=True)

    content = {"environment": run.environment(), "rows": rows}
    write_text(RESULTS, json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    main()
