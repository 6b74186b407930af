"""Loops and single steps of hybrid networks beside the same formulas by hand.

    python research/speed/loops.py            # writes results/loops.json; speed_page.py makes the table of the page

Three works: a Hodgkin-Huxley neuron (J. Physiol. 117:500, 1952) as two leaky integrators that set each other's rest and
time constant in every tick, batch 20; LIF neurons whose thresholds an ANN sets in the next tick, batch 32; and `step`
of a spiking network without a loop, batch 1. All ways take turns in one process with one thread. A ratio is that of the
processor time of a way to that of the formulas by hand, the median over rounds in each of which every way ran.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from spikebridge.hybrid import HybridNetwork, HybridUnit, Mean, Modulation, Transmission, Tumbling, every, ticks
from spikebridge.neurons import LIF, Integrator, LIFState, Sequential, lif_step
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "loops.json"
TICKS = 161
BLOCK = 8
MS = 1e-3
DT = 1e-5
CONDUCTANCES = (120.0, 36.0, 0.3)  # mS/cm2, mV: sodium, potassium, leak
REVERSALS = (50.0, -77.0, -54.387)
REST = -65.0
GATES = (0.0529, 0.5961, 0.3177)
Run = Callable[[], Tensor]


def rates(v: Tensor) -> tuple[Tensor, Tensor]:
    """Opening and closing rates of the gates m, h and n [1/ms] at a membrane [mV]."""
    opening = [
        0.1 * (v + 40) / (1 - torch.exp(-(v + 40) / 10)),
        0.07 * torch.exp(-(v + 65) / 20),
        0.01 * (v + 55) / (1 - torch.exp(-(v + 55) / 10)),
    ]

    closing = [4 * torch.exp(-(v + 65) / 18), 1 / (1 + torch.exp(-(v + 35) / 10)), 0.125 * torch.exp(-(v + 65) / 80)]
    return torch.cat(opening, -1), torch.cat(closing, -1)


def steady_gates(v: Tensor) -> Tensor:
    """The values that the gates approach."""
    opening, closing = rates(v)
    return opening / (opening + closing)


def gate_tau(v: Tensor) -> Tensor:
    """The time constants of the gates [s]."""
    opening, closing = rates(v)
    return MS / (opening + closing)


def conductances(gates: Tensor) -> Tensor:
    """Conductances at the gates."""
    m, h, n = gates.unbind(-1)
    sodium, potassium, leak = CONDUCTANCES
    return torch.stack([sodium * m**3 * h, potassium * n**4, torch.full_like(m, leak)], -1)


def membrane_tau(gates: Tensor) -> Tensor:
    """The time constant of the membrane [s]."""
    return MS / conductances(gates).sum(-1, keepdim=True)


def membrane_rest(gates: Tensor, current: Tensor) -> Tensor:
    """The value that the membrane approaches [mV]."""
    g = conductances(gates)
    return ((g * g.new_tensor(REVERSALS)).sum(-1, keepdim=True) + current) / g.sum(-1, keepdim=True)


class Formula(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *signals: Tensor) -> Tensor:
        return self.function(*signals)


def unit(function: Callable[..., Tensor]) -> HybridUnit:
    """A unit of a nonlinearity alone."""
    return HybridUnit(None, None, Formula(function))


def hodgkin_huxley() -> HybridNetwork:
    """Membrane and gates."""
    parts = {
        "membrane": Integrator(MS, v_leak=REST, r=0.0),
        "gates": Integrator(MS, v_leak=torch.tensor(GATES), r=0.0),
    }

    links = [
        Transmission("current", "membrane"),
        Transmission("membrane", "gates", unit(lambda v: v.expand(-1, 3)), delay=ticks(1)),
        Modulation("membrane", "gates.v_leak", unit(steady_gates), "replace", delay=ticks(1), name="steady_gates"),
        Modulation("membrane", "gates.tau", unit(gate_tau), "replace", delay=ticks(1), name="gate_tau"),
        Modulation("gates", "membrane.tau", unit(membrane_tau), "replace", delay=ticks(1), name="membrane_tau"),
        Modulation(
            "gates",
            "membrane.v_leak",
            unit(membrane_rest),
            "replace",
            delay=ticks(1),
            context="current",
            name="membrane_rest",
        ),
    ]
    return HybridNetwork(dt=DT, inputs={"current": every(DT)}, parts=parts, links=links, outputs=["membrane"])


def hodgkin_huxley_by_hand(network: HybridNetwork, current: Tensor) -> Tensor:
    """The same formulas in a plain loop."""
    v = current.new_full((current.shape[1], 1), REST)
    gates = current.new_tensor(GATES).expand(current.shape[1], 3)
    membranes = [v]

    for x in current.unbind(0)[:-1]:
        rest = membrane_rest(gates, x)
        tau = membrane_tau(gates)
        steady = steady_gates(v)
        tau_gates = gate_tau(v)
        v = rest + torch.exp(-DT / tau) * (v - rest)
        gates = steady + torch.exp(-DT / tau_gates) * (gates - steady)
        membranes.append(v)

    return torch.stack(membranes)


def thresholds() -> HybridNetwork:
    """LIF neurons whose thresholds an ANN sets."""
    torch.manual_seed(0)
    return HybridNetwork(
        dt=MS,
        inputs={"current": every(MS)},
        parts={"snn": LIF(0.02), "ann": nn.Linear(16, 16)},
        links=[
            Transmission("current", "snn"),
            Transmission("snn", "ann"),
            Modulation("ann", "snn.v_threshold", by="add", delay=ticks(1)),
        ],
        outputs=["snn"],
    )


def thresholds_by_hand(network: HybridNetwork, current: Tensor) -> Tensor:
    """The same with the step function of the neuron."""
    ann = network.parts["ann"]
    decay = float(torch.exp(torch.tensor(-MS / 0.02, dtype=torch.float64)))
    state = LIFState(torch.zeros_like(current[0]))
    threshold = 1.0
    outputs = []

    for x in current.unbind(0):
        spikes, state = lif_step(x, state, decay=decay, v_threshold=threshold)
        threshold = 1.0 + ann(spikes)
        outputs.append(spikes)

    return torch.stack(outputs)


def spiking_stream() -> HybridNetwork:
    """Two layers of LIF neurons, and a read-out of their mean over six ticks."""
    torch.manual_seed(0)
    layers = Sequential(fc1=nn.Linear(30, 32), lif1=LIF(0.01), fc2=nn.Linear(32, 16), lif2=LIF(0.01))
    links = [Transmission("current", "snn"), Transmission("snn", "ann", HybridUnit(Tumbling(6), Mean()))]

    return HybridNetwork(
        dt=MS,
        inputs={"current": every(MS)},
        parts={"snn": layers, "ann": nn.Linear(16, 10)},
        links=links,
        outputs=["ann"],
    )


def spiking_stream_by_hand(network: HybridNetwork, current: Tensor) -> Tensor:
    """The same with the step function of the neurons."""
    layers = network.parts["snn"]
    ann = network.parts["ann"]
    decay = float(torch.exp(torch.tensor(-MS / 0.01, dtype=torch.float64)))
    one, two = (LIFState(current.new_zeros(current.shape[1], width)) for width in (32, 16))
    window = []
    outputs = []

    for x in current.unbind(0):
        spikes, one = lif_step(layers.fc1(x), one, decay=decay)
        spikes, two = lif_step(layers.fc2(spikes), two, decay=decay)
        window.append(spikes)
        if len(window) == 6:
            outputs.append(ann(torch.stack(window).mean(0)))
            window = []

    return torch.stack(outputs)


def whole(network: Any, current: Tensor) -> Tensor:
    """The first output of a whole sequence."""
    return next(iter(network({"current": current})[0].values()))


def stepped(network: Any, current: Tensor) -> Tensor:
    """The first output, step by step."""
    state = None
    outputs = []
    for x in current.unbind(0):
        signals, state = network.step({"current": x}, state)
        outputs += [y for y in signals.values() if len(y)]

    return torch.stack(outputs)


def on_the_checked_path(run: Run) -> Run:
    """The same without rows."""

    def checked() -> Tensor:
        with patch("spikebridge.hybrid.network.network.supports_rows", lambda like: False):
            return run()

    return checked


def trained(run: Callable[[Tensor], Tensor], current: Tensor) -> Run:
    """The same with its backward pass to the input."""

    def both() -> Tensor:
        leaf = current.clone().requires_grad_()
        y = run(leaf)
        y.square().mean().backward()
        return y.detach()

    return both


def ways(name: str) -> dict[str, Run]:
    """The ways that take turns in a work; the first is by hand."""
    torch.manual_seed(1)
    if name.startswith("Hodgkin-Huxley"):
        network = hodgkin_huxley()
        hand = hodgkin_huxley_by_hand
        run = whole
        current = 10 + 5 * torch.rand(TICKS, 20, 1)
    elif name.startswith("thresholds"):
        network = thresholds()
        hand = thresholds_by_hand
        run = whole
        current = torch.rand(TICKS, 32, 16)
    else:
        network = spiking_stream()
        hand = spiking_stream_by_hand
        run = stepped
        current = torch.rand(TICKS, 1, 30)

    if name.endswith("training"):
        fast = network.compiled(BLOCK)
        return {
            "by hand": trained(lambda x: hand(network, x), current),
            "checked": on_the_checked_path(trained(lambda x: run(network, x), current)),
            "network": trained(lambda x: run(network, x), current),
            f"compiled, {BLOCK} ticks": trained(lambda x: run(fast, x), current),
        }

    runs = {
        "by hand": lambda: hand(network, current),
        "checked": on_the_checked_path(lambda: run(network, current)),
        "network": lambda: run(network, current),
    }
    for block in (1,) if run is stepped else (1, BLOCK):
        fast = network.compiled(block)
        runs[f"compiled, {block} tick{'s' if block > 1 else ''}"] = lambda fast=fast: run(fast, current)

    return runs


def measure(name: str, rounds: int) -> list[dict[str, Any]]:
    """A row for each way."""
    rows: dict[str, list[float]] = {}
    with torch.set_grad_enabled(name.endswith("training")):
        runs = ways(name)
        first: dict[str, float] = {}
        outputs = {}

        for way, run in runs.items():
            start = time.perf_counter()
            outputs[way] = run()
            first[way] = time.perf_counter() - start

        for way, y in outputs.items():
            torch.testing.assert_close(
                y, outputs["by hand"], rtol=1e-3, atol=1e-3, msg=lambda text, w=way: f"{w}: {text}"
            )

        for _ in range(rounds):
            for way, run in runs.items():
                start = time.process_time()
                run()
                rows.setdefault(way, []).append(1e6 * (time.process_time() - start) / TICKS)

    return [
        {
            "work": name,
            "way": way,
            "us_a_tick": round(statistics.median(times), 1),
            "over_by_hand": round(statistics.median(t / h for t, h in zip(times, rows["by hand"], strict=True)), 3),
            "first_call_s": round(first[way], 1) if way.startswith("compiled") else None,
        }
        for way, times in rows.items()
    ]


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    works = ("Hodgkin-Huxley", "Hodgkin-Huxley, training", "thresholds", "thresholds, training", "step")
    rows = [row for name in works for row in measure(name, rounds)]

    for row in rows:
        print(f"{row['work']:26}{row['way']:20}{row['us_a_tick']:9.1f} us a tick{row['over_by_hand']:8.2f} x by hand")

    record = {"ticks": TICKS, "rounds": rounds, "rows": rows, "environment": describe_environment(threads=1)}
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
