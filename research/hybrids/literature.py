"""Full runs of the hybrids of the literature in the gallery: scores of each seed, seconds, and bundles on other inputs.

    python research/hybrids/literature.py [optical_flow attention ...] [--seeds 3]    # writes results/literature.json

Each network is the one of `docs/gallery/literature/NAME.py`, trained on one core. The bundle of the first seed is
compared with the network on inputs that were neither trained on nor stored in it. Results of other scripts stay.
"""

import argparse
import hashlib
import json
import runpy
import time
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import torch

from spikebridge.data.io.atomic import write_text
from spikebridge.deploy import compare_bundle, export
from spikebridge.training.run.environment import describe_environment

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "gallery" / "literature"
RESULTS = Path(__file__).parent / "results" / "literature.json"
NUM_INPUTS = 3  # that a bundle is compared on


def run(name: str, seeds: int, before: dict[str, Any]) -> dict[str, Any]:
    """The scores of a script and whether its bundles agree; seeds that the same script has run before are kept."""
    file = FOLDER / f"{name}.py"
    script = runpy.run_path(str(file))
    code = hashlib.sha256(file.read_bytes()).hexdigest()
    is_same = before.get("code") == code
    rows = before["seeds"][:seeds] if is_same else []
    bundles = before["bundles"] if is_same else {}

    for seed in range(len(rows), seeds):
        start = time.process_time()
        scores, networks = script["run"](seed=seed)
        rows.append({"scores": scores, "seconds": time.process_time() - start})
        bundles = bundles or {kind: compared(script["example"], one) for kind, one in networks.items()}

    title = script["__doc__"].strip().partition("\n")[0]
    return {"title": title, "code": code, "seeds": rows, "bundles": bundles}


def compared(example: Any, network: Any) -> dict[str, Any]:
    """Bytes of a bundle, and its agreement with the network on other inputs than its sample."""
    given = [example(seed) for seed in range(NUM_INPUTS + 1)]
    sample, *others = [{key: x[key] for key in network.inputs} for x in given]
    with TemporaryDirectory() as folder:
        bundle = export(network.eval(), sample, Path(folder) / "network.bundle")
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
        comparisons = [compare_bundle(bundle, inputs=inputs, network=network) for inputs in others]

    rows = [row for comparison in comparisons for row in comparison.rows]
    return {
        "bytes": size,
        "inputs": len(others),
        "agree": all(comparison.passed for comparison in comparisons),
        "largest difference": max(row.largest for row in rows if row.share is None),
        "largest share of spikes": max((row.share for row in rows if row.share is not None), default=0.0),
    }


def read() -> dict[str, Any]:
    """The results so far."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"hybrids": {}}


def main() -> None:
    """Runs, prints and writes after every script."""
    names = sorted(path.stem for path in FOLDER.glob("*.py"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scripts", nargs="*", default=names, choices=names)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()

    torch.set_num_threads(1)
    for name in options.scripts:
        one = run(name, options.seeds, read()["hybrids"].get(name, {}))
        # read again: another process may have written in between
        results = read()
        results["hybrids"][name] = one
        results["environment"] = describe_environment(threads=1)
        write_text(RESULTS, json.dumps(results, indent=1) + "\n")

        print(f"{one['title']}: {fmean(row['seconds'] for row in one['seeds']):.0f} s, {one['bundles']}")
        for score in one["seeds"][0]["scores"]:
            values = [f"{row['scores'][score]:.3f}" for row in one["seeds"]]
            print(f"  {score}: {', '.join(values)}", flush=True)


if __name__ == "__main__":
    main()
