"""The weights that ship with the package: HMN on MNIST, 40 tasks; needs MNIST in SPIKEBRIDGE_DATA.

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
MAX_BYTES = 10_000_000
FILES = ("config.json", "environment.json", "results.json", "weights*.safetensors")


def main() -> None:
    """Trains, and copies what an evaluation needs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/modulation-shipped"))
    torch.set_num_threads(1)
    config = modulation.PRESETS["shipped"]
    run = Run.create(parser.parse_args().folder, "modulation", config, resume=True)

    if not run.finished:
        modulation.train(config, run, quiet=True)

    modulation.report(run)
    shutil.rmtree(TARGET, ignore_errors=True)

    for folder in (run.path, run.path / "runs" / "hmn" / "seed-0"):
        target = TARGET / folder.relative_to(run.path)
        target.mkdir(parents=True, exist_ok=True)

        for file in (file for pattern in FILES for file in sorted(folder.glob(pattern))):
            if file.stat().st_size > MAX_BYTES:
                raise SystemExit(f"{file} has {file.stat().st_size} bytes; at most {MAX_BYTES} are shipped")
            shutil.copy(file, target / file.name)
            print(target / file.name, file.stat().st_size)


if __name__ == "__main__":
    main()
