"""The C of integer models: size and time, beside the integer model in numpy.

    python research/deploy/c_model.py [--zig "python -m ziglang"]

Networks of the digits recipe (default preset, 8 bits, weights as they are built; sizes and times do not need others).
Each is written as C and compiled by `cc -O2`. Its check must find no different value before anything is measured. The
time is the fastest of several repetitions of the sample, one thread, the check included; cycles are those of the time
stamp counter of an x86 processor. With `--zig` a Cortex-M4 (Thumb-2) is compiled for, too, and its sizes are given.

Writes research/deploy/results/c_model.json.
"""

import argparse
import json
import re
import shlex
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from research.digits import variants as digits
from spikebridge.deploy import IntegerModel, integer_model, quantize
from spikebridge.deploy.c.export import WrittenC, write_c
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "c_model.json"
NETWORKS = ("learned", "fixed", "ann", "snn")
NUM_CALIBRATION = 64
REPETITIONS = 10  # short rounds: the fastest was not interrupted
ROUNDS = 60
TIMER = """#define main checked
#include "check.c"
#undef main
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#else
#define __rdtsc() 0ULL
#endif
int main(void) {
    struct timespec a, b;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
    const unsigned long long before = __rdtsc();
    const int differ = checked();
    const unsigned long long after = __rdtsc();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
    printf("%.0f %llu\\n", (b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec), after - before);
    return differ;
}
"""


def main() -> None:
    """Measures one network after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zig", default=None, help="the command of zig, for sizes on a Cortex-M4")
    options = parser.parse_args()
    rows = []

    for name in NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measured(name, Path(folder) / "model", options.zig))
        print(json.dumps(rows[-1]), flush=True)

    results = {"command": "python research/deploy/c_model.py", "compiler": compiler(), "rows": rows}
    RESULTS.write_text(json.dumps(results | {"environment": describe_environment()}, indent=1) + "\n")


def measured(name: str, folder: Path, zig: str | None) -> dict[str, Any]:
    """Sizes and times of one network."""
    config = digits.PRESETS["default"]
    torch.manual_seed(0)
    network = digits.build(config)[name].eval()
    inputs = {key: x for key, x in digits.calibration(config, NUM_CALIBRATION).items() if key in network.inputs}
    model = integer_model(quantize(network, inputs), inputs)
    entered = model.quantize({key: x[:, :1].numpy() for key, x in inputs.items()})
    ticks = model.count_ticks(entered)
    model_c = write_c(model, entered, ticks, folder)
    nanoseconds, cycles = timed(model_c, ticks)

    row = {
        "network": name,
        "ticks": ticks,
        "table bytes": model_c.table_bytes,
        "state bytes": model_c.state_bytes,
        "model bytes": model.num_bytes,
        "code and tables": text_bytes(model_c, "cc"),
        "us a tick": round(nanoseconds / 1e3, 2),
        "cycles a tick": round(cycles),
        "us a tick in numpy": round(numpy_time(model, entered, ticks) / 1e3, 1),
    }
    if zig is not None:
        row["Cortex-M4 code and tables"] = text_bytes(
            model_c, f"{zig} cc -target thumb-linux-musleabi -mcpu=cortex_m4", "-Os"
        )

    return row


def timed(model_c: WrittenC, ticks: int) -> tuple[float, float]:
    """Nanoseconds and cycles of a tick."""
    (model_c.folder / "timer.c").write_text(TIMER)
    command = ["cc", "-std=gnu99", "-O2", f"-DREPEATS={REPETITIONS}", f"{model_c.name}.c", "timer.c", "-o", "timer"]
    subprocess.run(command, cwd=model_c.folder, check=True)
    measurements = []

    for _ in range(ROUNDS):
        said = subprocess.run(["./timer"], cwd=model_c.folder, check=True, capture_output=True, text=True).stdout
        if " 0 differ" not in said:
            raise SystemExit(f"{model_c.name}: the C differs from the integer model: {said}")
        measurements.append([float(word) / REPETITIONS / ticks for word in said.splitlines()[-1].split()])

    return min(one for one, _ in measurements), min(cycles for _, cycles in measurements)


def text_bytes(model_c: WrittenC, command: str, level: str = "-O2") -> int:
    """Code and constants of the compiled model, without its check."""
    words = [*shlex.split(command), "-std=c99", level, "-c", f"{model_c.name}.c", "-o", "model.o"]
    subprocess.run(words, cwd=model_c.folder, check=True)
    said = subprocess.run(["size", "model.o"], cwd=model_c.folder, check=True, capture_output=True, text=True).stdout
    return int(said.splitlines()[1].split()[0])


def numpy_time(model: IntegerModel, entered: Any, ticks: int) -> float:
    """Nanoseconds of a tick of the integer model."""
    times = []
    for _ in range(ROUNDS // 10):
        started = time.thread_time_ns()
        model.run(entered, ticks)
        times.append((time.thread_time_ns() - started) / ticks)

    return min(times)


def compiler() -> str:
    """The first line of its version."""
    said = subprocess.run(["cc", "--version"], check=True, capture_output=True, text=True).stdout
    return re.sub(r"\s+", " ", said.splitlines()[0])


if __name__ == "__main__":
    main()
