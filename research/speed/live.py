"""Live stepping of a small convolutional network, one sample and one step at a time, by events and in other libraries.

    python research/speed/live.py

Prints two tables and writes research/speed/results/live.json:

1. 32C3-MP2-64C3-MP2-FC10 with LIF neurons on two channels of 28 x 28, of which 2 or 5 % are active at each step. With
   the prepared network: the same without neurons (the floor of every dense library), the network itself, and
   SpikingJelly, Norse, sinabs and snnTorch with the same weights and the same equation.
   Aims: at most 0.25 of the dense layers, at least 8 times the best library, the same spikes. "cold" is a step with
   emptied caches, as after a pause.
2. A linear layer, 1000 x 1000, over `F.linear`, for several shares of events. Aim: tens of times at 1 %.

One thread, one process; contenders take turns, a stream of 100 steps each, and ratios are medians of ratios in a round.
Times are those of the thread.
"""

import json
import math
import os
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikebridge.neurons import LIF, Sequential
from spikebridge.ops.sparse.engine import EventDriven
from spikebridge.ops.sparse.native import functions
from spikebridge.training.run.environment import processor_name

RESULTS = Path(__file__).parent / "results" / "live.json"
NUM_STEPS = 100
ROUNDS = 30
COLD_STEPS = 150
CACHE = 2**23  # floats; larger than the caches that a step could have left something in
HALF = 1 / math.log(2)  # with dt = 1 s the decay is 1/2
THRESHOLDS = 0.5, 0.35, 0.12  # with these 2 to 5 % of the hidden neurons fire
IMAGE = (1, 2, 28, 28)
LAYERS = ("c1", "c2", "fc")

Stream = Callable[[Tensor], Tensor]


def network() -> Sequential:
    torch.manual_seed(0)
    first, second, last = (LIF(HALF, dt=1.0, v_threshold=v) for v in THRESHOLDS)

    return Sequential(
        c1=nn.Conv2d(2, 32, 3, padding=1),
        l1=first,
        p1=nn.MaxPool2d(2),
        c2=nn.Conv2d(32, 64, 3, padding=1),
        l2=second,
        p2=nn.MaxPool2d(2),
        flat=nn.Flatten(),
        fc=nn.Linear(64 * 7 * 7, 10),
        l3=last,
    ).eval()


def stepwise(network: Sequential | EventDriven) -> Stream:
    """A stream through a network, one step at a time."""
    begin = network.initial_state(torch.zeros(IMAGE))

    def run(x: Tensor) -> Tensor:
        state = begin
        outputs = []
        for x_t in x.unbind(0):
            y, state = network.step(x_t, state)
            outputs.append(y)

        return torch.cat(outputs)

    return run


def dense(net: Sequential) -> Stream:
    layers = nn.Sequential(net.c1, net.p1, net.c2, net.p2, net.flat, net.fc)
    return lambda x: torch.cat([layers(x_t) for x_t in x.unbind(0)])


def stepping(net: Sequential, fire: Callable[[int, Tensor], Tensor], begin: Callable[[], None]) -> Stream:
    """A stream through our layers with the neurons of another library between them."""

    def run(x: Tensor) -> Tensor:
        begin()
        outputs = []
        for x_t in x.unbind(0):
            y = net.p1(fire(0, net.c1(x_t)))
            y = net.p2(fire(1, net.c2(y)))
            outputs.append(fire(2, net.fc(net.flat(y))))

        return torch.cat(outputs)

    return run


def spikingjelly(net: Sequential) -> Stream:
    from spikingjelly.activation_based import neuron

    nodes = [neuron.LIFNode(tau=2.0, decay_input=False, v_threshold=v).eval() for v in THRESHOLDS]
    return stepping(net, lambda k, x: nodes[k](x), lambda: [node.reset() for node in nodes])


