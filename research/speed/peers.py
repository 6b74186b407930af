"""Spiking layers against SpikingJelly, snnTorch, Norse, sinabs and Spyx, in one process, taking turns.

    python research/speed/peers.py            # about twenty minutes
    python research/speed/peers.py --quick    # a look, in about one

Works: A a layer alone, forward and backward through time; B a training step of 784-1000-10 over 25 steps; C one of
32C3-MP2-64C3-MP2-FC10 over 8; E the peak memory of B as time grows; F kernels of hybrid units, and all neurons,
against the loop over their steps; S products of linear layers and convolutions in training as more inputs are active.
And how time grows with T, B and N. Ratios are medians over rounds, over the first row of a table: above 1 is slower.
"native", "pytorch" and "loop" are this package's paths: plain C, PyTorch alone, and the step function in a loop.
Writes research/speed/results/peers.json and peers.svg. Spyx comes with the extra `bench`.
"""

import argparse
import json
import os
import platform
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from research.speed.beside_peers.growth import draw, grow
from research.speed.beside_peers.in_jax import spyx_alone
from research.speed.beside_peers.kernels import SHAPES, kernels, neurons
from research.speed.beside_peers.layers import compiled_libraries, every_library
from research.speed.beside_peers.memory import every_row, in_a_process, peak_of_training
from research.speed.beside_peers.silence import against_silence
from research.speed.beside_peers.taking_turns import take_turns
from research.speed.beside_peers.works import (
    Convolutional,
    ConvolutionalInARow,
    Dense,
    DenseInARow,
    layer_alone,
    memory_traffic,
    training_step,
)
from spikebridge.ops import max_pool2d
from spikebridge.ops.sequence import native
from spikebridge.training.run.environment import git_revision, processor_name

RESULTS = Path(__file__).parent / "results"
LAYERS = [(100, 16, 1024), (100, 16, 4096), (16, 32, 4096), (1000, 1, 1000)]
NETWORKS: dict[str, tuple[Callable[..., nn.Module], tuple[int, ...]]] = {
    "B": (Dense, (25, 128, 784)),
    "C": (Convolutional, (8, 32, 1, 28, 28)),
}
LENGTHS = [25, 100, 400]
MAX_COMPILED = 16  # steps; inductor unrolls time, and takes minutes for a hundred of them
ALL = "ABCEFS+"
SLOW = {"Norse", "sinabs"}  # their time grows with the square of the steps: minutes where there are many


def layers(quick: bool) -> list[dict[str, Any]]:
    """A, on one thread."""
    torch.set_num_threads(1)
    tables = []

    for shape in LAYERS[-2:] if quick else LAYERS:
        makers = {n: make for n, make in every_library().items() if n not in SLOW or shape[0] * shape[1] <= 512}
        works = {name: layer_alone(make(), shape) for name, make in makers.items()}
        works |= {n: layer_alone(make(), shape) for n, make in compiled_libraries().items() if shape[0] <= MAX_COMPILED}

        with suppress(ImportError):
            works["Spyx, compiled"] = spyx_alone(shape)

        works["floor"] = memory_traffic(shape)
        rows = take_turns(works, rounds=5 if quick else 21)
        tables.append({"shape": shape, "threads": 1, "rows": rows})
        show(f"A  LIF {shape}, forward and backward, 1 thread", rows)

    return tables


def networks(quick: bool, every_threads: tuple[int, ...] = (1, 2)) -> list[dict[str, Any]]:
    """B and C, on one thread and on two; two need an idle machine, as they wait for each other."""
    tables = []
    for name, (network, shape) in NETWORKS.items():
        for threads in every_threads[-1:] if quick else every_threads:
            torch.set_num_threads(threads)
            makers = {**every_library(), "no neurons": nn.Identity}
            works = {n: training_step(network, make, shape) for n, make in makers.items()}
            ours = next(iter(makers))

            if network is Dense:
                works[f"{ours}, Sequential"] = training_step(DenseInARow, makers[ours], shape)
            else:
                for n in ("no neurons", "SpikingJelly", ours):
                    if n in makers:
                        works[f"{n}, channels last"] = training_step(network, makers[n], shape, channels_last=True)

                pooled = partial(Convolutional, pool=max_pool2d)
                works[f"{ours}, channels last, ops.max_pool2d"] = training_step(pooled, makers[ours], shape, True)
                in_a_row = training_step(ConvolutionalInARow, makers[ours], shape, channels_last=True)
                works[f"{ours}, channels last, Sequential"] = in_a_row

            spiking = [n for n in works if not n.startswith("no neurons")]
            # each work is held against the floor with its own memory order
            floors = {n: "no neurons" + ", channels last" * ("channels last" in n) for n in spiking}
            rows = take_turns(works, rounds=3 if quick else 15, floors=floors)
            revision = git_revision(Path(__file__).parent)
            tables.append({"work": name, "shape": shape, "threads": threads, "revision": revision, "rows": rows})
            show(f"{name}  training step, {shape}, {threads} thread(s)", rows)

    return tables


def memory(quick: bool) -> list[dict[str, Any]]:
    """E, each library and length in a process of its own."""
    lengths = LENGTHS[:1] if quick else LENGTHS
    rows = []
    print("\nE  peak memory of B [MB] at T = " + ", ".join(map(str, lengths)))

    for name in every_row():
        peaks = [in_a_process(name, num_steps) for num_steps in lengths]
        rows.append(
            {
                "name": name,
                "num_steps": lengths,
                "mb": peaks,
                "ratio": peaks[-1] / (rows or [{"mb": peaks}])[0]["mb"][-1],
            }
        )

        print(f"  {name:<36}" + "".join(f"{peak:>9.0f}" for peak in peaks) + f"{rows[-1]['ratio']:>8.2f} x")

    return rows


