"""Claim: one model holds mean fields in an ANN and spikes in an SNN.

    python research/claims/networks/mean_field.py           # writes results/mean_field.json
    python research/claims/networks/mean_field.py --quick   # a small network, one seed; printed only

A balanced network (`balanced_network.py`), the same with the excitatory population as a rate, and with all but a tenth
of both populations as rates. The transfer functions are learned from a recording of the whole network, whose two
populations got different external rates. Each stage is kept under runs/mean_field, so that a stopped run resumes.
"""

import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from research.claims.experiment import Results, kept, main, spread, steps_of
from research.claims.networks.balanced_network import (
    BIN,
    DELAY,
    DT,
    Activity,
    Connections,
    G,
    J,
    Sizes,
    connect,
    external_input,
    mean_field_network,
    simulate,
    spiking_network,
)
from research.neuron_models.transfer_function import TransferFunction, fit_transfer_function
from spikebridge.analysis.cost import count_run
from spikebridge.hybrid import HybridNetwork

STEP = DT * BIN  # of a rate [s]


@dataclass(frozen=True)
class Plan:
    """Amounts of the simulation; times in seconds."""

    sizes: Sizes = field(default_factory=Sizes)
    seeds: tuple[int, ...] = (1, 2, 3)
    trials: int = 12
    recording: float = 1.2
    updates: int = 3000
    levels: tuple[float, ...] = (1.2, 1.6, 2.0, 2.5, 3.0)
    trials_a_level: int = 2
    level: float = 0.6
    frequencies: tuple[float, ...] = (5.0, 20.0, 50.0)
    sine: float = 0.6
    timed: float = 0.05
    batches: tuple[int, ...] = (1, 8)
    # steps of a rate whose operations are counted
    counted: int = 10
    # before anything is measured
    warm_up: float = 0.1


QUICK = Plan(Sizes(160, 40, 0.2), (1,), 2, 0.06, 30, (2.0,), 1, 0.06, (50.0,), 0.06, 0.006, (1,), 2, 0.02)
FULL = "all spike"
EXCITATORY = "excitatory as a rate"
TENTH = "a tenth spikes"


