"""Scores of fall detectors: falls found, false alarms, time awake, energy."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from spikebridge.analysis.cost import count_cost
from spikebridge.analysis.energy import energy, hardware_profile
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.senses.falls.model import BLOCK, DT
from spikebridge.networks.senses.falls.train import Listened
from spikebridge.ops.modes import evaluating

_TICK_S = BLOCK * DT
_PAUSE = round(10 / _TICK_S)  # ticks after an alarm in which there is no other


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
    """Alarms with a pause after each."""
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
