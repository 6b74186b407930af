"""The shipped sensing network beside every baseline, in every protocol, on the test part of the real recording.

    python research/sensing/cameras/tracking_baselines.py                # writes results/tracking_baselines.json
    python research/sensing/cameras/tracking_baselines.py --run RUN      # of another run

It needs the recording of FE240hz in SPIKEBRIDGE_DATA, and OpenCV (the extra `opencv`). Each question is written down as
soon as it is answered, and asked again only where it is missing or the weights are others.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from research.sensing.baselines.evaluate import evaluate
from spikebridge.data.io.atomic import write_text
from spikebridge.networks.sensing.recipe import Evaluation
from spikebridge.pretrained import shipped_run
from spikebridge.training import Run

RESULTS = Path(__file__).parent / "results" / "tracking_baselines.json"
BETWEEN = "hold,constant_velocity,kalman,events,decay_0"
CLOSED = "hold,ann_hold,ann_constant_velocity,events,decay_0,kcf,csrt"
QUESTIONS: dict[str, dict[str, Any]] = {
    "A": {"protocol": "A", "baselines": BETWEEN},
    "A, shaken by 1 px": {"protocol": "A", "baselines": BETWEEN, "box_noise": 1.0},
    "A, shaken by 2 px": {"protocol": "A", "baselines": BETWEEN, "box_noise": 2.0},
    "A at 20 Hz": {"protocol": "A", "baselines": BETWEEN, "keep_every": 2},
    "A at 10 Hz": {"protocol": "A", "baselines": BETWEEN, "keep_every": 4},
    "A at 5 Hz": {"protocol": "A", "baselines": BETWEEN, "keep_every": 8},
    "C": {"protocol": "C", "baselines": CLOSED},
    "E at the chip's rates": {
        "protocol": "E",
        "baselines": "hold,ann_hold,ann_constant_velocity",
        "latency": "tianjic",
    },
}
FIGURES = ("mean_distance_px", "auc", "miou", "precision_3px", "precision_20px", "by_speed")


def answer(run: Run, options: dict[str, Any]) -> dict[str, Any]:
    """Figures of the network and of each baseline."""
    found = evaluate(run, options=Evaluation(split="test", recording="FE240hz_star_motion_0", **options))
    rows = {"network": found, **found["baselines"]}
    return {name: {figure: one[figure] for figure in FIGURES} for name, one in rows.items()}


def main() -> None:
    """Asks what was not asked yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    path = parser.parse_args().run
    run = Run.open(path) if path is not None else shipped_run("sensing_research")

    if run is None:
        raise SystemExit("no weights are shipped: name a run (--run)")

    record = {"config": run.config, "environment": run.environment()}
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    answers = known.get("answers", {}) if {name: known.get(name) for name in record} == record else {}

    for question, options in QUESTIONS.items():
        if question not in answers:
            answers[question] = answer(run, options)
            content = {**record, "answers": answers}
            write_text(RESULTS, json.dumps(content, indent=2) + "\n")

        print(question, {name: round(one["mean_distance_px"], 2) for name, one in answers[question].items()})


if __name__ == "__main__":
    main()
