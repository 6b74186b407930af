"""Folds of a fall detector in a run, each gate as a row: falls found, false alarms, time awake, energy."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from spikebridge.analysis.cost import count_cost
from spikebridge.analysis.energy import energy, hardware_profile
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.senses.config import Config
from spikebridge.networks.senses.data.trials import Trials
from spikebridge.networks.senses.falls.model import BLOCK, DT, GATES, FallStages, falls_network
from spikebridge.networks.senses.falls.train import ALARM_S, Listened, copies_of, listen, train_stages
from spikebridge.ops.modes import evaluating
from spikebridge.training.run.run import Run

_SUMS = ("false_alarms", "hours", "false_recordings", "daily_recordings")
_SPENT = ("energy_uj_an_hour", "words_an_hour")
_HARDWARE = {32: "45nm", 8: "45nm-int8"}  # by bits
_BUFFERS = ("ring", "peaks", "said")
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
                scores = _scores(stages, left_out(copies[0], people))
                child.save_results({**scores, "classes": list(trials.label_names)})
            rows.append(child.results())

    return _compare_gates(rows)


def evaluate_falls(run: Run, trials: Trials, folds: Mapping[str, Int64[np.ndarray, " P"]]) -> dict[str, Any]:
    """Scores the gates of a run again, on the people left out or on everybody in a file."""
    data = listen(trials)
    rows = []
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for path, child in run.children().items():
        people = folds.get(path.split("/")[1], np.zeros(0, np.int64))
        stages = trained_stages(child)
        first = falls_network(GATES[0], stages)
        rows.append(_scores(stages, left_out(data, people)))
        for kind, name in enumerate(trials.label_names):
            one = left_out(data.select(np.flatnonzero((trials.label == kind) & ~data.is_fall.numpy())), people)
            if len(one.length):
                kinds.setdefault(name, []).append(count_alarms(first, one))

    # every recording is scored so many times
    repeats = run.config_as(Config).num_seeds if folds else len(rows)
    activities = [_alarms_of(name, figures, repeats) for name, figures in kinds.items()]
    return {**_compare_gates(rows), "activities": activities}


def _alarms_of(activity: str, rows: Sequence[Mapping[str, Any]], repeats: int) -> dict[str, Any]:
    number, hours = (sum(row[key] for row in rows) for key in ("false_alarms", "hours"))
    return {"activity": activity, "hours": round(hours / repeats, 3), "false_alarms_an_hour": round(number / hours, 2)}


def trained_stages(child: Run) -> FallStages:
    """The stages of an inner run with their weights."""
    stages = FallStages()
    child.load_weights(stages)
    return stages.eval()


def left_out(data: Listened, people: Int64[np.ndarray, " P"]) -> Listened:
    """The recordings of people, of everybody where none are named."""
    return data.select(np.flatnonzero(np.isin(data.person, people))) if len(people) else data


def _scores(stages: FallStages, data: Listened) -> dict[str, Any]:
    return {gate: score_falls(falls_network(gate, stages), data) for gate in GATES}


def _compare_gates(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of every gate: means over folds and seeds, sums of recordings; those of the cascade come first."""
    networks = {}
    for gate in GATES:
        columns = {}
        for key in rows[0][gate]:
            values = [row[gate][key] for row in rows if row[gate].get(key) is not None]
            columns[key] = round((sum if key in _SUMS else fmean)(values), 4) if values else None
        networks[gate] = columns

    first = networks[GATES[0]]
    return {**{key: first[key] for key in ("sensitivity", "false_alarms_an_hour", "awake")}, "networks": networks}


def calibration_blocks(trials: Trials, people: Int64[np.ndarray, " P"], num_samples: int) -> Float[Tensor, "T B S C"]:
    """Recordings of training people, the first one a fall, so that every stage wakes."""
    data = listen(trials)
    drawn = np.random.default_rng(0).permutation(np.flatnonzero(~np.isin(data.person, people)))
    first = int(data.is_fall.numpy()[drawn].argmax())
    chosen = data.select(np.concatenate([drawn[[first]], np.delete(drawn, first)])[:num_samples])

    return chosen.blocks[: int(chosen.length.max())]


