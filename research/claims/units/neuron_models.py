"""Claim: richer neurons from simple ones and hybrid units, from leaky integrators to Hodgkin and Huxley.

    python research/claims/units/neuron_models.py           # writes results/neuron_models.json
    python research/claims/units/neuron_models.py --quick   # 40 ms, one short training; printed only

The networks of `research/neuron_models` against their differential equations, integrated by LSODA at 1e-9: spike
times, firing rates, order of the error in the step, time of a tick against the formulas by hand, units that are small
networks (fitted to the formulas, or learned from recorded membranes alone), and a bundle that runs without torch.
"""

import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from research.claims.experiment import Results, main, spread
from research.neuron_models.channels import (
    GateTimeConstant,
    MembraneRest,
    MembraneTimeConstant,
    SteadyGates,
)
from research.neuron_models.evaluation import Neuron, simulate
from research.neuron_models.model import adaptive_exponential, hodgkin_huxley, two_compartments
from research.neuron_models.simulation import (
    record_hodgkin_huxley,
    record_two_compartments,
    spike_times,
    spikes_of_exponential,
)
from research.neuron_models.training import (
    fit_units,
    learn_units,
    learned_units,
    recordings,
    varied_currents,
)
from spikebridge.deploy import export
from spikebridge.deploy.runtime.runner import Runner
from spikebridge.errors import DataError

STEP = 2e-5  # of the integration [s]
QUIET = 0.005  # before a current begins [s]
RECORDED = 0.02  # length of a training recording [s]
CURRENTS = [7.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0]  # [uA/cm2]
STEPS = (8e-5, 4e-5, 2e-5, 1e-5, 5e-6)  # [s]
SERIES: dict[str, tuple[Neuron, float, float]] = {
    "Hodgkin-Huxley": (hodgkin_huxley, 15.0, 0.0),
    "two compartments": (two_compartments, 30.0, 0.0),
    "adaptive exponential": (adaptive_exponential, 1000.0, 19.0),
}
"""Model, current, level of a spike."""
LEARNED = {
    "all, fitted": ("steady_gates", "gate_tau", "membrane_rest", "membrane_tau"),
    "of the membrane, from recordings": ("membrane_rest", "membrane_tau"),
    "of the gates, from recordings": ("steady_gates", "gate_tau"),
    "all, from recordings": ("steady_gates", "gate_tau", "membrane_rest", "membrane_tau"),
}
"""Units that are learned; the others are designed."""