def constant(low: float, high: float, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Random values that are held for 30 ms in the mean."""
    values = torch.rand(shape, generator=generator) * (high - low) + low
    changes = torch.rand(shape, generator=generator) < STEP / 0.03
    changes[0] = True
    row = torch.where(changes, torch.arange(shape[0]).unsqueeze(1), 0).cummax(0).values

    return values.gather(0, row)


def drive(plan: Plan, generator: torch.Generator) -> Tensor:
    """External rates of a recording, which differ between the populations less or more, by trial."""
    steps = round(plan.recording / STEP)
    trials = plan.trials
    apart = torch.tensor([0.03, 0.12, 0.3]).repeat(trials)[:trials].view(trials, 1)
    own = constant(-1.0, 1.0, (steps, 2 * trials), generator).view(steps, trials, 2)

    return constant(0.7, 3.7, (steps, trials), generator).unsqueeze(-1) * (1 + apart * own)


def learn(plan: Plan, network: HybridNetwork, seed: int) -> tuple[dict[str, TransferFunction], dict[str, float]]:
    """The transfer functions of both populations from a recording, and the deviance that they explain."""
    torch.manual_seed(seed)
    eta = drive(plan, torch.Generator().manual_seed(100 + seed))
    recorded = simulate(network, plan.sizes, eta, {"e": plan.sizes.e, "i": plan.sizes.i}, 200 + seed)
    rates = {name: recorded.binned(name) for name in "ei"}

    # rates arrive with the delay of the connections
    late = [torch.cat([rate.new_zeros(DELAY // BIN, plan.trials), rate[: -DELAY // BIN]]) for rate in rates.values()]
    external = plan.sizes.external(eta)
    functions = {}
    explained = {}

    for index, (name, rate) in enumerate(rates.items()):
        functions[name] = TransferFunction(3, dt=STEP)
        signals = torch.stack([external[..., index], *late], -1)
        explained[name] = fit_transfer_function(functions[name], signals, rate, num_updates=plan.updates, seed=seed)

    return functions, explained


def networks(plan: Plan, connections: Connections, functions: dict[str, TransferFunction]) -> dict[str, HybridNetwork]:
    """The networks with populations as rates."""
    e = plan.sizes.e
    i = plan.sizes.i
    kept = {EXCITATORY: {"e": 0, "i": i}, TENTH: {"e": e // 10, "i": i // 10}}
    return {name: mean_field_network(plan.sizes, connections, functions, number) for name, number in kept.items()}


def run_on(plan: Plan, network: HybridNetwork, eta: Tensor, seed: int) -> Activity:
    """A network on an external rate `(K, B)` of both populations."""
    both = eta.unsqueeze(-1).expand(-1, -1, 2)
    return simulate(network, plan.sizes, both, {"e": plan.sizes.e, "i": plan.sizes.i}, seed)


def hertz(x: Tensor) -> Tensor:
    """Spikes of a tick as a rate [Hz]."""
    return x / DT


def irregularity(spikes: Tensor) -> float | None:
    """The mean coefficient of variation of intervals between spikes, over neurons with five intervals or more."""
    variations = []
    for train in spikes.flatten(1).T:
        intervals = train.nonzero()[:, 0].diff().double()
        if len(intervals) >= 5:
            variations.append(float(intervals.std() / intervals.mean()))

    return statistics.fmean(variations) if variations else None


def at_levels(plan: Plan, all_networks: dict[str, HybridNetwork], seed: int) -> list[dict[str, Any]]:
    """Mean rates and irregularity at constant external rates."""
    levels = torch.tensor(plan.levels).repeat_interleave(plan.trials_a_level)
    eta = levels.expand(round(plan.level / STEP), -1)
    rows = []
    start = round(plan.warm_up / DT)

    for name, network in all_networks.items():
        activity = run_on(plan, network, eta, 300 + seed)
        means = {
            p: hertz(activity.rates[p][start:].mean(0)).view(-1, plan.trials_a_level).mean(1).tolist() for p in "ei"
        }
        # neurons that spike in all networks
        spikes = activity.spikes["i"][start:, :, : min(40, plan.sizes.i // 10)].unflatten(1, (-1, plan.trials_a_level))
        cv = [irregularity(spikes[:, k]) for k in range(len(plan.levels))]
        fluctuation = activity.binned("e")[start // BIN :]
        fano = (fluctuation.var(0) / fluctuation.mean(0) * plan.sizes.e * BIN).view(-1, plan.trials_a_level).mean(1)
        rows.append({"network": name, "levels": list(plan.levels), **means, "cv": cv, "fano": fano.tolist()})

    return rows


def to_a_step(plan: Plan, all_networks: dict[str, HybridNetwork], seed: int) -> list[dict[str, Any]]:
    """The mean rate of excitatory neurons over trials, in bins of 2 ms, when the external rate steps up and down."""
    steps = round(plan.sine / STEP)
    eta = torch.full((steps, plan.trials), 1.5)
    eta[steps // 2 : 3 * steps // 4] = 2.5
    rows = []

    for name, network in all_networks.items():
        rate = hertz(run_on(plan, network, eta, 400 + seed).binned("e", 20).mean(1))
        rows.append({"network": name, "rate": [round(value, 2) for value in rate.tolist()]})

    rate = hertz(run_on(plan, all_networks[FULL], eta, 500 + seed).binned("e", 20).mean(1))
    rows.append({"network": "all spike, other external spikes", "rate": [round(value, 2) for value in rate.tolist()]})
    start = round(plan.warm_up / (20 * DT))
    truth = torch.tensor(rows[0]["rate"][start:])

    for row in rows:
        other = torch.tensor(row["rate"][start:])
        row["correlation"] = float(torch.corrcoef(torch.stack([truth, other]))[0, 1])
        row["rms_hz"] = float((truth - other).square().mean().sqrt())

    return rows


def to_sines(plan: Plan, all_networks: dict[str, HybridNetwork], seed: int) -> list[dict[str, Any]]:
    """Gain and phase of excitatory neurons' rate at a modulated external rate."""
    steps = round(plan.sine / STEP)
    time_ = torch.arange(steps) * STEP
    frequencies = torch.tensor(plan.frequencies).repeat_interleave(2)
    eta = 2 + 0.5 * torch.sin(2 * torch.pi * frequencies * time_.unsqueeze(1))
    periods = (time_[-1] - plan.warm_up) * frequencies
    rows = []

    for name, network in all_networks.items():
        rate = hertz(run_on(plan, network, eta, 600 + seed).binned("e"))
        # an integer number of periods at the end
        length = (periods.floor().clamp(min=1) / frequencies / STEP).round().long()
        angle = 2 * torch.pi * frequencies * time_.unsqueeze(1)
        inside = torch.arange(steps).unsqueeze(1) >= steps - length
        wave = torch.complex(torch.sin(angle), torch.cos(angle)) * inside
        response = (2 * (rate * wave).sum(0) / inside.sum(0) / 0.5).view(-1, 2).mean(1)

        rows.append(
            {
                "network": name,
                "frequencies": list(plan.frequencies),
                "gain": response.abs().tolist(),
                "phase": response.angle().rad2deg().tolist(),
            }
        )

    return rows


def costs(plan: Plan, all_networks: dict[str, HybridNetwork]) -> list[dict[str, Any]]:
    """Processor time and operations of a second of one trial at 2.0, the external spikes apart.

    The networks take turns, three times; the first turn is not counted. Operations are those after the last turn.
    """
    rows: dict[str, dict[str, Any]] = {name: {"network": name} for name in all_networks}
    states: dict[str, Any] = {}

    # a batch of 1 comes last: its state, of one trial, is that of the counted operations
    for batch in sorted(plan.batches, reverse=True):
        eta = torch.full((round(plan.timed / STEP), batch, 2), 2.0)
        seconds = plan.timed * batch
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in all_networks}
        states = dict.fromkeys(all_networks)

        for turn in range(3):
            for name, network in all_networks.items():
                start = time.process_time()
                inputs = external_input(network, plan.sizes, eta, torch.Generator().manual_seed(turn))
                middle = time.process_time()

                with torch.no_grad():
                    states[name] = network(inputs, states[name])[1]

                times[name].append((time.process_time() - middle, middle - start))

        for name, row in rows.items():
            row[f"network_s_{batch}"] = statistics.median(network for network, _ in times[name][1:]) / seconds
            row[f"external_s_{batch}"] = statistics.median(external for _, external in times[name][1:]) / seconds

    for name, network in all_networks.items():
        eta = torch.full((plan.counted, 1, 2), 2.0)
        inputs = external_input(network, plan.sizes, eta, torch.Generator().manual_seed(3))
        total = count_run(network, functools.partial(run_once, network, inputs, states[name])).total
        total = total.scaled(1 / (plan.counted * STEP))
        operations = {kind: value for kind, value in vars(total).items() if value}
        rows[name]["operations"] = {**operations, "all": total.num_operations}

    return list(rows.values())