def score_falls(network: HybridNetwork, data: Listened, bits: int = 32) -> dict[str, Any]:
    """The figures of `count_alarms`, and what an hour of daily recordings costs a network of 32 or of 8 bits."""
    daily = np.flatnonzero(~data.is_fall.numpy())
    spent = _spent(network, data.select(daily), bits) if len(daily) else dict.fromkeys(_SPENT)
    return {**count_alarms(network, data), **spent}


def count_alarms(network: HybridNetwork, data: Listened) -> dict[str, Any]:
    """Falls with an alarm in time, false alarms an hour and the recordings with one, time awake, delay.

    A fall is found by an alarm from its start to a second after its end. False alarms are those of daily recordings
    and before a fall; after an alarm there is none for 10 s.
    """
    with evaluating(network):
        outputs, _ = network({"wrist": data.blocks})

    inside = torch.arange(len(data.blocks))[:, None] < data.length
    alarms = (outputs["big"][..., 0] > 0) & inside
    tick = torch.arange(len(alarms))[:, None]
    starts = torch.where(data.is_fall, data.span[:, 0] - round(1 / _TICK_S), data.length)
    in_time = alarms & (tick >= starts) & (tick < data.span[:, 1])
    found = in_time.any(0)
    delays = (in_time.int().argmax(0) + 1 - data.span[:, 1])[found] * _TICK_S + ALARM_S
    false = alarms & (tick < starts)
    events = sum(_count(false[:, one].numpy()) for one in range(false.shape[1]))
    quiet = torch.minimum(starts, data.length).clamp(min=0)
    hours = float(quiet.sum()) * _TICK_S / 3600
    daily = ~data.is_fall
    awake = outputs.get("big.awake", torch.ones_like(outputs["big"]))[..., 0] * inside

    return {
        "sensitivity": _share(found[data.is_fall]),
        "false_alarms_an_hour": events / hours if hours else None,
        "false_alarms": events,
        "hours": hours,
        "false_recordings": int(false.any(0)[daily].sum()),
        "daily_recordings": int(daily.sum()),
        "seconds_after_fall": float(delays.median()) if len(delays) else None,
        "awake": float((awake[:, daily].sum() / inside[:, daily].sum()).item()) if bool(daily.any()) else None,
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


def _spent(network: HybridNetwork, data: Listened, bits: int) -> dict[str, float]:
    """The energy [uJ] and the memory words of an hour: weights, states, and samples of 16 bits or less."""
    cost = count_cost(network, {"wrist": data.blocks})
    spent = energy(cost, hardware_profile(_HARDWARE[bits])).parts
    num_words = bits / 32
    # a peak has no weights, and reads the samples as they come
    read = {name: one.macs + one.synops + 2 * one.updates for name, one in cost.parts.items() if name != "peak"}
    words = {name: num_words * number for name, number in read.items()}
    words |= {name: min(bits, 16) / 32 * cost.parts[name].adds for name in _BUFFERS if name in cost.parts}

    # what listens runs on to the end of the longest recording, what it wakes does not
    woken = set(network.plan.wakes)
    recorded = float(data.length.float().mean())
    hours = {name: (recorded if name in woken else len(data.blocks)) * _TICK_S / 3600 for name in cost.parts}
    # samples wait in memory for the part that replays them
    stored = 3 * BLOCK * min(bits, 16) / 32 * 3600 / _TICK_S if "ring" in woken else 0.0

    values = (
        1e6 * sum(value / hours[name] for name, value in spent.items()),
        stored + sum(value / hours[name] for name, value in words.items()),
    )
    return dict(zip(_SPENT, values, strict=True))
