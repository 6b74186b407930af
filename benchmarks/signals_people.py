"""Accuracy on people left out: the hybrid of the signals recipe and its twins, on each set.

    python benchmarks/signals_people.py --sets watch myo --networks learned ann --seeds 2

Trains the preset of each set on every fold (resumed where it was stopped, in --folder), and writes, for each set, the
tables of the run into benchmarks/results/signals_people.json: networks, differences in pairs of people, people, and
accuracy by answer. Sets that are not named keep their entries. `--quick` takes the quick form of each set.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from spikebridge.data.io.atomic import write_text
from spikebridge.networks.signals import recipe as signals
from spikebridge.networks.signals.model.network import VARIANTS
from spikebridge.training import Run
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "signals_people.json"


def main() -> None:
    """Trains, and writes what is committed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=["spoken_digits", "watch", "myo"])
    parser.add_argument("--networks", nargs="+", default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("runs/signals-people"))
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in options.sets:
        preset = signals.PRESETS[f"{name}_quick" if options.quick else name]
        config = replace(preset, networks=tuple(options.networks), num_seeds=options.seeds)
        run = Run.create(options.folder / name, "signals", config, resume=True)
        results = run.results() if run.finished else signals.train(config, run)
        words = f"--sets {name} --networks {' '.join(options.networks)} --seeds {options.seeds}"
        command = f"python benchmarks/signals_people.py {words}"
        found[name] = {**results, "command": command, "environment": describe_environment(), "config": run.config}
        print(name, json.dumps(results["networks"]))
        if not options.quick:
            write_text(RESULTS, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
