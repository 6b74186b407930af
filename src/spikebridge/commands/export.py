"""`spikebridge export`."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from spikebridge import layout, targets
from spikebridge.commands.command import Answer, Command, RunOrRecipe
from spikebridge.commands.draw import OneNetwork

BundleFolder = Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: NETWORK.bundle)")]


@dataclass(frozen=True, kw_only=True)
class Export(Command):
    """Write a trained network as a bundle for other machines (NIR, ONNX), and compare it."""

    target: RunOrRecipe
    """A run folder, or a recipe's name for the weights that come with the package."""
    network: OneNetwork = None
    """Which of the recipe's networks."""
    out: BundleFolder = None
    """The folder to make."""

    def answer(self) -> Answer:
        """Exports on the recipe's example, then runs every level; the exit code is 1 where one is too far off."""
        target = targets.find(self.target)
        name, network, run = target.trained_network(self.network)
        from spikebridge.deploy.bundle_export import export
        from spikebridge.deploy.compare import compare_bundle

        inputs: Any = target.inputs(network)
        card = {
            "recipe": run.recipe,
            "network": name,
            "config": run.config,
            "results": run.results() if run.finished else {},
            "environment": run.environment() if (run.path / "environment.json").is_file() else {},
        }
        bundle = export(
            network,
            inputs if isinstance(inputs, dict) else {"signal": inputs},
            self.out or Path(f"{name}.bundle"),
            card=card,
            progress=_tell,
        )
        comparison = compare_bundle(bundle, progress=_tell)
        manifest = bundle.manifest
        parts = [
            {"part": part, "side": record.side, "file": record.file, "notes": "; ".join(record.notes) or None}
            for part, record in manifest.parts.items()
        ]
        data = {
            "bundle": bundle.path,
            "network": name,
            "bytes": bundle.size(),
            "parts": parts,
            "left_out": list(manifest.left_out),
            "passed": comparison.passed,
            "comparison": [asdict(row) for row in comparison.rows],
        }
        left = f"\nnot in the graph, so not in the bundle: {', '.join(manifest.left_out)}" if manifest.left_out else ""
        verdict = "every level agrees" if comparison.passed else "levels differ: spikebridge compare shows where"
        text = f"{layout.table(parts)}\n{left}\n{bundle.path}: {bundle.size()} bytes; {verdict}"
        return Answer(data, text, code=0 if comparison.passed else 1)


def _tell(line: str) -> None:
    print(line, file=sys.stderr)
