"""Live steps of whole networks, by events and dense, measured in turns on one core.

    taskset -c 0 python research/speed/sparse_live.py

Writes results/sparse_live.json. A step is one bin of a stream through `deploy.streaming.network_steps`, as
`spikebridge live` takes it, once with parts stepped by events and once without. The networks: the convolutional network
of `live.py`, the networks of the digits recipe, and the spiking layers of the sensing network (its tracker
has a fused form of its own, so here the layers alone, their normalisation folded in, are stepped both ways).
Times are medians of processor time over steps; ratios are medians over rounds.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from research.speed import live
from spikebridge.deploy.streaming.torch_network import network_steps
from spikebridge.networks.digits.model import VARIANTS, what_where
from spikebridge.networks.sensing.model.backbones import WherePathway
from spikebridge.neurons import Sequential
from spikebridge.ops import without_native
from spikebridge.ops.sequence.native import description

RESULTS = Path(__file__).parent / "results" / "sparse_live.json"
SHARES = 0.01, 0.02, 0.05
NUM_BINS = 60  # of a round; the first ones begin a stream
SKIPPED = 10
SENSOR = 34

Steps = Callable[[list[Any], Any], tuple[Any, Any]]


def sensing_layers() -> Sequential:
    """The spiking layers of the sensing network at their initial weights, with the normalisation folded in."""
    spiking: Any = WherePathway(8, dt=1 / 240).eval().spiking
    conv = fuse_conv_bn_eval(spiking.conv, spiking.norm)
    conv.weight.data *= 8  # so that neurons fire
    return Sequential(conv=conv, lif=spiking.lif, out=spiking.out).eval()


def networks() -> dict[str, tuple[nn.Module, dict[str, Tensor], tuple[int, ...]]]:
    """By name: the network, a sample of its inputs, and the shape of its events."""
    pictures = torch.rand(3, 1, 2, 28, 28)
    made: dict[str, tuple[nn.Module, dict[str, Tensor], tuple[int, ...]]] = {
        "convolutional network": (live.network(), {"events": pictures}, (2, 28, 28)),
        "sensing, spiking layers": (sensing_layers(), {"events": torch.rand(3, 1, 2, 96, 96)}, (2, 96, 96)),
    }

    for variant in VARIANTS:
        if variant == "ann":
            continue
        torch.manual_seed(0)
        network = what_where(variant, 32, dt=0.025, frame_period=3, frame_every=3, sensor=SENSOR)
        sample = {"events": torch.rand(3, 1, 2, SENSOR, SENSOR), "frames": torch.rand(1, 1, 1, SENSOR, SENSOR)}
        made[f"digits, {variant}"] = (network, {n: sample[n] for n in network.inputs}, (2, SENSOR, SENSOR))

    return made


def bins(share: float, shape: tuple[int, ...]) -> list[Any]:
    """Random events, and a frame in each bin."""
    random = np.random.default_rng(0)
    frame = np.zeros(shape[1:], np.float32)

    return [
        SimpleNamespace(events=(random.random(shape) < share).astype(np.float32), frame=frame) for _ in range(NUM_BINS)
    ]


def time_of(steps: Steps, stream: list[Any]) -> float:
    """Microseconds of a step."""
    state = None
    times = []
    for one in stream:
        begin = time.thread_time()
        _, state = steps([one], state)
        times.append(time.thread_time() - begin)

    return 1e6 * statistics.median(times[SKIPPED:])


def measure(network: nn.Module, sample: dict[str, Tensor], shape: tuple[int, ...], rounds: int) -> list[dict[str, Any]]:
    """One row a share of active pixels."""
    by_events = network_steps(network, sample)
    # the choice is made when the network is prepared, not at each step
    with without_native():
        dense = network_steps(network, sample)

    rows = []
    for share in SHARES:
        stream = bins(share, shape)
        pairs = [(time_of(by_events, stream), time_of(dense, stream)) for _ in range(rounds)]
        rows.append(
            {
                "active": share,
                "events_us": round(statistics.median(a for a, _ in pairs), 1),
                "dense_us": round(statistics.median(b for _, b in pairs), 1),
                "ratio": round(statistics.median(b / a for a, b in pairs), 2),
            }
        )

    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="three rounds; nothing is written")
    rounds = 3 if (quick := parser.parse_args().quick) else 15
    torch.set_num_threads(1)
    results: dict[str, Any] = {"torch": torch.__version__, "native": description(), "rounds": rounds, "networks": {}}

    for name, (network, sample, shape) in networks().items():
        rows = results["networks"][name] = measure(network, sample, shape, rounds)
        print(name, *rows, sep="\n  ", flush=True)

    if not quick:
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
