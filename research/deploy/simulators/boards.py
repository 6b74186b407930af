"""Integer models on emulated microcontrollers: equal to the bit, with memory, instructions and energy of a step.

    python research/deploy/simulators/boards.py [--steps 10000]

Digits (preset quick, trained here with seed 0), and the shipped networks for watch, ECG and falls, on the Cortex-M4 and
M0 of qemu-system-arm. Each runs the sample of its bundle, then steps with random inputs over their whole range; a hash
of all outputs is compared with that of the integer model in numpy. Needs gcc-arm-none-eabi, qemu-system-arm and make.

Writes research/deploy/results/boards.json.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikebridge.cli.main import main as spikebridge
from spikebridge.deploy import Bundle, IntegerModel
from spikebridge.deploy.c.boards import BOARDS, EMULATOR_FOLDER, measure
from spikebridge.deploy.c.export import WrittenC, bundle_sample, write_c
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent.parent / "results" / "boards.json"
TARGETS = ("digits", "signals_watch", "signals_ecg", "senses_falls")
MASK = 0xFFFFFFFF
FNV_START = 2166136261
FNV_FACTOR = 16777619

RANDOM = """#include "{name}.h"
#include <stdio.h>

static {name}_state s;
static {name}_input in;
static {name}_output out;

static uint32_t mixed(uint32_t x) {{
    x = (x ^ (x >> 16)) * 0x7FEB352Du;
    x = (x ^ (x >> 15)) * 0x846CA68Bu;
    return x ^ (x >> 16);
}}

int main(void) {{
    uint32_t hash = {start}u;
    {name}_start(&s, 0);
    for (uint32_t tick = 0; tick < {steps}u; tick++) {{
        uint32_t place = 0;
{feeds}
        {name}_step(&s, &in, &out);
{reads}
    }}
    printf("%lu hash\\n", (unsigned long)hash);
    return 0;
}}
"""


def main() -> None:
    """Measures every network on every board."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    options = parser.parse_args()
    rows = []

    with tempfile.TemporaryDirectory() as folder:
        for target in TARGETS:
            model, inputs, ticks = bundle_sample(bundle_of(target, Path(folder)))
            for board in BOARDS.values():
                written = write_c(model, inputs, ticks, Path(folder) / f"{target}_{board.name}", board=board)
                figures = asdict(measure(written.folder, written.name, board))
                same = emulated_hash(written, options.steps) == expected_hash(model, written, options.steps)
                rows.append({"network": target, **figures, "random_steps": options.steps, "random_equal": same})
                print(json.dumps(rows[-1]), flush=True)

    results = {"command": "python research/deploy/simulators/boards.py", "tools": tools(), "rows": rows}
    RESULTS.write_text(json.dumps(results | {"environment": describe_environment()}, indent=1) + "\n")


def bundle_of(target: str, folder: Path) -> Bundle:
    """A bundle with the integer model of a trained network."""
    run = target
    path = folder / f"{target}.bundle"
    if target == "digits":
        run = str(folder / "run")
        command("train", "digits", "--preset", "quick", "--out", run)

    command("export", run, "--out", str(path))
    command("quantize", run, "--bundle", str(path))
    return Bundle.open(path)


def command(*words: str) -> None:
    if code := spikebridge(list(words)):
        raise SystemExit(code)


def emulated_hash(written: WrittenC, steps: int) -> int:
    """The hash of all outputs of random steps on the emulated board."""
    feeds = []
    for port in written.inputs:
        clock = port.clock
        span = port.signal.high - port.signal.low + 1
        value = f"{port.signal.low} + (int32_t)(mixed(mixed(tick) + place + i) % {span}u)"
        feeds.append(f"        for (int i = 0; i < {port.signal.size}; i++) in.{port.field}[i] = {value};")
        feeds.append(f"        place += {port.signal.size}; /* every {clock.period} ticks */")

    reads = []
    for port in written.outputs:
        fold = f"hash = (hash ^ (uint32_t)out.{port.field}[i]) * {FNV_FACTOR}u;"
        reads.append(f"        for (int i = 0; out.{port.field}_given && i < {port.signal.size}; i++) {fold}")

    text = RANDOM.format(
        name=written.name, start=FNV_START, steps=steps, feeds="\n".join(feeds), reads="\n".join(reads)
    )
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "project"
        shutil.copytree(written.folder, copy)
        emulator = copy / EMULATOR_FOLDER
        (emulator / "check.c").write_text(text)
        said = subprocess.run(
            ["make", "--silent", "check"], cwd=emulator, check=True, capture_output=True, text=True
        ).stdout

    return int(said.split()[0])


def expected_hash(model: IntegerModel, written: WrittenC, steps: int) -> int:
    """The hash of all outputs of the same steps in numpy."""
    inputs = {}
    place = 0
    for port in written.inputs:
        size = port.signal.size
        ticks = np.arange(port.clock.phase, steps, port.clock.period, dtype=np.uint32)
        draws = mixed(mixed(ticks)[:, None] + np.uint32(place) + np.arange(size, dtype=np.uint32))
        values = port.signal.low + (draws % np.uint32(port.signal.high - port.signal.low + 1)).astype(np.int64)
        inputs[port.name] = values.reshape(len(ticks), 1, *port.signal.shape)
        place += size

    outputs = model.run(inputs, steps)
    arrivals = []
    for order, port in enumerate(written.outputs):
        clock = port.clock
        arrivals += [(clock.phase + clock.period * n, order, y[0].ravel()) for n, y in enumerate(outputs[port.name])]

    result = FNV_START
    for _, _, values in sorted(arrivals, key=lambda arrival: arrival[:2]):
        for value in values.tolist():
            result = (result ^ (int(value) & MASK)) * FNV_FACTOR & MASK

    return result


def mixed(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Well mixed bits of a number, as the C above makes them."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def tools() -> dict[str, Any]:
    """The versions of compiler and emulator."""
    names = ("arm-none-eabi-gcc", "qemu-system-arm")
    return {
        name: subprocess.run([name, "--version"], check=True, capture_output=True, text=True).stdout.splitlines()[0]
        for name in names
    }


if __name__ == "__main__":
    main()
