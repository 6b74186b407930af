"""Transfer against opening: learned and random gates of the same share of open neurons.

    python benchmarks/modulation_opening.py [--folder RUN]

Digits, 12 tasks in 3 groups, one seed. Random gates overlap by chance, so their transfer grows with the opening, and
the advantage of learned ones shrinks. A stopped run goes on where it was. Writes
benchmarks/results/modulation_opening.json.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from spikebridge.recipes import modulation
from spikebridge.training import Run
from spikebridge.training.atomic import replacing
from spikebridge.training.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "modulation_opening.json"
OPENINGS = (0.05, 0.1, 0.2, 0.35)
METHODS = ("hmn", "projection", "xdg_ewc")


def main() -> None:
    """Trains every method at every opening."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/modulation-opening"))
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    rows = []
    for rho in OPENINGS:
        config = replace(modulation.Config(), methods=METHODS, num_tasks=12, rho=rho)
        run = Run.create(folder / f"{rho:g}", "modulation", config, resume=True)
        results = run.results() if run.finished else modulation.train(config, run, quiet=True)
        by_name = {row["method"]: row for row in results["methods"]}
        row = {"opening": rho}
        for name in METHODS:
            row |= {f"{name} ACC": by_name[name]["ACC"], f"{name} transfer": by_name[name]["transfer"]}
        row["hmn over xdg_ewc"] = round(by_name["hmn"]["transfer"] / by_name["xdg_ewc"]["transfer"], 3)
        rows.append(row)
        print(row, flush=True)
        content = {"seeds": 1, "num_tasks": 12, "rows": rows, "environment": describe_environment()}
        with replacing(RESULTS) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
