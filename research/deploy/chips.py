"""Accuracy of hybrid networks whose SNN runs in a chip's integers, on people left out, retrained and not.

    python research/deploy/chips.py                                        # the table of the stored rows
    python research/deploy/chips.py --sets watch --seeds 3 --epochs 0
    python research/deploy/chips.py --sets watch --seeds 1 --epochs 1      # the first seed retrained
    python research/deploy/chips.py --sets digits --chips loihi --epochs 2
    python research/deploy/chips.py --sets myo --seeds 1 --folds 0 --epochs 0
    python research/deploy/chips.py --time

Trains the network of each chip with the preset of each set, on every fold and seed (runs in --folder, which resume),
puts its SNN on the chip, and scores the same people three times: in floats, on the chip, and on the chip after
--epochs of retraining with the chip's steps. Rows are kept in research/deploy/results/chips.json; rows of sets, chips,
folds and seeds that are not named stay. `--folds` takes some of the folds alone. `--time` measures a step of the pair
beside our own integer model of the same network.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from spikebridge.data.io.atomic import write_text
from spikebridge.deploy import QConfig, QConfigMapping, integer_model, quantize
from spikebridge.deploy.chips.catalog import CHIPS
from spikebridge.deploy.chips.network import to_chip
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.digits import recipe as digits
from spikebridge.networks.signals import Shape, signals_network
from spikebridge.networks.signals import recipe as signals
from spikebridge.networks.signals.data.sets import load_series
from spikebridge.networks.signals.evaluation.evaluate import accuracies, logits_of
from spikebridge.networks.signals.tasks import classify
from spikebridge.networks.signals.training.train import retrain_windows, tensors_of, training_batches
from spikebridge.training.run.environment import describe_environment
from spikebridge.training.run.run import Run

RESULTS = Path(__file__).parent / "results" / "chips.json"
_NUM_CALIBRATION = 128


def trained_networks(name: str, recipe: Any, config: Any, options: argparse.Namespace) -> dict[str, Run]:
    """The inner runs with weights; they are trained first, or with --score-only those that are there are taken."""
    path = options.folder / name
    if not options.score_only:
        run = Run.create(path, recipe.__name__.rpartition(".")[0].rpartition(".")[2], config, resume=path.exists())
        if not run.finished:
            recipe.train(config, run, quiet=True)

    return {key: child for key, child in Run.open(path).children().items() if child.finished}


def people(network: HybridNetwork, sensor: Any, windows: Any, names: Any) -> Any:
    """The accuracy of each person."""
    answers = logits_of(network, sensor, windows)[-1].argmax(-1).numpy()
    return accuracies(answers, windows, names)["per_group"]


def score_signals(dataset: str, chip: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of a set of the signals recipe, one for each fold and seed."""
    folds = tuple(options.folds) or None
    preset = signals.PRESETS[dataset]
    sizes = replace(preset.network, chip=chip)
    config = replace(preset, networks=("learned",), num_seeds=options.seeds, folds=folds, network=sizes)
    children = trained_networks(f"{dataset}_{chip}", signals, config, options)
    series = load_series(dataset, None)
    sensor = classify._sensor(config, series)
    shape = classify._shape(config, sensor, series.num_classes)

    for fold in classify._folds(config, series, sensor):
        number = int(fold.name.removeprefix("fold-"))
        for seed in range(options.seeds):
            child = children.get(f"learned/{fold.name}/seed-{seed}")
            if child is None or options.is_done(dataset, chip, number, seed):
                continue

            network = classify.parameter_matched("learned", shape)
            child.load_weights(network)
            order = np.sort(np.random.default_rng(0).permutation(len(fold.train.label))[:_NUM_CALIBRATION])
            windows = fold.train.select(order)
            inputs = tensors_of(sensor.inputs(windows), windows.label)
            pair = to_chip(network.eval(), {key: inputs[key] for key in network.inputs}, CHIPS[chip])

            score = partial(people, sensor=sensor, windows=fold.test, names=series.group_names)
            row = {"set": dataset, "chip": chip, "fold": number, "seed": seed, "float": score(network)}
            row["chip accuracy"] = score(pair.network)
            if options.epochs:
                learning = classify.retraining(config, options.epochs)
                retrain_windows(pair.network, training_batches(sensor, fold.train, learning, seed), learning, seed)
                row["retrained"] = score(pair.network)

            yield row