def norse(net: Sequential) -> Stream:
    from norse.torch.functional import lif_box

    # its membrane takes up dt / tau of the input, here a half: half the threshold
    settings = [lif_box.LIFBoxParameters(tau_mem_inv=torch.tensor(500.0), v_th=torch.tensor(v / 2)) for v in THRESHOLDS]
    states: list[object] = []

    def begin() -> None:
        states[:] = [None] * 3

    def fire(k: int, x: Tensor) -> Tensor:
        state = lif_box.LIFBoxFeedForwardState(v=torch.zeros_like(x)) if states[k] is None else states[k]
        y, states[k] = lif_box.lif_box_feed_forward_step(x, state, settings[k], 0.001)
        return y

    return stepping(net, fire, begin)


def sinabs(net: Sequential) -> Stream:
    import sinabs.activation as activation
    import sinabs.layers as layers

    shared = {"tau_mem": HALF, "norm_input": False, "spike_fn": activation.SingleSpike}
    fires = [
        layers.LIF(spike_threshold=torch.tensor(v), reset_fn=activation.MembraneReset(), **shared) for v in THRESHOLDS
    ]

    return stepping(
        net, lambda k, x: fires[k](x.unsqueeze(1)).squeeze(1), lambda: [layer.reset_states() for layer in fires]
    )


def snntorch(net: Sequential) -> Stream:
    from snntorch import Leaky

    fires = [Leaky(beta=0.5, threshold=v, reset_mechanism="zero", reset_delay=False) for v in THRESHOLDS]
    membranes: list[Tensor] = []

    def begin() -> None:
        membranes[:] = [layer.reset_mem() for layer in fires]

    def fire(k: int, x: Tensor) -> Tensor:
        y, membranes[k] = fires[k](x, membranes[k])
        return y

    return stepping(net, fire, begin)


def contenders(net: Sequential) -> dict[str, Stream]:
    ours = {"events, one native call": stepwise(EventDriven(net, native=True))} if functions() else {}
    peers = {"SpikingJelly": spikingjelly, "Norse": norse, "sinabs": sinabs, "snnTorch": snntorch}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        others = {name: build(net) for name, build in peers.items()}

    return {**ours, "network": stepwise(net), "dense layers": dense(net), **others}


def seconds(run: Callable[[], object]) -> float:
    """Time of this thread, which does all the work: other work of the machine does not count."""
    start = time.thread_time()
    run()
    return time.thread_time() - start


def shares(net: Sequential, x: Tensor) -> dict[str, float]:
    """The share of inputs of each product that are not zero, and the rates of the neurons."""
    values: dict[str, float] = {}
    y = x

    for name, layer in net.named_children():
        if name in LAYERS:
            values[name] = float((y != 0).float().mean())
        if isinstance(layer, LIF):
            y, _ = layer(y)
            values[name] = float(y.mean())
        else:
            y = layer(y.flatten(0, 1)).unflatten(0, y.shape[:2])

    return values


def live(share: float) -> dict[str, object]:
    net = network()
    x = (torch.rand(NUM_STEPS, *IMAGE) < share).float()
    runs = contenders(net)
    spikes = {name: run(x) for name, run in runs.items()}
    expected = spikes["network"]
    times: dict[str, list[float]] = {name: [] for name in runs}

    # in turns, so that a change of the processor's clock meets all of them
    for _ in range(ROUNDS):
        for name, run in runs.items():
            times[name].append(seconds(lambda run=run: run(x)) / NUM_STEPS)

    first = next(iter(runs))
    rows = [
        {
            "name": name,
            "us_a_step": statistics.median(own_times) * 1e6,
            "over_ours": statistics.median(a / b for a, b in zip(own_times, times[first], strict=True)),
            "ours_over": statistics.median(b / a for a, b in zip(own_times, times[first], strict=True)),
            "other_spikes": None if name == "dense layers" else int((spikes[name] != expected).sum()),
        }
        for name, own_times in times.items()
    ]

    return {"share": share, "events": shares(net, x), "output_spikes": int(expected.sum()), "rows": rows}


