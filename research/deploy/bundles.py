"""Every network with weights as a bundle: how large, how near to the trained network, how fast without torch.

    python research/deploy/bundles.py                     # the weights that come with the package
    python research/deploy/bundles.py --runs runs/digits  # and those of some runs

Each row is one network: files, bytes, the largest difference of any part or link on every level (in parts of the
largest value), the share of spikes that differ, and ticks a second of the runner without torch.
"""

import argparse
import json
import platform
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from spikebridge.deploy.bundle.export import export
from spikebridge.deploy.compare import ComparisonRow, compare_bundle
from spikebridge.deploy.run import run_bundle
from spikebridge.errors import SpikebridgeError
from spikebridge.pretrained import shipped
from spikebridge.recipes.target import resolve_target
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "bundles.json"


def worst(rows: list[ComparisonRow], level: str) -> dict[str, Any]:
    """The largest differences of a level."""
    mine = [row for row in rows if row.level == level]
    shares = [row.share for row in mine if row.share is not None]
    away = max(row.largest / max(1.0, row.largest_value) for row in mine)
    return {"relative_difference": away, "share_of_spikes": max(shares, default=None)}


def measured(word: str, name: str | None, folder: Path) -> dict[str, Any]:
    """One network: exported, compared, run."""
    target = resolve_target(word)
    name, network, run = target.trained_network(name)
    inputs = target.inputs(network)
    inputs = inputs if isinstance(inputs, dict) else {"signal": inputs}
    bundle = export(network, inputs, folder / f"{Path(word).name}.{name}")
    comparison = compare_bundle(bundle)
    rows = list(comparison.rows)
    ran = run_bundle(bundle)

    return {
        "network": name,
        "run": run.recipe,
        "passed": comparison.passed,
        "bytes": bundle.size(),
        "parts": {part: record.file for part, record in bundle.manifest.parts.items()},
        "notes": [note for record in bundle.manifest.parts.values() for note in record.notes],
        "left_out": list(bundle.manifest.left_out),
        "levels": {level: worst(rows, level) for level in dict.fromkeys(row.level for row in rows)},
        "streams": bundle.manifest.sample.batch,
        "ticks_per_second": ran.ticks_per_second,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="*", default=[], help="run folders, every network of which is measured")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    known = json.loads(options.out.read_text()) if options.out.exists() else {}
    table: dict[str, Any] = known.get("networks", {})  # rows of other runs stay, each with its revision
    environment = describe_environment()

    for word in [*shipped(), *options.runs]:
        try:
            names = list(resolve_target(word).networks())
        except SpikebridgeError as reason:
            # one word that cannot be resolved does not end the measurement of the others
            print(f"{word}: {reason}")
            continue

        for name in names:
            with TemporaryDirectory() as folder:
                try:
                    row = measured(word, name, Path(folder))
                except SpikebridgeError as reason:
                    row = {"refused": str(reason)}

            table[f"{Path(word).name}/{name}"] = {**row, "git_revision": environment["git_revision"]}
            print(json.dumps({f"{Path(word).name}/{name}": row}, indent=2))

    results = {"networks": table, "machine": platform.processor() or platform.machine(), **environment}
    options.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
