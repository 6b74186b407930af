"""Beats of `ecg_100`: a small hybrid and the detector of Pan and Tompkins, with and without added noise.

    python research/signals/ecg.py            # three seeds (a quarter of an hour on one core)
    python research/signals/ecg.py --quick    # 20 steps of training, one seed; writes nothing

Trains and scores a detector of the signals recipe (task `detect`), seed by seed, resumed where it was stopped.
--folder/seed-0 is the run of `spikebridge train signals --dataset ecg_100 --task detect --networks learned`, whose
weights ship. The hybrid is trained, and its threshold is chosen, on the first two thirds; the last third is scored. A
detection is right within 50 ms of a beat, each beat once. The hybrid fires at most 150 ms after the beat. Noise is
white; its ratio is that of the variances of signal and noise, for each channel. Pan-Tompkins reads the first channel
and searches back, so it is not held to the 150 ms.

The last third is not a clean test of the design, which was made with it: its one ventricular beat led to stretched and
inverted training pieces, the padding of a recording and the jump of the threshold.
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
PRESET = signals.Config(dataset="ecg_100", task="detect", networks=("learned",), num_seeds=3)
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
        for scores in results["detections"]:
            about = {"detector": NAMES[scores["detector"]], "seed": seed, "part": "last third"}
            counts = {name: scores[name] for name in ("errors", "missed", "false")}
            shares = {"sensitivity %": scores["sensitivity"], "precision %": scores["precision"]}
            rows.append({**about, "snr dB": scores["snr_db"], **counts, **shares})
            if scores["detector"] == "learned":
                delays.append({"seed": seed, "snr dB": scores["snr_db"], "largest delay ms": scores["latest_ms"]})

    return {"parameters": results["parameters"], "beats": results["beats"], "rows": rows, "delays": delays}


def main() -> None:
    """Trains, scores and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/signals-ecg"))
    parser.add_argument("--quick", action="store_true", help="20 steps of training, one seed; writes nothing")
    options = parser.parse_args()

    if options.quick:
        quick = replace(PRESET, num_seeds=1, training=replace(PRESET.training, detector_steps=20))
        with TemporaryDirectory() as folder:
            print(json.dumps(measured(quick, Path(folder))["rows"], indent=1))
        return

    results = measured(PRESET, options.folder)
    print(json.dumps(results["rows"], indent=1))
    write_text(RESULTS, json.dumps({**results, "environment": describe_environment()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
