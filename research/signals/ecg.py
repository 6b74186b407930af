"""Beats of `ecg_100`: a small hybrid beside the detector of Pan and Tompkins, with and without added noise.

    python research/signals/ecg.py            # three seeds (a quarter of an hour on one core)
    python research/signals/ecg.py --quick    # 20 steps of training, one seed; writes nothing

Trains and scores the preset `ecg_100` of the signals recipe (task `detect`), seed by seed, resumed where it was
stopped. --folder/seed-0 is the run of `spikebridge train signals --preset ecg_100 --num-seeds 1`, whose weights ship.
The hybrid is trained, and its threshold is chosen, on the first two thirds; the last third is scored. A detection is
right within 50 ms of a beat, each beat once. The hybrid fires at most 150 ms after the beat. Noise is white; its ratio
is that of the variances of signal and noise, for each channel. Pan-Tompkins reads the first channel and searches back,
so it is not held to the 150 ms.

The last third was seen while the detector was designed (its one ventricular beat led to stretched and inverted training
pieces; the hold before a recording, the jump of the threshold): it is not a clean test of the design.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from spikebridge.data.io.atomic import write_text
from spikebridge.networks.signals import recipe as signals
from spikebridge.training import Run
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "ecg.json"
NAMES = {"learned": "hybrid", "learned, fixed threshold": "without the ANN", "Pan-Tompkins": "Pan-Tompkins"}


def measured(config: signals.Config, folder: Path) -> dict[str, Any]:
    """Parameters, beats, and the counts of every detector, seed and level of noise."""
    rows = []
    delays = []

    for seed in range(config.num_seeds):
        one_seed = replace(config, seed=seed, num_seeds=1)
        run = Run.create(folder / f"seed-{seed}", "signals", one_seed, resume=True)
        if not run.finished:
            signals.train(one_seed, run)

        results = run.first_child("learned").results()
        for one in results["detections"]:
            row = {"detector": NAMES[one["detector"]], "seed": seed, "part": "last third", "snr dB": one["snr_db"]}
            counts = {name: one[name] for name in ("errors", "missed", "false")}
            rows.append({**row, **counts, "sensitivity %": one["sensitivity"], "precision %": one["precision"]})
            if one["detector"] == "learned":
                delays.append({"seed": seed, "snr dB": one["snr_db"], "largest delay ms": one["latest_ms"]})

    return {"parameters": results["parameters"], "beats": results["beats"], "rows": rows, "delays": delays}


def main() -> None:
    """Trains, scores and writes the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/signals-ecg"))
    parser.add_argument("--quick", action="store_true", help="20 steps of training, one seed; writes nothing")
    given = parser.parse_args()
    config = signals.PRESETS["ecg_100"]

    if given.quick:
        with TemporaryDirectory() as folder:
            config = replace(config, num_seeds=1, beats=replace(config.beats, steps=20))
            print(json.dumps(measured(config, Path(folder))["rows"], indent=1))
        return

    found = measured(config, given.folder)
    print(json.dumps(found["rows"], indent=1))
    write_text(RESULTS, json.dumps({**found, "environment": describe_environment()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