def stimulus(currents: list[float], duration: float, step: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Currents that begin after 5 ms, `(T, B, 1)`; the sample at the edge is the mean of both sides for a midpoint."""
    current = torch.zeros(round(duration / step), len(currents), 1, dtype=dtype)
    current[round(QUIET / step) :] = torch.tensor(currents, dtype=dtype)[:, None]
    return current


def reference(name: str, current: float, duration: float) -> np.ndarray:
    """Spike times of the differential equations [s]."""
    if name == "adaptive exponential":
        return spikes_of_exponential(current, duration - QUIET) + QUIET

    record = record_hodgkin_huxley if name == "Hodgkin-Huxley" else record_two_compartments
    held = [0.0] * round(1e3 * QUIET) + [current] * round(1e3 * (duration - QUIET))

    return spike_times(record(held, 1e-3), 1e-5)


def distance(times: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference of spike times [ms]; infinite where the numbers differ by more than the last spike."""
    if abs(len(times) - len(expected)) > 1:
        return math.inf

    number = min(len(times), len(expected))
    return 1e3 * float(np.abs(times[:number] - expected[:number]).max()) if number else 0.0


def spikes(outputs: dict[str, Tensor], step: float, level: float = 0.0) -> list[np.ndarray]:
    """Spike times of every sample [s]."""
    v = outputs["membrane"][:, :, 0].double().numpy()
    return [spike_times(v[:, b], step, level) for b in range(v.shape[1])]


def accuracy(currents: list[float], duration: float, make: Neuron = hodgkin_huxley) -> list[dict[str, Any]]:
    """Spike times and firing rates of a Hodgkin-Huxley network."""
    try:
        simulated = spikes(simulate(make, stimulus(currents, duration, STEP), STEP), STEP)
    except DataError:
        # learned units may be unstable
        simulated = [np.array([])] * len(currents)

    rows = []
    for current, times in zip(currents, simulated, strict=True):
        expected = reference("Hodgkin-Huxley", current, duration)
        # the rate settles in the first third
        rate, true_rate = (1 / np.diff(t[len(t) // 3 :]).mean() if len(t) > 3 else 0.0 for t in (times, expected))
        error = distance(times, expected)
        rows.append(
            {
                "current": current,
                "spikes": len(expected),
                "found": len(times),
                "off_ms": None if math.isinf(error) else round(error, 4),
                "rate_hz": round(float(true_rate), 3),
                "rate_error_percent": round(100 * float(rate / true_rate - 1), 4) if true_rate else 0.0,
            }
        )

    return rows


def orders(duration: float, names: list[str], steps: tuple[float, ...]) -> list[dict[str, Any]]:
    """Error of the spike times against the step, in float64."""
    rows = []
    for name in names:
        make, current, level = SERIES[name]
        expected = reference(name, current, duration)
        errors = []

        for step in steps:
            inputs = stimulus([current], duration, step, torch.float64)
            # the dendrite's step is centred on the edge
            if name == "two compartments":
                inputs[round(QUIET / step)] /= 2

            errors.append(distance(spikes(simulate(make, inputs, step), step, level)[0], expected))

        order = float(np.polyfit(np.log(steps), np.log(errors), 1)[0])
        rows.append({"neuron": name, "steps_ms": [1e3 * step for step in steps], "off_ms": errors, "order": order})
        print(name, errors, order, flush=True)

    return rows


def by_hand(current: Tensor) -> Tensor:
    """The formulas of the network in a plain loop."""
    steady = SteadyGates()
    gate_tau = GateTimeConstant()
    rest = MembraneRest()
    tau = MembraneTimeConstant()
    network = hodgkin_huxley(STEP)
    v = current.new_full(current.shape[1:], float(network.parts["membrane"].v_leak))
    gates = network.parts["gates"].v_leak.expand(*current.shape[1:], 3)
    membranes = [v]

    for x in current.unbind(0)[:-1]:
        steady_gates = steady(v)
        gates = steady_gates + torch.exp(-STEP / gate_tau(v)) * (gates - steady_gates)
        v_rest = rest(gates, x)
        v = v_rest + torch.exp(-STEP / tau(gates)) * (v - v_rest)
        membranes.append(v)

    return torch.stack(membranes)


def cost(rounds: int, length: int) -> list[dict[str, Any]]:
    """Processor time of a step at batch 20; all ways take turns."""
    torch.manual_seed(0)
    current = 10 + 5 * torch.rand(length, 20, 1)
    network = hodgkin_huxley(STEP)
    ways: dict[str, Callable[[], Tensor]] = {
        "by hand": lambda: by_hand(current),
        "network": lambda: network({"current": current}, ticks=2 * length)[0]["membrane"],
    }

    if rounds > 1:
        fast = network.compiled(16)
        ways["compiled, 16 ticks"] = lambda: fast({"current": current}, ticks=2 * length)[0]["membrane"]

    times: dict[str, list[float]] = {way: [] for way in ways}
    with torch.no_grad():
        for way, call in ways.items():
            torch.testing.assert_close(call(), ways["by hand"](), rtol=1e-3, atol=1e-3, msg=way)
        for _ in range(rounds):
            for way, call in ways.items():
                start = time.process_time()
                call()
                times[way].append(1e6 * (time.process_time() - start) / length)

    hand = times["by hand"]
    return [
        {
            "way": way,
            "us_a_step": round(statistics.median(seconds), 1),
            "over_by_hand": round(statistics.median(t / h for t, h in zip(seconds, hand, strict=True)), 3),
        }
        for way, seconds in times.items()
    ]


def learned(way: str, seeds: int, width: int, updates: int, duration: float, number: int) -> dict[str, Any]:
    """Spike times with learned units, under constant currents, after training on varying currents."""
    currents = [10.0, 20.0, 30.0, 50.0]
    errors: list[list[float | None]] = []
    counts: list[list[int]] = []
    times = []

    for seed in range(seeds):
        data = recordings(varied_currents(number, RECORDED, np.random.default_rng(seed)), STEP)
        units = {name: unit for name, unit in learned_units(width, seed).items() if name in LEARNED[way]}
        start = time.process_time()
        (fit_units if way == "all, fitted" else learn_units)(units, data, STEP, updates)
        times.append(time.process_time() - start)
        rows = accuracy(currents, duration, lambda step, u=units: hodgkin_huxley(step, units=u))
        errors.append([row["off_ms"] for row in rows])
        counts.append([row["found"] for row in rows])
        print(way, seed, errors[-1], counts[-1], round(times[-1]), flush=True)

    return {
        "way": way,
        "width": width,
        "recordings": number,
        "updates": updates,
        "duration_ms": 1e3 * duration,
        "currents": currents,
        "off_ms_by_current": errors,
        "spikes": [row["spikes"] for row in rows],
        "spikes_found_by_current": counts,
        "cpu_s": spread(times, 1),
    }


def bundle(duration: float) -> dict[str, Any]:
    """The largest difference of a bundle that runs in numpy, and its size."""
    network = hodgkin_huxley(STEP)
    current = torch.full((round(duration / STEP), 2, 1), 20.0)

    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        sample = 10 + 10 * torch.rand(8, 2, 1)
        exported = export(network, {"current": sample}, Path(folder) / "bundle", ticks=16)
        v = network({"current": current}, ticks=2 * len(current))[0]["membrane"]
        v_numpy = Runner(exported).run({"current": current.numpy()}, ticks=2 * len(current))["membrane"]
        size = sum(file.stat().st_size for file in (Path(folder) / "bundle").rglob("*") if file.is_file())

    return {"steps": len(current), "largest_difference_mv": float(np.abs(v_numpy - v.numpy()).max()), "bytes": size}


def run(quick: bool) -> Results:
    """All measurements."""
    torch.set_num_threads(1)
    if quick:
        return {
            "accuracy": accuracy([20.0], 0.012),
            "orders": orders(0.012, ["Hodgkin-Huxley"], STEPS[:2]),
            "cost": cost(1, 50),
            "learned": [learned("all, fitted", 1, 4, 3, 0.01, number=1)],
        }

    return {
        "step_ms": 1e3 * STEP,
        "duration_ms": 200,
        "accuracy": accuracy(CURRENTS, 0.2),
        "orders": orders(0.05, list(SERIES), STEPS),
        "cost": cost(7, 400),
        "bundle": bundle(0.01),
        "learned": [learned(way, 3, 16, 900 if "fitted" in way else 150, 0.1, number=6) for way in LEARNED],
    }


if __name__ == "__main__":
    main("neuron_models", __doc__, run)
