"""Is this installation sound? Versions, threads, devices, optional extras, data."""

import importlib.util
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

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

    from spikebridge.ops.native import description

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


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
