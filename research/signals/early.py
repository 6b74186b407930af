"""Answers between the frames of the ANN: does the hybrid of the signals recipe decide sooner with them?

    python research/signals/people.py --sets spoken_digits watch myo --networks learned ann
    python research/signals/early.py --sets spoken_digits watch myo

Takes the trained networks of `people.py` from its folder. Up to four times between two frames the hybrid answers at
once: its SNN has read the signal up to that moment, the unit gets the spikes of the last frame period, and the newest
frame is held. That answer joins the mean of those at the frames before it, as the next one would. Time to decide is the
signal from the start of a window to the first answer from which the accuracy over all windows of people left out stays
at 80 % or more.

On `myo` hybrids of three frame periods, with none, one (in the middle, fixed beforehand) and four answers between
frames, are also compared with ANNs of eight frame periods. But for the preset's, each is as wide as the energy of its
hybrid without answers between frames allows. They are trained here as the preset trains (six minutes). An answer
between frames costs as much as one at a frame, less the ANN's layer, whose features are held: the SNN is counted
again, since its thresholds follow the held frame. The soonest ANN of at most the energy of a row is chosen by the
scored accuracies, which favours the ANN. Writes research/signals/results/early.json.
"""

import argparse
import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from research.signals.plane import decision_time
from spikebridge.analysis.cost import Operations, count_cost
from spikebridge.analysis.energy import hardware_profile, joules
from spikebridge.data.io.atomic import write_text
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.signals import recipe as signals
from spikebridge.networks.signals.data.sensor import Sensor
from spikebridge.networks.signals.data.sets import folds_of_set, load_series
from spikebridge.networks.signals.data.windows import Windows
from spikebridge.networks.signals.evaluation.evaluate import score
from spikebridge.networks.signals.training.train import tensors_of
from spikebridge.ops.modes import evaluating
from spikebridge.recipes import train_all
from spikebridge.training import Run
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "early.json"
BATCH_SIZE = 256
NUM_COUNTED = 32  # windows whose operations are counted
ANSWERS = (1, 2, 5)  # in a frame period, the one at its end included
PERIODS = {"myo": {"learned": (12, 14), "ann": (8, 10, 12, 14, 16, 20, 26)}}  # of further networks [ticks]


def offsets(period: int, answers: int) -> list[int]:
    """Ticks after a frame at which the hybrid answers.

    Example:
        >>> offsets(25, 5), offsets(4, 5), offsets(25, 1)
        ([5, 10, 15, 20], [1, 2, 3], [])
    """
    return sorted({round(period * part / answers) for part in range(1, answers)} - {0, period})


def late_by(inputs: Mapping[str, Tensor], period: int, offset: int) -> dict[str, Tensor]:
    """Inputs whose answers come `offset` ticks after the frames: each frame is held, while the signal goes on."""
    frames = inputs["frames"]
    signal = inputs["signal"]
    silence = signal.new_zeros(period - offset, *signal.shape[1:])
    # in place of a frame before the first one
    mean = frames.mean((0, 1)).expand_as(frames[:1])

    return {
        "frames": torch.cat([mean, frames[:-1]]),
        "signal": torch.cat([silence, signal])[: len(frames) * period],
    }


def hits_of(
    network: HybridNetwork, inputs: Mapping[str, Tensor], period: int, between: Iterable[int]
) -> dict[int, Tensor]:
    """Marks of the windows that are answered correctly, by the tick of the answer.

    Args:
        network: a network of the recipe.
        inputs: inputs of `Sensor.inputs`, with `label`.
        period: ticks of a frame.
        between: ticks after a frame at which a hybrid answers, too.
    """
    own = {name: inputs[name] for name in network.inputs}
    logits = network(own)[0]["answer"]
    weight = inputs["weight"][:, :, None]
    label = inputs["label"]
    total = (logits * weight).cumsum(0)
    share = weight.cumsum(0)
    hits = {period * (k + 1): (total[k] / share[k]).argmax(-1) == label for k in range(len(logits))}

    # a network of one input does not answer between frames
    if "signal" not in own or "frames" not in own:
        return hits

    for offset in between:
        late = network(late_by(own, period, offset))[0]["answer"]
        before = torch.cat([torch.zeros_like(total[:1]), total[:-1]])
        # the mean of logits has the greatest logit where their sum has it
        right = (before + late * weight).argmax(-1) == label
        hits |= {period * k + offset: right[k] for k in range(len(logits))}

    return hits


def energy_of(
    network: HybridNetwork, sensor: Sensor, windows: Windows, names: Sequence[str], between: Sequence[int]
) -> float:
    """µJ a second of signal, front end included, with answers at these ticks after every frame."""
    first = windows.select(np.arange(NUM_COUNTED))
    inputs = tensors_of(sensor.inputs(first), first.label)
    own = {name: inputs[name] for name in network.inputs}
    period = sensor.config.frame_period
    microjoules: float = score(network, sensor, first, names)["energy_uj_per_second"]

    for offset in between:
        cost = count_cost(network, late_by(own, period, offset))
        held = cost.parts["ann"] + cost.links.get("frames_to_ann", Operations())
        added = joules(cost.total + held.scaled(-1), hardware_profile("45nm"))
        microjoules += 1e6 * added * sensor.rate_hz / first.samples.shape[1]

    return microjoules


