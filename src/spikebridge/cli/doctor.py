"""Is this installation sound? Versions, threads, devices, optional extras, data.

`spikebridge doctor`.
"""

import importlib.util
import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

from tyro.conf import Positional, arg

from spikebridge.cli import formatting, targets
from spikebridge.cli.command import Answer, Command, Flag, Network
from spikebridge.errors import ConfigError

REQUIRED = (
    "torch",
    "lightning-fabric",
    "numpy",
    "scikit-learn",
    "safetensors",
    "jaxtyping",
    "tyro",
    "rich",
    "jinja2",
    "matplotlib",
)
EXTRAS = {"tensorboard": "tensorboard", "docs": "sphinx", "test": "pytest"}


def examine_installation() -> dict[str, Any]:
    """The facts that a bug report should start with.

    Example:
        >>> facts = examine_installation()
        >>> sorted(facts)
        ['data', 'devices', 'extras', 'fast paths', 'threads', 'versions']
    """
    import torch

    from spikebridge.ops.sequence.native import description

    devices = ["cpu", *(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))]
    return {
        "versions": {"spikebridge": _version("spikebridge"), "python": platform.python_version()}
        | {name: _version(name) for name in REQUIRED},
        "threads": {
            "cores": os.cpu_count(),
            "torch": torch.get_num_threads(),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        },
        "devices": {"found": devices},
        "extras": {name: importlib.util.find_spec(module) is not None for name, module in EXTRAS.items()},
        "fast paths": {"spiking layers": description()},
        "data": {"SPIKEBRIDGE_DATA": os.environ.get("SPIKEBRIDGE_DATA")},
    }


def examine_paths() -> list[dict[str, Any]]:
    """Every operation with its implementations in order, and the one that runs a small call here."""
    import torch

    from spikebridge.neurons import Arctan
    from spikebridge.ops.selection import OPERATIONS, select

    with torch.random.fork_rng(devices=[]):
        return [
            {
                "operation": name,
                "about": operation.about,
                "paths": [{"path": path.name, "when": path.when} for path in operation.paths],
                "here": select(name, *operation.probe(Arctan())),
            }
            for name, operation in OPERATIONS.items()
        ]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _paths_text(operations: list[dict[str, Any]]) -> str:
    """A paragraph for each operation; an arrow marks the path that runs here."""
    lines = []
    for operation in operations:
        lines.append(f"{operation['operation']}: {operation['about']}")
        for path in operation["paths"]:
            mark = "->" if path["path"] == operation["here"] else "  "
            lines.append(f"  {mark} {path['path']:<10} {path['when']}")
    return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Doctor(Command):
    """Examine the networks of a run; without one, the installation."""

    run: Annotated[str | None, Positional, arg(metavar="[RUN]", help_behavior_hint="")] = None
    """A run folder, or a recipe for its untrained networks."""
    network: Network = None
    """Which of the recipe's networks."""

    paths: Flag = False
    """List the implementations of each operation, fastest first, and which one runs here."""

    def answer(self) -> Answer:
        """Findings, each with a remedy; the exit code is 1 where there are any."""
        if self.paths:
            if self.run is not None:
                raise ConfigError("--paths describes the installation; leave out the run")
            operations = examine_paths()
            return Answer({"operations": operations}, _paths_text(operations))
        if self.run is None:
            facts = examine_installation()
            return Answer(facts, formatting.facts(facts))
        findings = targets.find(self.run).findings(self.network)
        return Answer({"findings": findings}, formatting.findings(findings), code=1 if findings else 0)
