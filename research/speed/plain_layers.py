"""Plain layers against the plain SpikingJelly loop, and how their cost grows with time.

    python research/speed/plain_layers.py

Prints three tables and writes research/speed/results/plain_layers.json:

1. forward and backward of a layer on (100, 16, 1024), one thread, beside SpikingJelly's multi-step layer with the same
   equation; both take turns in one run, and the ratio is the median over the rounds. The aim is at most 1.2.
2. time of training a step of time, for sequences of 25 to 400 steps: linear in T when it does not grow.
3. memory that the backward pass keeps for a step of time, counted from the tensors that autograd saves: the same.
"""

import json
import math
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from spikebridge.neurons import LIF, PLIF, Arctan, Recurrent, Stateful

RESULTS = Path(__file__).parent / "results" / "plain_layers.json"
SHAPE = (100, 16, 1024)
LENGTHS = (25, 50, 100, 200, 400)
ROUNDS = 20
HALF = 1 / math.log(2)  # with dt = 1 s the decay is 1/2, which is SpikingJelly's tau = 2


def peers() -> dict[str, tuple[Stateful, nn.Module]]:
    """Layers of both libraries with the same equation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from spikingjelly.activation_based import neuron, surrogate

    shared = {"decay_input": False, "surrogate_function": surrogate.ATan(2.0), "step_mode": "m"}
    return {
        "LIF, hard reset": (LIF(HALF, dt=1.0, surrogate=Arctan()), neuron.LIFNode(tau=2.0, **shared)),
        "LIF, soft reset": (LIF(HALF, dt=1.0, reset="subtract"), neuron.LIFNode(tau=2.0, v_reset=None, **shared)),
        "PLIF": (PLIF(HALF, dt=1.0), neuron.ParametricLIFNode(init_tau=2.0, **shared)),
    }


def train_ours(layer: Stateful) -> Callable[[Tensor], Tensor]:
    """A forward and backward pass that gives the spikes."""

    def run(x: Tensor) -> Tensor:
        spikes, _ = layer(x.detach().requires_grad_())
        spikes.backward(torch.ones_like(spikes))
        return spikes

    return run


def train_theirs(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    """The same with SpikingJelly, whose layers are reset first."""

    def run(x: Tensor) -> Tensor:
        layer.reset()
        spikes = layer(x.detach().requires_grad_())
        spikes.backward(torch.ones_like(spikes))
        return spikes

    return run


def seconds(run: Callable[[Tensor], Tensor], x: Tensor) -> float:
    start = time.perf_counter()
    run(x)
    return time.perf_counter() - start


def saved_bytes(run: Callable[[Tensor], Tensor], x: Tensor) -> int:
    """Bytes that autograd keeps for the backward pass, each storage counted once."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run(x)

    return sum(kept.values())


def against_spikingjelly() -> list[dict[str, object]]:
    x = torch.randn(SHAPE) * 0.5 + 0.3
    rows: list[dict[str, object]] = []

    for name, (ours, theirs) in peers().items():
        run_ours = train_ours(ours)
        run_theirs = train_theirs(theirs)
        equal = bool((run_ours(x) == run_theirs(x)).all())
        pairs = [(seconds(run_ours, x), seconds(run_theirs, x)) for _ in range(ROUNDS)]

        rows.append(
            {
                "layer": name,
                "ours_ms": statistics.median(a for a, _ in pairs) * 1e3,
                "spikingjelly_ms": statistics.median(b for _, b in pairs) * 1e3,
                "ratio": statistics.median(a / b for a, b in pairs),
                "ours_saved_mib": saved_bytes(run_ours, x) / 2**20,
                "spikingjelly_saved_mib": saved_bytes(run_theirs, x) / 2**20,
                "same_spikes": equal,
            }
        )

    return rows


def over_lengths() -> list[dict[str, object]]:
    layers = {"LIF": LIF(HALF, dt=1.0), "Recurrent(LIF)": Recurrent(LIF(HALF, dt=1.0), nn.Linear(256, 256))}
    signals = {num_steps: torch.randn(num_steps, 16, 256) for num_steps in LENGTHS}
    rows: list[dict[str, object]] = []

    for name, layer in layers.items():
        run = train_ours(layer)
        run(signals[LENGTHS[0]])
        # lengths take turns, so that a busy moment of the machine does not fall on one of them
        times = {t: [] for t in LENGTHS}

        for _ in range(ROUNDS // 2):
            for num_steps, x in signals.items():
                times[num_steps].append(seconds(run, x))

        for num_steps, x in signals.items():
            rows.append(
                {
                    "layer": name,
                    "num_steps": num_steps,
                    "us_a_step": statistics.median(times[num_steps]) / num_steps * 1e6,
                    "saved_kib_a_step": saved_bytes(run, x) / num_steps / 2**10,
                }
            )

    return rows


def write(results: dict[str, object]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    draft = RESULTS.with_suffix(".json.part")
    draft.write_text(json.dumps(results, indent=2) + "\n")
    draft.replace(RESULTS)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pairs = against_spikingjelly()
    lengths = over_lengths()
    print(f"forward and backward, {SHAPE}, one thread, {ROUNDS} rounds")
    print(f"{'layer':<18}{'ours':>10}{'SpikingJelly':>14}{'ratio':>8}{'saved':>11}{'theirs':>11}")

    for row in pairs:
        print(
            f"{row['layer']:<18}{row['ours_ms']:>7.1f} ms{row['spikingjelly_ms']:>11.1f} ms{row['ratio']:>8.2f}"
            f"{row['ours_saved_mib']:>7.1f} MiB{row['spikingjelly_saved_mib']:>7.1f} MiB"
        )

    print("\ncost of one step of time in training, (T, 16, 256)")
    print(f"{'layer':<18}{'T':>6}{'time':>12}{'kept':>12}")
    for row in lengths:
        print(f"{row['layer']:<18}{row['num_steps']:>6}{row['us_a_step']:>9.1f} us{row['saved_kib_a_step']:>8.1f} KiB")

    write(
        {
            "against_spikingjelly": pairs,
            "over_lengths": lengths,
            "shape": SHAPE,
            "rounds": ROUNDS,
            "environment": {
                "torch": torch.__version__,
                "spikingjelly": version("spikingjelly"),
                "threads": torch.get_num_threads(),
                "machine": platform.machine(),
            },
        }
    )


if __name__ == "__main__":
    main()
