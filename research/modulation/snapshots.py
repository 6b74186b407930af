"""The weights that come with the package: HMN on MNIST, 40 tasks; needs MNIST in SPIKEBRIDGE_DATA.

    python research/modulation/snapshots.py [--folder RUN]

Runs `spikebridge train modulation --preset shipped`, or resumes it, and copies the record and the weights (half
precision; sub-networks before and after each task as bytes) to src/spikebridge/pretrained/modulation.
"""

import argparse
import shutil
from pathlib import Path

import torch

import spikebridge
from spikebridge.networks.modulation import recipe as modulation
from spikebridge.training import Run

TARGET = Path(spikebridge.__file__).parent / "pretrained" / "modulation"
MOST_BYTES = 10_000_000
KEPT_SECONDS = ("config.json", "environment.json", "results.json", "weights*.safetensors")


def main() -> None:
    """Trains, and copies what an evaluation needs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/modulation-shipped"))
    torch.set_num_threads(1)
    config = modulation.PRESETS["shipped"]
    run = Run.create(parser.parse_args().folder, "modulation", config, resume=True)

    if not run.finished:
        modulation.train(config, run, quiet=True)

    modulation.report(run)
    shutil.rmtree(TARGET, ignore_errors=True)

    for folder in (run.path, run.path / "runs" / "hmn" / "seed-0"):
        there = TARGET / folder.relative_to(run.path)
        there.mkdir(parents=True, exist_ok=True)

        for file in (file for pattern in KEPT_SECONDS for file in sorted(folder.glob(pattern))):
            if file.stat().st_size > MOST_BYTES:
                raise SystemExit(f"{file} has {file.stat().st_size} bytes; at most {MOST_BYTES} are shipped")
            shutil.copy(file, there / file.name)
            print(there / file.name, file.stat().st_size)


if __name__ == "__main__":
    main()