def cold(share: float) -> dict[str, float]:
    """Microseconds of single steps, each after the caches were swept."""
    net = network()
    x = (torch.rand(NUM_STEPS, *IMAGE) < share).float()
    sweep = torch.zeros(CACHE)
    prepared = EventDriven(net, bool(functions()))
    layers = nn.Sequential(net.c1, net.p1, net.c2, net.p2, net.flat, net.fc)
    _, state = prepared.step(x[0])
    runs = {"events": lambda x_t: prepared.step(x_t, state), "dense layers": layers}
    times: dict[str, list[float]] = {name: [] for name in runs}

    for k in range(COLD_STEPS):
        for name, run in runs.items():
            # as large as the last cache, so that nothing of the network stays there
            sweep.add_(1)
            times[name].append(seconds(lambda run=run, k=k: run(x[k % NUM_STEPS])))

    return {name: statistics.median(values) * 1e6 for name, values in times.items()}


def linear() -> list[dict[str, float]]:
    torch.manual_seed(0)
    layer = nn.Linear(1000, 1000).eval()
    net = Sequential(layer)
    fast = EventDriven(net)
    plain = EventDriven(net, native=False)
    rows = []

    for share in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0):
        x = torch.zeros(1, 1000)
        x[0, torch.randperm(1000)[: int(1000 * share)]] = 1
        state = fast.initial_state(x)

        runs = {
            "F.linear": lambda x=x: F.linear(x, layer.weight, layer.bias),
            "events": lambda x=x, state=state: fast.step(x, state),
            "PyTorch": lambda x=x, state=state: plain.step(x, state),
        }

        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(ROUNDS):
            for name, run in runs.items():
                times[name].append(seconds(lambda run=run: [run() for _ in range(NUM_STEPS)]) / NUM_STEPS)

        row = {name: statistics.median(values) * 1e6 for name, values in times.items()}
        ratios = [a / b for a, b in zip(times["F.linear"], times["events"], strict=True)]
        rows.append({"share": share, **row, "ratio": statistics.median(ratios)})

    return rows


def show(table: dict[str, object]) -> None:
    events = ", ".join(f"{name} {value:.1%}" for name, value in table["events"].items())
    print(f"\n{table['share']:.0%} of the input active; events into products, rates of neurons: {events}")
    print(f"{'':<26}{'us a step':>10}{'/ ours':>9}{'ours /':>9}{'other spikes':>14}")

    for row in table["rows"]:
        other = "-" if row["other_spikes"] is None else str(row["other_spikes"])
        print(f"{row['name']:<26}{row['us_a_step']:>10.1f}{row['over_ours']:>9.2f}{row['ours_over']:>9.3f}{other:>14}")

    emptied = table["cold_us"]
    print(f"cold: events {emptied['events']:.0f} us, dense layers {emptied['dense layers']:.0f} us")


def write(results: dict[str, object]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    draft = RESULTS.with_suffix(".json.part")
    draft.write_text(json.dumps(results, indent=2) + "\n")
    draft.replace(RESULTS)


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    tables = [{**live(share), "cold_us": cold(share)} for share in (0.02, 0.05)]
    for table in tables:
        show(table)

    rows = linear()
    print("\nlinear 1000 x 1000, us")
    print(f"{'events':>8}{'F.linear':>11}{'events':>9}{'PyTorch':>10}{'ratio':>8}")

    for row in rows:
        print(
            f"{row['share']:>8.0%}{row['F.linear']:>11.1f}{row['events']:>9.1f}{row['PyTorch']:>10.1f}{row['ratio']:>8.1f}"
        )

    libraries = ("torch", "spikingjelly", "norse", "sinabs", "snntorch")
    environment = {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "native": bool(functions()),
        **{name: version(name) for name in libraries},
    }

    write({"live": tables, "linear": rows, "steps": NUM_STEPS, "rounds": ROUNDS, "environment": environment})


if __name__ == "__main__":
    main()
