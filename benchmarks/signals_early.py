"""Answers between the frames of the ANN: does the hybrid of the signals recipe decide sooner with them?

    python benchmarks/signals_people.py --sets spoken_digits watch myo --networks learned ann
    python benchmarks/signals_early.py --sets spoken_digits watch myo

Takes the trained networks of `signals_people.py` from its folder. Up to four times between two frames the hybrid
answers at once: its SNN has read on to that moment, the unit gets the spikes of the last frame period, and the newest
frame is held. That answer joins the mean of those at the frames before it, as the next one would. Time to decide is the
signal from the start of a window to the first answer from which the accuracy over all windows of people left out stays
at 80 % or more. Writes benchmarks/results/signals_early.json.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from signals_plane import decision_time
from spikebridge.data.io.atomic import write_text
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.signals import recipe as signals
from spikebridge.networks.signals.data.sensor import Sensor
from spikebridge.networks.signals.data.sets import folds_of_set, load_series
from spikebridge.networks.signals.training.train import tensors_of
from spikebridge.training import Run
from spikebridge.training.evaluation import evaluating
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "signals_early.json"
AT_ONCE, A_FRAME = 256, 5  # windows; answers of a frame period, the one at its end included


def offsets(period: int) -> list[int]:
    """Ticks after a frame at which the hybrid answers.

    Example:
        >>> offsets(25), offsets(4)
        ([5, 10, 15, 20], [1, 2, 3])
    """
    return sorted({round(period * part / A_FRAME) for part in range(1, A_FRAME)} - {0, period})


def late_by(inputs: Mapping[str, Tensor], period: int, offset: int) -> dict[str, Tensor]:
    """Inputs whose answers lie `offset` ticks after the frames: each frame is held, the signal read on.

    Before the first frame there is the mean frame.
    """
    frames, signal = inputs["frames"], inputs["signal"]
    nothing = signal.new_zeros(period - offset, *signal.shape[1:])
    mean = frames.mean((0, 1)).expand_as(frames[:1])
    return {
        "frames": torch.cat([mean, frames[:-1]]),
        "signal": torch.cat([nothing, signal])[: len(frames) * period],
    }


def hits_of(network: HybridNetwork, inputs: Mapping[str, Tensor], period: int) -> dict[int, Tensor]:
    """Whether the answers to windows are right, by the tick at which they are given.

    Args:
        network: of the recipe.
        inputs: of `Sensor.inputs`, with `label`.
        period: ticks of a frame.
    """
    own = {name: inputs[name] for name in network.inputs}
    logits, weight, label = network(own)[0]["answer"], inputs["weight"][:, :, None], inputs["label"]
    total, share = (logits * weight).cumsum(0), weight.cumsum(0)
    found = {period * (k + 1): (total[k] / share[k]).argmax(-1) == label for k in range(len(logits))}
    if "signal" not in own or "frames" not in own:
        return found
    for offset in offsets(period):
        between = network(late_by(own, period, offset))[0]["answer"]
        before = torch.cat([torch.zeros_like(total[:1]), total[:-1]])
        # the mean of logits has the greatest logit where their sum has it
        right = (before + between * weight).argmax(-1) == label
        found |= {period * k + offset: right[k] for k in range(len(logits))}
    return found


def measured(run: Run) -> dict[str, Any]:
    """Accuracy over time and the time to decide of the network of a run, on people left out."""
    config = run.config_as(signals.Config)
    (name,) = config.networks
    series = load_series(config.dataset)
    sensor = Sensor(config.sensor, series.rate_hz, series.num_channels)
    windows, folds = sensor.windows(series), folds_of_set(series, config.num_folds)
    hits: dict[int, list[Tensor]] = {}  # by tick, whether each window is answered rightly then
    for path, child in run.children().items():
        network = signals.build(config)[name]
        child.load_weights(network)
        test = folds[int(path.split("/")[1].removeprefix("fold-"))].test
        chosen = np.flatnonzero(np.isin(windows.series, test))
        with evaluating(network):
            for start in range(0, len(chosen), AT_ONCE):
                some = windows.select(chosen[start : start + AT_ONCE])
                inputs = tensors_of(sensor.inputs(some), some.label)
                for tick, right in hits_of(network, inputs, config.sensor.frame_period).items():
                    hits.setdefault(tick, []).append(right)
    dt, ticks = sensor.front_end.dt, sorted(hits)
    rows: dict[str, list[float]] = {
        "answers [s]": [round(tick * dt, 4) for tick in ticks],
        "accuracy by answer": [round(100 * torch.cat(hits[tick]).float().mean().item(), 2) for tick in ticks],
    }
    return {"decides after [s]": decision_time(rows), **rows}


def main() -> None:
    """Measures and writes each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=["spoken_digits", "watch", "myo"])
    parser.add_argument("--folder", type=Path, default=Path("runs/signals-people"))
    options = parser.parse_args()
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in options.sets:
        environment = describe_environment()
        rows = {
            network: measured(Run.open(options.folder / name / "cells" / network)) for network in ("learned", "ann")
        }
        hybrid, ann = (rows[network]["decides after [s]"] for network in ("learned", "ann"))
        found[name] = {
            "share of the ann's time": round(hybrid / ann, 3) if hybrid and ann else None,
            **rows,
            "command": f"python benchmarks/signals_early.py --sets {name}",
            "environment": environment,
        }
        print(name, hybrid, ann, found[name]["share of the ann's time"], flush=True)
        write_text(RESULTS, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
