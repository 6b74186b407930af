"""Settings of the signals recipe chosen for each fold by people among those of its training.

    python research/signals/choice.py                          # every set and setting (1.5 hours on one core)
    python research/signals/choice.py --sets watch             # channels relative to the vertical, with the ANN
    python research/signals/choice.py --sets spoken_digits --settings "both inputs always"
    python research/signals/choice.py --sets "spoken_digits, ann"   # would the ANN choose as the hybrid does?
    python research/signals/choice.py --quick                  # one pair of the watch, one epoch; writes nothing

A network of the preset is trained with every setting and with two folds left out together. The choice for a fold
counts networks that were trained without it, and people of the other fold that was left out with it: nobody takes part
in the choice for the own score. On `watch` the ANN is trained without every pair of folds; on `spoken_digits` the
learned hybrid and the ANN are trained without three or five pairs of speakers, so that one or two speakers choose for
each, and with two seeds in the settings of augmentation. Settings that are not named keep their rows. Writes
research/signals/results/choice.json.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import torch

from research.signals.people import QUICK
from spikebridge.data.io.atomic import write_text
from spikebridge.networks.signals import recipe as signals
from spikebridge.networks.signals.config import Config
from spikebridge.networks.signals.data.sensor import Sensor
from spikebridge.networks.signals.data.sets import folds_of_set, load_series
from spikebridge.networks.signals.evaluation.evaluate import accuracies, logits_of
from spikebridge.networks.signals.training.train import train_windows, training_batches
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "choice.json"


class Choice(NamedTuple):
    """Settings to choose from, and the trainings that choose.

    Attributes:
        network: the trained network.
        pairs: folds that are left out together.
        settings: fields of the preset that each setting changes, part by part.
        seeds: seeds of the trainings, one training for each pair and seed.
    """

    network: str
    pairs: tuple[tuple[int, int], ...]
    settings: Mapping[str, Mapping[str, Mapping[str, Any]]]
    seeds: tuple[int, ...] = (0,)


# the preset for voices when the first settings were compared
_EARLIER = {"network": {"hidden": 72}, "training": {"copies": 8, "mixing": 0.0}}


def _voices(seconds: float, modality_dropout: float, averaging: float) -> dict[str, dict[str, float]]:
    training = {"modality_dropout": modality_dropout, "averaging": averaging}
    return {**_EARLIER, "sensor": {"seconds": seconds}, "training": {**_EARLIER["training"], **training}}


_SPEAKERS = ((0, 1), (2, 3), (4, 0))
CHOICES = {
    "watch": Choice(
        "ann",
        tuple(combinations(range(4), 2)),
        {"six channels": {"sensor": {"gravity": False}}, "and four beside gravity": {"sensor": {"gravity": True}}},
    ),
    "spoken_digits": Choice(
        "learned",
        _SPEAKERS,
        {
            "both inputs always": _voices(1.0, 0.0, 0.0),
            "modality dropout .15": _voices(1.0, 0.15, 0.0),
            "and mean weights": _voices(1.0, 0.15, 0.3),
            "and windows of .7 s": _voices(0.7, 0.15, 0.3),
        },
    ),
    "spoken_digits, longer and stronger": Choice(
        "learned",
        _SPEAKERS,
        {
            "changes as in the preset": _EARLIER,
            "changes 1.5 times as strong": {**_EARLIER, "sensor": {"augmentation": 1.5}},
            "changes .7 times as strong": {**_EARLIER, "sensor": {"augmentation": 0.7}},
        },
        seeds=(0, 1),
    ),
    # each speaker is left out with two others
    "spoken_digits, longer and mixed": Choice(
        "learned",
        ((0, 1), (1, 2), (2, 3), (3, 4), (4, 0)),
        {
            "8 copies": {"training": {"copies": 8, "mixing": 0.0}},
            "8 copies, mixed": {"training": {"copies": 8}},
            "16 copies": {"training": {"mixing": 0.0}},
            "16 copies, mixed": {},
        },
    ),
    # modality dropout changes nothing for a network of one input
    "spoken_digits, ann": Choice(
        "ann",
        _SPEAKERS,
        {
            "windows of 1 s": _voices(1.0, 0.0, 0.0),
            "mean weights, windows of .7 s": _voices(0.7, 0.0, 0.3),
        },
    ),
}


def preset_of(name: str, quick: bool = False) -> Config:
    """The preset of a set, which may be followed by a network.

    Example:
        >>> preset_of("spoken_digits, ann").dataset
        'spoken_digits'
    """
    dataset = name.partition(",")[0]
    return QUICK[dataset] if quick else signals.PRESETS[dataset]


def with_setting(config: Config, setting: Mapping[str, Mapping[str, Any]]) -> Config:
    """A preset with some fields changed."""
    return replace(config, **{part: replace(getattr(config, part), **fields) for part, fields in setting.items()})


def trained_without(config: Config, pair: tuple[int, int]) -> dict[str, float]:
    """The accuracy [%] of a network on each person of two folds, both left out of its training."""
    series = load_series(config.dataset)
    sensor = Sensor(config.sensor, series.rate_hz, series.num_channels)
    windows = sensor.windows(series)
    folds = [folds_of_set(series, config.num_folds)[place] for place in pair]
    kept = windows.select(np.isin(windows.series, np.intersect1d(folds[0].train, folds[1].train)))
    data = training_batches(sensor, kept, config.training, config.seed)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        (network,) = signals.build(config).values()

    train_windows(network, data, config.training, config.seed)
    left_out = windows.select(np.isin(windows.series, np.concatenate([fold.test for fold in folds])))
    answers = logits_of(network, sensor, left_out)[-1].argmax(-1).numpy()
    per_group: Any = accuracies(answers, left_out, series.group_names)["per_group"]

    return {person: 100 * value for person, value in per_group.items()}


def people_of(config: Config) -> list[set[str]]:
    """The people of each fold."""
    series = load_series(config.dataset)
    assert series.group is not None

    return [
        {series.group_names[group] for group in series.group[fold.test]}
        for fold in folds_of_set(series, config.num_folds)
    ]


def choices(measured: Mapping[str, Mapping[str, Any]], people: list[set[str]]) -> list[dict[str, Any]]:
    """The accuracies by which each fold chooses, and its choice."""
    table = []
    for fold, own in enumerate(people):
        means = {name: _mean_of_others(setting["rows"], fold, own) for name, setting in measured.items()}
        row: dict[str, Any] = {"fold": fold} | {name: round(mean, 2) for name, mean in means.items()}
        table.append(row | {"choice": max(means, key=means.__getitem__)})

    return table


def _mean_of_others(rows: Sequence[Mapping[str, Any]], fold: int, own: set[str]) -> float:
    """The mean over people who were left out together with a fold."""
    accuracies = [row["people"] for row in rows if fold in row["folds"]]
    return fmean(value for people in accuracies for person, value in people.items() if person not in own)


def measure(name: str, setting: str, quick: bool = False) -> dict[str, Any]:
    """Trains a setting without every pair; the accuracies, and the command and versions that made them."""
    choice = CHOICES[name]
    preset = replace(preset_of(name, quick), networks=(choice.network,))
    config = with_setting(preset, choice.settings[setting])
    rows = []

    for pair in choice.pairs[: 1 if quick else None]:
        for seed in choice.seeds:
            people = trained_without(replace(config, seed=seed), pair)
            rows.append({"folds": list(pair), "seed": seed, "people": people})
            print(name, setting, rows[-1], flush=True)

    command = f'python research/signals/choice.py --sets "{name}" --settings "{setting}"'
    return {"rows": rows, "command": command, "environment": describe_environment()}


def main() -> None:
    """Trains every pair with every setting, and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(CHOICES), choices=list(CHOICES))
    parser.add_argument("--settings", nargs="+", help="of the named set; all by default")
    parser.add_argument("--quick", action="store_true", help="one pair of the watch, one epoch; writes nothing")
    options = parser.parse_args()

    if options.quick:
        measure("watch", "six channels", quick=True)
        return

    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in options.sets:
        settings = CHOICES[name].settings
        unknown = set(options.settings or ()) - set(settings)
        if unknown:
            parser.error(f"{name} has the settings {', '.join(settings)}, but got {', '.join(sorted(unknown))}")

        measured = results.get(name, {}).get("measured", {})
        for setting in options.settings or settings:
            measured[setting] = measure(name, setting)
            in_order = {one: measured[one] for one in settings if one in measured}
            results[name] = {"table": choices(in_order, people_of(preset_of(name))), "measured": in_order}
            write_text(RESULTS, json.dumps(results, indent=1) + "\n")

        print(json.dumps(results[name]["table"], indent=1))


if __name__ == "__main__":
    main()
