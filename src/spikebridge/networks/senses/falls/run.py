"""Folds of a fall detector in a run, each gate as a row: falls found, false alarms, time awake, energy."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from spikebridge.analysis.cost import count_cost
from spikebridge.analysis.energy import energy, hardware_profile
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.senses.config import Config
from spikebridge.networks.senses.data.trials import Trials
from spikebridge.networks.senses.falls.model import BLOCK, DT, GATES, FallStages, falls_network
from spikebridge.networks.senses.falls.train import Listened, copies_of, listen, train_stages
from spikebridge.ops.modes import evaluating
from spikebridge.training.run.run import Run

_SUMS = ("false_recordings", "daily_recordings")
_TICK_S = BLOCK * DT
_PAUSE = round(10 / _TICK_S)  # ticks after an alarm in which there is no other


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


def score_falls(network: HybridNetwork, data: Listened) -> dict[str, Any]:
    """Falls with an alarm in time, false alarms an hour and the share of recordings with one, time awake, energy.

    A fall is found by an alarm from its start to a second after its end. False alarms are those of daily recordings
    and before a fall; after an alarm there is none for 10 s.
    """
    with evaluating(network):
        outputs, _ = network({"wrist": data.blocks})

    inside = torch.arange(len(data.blocks))[:, None] < data.length
    alarms = (outputs["big"][..., 0] > 0) & inside
    tick = torch.arange(len(alarms))[:, None]
    starts = torch.where(data.is_fall, data.span[:, 0] - round(1 / _TICK_S), data.length)
    found = (alarms & (tick >= starts) & (tick < data.span[:, 1])).any(0)
    false = alarms & (tick < starts)
    events = sum(_count(false[:, one].numpy()) for one in range(false.shape[1]))
    quiet = torch.minimum(starts, data.length).clamp(min=0)
    hours = float(quiet.sum()) * _TICK_S / 3600
    daily = ~data.is_fall
    awake = outputs.get("big.awake", torch.ones_like(outputs["big"]))[..., 0] * inside

    return {
        "sensitivity": _share(found[data.is_fall]),
        "false_alarms_an_hour": events / hours if hours else None,
        "false_recordings": int(false.any(0)[daily].sum()),
        "daily_recordings": int(daily.sum()),
        "awake": float((awake[:, daily].sum() / inside[:, daily].sum()).item()) if bool(daily.any()) else None,
        "energy_uj_an_hour": _energy(network, data, daily) if bool(daily.any()) else None,
    }


def _count(alarms: Bool[np.ndarray, " T"]) -> int:
    number = 0
    last = -_PAUSE
    for tick in np.flatnonzero(alarms):
        if tick - last >= _PAUSE:
            number += 1
            last = int(tick)
    return number


def _share(flags: Tensor) -> float | None:
    return float(flags.float().mean()) if len(flags) else None


def _energy(network: HybridNetwork, data: Listened, chosen: Bool[Tensor, " B"]) -> float:
    """The energy of an hour of daily activities [uJ]: what follows the end of a recording counts as asleep."""
    blocks = data.blocks[:, chosen]
    length = data.length[chosen]
    spent = energy(count_cost(network, {"wrist": blocks}), hardware_profile("45nm"))
    gates = sum(value for name, value in spent.parts.items() if name in ("pieces", "ring", "above"))
    asked = spent.total - gates
    # a gate that listens runs on to the end of the longest recording, what it wakes does not
    if "spiking" in spent.parts:
        asked -= spent.parts["spiking"]
        gates += spent.parts["spiking"]
    seconds = len(blocks) * _TICK_S
    recorded = float(length.float().mean()) * _TICK_S
    if "big.awake" not in network.outputs:
        gates, asked = spent.total, 0.0

    return 1e6 * 3600 * (gates / seconds + asked / recorded)
