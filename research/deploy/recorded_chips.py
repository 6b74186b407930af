"""The arithmetic of chips against recorded numbers: spikes, currents and membranes that differ.

    python research/deploy/recorded_chips.py data/chips --json

Reads `loihi.npz` and `xylo.npz` of a folder, runs the networks in them, and counts differing numbers. Those of Loihi
are test data of lava-dl (Intel Corporation, BSD-3-Clause), those of Xylo from the simulator of `simulators/xylo.py`.
In recordings of Loihi the membrane of a neuron that fires reads as its refractory counter, and all membranes of a
layer are reset once; the step of that reset is no arithmetic, so that the steps are tried. The exit code is 1 where a
number differs.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spikebridge.data.io.npz import read_npz
from spikebridge.deploy.chips.core import Connection, Core, Population
from spikebridge.deploy.chips.loihi import LOIHI, UNIT
from spikebridge.deploy.chips.xylo import xylo_core
from spikebridge.errors import SpikebridgeError

Numbers = Mapping[str, np.ndarray]
_COUNTER = 1 << 7  # what the membrane of a neuron that fires reads
_MAX_BYTES = 1 << 30
_MAX_RESETS = 64  # steps that are tried
# vth, du, dv, and the step before which all membranes of the recording were reset
_LAYERS = {"dense": (6, 4095, 415, None), "fc1": (25, 4095, 1024, 7), "fc2": (25, 4095, 1024, 8)}


def loihi_layer(weight: np.ndarray, bias: np.ndarray, spikes: np.ndarray, settings: Any, reset: int | None) -> Numbers:
    """Spikes, currents and membranes `(neurons, steps)` of a layer that reads spikes `(inputs, steps)`."""
    vth, du, dv, _ = settings
    ones = np.ones(len(weight), np.int64)
    quantities = {"v_threshold": vth * ones, "bias": bias, "decay": (4096 - dv) * ones, "decay_syn": (4095 - du) * ones}
    numbers = {f"layer/{name}": value for name, value in quantities.items()}
    core = Core(LOIHI, [Population("layer", (Connection("input"),))], {**numbers, "layer/weight_0": weight.T})
    state = core.start(1)
    steps = []

    for t, x in enumerate(spikes.T.astype(np.int64)):
        if t == reset:
            layer = state.membranes["layer"]
            state = state._replace(membranes={"layer": layer._replace(v=np.zeros_like(layer.v))})

        y, state = core.step(x[None], state)
        layer = state.membranes["layer"]
        steps.append((y[0], layer.i[0], np.where(y[0] > 0, _COUNTER, layer.v[0])))

    out, u, v = (np.stack(values, -1) for values in zip(*steps, strict=True))
    return {"out": out, "u": u, "v": v, "current": u // UNIT}


def compare_loihi(numbers: Numbers) -> dict[str, int]:
    """Differing numbers of the layers of a recording."""
    total = {"differ": 0, "values": 0}
    for name, settings in _LAYERS.items():
        if f"{name}_weight" not in numbers:
            continue

        weight = numbers[f"{name}_weight"]
        bias = numbers.get(f"{name}_bias", np.zeros(len(weight))).astype(np.int64)
        recorded = {key: numbers[f"{name}_{key}"] for key in ("out", "u", "v", "current") if f"{name}_{key}" in numbers}
        total["values"] += sum(x.size for x in recorded.values())
        fewest = None
        for reset in (settings[3], None, *range(min(_MAX_RESETS, numbers[f"{name}_in"].shape[1]))):
            run = loihi_layer(weight, bias, numbers[f"{name}_in"], settings, reset)
            differ = sum(int((run[key] != x).sum()) for key, x in recorded.items())
            fewest = differ if fewest is None else min(fewest, differ)
            if not fewest or settings[3] is None:
                break

        total["differ"] += fewest or 0

    return total


def compare_xylo(numbers: Numbers) -> dict[str, int]:
    """Differing numbers of the networks of a recording."""
    total = {"differ": 0, "values": 0, "networks": int(numbers["count"])}
    for network in range(total["networks"]):
        prefix = f"{network}/"
        own = {key.removeprefix(prefix): value for key, value in numbers.items() if key.startswith(prefix)}
        core = xylo_core(own)
        state = core.start(1)
        names = [name for name in ("spikes_out", "spikes", "v", "i") if name in own]

        for t, x in enumerate(own["x"].astype(np.int64)):
            y, state = core.step(x[None], state)
            hidden = state.membranes["hidden"]
            current = hidden.i if hidden.i.ndim == hidden.v.ndim else hidden.i[..., 0]
            values = {"spikes_out": y, "spikes": state.spikes["hidden"], "v": hidden.v, "i": current}
            total["differ"] += sum(int((values[name][0] != own[name][t]).sum()) for name in names)

        total["values"] += sum(own[name].size for name in names)

    return total


def compare_folder(folder: Path) -> dict[str, dict[str, int]]:
    """Differing numbers of both chips."""
    return {
        "loihi": compare_loihi(read_npz(folder / "loihi.npz", max_bytes=_MAX_BYTES)),
        "xylo": compare_xylo(read_npz(folder / "xylo.npz", max_bytes=_MAX_BYTES)),
    }


def main() -> int:
    """Prints the table, or with --json one object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with loihi.npz and xylo.npz")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()

    try:
        result = compare_folder(options.folder)
    except (SpikebridgeError, KeyError) as error:
        print(f"{options.folder}: {error}", file=sys.stderr)
        return 2

    if options.json:
        print(json.dumps(result))
    else:
        for chip, counts in result.items():
            print(f"{chip}: {counts['differ']} of {counts['values']} numbers differ")

    return int(any(counts["differ"] for counts in result.values()))


if __name__ == "__main__":
    sys.exit(main())