def score_digits(chip: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of the digits recipe, one for each seed."""
    config = replace(digits.PRESETS["default"], networks=("transmission",), num_seeds=options.seeds)
    children = trained_networks("digits", digits, config, options)
    for seed in range(options.seeds):
        child = children.get(f"transmission/seed-{seed}")
        if child is None or options.is_done("digits", chip, None, seed):
            continue

        one = replace(config, seed=seed)
        network = digits.build(one)["transmission"]
        child.load_weights(network)
        inputs = digits.calibration(one, _NUM_CALIBRATION)
        pair = to_chip(network.eval(), {key: inputs[key] for key in network.inputs}, CHIPS[chip])
        row = {"set": "digits", "chip": chip, "fold": None, "seed": seed, "float": digits.measure(network, one)}
        row["chip accuracy"] = digits.measure(pair.network, one)
        if options.epochs:
            digits.retrain(pair.network, one, options.epochs)
            row["retrained"] = digits.measure(pair.network.eval(), one)

        yield row


def table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over people and seeds of each set and chip, and the number of rows they come from."""
    keys = sorted({(row["set"], row["chip"]) for row in rows})
    lines = []
    for dataset, chip in keys:
        own = [row for row in rows if (row["set"], row["chip"]) == (dataset, chip)]
        line: dict[str, Any] = {"set": dataset, "chip": chip, "trainings": len(own)}
        line["people"] = len({person for row in own for person in row["float"]})
        line |= {name: _mean(own, name) for name in ("float", "chip accuracy")}
        # beside the floats of the same trainings
        again = [row for row in own if "retrained" in row]
        if again:
            line |= {"retrained trainings": len(again), "float of these": _mean(again, "float")}
            line["retrained"] = _mean(again, "retrained")

        lines.append(line)

    return lines


def _mean(rows: list[dict[str, Any]], name: str) -> float:
    """Per cent, over people and trainings."""
    return round(100 * fmean(value for row in rows for value in row[name].values()), 2)


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["set"], row["chip"], row["fold"], row["seed"]


def _write(file: Path, results: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    results |= {"rows": rows, "table": table(rows)}
    write_text(file, json.dumps(results, indent=1) + "\n")


def step_times(chip: str, num_steps: int = 400) -> dict[str, Any]:
    """Microseconds of a step of the SNN on the chip, and of the same in our own integers, in one run."""
    torch.manual_seed(0)
    network = signals_network("learned", Shape(0.02, 25, 8, 60, 7, chip=chip)).eval()
    inputs = {"signal": 0.5 * torch.randn(num_steps, 1, 8).cumsum(0), "frames": torch.randn(num_steps // 25, 1, 60)}
    pair = to_chip(network, inputs, CHIPS[chip])
    own = quantize(network, inputs, QConfigMapping((QConfig("snn"),)))
    model = integer_model(own, inputs)
    counts = np.rint(np.random.default_rng(0).normal(size=(num_steps, 1, 8))).clip(-3, 3)
    part = pair.parts["snn"].model("snn", 0.02)
    program = model.parts["snn"]
    (name,) = program.record.inputs

    def run_chip() -> None:
        state = None
        for x in counts:
            _, state = part.step({"signal": x}, {}, state)

    def run_own() -> None:
        state = None
        for x in counts.astype(np.int64):
            _, state = program.step({name: x}, {}, state)

    times: dict[str, list[float]] = {}
    # in turn, so that other work on the machine slows both
    for _ in range(9):
        for label, run in (("chip", run_chip), ("own integers", run_own)):
            start = time.perf_counter()
            run()
            times.setdefault(f"{label} [us a step]", []).append(1e6 * (time.perf_counter() - start) / num_steps)

    fastest = {label: round(min(several), 1) for label, several in times.items()}
    return {
        "chip": chip,
        **fastest,
        "ratio": round(fastest["chip [us a step]"] / fastest["own integers [us a step]"], 2),
    }


def main() -> None:
    """Trains, scores, and writes the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=[], choices=["watch", "myo", "digits"])
    parser.add_argument("--chips", nargs="+", default=["xylo", "loihi"], choices=list(CHIPS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", type=int, nargs="*", default=[], help="some folds alone")
    parser.add_argument("--epochs", type=int, default=1, help="of retraining; 0 for none")
    parser.add_argument("--folder", type=Path, default=Path("runs/chips"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--score-only", action="store_true", help="take the trainings that are there")
    parser.add_argument("--time", action="store_true", help="measure a step")
    options = parser.parse_args()

    results = json.loads(options.results.read_text()) if options.results.is_file() else {"rows": []}
    rows = {_key(row): row for row in results["rows"]}
    options.is_done = lambda *key: key in rows and ("retrained" in rows[key] or not options.epochs)

    if options.time or options.sets:
        results["environment"] = describe_environment()
    if options.time:
        results["times"] = [step_times(chip) for chip in options.chips]
        print(results["times"])

    for dataset in options.sets:
        for chip in options.chips:
            scores = score_digits(chip, options) if dataset == "digits" else score_signals(dataset, chip, options)
            for row in scores:
                rows[_key(row)] = row
                _write(options.results, results, list(rows.values()))
                print(table([row]), flush=True)

    _write(options.results, results, list(rows.values()))
    for line in results["table"]:
        print(line)


if __name__ == "__main__":
    main()
