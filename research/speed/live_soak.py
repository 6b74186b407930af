"""Ten minutes of `spikebridge live` on a recording in a loop, at its own speed and at a thousand times of it.

    python research/speed/live_soak.py [--seconds 600] [--speeds 1 1000]

Prints a table and writes research/speed/results/live_soak.json. The network is the shipped tracker; the recording, two
seconds of a rotating disk of 64 x 64 pixels, is generated. Every five seconds the resident memory, the open files and
the threads of the process are read from /proc; the latencies are those of its output lines. Aims: memory and number of
open files after ten minutes as after one, and latencies of the last minute as those of the second.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from research.sensing.variants.rotating_disk import RotatingDisk
from spikebridge.data.events.events import make_events
from spikebridge.data.events.files import write_events
from spikebridge.data.io.atomic import write_text
from spikebridge.data.simulation.render import render_recording

RESULTS = Path(__file__).parent / "results" / "live_soak.json"
SIZE = 64
DURATION = 2.0
DT = 1 / 240
SAMPLE_SECONDS = 5.0


def write_recording(folder: Path) -> None:
    """The recording in the layout of a folder with meta.json."""
    recording = render_recording(RotatingDisk(height=SIZE, width=SIZE), DURATION, DT)
    (folder / "frames").mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps({"width": SIZE, "height": SIZE}))
    times = np.round(1e6 * recording.frame_times).astype(int)

    for number in range(recording.num_frames):
        Image.fromarray(recording.frames[number]).save(folder / "frames" / f"{number:03d}.png")

    rows = [f"{number:03d}.png,{time}" for number, time in enumerate(times)]
    (folder / "frames.csv").write_text("\n".join(["file,t_us", *rows]) + "\n")
    bins = recording.events
    events = bins.slice_bins(0, recording.num_bins)
    # a bin does not keep the times of its events: each gets the middle of its bin
    t = np.repeat((np.arange(recording.num_bins) + 0.5) * DT * 1e6, np.diff(bins.edges)).astype(int)
    write_events(folder / "events.npz", make_events(t, events.x, events.y, events.on), SIZE, SIZE)
    box = recording.frame_boxes[0]
    (folder / "boxes.csv").write_text("t_us,x,y,w,h\n" + ",".join(map(str, [times[0], *box])) + "\n")


def process_state(pid: int) -> tuple[int, int, int]:
    """Resident memory [kB], open files and threads of a process."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return int(status["VmRSS"].split()[0]), len(list(Path(f"/proc/{pid}/fd").iterdir())), int(status["Threads"])


def soak(folder: Path, speed: float, seconds: float) -> dict[str, Any]:
    """One process, and the measures of it."""
    words = ["live", "sensing", "--events", str(folder), "--loop", "--speed", f"{speed:g}", "--seconds", f"{seconds:g}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "spikebridge.cli.main", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
    )

    lines: list[tuple[float, float]] = []
    last: dict[str, Any] = {}

    def read() -> None:
        begun = None
        for line in process.stdout or ():
            row = json.loads(line)
            # loading takes seconds that are no part of the stream
            begun = time.monotonic() if begun is None else begun
            if "summary" in row:
                last.update(row["summary"])
            else:
                lines.append((time.monotonic() - begun, row["latency_ms"]))

    # a pipe that nobody reads would fill up and stop the process
    reader = threading.Thread(target=read)
    reader.start()
    states: list[tuple[float, int, int, int]] = []

    while process.poll() is None:
        if lines:
            try:
                states.append((lines[-1][0], *process_state(process.pid)))
            except OSError:
                # the process has just ended
                break

        time.sleep(SAMPLE_SECONDS)

    reader.join()
    if process.wait() != 0:
        raise SystemExit(f"live ended with exit code {process.returncode}")

    return {
        "speed": speed,
        "memory_mb_by_minute": [round(value / 1024, 1) for value in by_minute(states, 1)],
        "open_files_by_minute": by_minute(states, 2),
        "threads_by_minute": by_minute(states, 3),
        "latency_median_ms_by_minute": latencies(lines, 0.5),
        "latency_99_ms_by_minute": latencies(lines, 0.99),
        "latency_largest_ms_by_minute": latencies(lines, 1.0),
        "summary": last,
    }


def by_minute(states: Sequence[tuple[float, ...]], column: int) -> list[int]:
    """The largest value of a column in each minute."""
    minutes: dict[int, int] = {}
    for state in states:
        minute = int(state[0] // 60)
        minutes[minute] = max(minutes.get(minute, 0), int(state[column]))

    return [minutes[minute] for minute in sorted(minutes)]


def latencies(lines: Sequence[tuple[float, float]], share: float) -> list[float]:
    minutes: dict[int, list[float]] = {}
    for seconds, latency in lines:
        minutes.setdefault(int(seconds // 60), []).append(latency)

    return [
        round(sorted(values)[min(len(values) - 1, int(share * len(values)))], 2)
        for _, values in sorted(minutes.items())
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--speeds", type=float, nargs="*", default=[1.0, 1000.0])
    options = parser.parse_args()
    runs = []

    with tempfile.TemporaryDirectory() as folder:
        write_recording(Path(folder) / "disk")
        for speed in options.speeds:
            runs.append(soak(Path(folder) / "disk", speed, options.seconds))
            one = runs[-1]
            print(f"speed {speed:g}")

            for name in ("memory_mb", "open_files", "threads", "latency_median_ms", "latency_99_ms"):
                values = one[f"{name}_by_minute"]
                middle = statistics.median(values)
                print(f"  {name:<18} {values[0]:>9} at first, {middle:>9} median, {values[-1]:>9} at last")

    results = {
        "seconds": options.seconds,
        "runs": runs,
        "load": [round(one, 1) for one in os.getloadavg()],
        "cores": os.cpu_count(),
        "machine": platform.machine(),
    }

    write_text(RESULTS, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
