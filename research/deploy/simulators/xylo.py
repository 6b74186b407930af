"""Random networks in the integers of Xylo against the simulator of the chip's maker.

    python research/deploy/simulators/xylo.py --count 200 --folder runs/xylosim --json

Builds an environment of its own in the folder (pip, pybind11, xylosim 0.1.3: minutes, and a C++ compiler), lets it run
random recurrent networks with both synapses, biases and aliases, writes their numbers to `xylo.npz` there, and counts
those that differ. The simulator states no licence: it is a reference for this measurement and no dependency, and
neither it nor its numbers are stored here. The exit code is 1 where a number differs.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

_PACKAGES = (["pybind11", "setuptools", "wheel", "numpy"], ["--no-build-isolation", "xylosim==0.1.3"])
_INPUTS = 16


def draw_network(generator: np.random.Generator, num_steps: int) -> dict[str, np.ndarray]:
    """A random network and its input; every kind of network comes, also those that saturate."""
    n = int(generator.integers(2, num_steps))
    o = int(generator.integers(1, 9))
    two = generator.random() < 0.4
    density = generator.uniform(0.05, 1.0)

    def weights(*shape: int) -> np.ndarray:
        return np.where(generator.random(shape) < density, generator.integers(-128, 128, shape), 0).astype(np.int8)

    network = {"inp": weights(_INPUTS, n), "rec": weights(n, n), "out": weights(n, o)}
    if two:
        network |= {"inp2": weights(_INPUTS, n), "rec2": weights(n, n)}

    alias = np.full(n, -1, np.int16)
    if generator.random() < 0.5:
        joined = generator.permutation(n)[: max(1, n // 4)]
        alias[joined] = generator.integers(0, n, len(joined))
        # a neuron is no alias of itself
        alias[alias == np.arange(n)] = -1

    biased = generator.random() < 0.5
    return {
        **network,
        "shifts": generator.integers(0, 8, 3).astype(np.int8),
        "threshold": generator.integers(30, 6000, n).astype(np.int16),
        "threshold_out": generator.integers(30, 6000, o).astype(np.int16),
        "has_bias": np.array(biased),
        "bias": (biased * generator.integers(-200, 200, n)).astype(np.int16),
        "bias_out": (biased * generator.integers(-200, 200, o)).astype(np.int16),
        "dash_mem": generator.integers(1, 8, n).astype(np.uint8),
        "dash_mem_out": generator.integers(1, 8, o).astype(np.uint8),
        "dash_syn": generator.integers(1, 8, (n, 1 + two)).astype(np.uint8),
        "dash_syn_out": generator.integers(1, 8, (o, 1)).astype(np.uint8),
        "alias": alias,
        "x": np.minimum(generator.poisson(generator.uniform(0.05, 3), (num_steps, _INPUTS)), 15).astype(np.uint8),
    }


def simulate(network: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The results of the maker's simulator; runs in the environment of its own."""
    from xylosim.v2 import XyloLayer, XyloSynapse  # type: ignore[import-not-found]

    def synapses(*matrices: np.ndarray) -> list:
        # the simulator holds pointers to these, so that they have to live as long as it does
        return [
            [XyloSynapse(j, k, int(m[i, j])) for k, m in enumerate(matrices) for j in np.flatnonzero(m[i]).tolist()]
            for i in range(len(matrices[0]))
        ]

    names = [("inp", "inp2"), ("rec", "rec2")]
    kept = [synapses(*(network[name] for name in pair if name in network)) for pair in names]
    kept.append(synapses(network["out"]))
    shifts = [int(shift) for shift in network["shifts"]]
    layer = XyloLayer(
        synapses_in=kept[0],
        synapses_rec=kept[1],
        synapses_out=kept[2],
        aliases=[[int(target)] if target >= 0 else [] for target in network["alias"]],
        threshold=network["threshold"].tolist(),
        threshold_out=network["threshold_out"].tolist(),
        has_bias=bool(network["has_bias"]),
        bias=network["bias"].tolist(),
        bias_out=network["bias_out"].tolist(),
        weight_shift_inp=shifts[0],
        weight_shift_rec=shifts[1],
        weight_shift_out=shifts[2],
        dash_mem=network["dash_mem"].tolist(),
        dash_mem_out=network["dash_mem_out"].tolist(),
        dash_syns=network["dash_syn"].tolist(),
        dash_syns_out=network["dash_syn_out"].tolist(),
        name="random",
    )
    spikes_out = layer.evolve(network["x"].astype(int).tolist())
    num_steps = len(network["x"])

    def by_step(values: list, kind: type) -> np.ndarray:
        # some records have one row a step, others one row a neuron
        array = np.array(values, kind)
        return array if len(array) == num_steps else array.T

    return {
        "spikes_out": by_step(spikes_out, np.uint8),
        "spikes": by_step(layer.rec_recurrent_spikes, np.uint8),
        "v": by_step(layer.rec_v_mem, np.int16),
        "i": by_step(layer.rec_i_syn, np.int16),
    }


def write_networks(file: Path, count: int, num_steps: int, seed: int) -> None:
    """Draws and simulates networks; runs in the environment of its own."""
    generator = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {"count": np.array(count)}
    for number in range(count):
        network = draw_network(generator, num_steps)
        arrays |= {f"{number}/{name}": value for name, value in {**network, **simulate(network)}.items()}

    np.savez_compressed(file, **arrays)


def build(folder: Path) -> Path:
    """The Python of the environment with the simulator, which is built where it is not there."""
    python = folder / "environment" / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(folder / "environment")], check=True)
        for packages in _PACKAGES:
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)

    return python


def main() -> int:
    """Builds, simulates, compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="of the environment and of xylo.npz")
    parser.add_argument("--count", type=int, default=200, help="networks")
    parser.add_argument("--steps", type=int, default=80, help="of each network")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--write", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    file = options.folder / "xylo.npz"

    if options.write:
        write_networks(file, options.count, options.steps, options.seed)
        return 0

    options.folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([str(build(options.folder)), __file__, *sys.argv[1:], "--write"], check=True)

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from recorded_chips import compare_xylo

    with np.load(file) as numbers:
        result = compare_xylo(dict(numbers))

    words = f"{result['differ']} of {result['values']} numbers of {result['networks']} networks differ"
    print(json.dumps(result) if options.json else words)
    return int(result["differ"] > 0)


if __name__ == "__main__":
    sys.exit(main())
