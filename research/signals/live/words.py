"""Spoken words in a live stream: is its last answer right, for people left out of the training?

    python research/signals/live/words.py

Trains the hybrid of `spoken_digits` with each speaker left out (a quarter of an hour of one core), then plays words of
that speaker, one of each digit. A word is followed by a second of background, and preceded by none or by half a second:
digital silence, or white noise 30 dB below the loudest 20 ms of the recording. The last answer of windows by the clock,
which start again every 0.7 s, stands beside the last one of utterances, whose ends a detector finds; its times are
those of the training people. Writes research/signals/live/results/words.json.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikebridge.data.io.atomic import write_text
from spikebridge.data.signals.series import SensorSeries
from spikebridge.data.signals.splits import SeriesSplit
from spikebridge.deploy.streaming.activity import level_of
from spikebridge.deploy.streaming.samples import SampleReader, SampleSteps
from spikebridge.deploy.streaming.torch_network import network_advance
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.signals import recipe as signals
from spikebridge.networks.signals.data.activity import activity_times
from spikebridge.networks.signals.data.sensor import Sensor
from spikebridge.networks.signals.data.sets import folds_of_set, load_series
from spikebridge.networks.signals.stream import sample_reader
from spikebridge.recipes import train_all
from spikebridge.training import Run
from spikebridge.training.run.config_io import to_plain
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "words.json"
WORDS = 1  # of each digit and speaker
BEHIND = 1.0  # background behind a word [s]
BEFORE = (0.0, 0.5)
NOISE_DB = 30.0  # from the loudest block to the noise


def streams(word: NDArray[np.float32], rate_hz: float, block: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Streams `(L, 1)` with a word, by the name of their background."""
    loudest = max(level_of(word[start : start + block]) for start in range(0, len(word) - block + 1, block))
    noise = {"silence": 0.0, "noise": 10 ** ((loudest - NOISE_DB) / 20)}
    generator = np.random.default_rng(0)

    for before in BEFORE:
        lengths = (round(before * rate_hz), round(BEHIND * rate_hz))
        for name, amplitude in noise.items():
            around = [amplitude * generator.standard_normal((length, 1), dtype=np.float32) for length in lengths]
            yield f"{name}, {before:g} s before", np.concatenate([around[0], word, around[1]])


def last_answers(network: HybridNetwork, reader: SampleReader, samples: NDArray[np.float32]) -> tuple[str, str | None]:
    """The answer at the last step of a stream, and the last final one."""
    block = reader.front_end.block
    steps = SampleSteps(reader, frozenset(network.inputs), network_advance(network))
    state = None
    for start in range(0, len(samples) - block + 1, block):
        answer, state = steps([samples[start : start + block]], state)

    final = steps.finish()
    return str(answer["answer"]), final[-1]["answer"] if final else None


def measured(
    fold: SeriesSplit, weights: Run, config: signals.Config, series: SensorSeries
) -> dict[str, dict[str, int]]:
    """The words of a fold, and how many end in the right answer, by background."""
    sensor = Sensor(config.sensor, series.rate_hz, series.num_channels)
    windows = sensor.windows(series)
    network = signals.build(config)["learned"].eval()
    weights.load_weights(network)

    train = windows.select(np.isin(windows.series, fold.train))
    times = activity_times(train, sensor.block / sensor.rate_hz, sensor.block)
    utterances = sample_reader(to_plain(config), {"classes": series.label_names, **times})
    by_the_clock = replace(utterances, activity=None)
    rows: dict[str, dict[str, int]] = {}

    for label, name in enumerate(series.label_names):
        words = fold.test[series.label[fold.test] == label]
        for place in words[:: len(words) // WORDS][:WORDS]:
            for background, samples in streams(series[place], series.rate_hz, sensor.block):
                row = rows.setdefault(background, {"words": 0, "windows by the clock": 0, "utterances": 0})
                row["words"] += 1
                row["windows by the clock"] += last_answers(network, by_the_clock, samples)[0] == name
                row["utterances"] += last_answers(network, utterances, samples)[1] == name

    return rows


def total(folds: Sequence[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """The sums over folds."""
    return {
        background: {name: sum(fold[background][name] for fold in folds) for name in row}
        for background, row in folds[0].items()
    }


def main() -> None:
    """Trains, plays and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/signals-words"))
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(5)), help="speakers to leave out")
    options = parser.parse_args()
    environment = describe_environment()
    config = replace(signals.PRESETS["spoken_digits"], networks=("learned",), folds=tuple(options.folds))
    (run,) = train_all("signals", {"learned": config}, options.folder).values()

    series = load_series(config.dataset)
    children = run.children()
    folds = folds_of_set(series, config.num_folds)
    by_person = {
        folds[number].name: measured(
            folds[number], children[f"learned/fold-{number}/seed-{config.seed}"], config, series
        )
        for number in options.folds
    }

    results = {
        "last answer right": total(list(by_person.values())),
        "by person": by_person,
        "command": f"python research/signals/live/words.py --folds {' '.join(map(str, options.folds))}",
        "environment": environment,
    }
    write_text(RESULTS, json.dumps(results, indent=1) + "\n")
    print(json.dumps(results["last answer right"], indent=1))


if __name__ == "__main__":
    main()