def run_once(network: HybridNetwork, inputs: dict[str, Tensor], state: Any) -> int:
    """Continues from a state; returns the number of trials, which is one."""
    with torch.no_grad():
        network(inputs, state)
    return 1


def of_seed(plan: Plan, seed: int, with_costs: bool, stages: Path | None = None) -> dict[str, Any]:
    """All measurements of one network; each stage is kept in the folder, if there is one."""

    def stage(name: str, measure: Callable[[], Any]) -> Any:
        step = kept(stages / f"seed{seed}-{name}.pt" if stages else None, measure)
        results["cpu_s"] += step["cpu_s"]
        return step["result"]

    results: dict[str, Any] = {"seed": seed, "cpu_s": 0.0}
    connections = connect(plan.sizes, seed)
    full = spiking_network(plan.sizes, connections)

    def learned() -> dict[str, Any]:
        functions, explained = learn(plan, full, seed)
        return {"explained": explained, "states": {name: function.state_dict() for name, function in functions.items()}}

    fitted = stage("learned", learned)
    functions = {name: TransferFunction(3, dt=STEP) for name in "ei"}
    for name, function in functions.items():
        function.load_state_dict(fitted["states"][name])

    results["explained"] = fitted["explained"]
    all_networks = {FULL: full, **networks(plan, connections, functions)}
    for name, measure in (("levels", at_levels), ("step", to_a_step), ("sines", to_sines)):
        results[name] = stage(name, functools.partial(measure, plan, all_networks, seed))

    if with_costs:
        results["costs"] = stage("costs", functools.partial(costs, plan, all_networks))

    results["cpu_s"] = round(results["cpu_s"], 1)
    return results


def summary(plan: Plan, seeds: list[dict[str, Any]]) -> dict[str, Any]:
    """Differences from the network whose neurons all spike, over seeds."""
    rows = []
    for index, name in ((1, EXCITATORY), (2, TENTH)):
        errors: dict[str, list[list[float]]] = {p: [] for p in "ei"}
        for results in seeds:
            truth = results["levels"][0]
            other = results["levels"][index]
            for p in "ei":
                errors[p].append([100 * (b / a - 1) for a, b in zip(truth[p], other[p], strict=True)])

        rows.append(
            {
                "network": name,
                **{f"off_{p}_percent": [spread(column, 2) for column in zip(*errors[p], strict=True)] for p in "ei"},
                "largest_percent": max(abs(value) for p in "ei" for row in errors[p] for value in row),
                "largest_of_the_mean_percent": max(
                    abs(statistics.fmean(column)) for p in "ei" for column in zip(*errors[p], strict=True)
                ),
                "correlation": spread([results["step"][index]["correlation"] for results in seeds]),
                "rms_hz": spread([results["step"][index]["rms_hz"] for results in seeds], 2),
            }
        )

    repeated = {
        "correlation": spread([results["step"][3]["correlation"] for results in seeds]),
        "rms_hz": spread([results["step"][3]["rms_hz"] for results in seeds], 2),
    }
    return {"rates": rows, "step_repeated": repeated}


def run(quick: bool) -> Results:
    """Rates, responses, irregularity and cost."""
    torch.set_num_threads(1)
    plan = QUICK if quick else Plan()
    stages = None if quick else steps_of("mean_field")
    seeds = [of_seed(plan, seed, seed == plan.seeds[0], stages) for seed in plan.seeds]
    network = {"J_mV": J, "g": G, "e": plan.sizes.e, "i": plan.sizes.i, "threshold_hz": plan.sizes.threshold_rate}
    cpu_s = round(sum(results["cpu_s"] for results in seeds))

    return {"network": network, "summary": summary(plan, seeds), "seeds": seeds, "cpu_s": cpu_s}


if __name__ == "__main__":
    main("mean_field", __doc__, run)