def measured(run: Run, answers: Sequence[int]) -> list[dict[str, Any]]:
    """Energy, accuracy over time and the time to decide of the network of a run, on people left out.

    Args:
        run: run of one network.
        answers: numbers of answers in a frame period, a row for each; a network of one input has one.
    """
    config = run.config_as(signals.Config)
    (name,) = config.networks
    series = load_series(config.dataset)
    sensor = Sensor(config.sensor, series.rate_hz, series.num_channels)
    windows = sensor.windows(series)
    folds = folds_of_set(series, config.num_folds)
    period = config.sensor.frame_period
    ticks_between = {number: offsets(period, number) for number in (answers if name == "learned" else (1,))}
    all_ticks = sorted({offset for between in ticks_between.values() for offset in between})
    hits: dict[int, list[Tensor]] = {}  # by tick, marks of the windows that are answered correctly
    energies: dict[int, list[float]] = {number: [] for number in ticks_between}

    for path, child in run.children().items():
        network = signals.build(config)[name]
        child.load_weights(network)
        test = folds[int(path.split("/")[1].removeprefix("fold-"))].test
        left_out = windows.select(np.isin(windows.series, test))

        for number, between in ticks_between.items():
            energies[number].append(energy_of(network, sensor, left_out, series.group_names, between))

        with evaluating(network):
            for start in range(0, len(left_out.label), BATCH_SIZE):
                batch = left_out.select(slice(start, start + BATCH_SIZE))
                inputs = tensors_of(sensor.inputs(batch), batch.label)
                for tick, right in hits_of(network, inputs, period, all_ticks).items():
                    hits.setdefault(tick, []).append(right)

    rows = []
    for number, between in ticks_between.items():
        ticks = [tick for tick in sorted(hits) if tick % period in (0, *between)]
        row: dict[str, list[float]] = {
            "answers [s]": [round(tick * sensor.front_end.dt, 4) for tick in ticks],
            "accuracy by answer": [round(100 * torch.cat(hits[tick]).float().mean().item(), 2) for tick in ticks],
        }

        rows.append(
            {
                "frame [s]": round(period * sensor.front_end.dt, 4),
                "hidden": config.network.hidden,
                "answers between frames": len(between),
                "uJ/s": round(fmean(energies[number]), 3),
                "decides after [s]": decision_time(row),
                **row,
            }
        )

    return rows


def widest_within(preset: signals.Config, network: str, period: int, max_energy: float) -> signals.Config:
    """The settings of a network with the most features whose energy [µJ/s], untrained, is at most `max_energy`."""
    preset = replace(preset, networks=(network,), sensor=replace(preset.sensor, frame_period=period))
    series = load_series(preset.dataset)
    sensor = Sensor(preset.sensor, series.rate_hz, series.num_channels)
    windows = sensor.windows(series)

    def config(hidden: int) -> signals.Config:
        return replace(preset, network=replace(preset.network, hidden=hidden))

    def exceeds(hidden: int) -> bool:
        (untrained,) = signals.build(config(hidden)).values()
        return energy_of(untrained, sensor, windows, series.group_names, ()) > max_energy

    # one below the first of the sizes from 4 on that exceeds the energy
    return config(bisect_left(range(4, 4 * preset.network.hidden), True, key=exceeds) + 3)


def compared(hybrids: Sequence[Mapping[str, Any]], anns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The hybrid, by its answers between frames, and the soonest ANN of at most its energy."""
    shown = ("frame [s]", "hidden", "uJ/s", "decides after [s]")
    table = []

    for row in hybrids:
        rivals = [ann for ann in anns if ann["uJ/s"] <= row["uJ/s"] and ann["decides after [s]"]]
        best = min(rivals, key=lambda ann: ann["decides after [s]"])
        own = row["decides after [s]"]
        share = round(own / best["decides after [s]"], 3) if own else None
        table.append(
            {key: row[key] for key in ("answers between frames", *shown)}
            | {"ann": {key: best[key] for key in shown}, "share of its time": share}
        )

    return table


def main() -> None:
    """Measures and writes each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=["spoken_digits", "watch", "myo"])
    parser.add_argument("--folder", type=Path, default=Path("runs/signals-people"))
    parser.add_argument("--further", type=Path, default=Path("runs/signals-early"), help="where the others are trained")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}

    for name in options.sets:
        environment = describe_environment()
        folder = options.folder / name / "cells"
        hybrids, anns = (measured(Run.open(folder / network), ANSWERS) for network in ("learned", "ann"))
        hybrid, ann = (rows[-1]["decides after [s]"] for rows in (hybrids, anns))

        results[name] = {
            "share of the ann's time": round(hybrid / ann, 3) if hybrid and ann else None,
            "learned": hybrids[-1],
            "ann": anns[-1],
            "command": f"python research/signals/early.py --sets {name}",
            "environment": environment,
        }
        if name in PERIODS:
            cells = {
                f"{network}-{period}": widest_within(signals.PRESETS[name], network, period, hybrids[0]["uJ/s"])
                for network, periods in PERIODS[name].items()
                for period in periods
            }
            for cell, run in train_all("signals", cells, options.further / name).items():
                (hybrids if cell.startswith("learned") else anns).extend(measured(run, ANSWERS))

            results[name] |= {
                "beside anns of equal energy": compared(hybrids, anns),
                "learned, all": hybrids,
                "anns": anns,
            }

        print(name, hybrid, ann, results[name]["share of the ann's time"], flush=True)
        write_text(RESULTS, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
