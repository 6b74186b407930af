"""`eval sensing` with four more baselines: the SNN alone, the network without memory, and two trackers of OpenCV.

    python research/sensing/baselines/evaluate.py [RUN] [--data FOLDER] [--protocol C] [--baselines events,csrt]

| name | tracker |
|---|---|
| `events` | the network's SNN only, with a template of its features |
| `decay_0` | the network itself with membranes that are reset in every bin |
| `kcf`, `csrt` | trackers of OpenCV on brightened frames (extra `opencv`) |

Prints the figures as JSON. Without a run it takes the weights that ship.
"""

import json
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro

from research.sensing.baselines.opencv import OpenCVTracker
from research.sensing.baselines.snn_only import EventTracker
from spikebridge.networks.sensing.evaluation.evaluate import evaluate_recording
from spikebridge.networks.sensing.recipe import Evaluation, tracker
from spikebridge.networks.sensing.tracker.tracker import SensingTracker
from spikebridge.neurons import LIF, Integrator
from spikebridge.pretrained import shipped_run
from spikebridge.training import Run

# a time constant that leaves nothing after a bin [bins]
_SHORT_TAU = 1e-3


def without_memory(network: SensingTracker) -> SensingTracker:
    """A copy of the tracker with a decay of 0: membranes are reset in every bin."""
    other = SensingTracker(deepcopy(network.sensing), network.options)
    for module in other.sensing.modules():
        if isinstance(module, LIF | Integrator):
            module.tau = torch.full_like(torch.as_tensor(module.tau), _SHORT_TAU * float(module.dt or 1))

    return other


def events_alone(network: SensingTracker) -> EventTracker:
    """The SNN of the tracker's network."""
    return EventTracker(network.sensing, network.options.crop)


BASELINES: dict[str, Any] = {
    "events": events_alone,
    "decay_0": without_memory,
    "kcf": lambda _: OpenCVTracker("kcf"),
    "csrt": lambda _: OpenCVTracker("csrt"),
}


def evaluate(run: Run, data: Path | None = None, options: Evaluation | None = None, load: Any = None) -> dict[str, Any]:
    """See `sensing.evaluate`; `load` is the `tracker` of another recipe."""
    return evaluate_recording(run, data, options or Evaluation(), partial(load or tracker, run), BASELINES)


def main() -> None:
    """Evaluates, and prints the figures."""

    def run_evaluation(
        run: tyro.conf.Positional[Path | None] = None, data: Path | None = None, *, options: Evaluation
    ) -> None:
        opened = shipped_run("sensing") if run is None else Run.open(run)
        if opened is None:
            raise SystemExit("no weights are shipped: name a run")
        print(json.dumps(evaluate(opened, data, options), indent=1))

    tyro.cli(run_evaluation, config=(tyro.conf.OmitArgPrefixes,))


if __name__ == "__main__":
    main()