def gains_over_the_loop(quick: bool) -> list[dict[str, Any]]:
    """F, and every neuron, on one thread: the gain over the loop over steps."""
    torch.set_num_threads(1)
    tables = []

    for shape in SHAPES[:1] if quick else SHAPES:
        rows = {"kernels": kernels(shape, 2 if quick else 11), "neurons": neurons(shape, 2 if quick else 11)}
        tables.append({"shape": shape, "threads": 1, **rows})
        print(f"\nF  {shape}, times faster than the loop, 1 thread")

        for row in [*rows["kernels"], *rows["neurons"]]:
            words = row.get("neuron") or f"{row['kernel']}, {row['form']}{', gradients' * row['gradients']}"
            print(f"  {words:<58}" + "".join(f"{n[6:]:>9}{v:>7.1f}" for n, v in row.items() if n.startswith("times_")))

    return tables


def silence(quick: bool) -> list[dict[str, Any]]:
    """S, on one thread."""
    torch.set_num_threads(1)
    tables = against_silence(rounds=2 if quick else 11)
    for table in tables:
        print(f"\nS  {table['product']}, 1 thread")
        for row in table["rows"]:
            share, quick_ms, dense_ms, ratio = row.values()
            print(f"  {share:>6.0%}{quick_ms:>9.2f} ms{dense_ms:>9.2f} ms dense{ratio:>8.1f} x")

    return tables


def show(title: str, rows: list[dict[str, Any]]) -> None:
    print(
        f"\n{title}\n  {'':<40}{'ms':>9}{'ratio':>8}{'cpu ms':>9}{'ratio':>8}{'rounds':>8}{'spikes':>8}{'first s':>9}"
    )
    for row in rows:
        rate = "" if row["name"].startswith(("floor", "no neurons")) else f"{row['spike_rate']:.3f}"
        floor = row.get("over_floor")
        print(
            f"  {row['name']:<40}{row['ms']:>9.2f}{row['ratio']:>9.2f}{row['cpu_ms']:>9.2f}{row['cpu_ratio']:>9.2f}"
            f"{row['rounds']:>9}{rate:>9}{row['first_s']:>9.2f}"
            + (f"   {floor['cpu_ratio']:.2f} of {floor['name']}" if floor else "")
        )


def environment() -> dict[str, Any]:
    """The machine and the versions."""
    names = ("torch", "spikingjelly", "snntorch", "norse", "sinabs", "spyx", "jax")
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": os.getloadavg()[0],
        "native": native.description(),
        "versions": {name: version(name) for name in names if _installed(name)},
    }


def _installed(name: str) -> bool:
    try:
        version(name)
    except ImportError:
        return False

    return True


def _with_peers_of(results: dict[str, Any], current: dict[str, Any]) -> dict[str, Any]:
    """The environment, with the versions of peers whose rows stay from a run that had them."""
    before = results.get("environment", {}).get("versions", {})
    return {**current, "versions": {**before, **current["versions"]}}


def _works(letters: str) -> str:
    if not letters or set(letters) - set(ALL):
        raise argparse.ArgumentTypeError(f"needs letters out of {ALL}, as in A or BC, but got {letters!r}")
    return letters


def write(results: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    draft = path.with_suffix(".json.part")
    draft.write_text(json.dumps(results, indent=1) + "\n")
    draft.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and sizes; results go to peers_quick.json")
    parser.add_argument("--only", type=_works, default=ALL, help="works to run, as in A or BC; + is growth")
    parser.add_argument("--threads", type=int, choices=(1, 2), help="of B and C alone; the other results stay")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    parser.add_argument("--num-steps", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")

    if options.peak_of:
        torch.set_num_threads(1)
        print(json.dumps(peak_of_training(options.peak_of, options.num_steps)))
        return

    path = RESULTS / ("peers_quick.json" if options.quick else "peers.json")
    results = json.loads(path.read_text()) if path.exists() and options.only != ALL else {}
    results["environment"] = _with_peers_of(results, environment())
    # read first: a result that is written over an older one makes the tree dirty
    revision = git_revision(Path(__file__).parent)

    parts: list[tuple[str, str, Callable[[bool], Any]]] = [
        ("A", "layers", layers),
        ("BC", "networks", partial(networks, every_threads=(options.threads,) if options.threads else (1, 2))),
        ("E", "memory", memory),
        ("F", "beside_the_loop", gains_over_the_loop),
        ("S", "silence", silence),
        ("+", "growth", growth),
    ]
    for letters, name, run in parts:
        if set(letters) & set(options.only):
            before = results.get(name, [])
            results[name] = run(options.quick)
            if name == "networks" and options.threads:
                kept = [
                    {"revision": results["revisions"][name], **table}
                    for table in before
                    if table["threads"] != options.threads
                ]
                results[name] = sorted(results[name] + kept, key=lambda table: (table["work"], table["threads"]))

            results["revisions"] = {**results.get("revisions", {}), name: revision}
            write(results, path)


def growth(quick: bool) -> dict[str, Any]:
    """Time against T, B and N on one thread, by the fastest path."""
    torch.set_num_threads(1)
    name, make = next(iter(every_library().items()))
    results = grow(make(), rounds=2 if quick else 9)
    print(f"\ntime against size, {name}, 1 thread")

    for axis, result in results.items():
        print(
            f"  {axis}: {result['sizes'][0]} to {result['sizes'][-1]}, power {result['power']:.3f}, "
            f"line {result['ms_at_0']:.2f} ms + {result['us_each']:.2f} us each, at most {result['most_off']:.0%} off"
        )

    if not quick:
        draw(results, RESULTS / "peers.svg")

    return {"name": name, "axes": results}


if __name__ == "__main__":
    main()
