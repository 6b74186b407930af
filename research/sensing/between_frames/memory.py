"""The memory of tracking a target, through the real recording and through one four times as long.

python research/sensing/between_frames/memory.py

The shipped network follows the target by the command `track`, in a process of its own.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from research.sensing.between_frames.training import used_by
from spikebridge.data.catalog import find_files

REPEATS = (1, 4)


def trackings() -> dict[str, dict[str, float]]:
    """Seconds that are followed, and the most memory, by how often the recording is repeated."""
    found = {}
    for repeats in REPEATS:
        with tempfile.TemporaryDirectory() as folder:
            long = Path(folder) / "long"
            # by another process, whose memory would else count as that of the tracker that is started
            subprocess.run([sys.executable, __file__, str(long), str(repeats)], check=True)
            boxes = Path(folder) / "boxes.csv"
            command = ["track", str(long), "--event-offset", "-3", "--box-offset", "-5", "--out", str(boxes)]
            used = used_by([*command, "--quiet"])

            with boxes.open() as lines:
                seconds = (sum(1 for _ in lines) - 1) / 240

        found[str(repeats)] = {"seconds followed": seconds, "MB resident": used["MB resident"]}

    return found


def write(folder: Path, repeats: int) -> None:
    """Writes the real recording, repeated, into a new folder."""
    source = find_files("fe240hz")[0].parent
    (folder / "img").mkdir(parents=True)
    images = sorted((source / "img").iterdir())

    for number in range(repeats * len(images)):
        image = images[number % len(images)]
        (folder / "img" / f"{number:06d}{image.suffix}").symlink_to(image)

    with np.load(source / "events_sparse.npz") as events:
        num_frames, num_bins, *size = events["shape"].tolist()
        bins = np.concatenate([events["bin"].astype(np.int32) + k * num_frames * num_bins for k in range(repeats)])
        columns = {name: np.tile(events[name], repeats) for name in "xyp"}

    np.savez(folder / "events_sparse.npz", bin=bins, **columns, shape=[repeats * num_frames, num_bins, *size])
    for name in ("groundtruth_rect.txt", "groundtruth_rect40.txt"):
        lines = (source / name).read_text().split()
        (folder / name).write_text("\n".join(lines * repeats) + "\n")


def rows(found: dict[str, dict[str, float]]) -> list[tuple[str, float | None, str, float]]:
    """Figures of `trackings` with their targets; None where nothing was measured."""
    one, four = (found[str(repeats)]["MB resident"] if found else None for repeats in REPEATS)
    return [
        ("tracking: MB resident", one, "at most", 500.0),
        ("tracking four times as long: of that memory", four and one and four / one, "at most", 1.05),
    ]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        write(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        print(json.dumps(trackings(), indent=2))
