"""One training by one process and by two: how far apart are the weights?

    python research/speed/devices.py [--networks learned,snn] [--seed 0]

Trains digits (`--preset quick`) with `--devices 1` and `--devices 2`, in float32 and in float64, and compares every
weight. The two sum gradients in another order. In float64 a difference near 1e-16 says that they do the same sums; in
float32 a membrane that ends on the other side of its threshold makes a larger one. Writes results/devices.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors.torch import load_file

from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "devices.json"


def train(out: Path, network: str, precision: str, devices: int, seed: int) -> Path:
    """The weights of one training."""
    options = ["--networks", network, "--precision", precision, "--devices", str(devices), "--seed", str(seed)]
    command = [sys.executable, "-m", "spikebridge", "train", "digits", "--preset", "quick", "--quiet", *options]
    subprocess.run([*command, "--num-seeds", "1", "--out", str(out)], check=True, stdout=subprocess.DEVNULL)
    (weights,) = out.rglob("weights.safetensors")

    return weights


def distance(first: Path, second: Path) -> float:
    """The largest difference between two files of weights, relative to the largest weight of its tensor."""
    a = load_file(first)
    b = load_file(second)
    assert a.keys() == b.keys()
    tensors = [(a[name].double(), b[name].double()) for name in a if a[name].is_floating_point()]

    return max(float((x - y).abs().max() / x.abs().max().clamp(min=1e-12)) for x, y in tensors if x.numel())


def main() -> None:
    """Trains each network four times and writes the distances."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default="learned,snn")
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    rows = []

    with tempfile.TemporaryDirectory() as folder:
        for network in words.networks.split(","):
            # sums of two devices round in another order: double precision tells rounding from a mistake
            for precision in ("32-true", "64-true"):
                paths = [Path(folder) / f"{network}-{precision}-{devices}" for devices in (1, 2)]
                one, two = (train(path, network, precision, k, words.seed) for k, path in enumerate(paths, start=1))
                rows.append({"network": network, "precision": precision, "largest difference": distance(one, two)})
                print(rows[-1], flush=True)

    content = {"seed": words.seed, "preset": "quick", "rows": rows, "environment": describe_environment()}
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
