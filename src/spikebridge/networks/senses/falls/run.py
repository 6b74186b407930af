"""Folds of a fall detector in a run: each gate as a row."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from jaxtyping import Int64

from spikebridge.networks.senses.config import Config
from spikebridge.networks.senses.data.trials import Trials
from spikebridge.networks.senses.falls.model import GATES, FallStages, falls_network
from spikebridge.networks.senses.falls.scores import score_falls
from spikebridge.networks.senses.falls.train import Listened, copies_of, listen, train_stages
from spikebridge.training.run.run import Run

_SUMS = ("false_recordings", "daily_recordings")


def train_falls(
    config: Config, run: Run, trials: Trials, folds: Iterable[tuple[str, Int64[np.ndarray, " P"]]]
) -> dict[str, Any]:
    """Trains the stages on every fold with every seed, and scores every gate on the people left out."""
    rows: list[Mapping[str, Any]] = []
    for fold, people in folds:
        kept = np.flatnonzero(~np.isin(trials.person, people))
        for seed in range(config.seed, config.seed + config.num_seeds):
            child = run.child("/".join(filter(None, ("hybrid", fold, f"seed-{seed}"))))
            if not child.finished:
                copies = copies_of(trials, seed)
                stages = train_stages([copy.select(kept) for copy in copies], config.training, seed)
                child.save_weights(stages)
                child.save_results({**_scores(stages, _test(copies[0], people)), "classes": list(trials.label_names)})
            rows.append(child.results())

    return _compare_gates(rows)


def evaluate_falls(run: Run, trials: Trials, folds: Mapping[str, Int64[np.ndarray, " P"]]) -> dict[str, Any]:
    """Scores the gates of a run again, on the people left out or on everybody in a file."""
    data = listen(trials)
    rows = []
    for path, child in run.children().items():
        people = folds.get(path.split("/")[1], np.zeros(0, np.int64))
        rows.append(_scores(trained_stages(child), _test(data, people)))

    return _compare_gates(rows)


def trained_stages(child: Run) -> FallStages:
    """The stages of an inner run with their weights."""
    stages = FallStages()
    child.load_weights(stages)
    return stages.eval()


def _test(data: Listened, people: Int64[np.ndarray, " P"]) -> Listened:
    return data.select(np.flatnonzero(np.isin(data.person, people))) if len(people) else data


def _scores(stages: FallStages, data: Listened) -> dict[str, Any]:
    return {gate: score_falls(falls_network(gate, stages), data) for gate in GATES}


def _compare_gates(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of every gate: means over folds and seeds, sums of recordings; those of the cascade come first."""
    networks = {}
    for gate in GATES:
        columns = {}
        for key in rows[0][gate]:
            values = [row[gate][key] for row in rows if row[gate][key] is not None]
            columns[key] = None if not values else sum(values) if key in _SUMS else round(fmean(values), 4)
        networks[gate] = columns

    first = networks[GATES[0]]
    return {**{key: first[key] for key in ("sensitivity", "false_alarms_an_hour", "awake")}, "networks": networks}
