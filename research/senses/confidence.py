"""Confidence of `live` when a sense goes in the middle of an action: UTD-MHAD, people left out, the first seed.

    spikebridge train senses --preset actions --networks hybrid --out runs/actions  # hours
    python research/senses/confidence.py runs/actions --json research/senses/results/confidence.json

Files of the trials, damaged after their middle, are stepped bin by bin as `live` does.
"""

import argparse
import json
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.streaming.torch_network import network_advance
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.senses.config import Config
from spikebridge.networks.senses.data.sets import folds_of_people, load_trials
from spikebridge.networks.senses.data.trials import SensorRecording, Trials
from spikebridge.networks.senses.model.network import senses_network
from spikebridge.networks.senses.shapes import shape_of
from spikebridge.networks.senses.stream import SensesSteps, open_sensors
from spikebridge.training import Run

# by sensor, from the middle of each trial on, or from its start
FAULTS = {
    "none": {},
    "wrist stops": {"inertia": "stops"},
    "wrist stands still": {"inertia": "stands still"},
    "eye stops": {"depth": "stops"},
    "eye goes dark": {"depth": "goes dark"},
    "no wrist": {"inertia": "missing"},
    "no eye": {"depth": "missing"},
}


def damaged(recording: SensorRecording, trial: int, fault: str | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """The values of a trial with a fault, and their times."""
    values, times = recording.of(trial)
    middle = len(times) // 2
    if fault == "stops":
        return values[:middle], times[:middle]
    if fault == "stands still":
        values[middle:] = values[middle - 1]
    if fault == "goes dark":
        values[middle:] = 0

    return values, times


def written(folder: Path, name: str, recording: SensorRecording, places: NDArray[Any], fault: str | None) -> Path:
    """A file of one sensor of some trials."""
    values, times = zip(*(damaged(recording, trial, fault) for trial in places), strict=True)
    starts = np.cumsum([0, *map(len, times)])
    np.savez(folder / f"{name}.npz", samples=np.concatenate(values), starts=starts, s=np.concatenate(times))
    return folder / f"{name}.npz"


def rows_of(network: HybridNetwork, trials: Trials, places: NDArray[Any], faults: dict[str, str]) -> list[list[float]]:
    """Right or not, probability, confidence, and a missing sense or not of the answer to each trial."""
    inputs = {name: (one.period, (6,) if name == "inertia" else (1, 32, 24)) for name, one in network.inputs.items()}
    steps = SensesSteps(inputs, network.dt, network_advance(network), network.wanted, trials.label_names)
    answers: dict[int, dict[str, Any]] = {}

    with tempfile.TemporaryDirectory() as folder:
        files = {
            name: written(Path(folder), name, trials.sensors[name], places, faults.get(name))
            for name in inputs
            if faults.get(name) != "missing"
        }
        source = open_sensors(files, steps)

    state = None
    for number in range(int(source.stops[-1])):
        answer, state = steps(source.inputs(number, number + 1), state)
        answers[answer["recording"]] = answer

    return [
        [answer["answer"] == trials.label_names[label], answer["share"], answer["confidence"], bool(answer["missing"])]
        for answer, label in zip(answers.values(), trials.label[places], strict=True)
    ]


def main() -> None:
    """Prints and writes a row for each fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--every", type=int, default=1, help="every N-th trial")
    options = parser.parse_args()

    run = Run.open(options.run)
    config = run.config_as(Config)
    trials = load_trials(config.dataset, config.data)
    shape = shape_of(config, trials)
    children = run.children()
    table = {}

    for case, faults in FAULTS.items():
        rows = []
        for fold, people in enumerate(folds_of_people(trials, config.people, config.num_folds)):
            network = senses_network("hybrid", shape)
            children[f"hybrid/fold-{fold}/seed-{config.seed}"].load_weights(network)
            places = np.flatnonzero(np.isin(trials.person, people))[:: options.every]
            rows += rows_of(network.eval(), trials, places, faults)

        figures = [round(fmean(column), 3) for column in zip(*rows, strict=True)]
        table[case] = dict(zip(("accuracy", "probability", "confidence", "missing"), figures, strict=True))
        print(case, table[case], flush=True)

    if options.json is not None:
        options.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
