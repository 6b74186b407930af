"""Full runs of the hybrids of the literature in the gallery: scores of each seed, seconds, and bundles on other inputs.

    python research/hybrids/literature.py [optical_flow attention ...] [--seeds 3]    # writes results/literature.json

Each network is the one of `docs/gallery/literature/NAME.py`, trained on one core. The bundle of the first seed is
compared with the network on inputs that were neither trained on nor stored in it. Results of other scripts stay; each
has the commit that it was run at.
"""

import argparse
import json
import runpy
import time
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import torch

from spikebridge.data.io.atomic import write_text
from spikebridge.training.run.environment import describe_environment

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "gallery" / "literature"
RESULTS = Path(__file__).parent / "results" / "literature.json"
END = runpy.run_path(str(FOLDER / "_main.py"))
NUM_INPUTS = 3  # that a bundle is compared on


def run(script: dict[str, Any], seeds: int) -> dict[str, Any]:
    """The scores of each seed of a script, and whether the bundles of the first one agree."""
    rows = []
    bundles: dict[str, Any] = {}
    for seed in range(seeds):
        start = time.process_time()
        scores, networks = script["run"](seed=seed)
        rows.append({"scores": scores, "seconds": time.process_time() - start})
        bundles = bundles or {kind: compared(script["example"], one) for kind, one in networks.items()}

    return {"title": script["__doc__"].strip().partition("\n")[0], "seeds": rows, "bundles": bundles}


def compared(example: Any, network: Any) -> dict[str, Any]:
    """Bytes of a bundle, and its agreement with the network on other inputs than its sample."""
    with TemporaryDirectory() as folder:
        comparisons = END["compare"](network, example, folder, NUM_INPUTS)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())

    rows = [row for comparison in comparisons for row in comparison.rows]
    return {
        "bytes": size,
        "inputs": len(comparisons),
        "agree": all(comparison.passed for comparison in comparisons),
        "largest difference": max(row.largest for row in rows if row.share is None),
        "largest share of spikes": max((row.share for row in rows if row.share is not None), default=0.0),
    }


def read() -> dict[str, Any]:
    """The results so far."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"hybrids": {}}


def main() -> None:
    """Runs, prints and writes after every script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scripts", nargs="*", metavar="NAME", help="a program of the folder (default: all)")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()

    torch.set_num_threads(1)
    environment = describe_environment(threads=1)
    for name in options.scripts or sorted(path.stem for path in FOLDER.glob("[!_]*.py")):
        one = run(runpy.run_path(str(FOLDER / f"{name}.py")), options.seeds)
        # another process may have written in between
        results = read()
        results["hybrids"][name] = one | {"revision": environment["git_revision"]}
        results["environment"] = environment
        write_text(RESULTS, json.dumps(results, indent=1) + "\n")

        print(f"{one['title']}: {fmean(row['seconds'] for row in one['seeds']):.0f} s, {one['bundles']}")
        for score in one["seeds"][0]["scores"]:
            values = [f"{row['scores'][score]:.3f}" for row in one["seeds"]]
            print(f"  {score}: {', '.join(values)}", flush=True)


if __name__ == "__main__":
    main()
