"""The environment of a run: versions, machine, git revision, and which of several processes this one is.

Nothing here imports torch.
"""

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PACKAGES = ("spikebridge", "torch", "lightning-fabric", "numpy", "scikit-learn", "safetensors")
# torchrun sets RANK and GROUP_RANK, Fabric's own launcher LOCAL_RANK and NODE_RANK, Slurm SLURM_PROCID
_RANKS = ("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "SLURM_PROCID")


def is_first_process(environment: Mapping[str, str] = os.environ) -> bool:
    """True in the process that writes files and prints."""
    return all(environment.get(name, "0") == "0" for name in _RANKS)


def describe_environment(**more: Any) -> dict[str, Any]:
    """Versions, machine, processor, cores and the git revision of the sources, and `more`; None for what is unknown."""
    return {
        "python": platform.python_version(),
        **{package: installed_version(package) for package in _PACKAGES},
        "platform": platform.platform(),
        "processor": processor_name(),
        "num_cores": os.cpu_count(),
        "git_revision": git_revision(Path(__file__).parent),
        **more,
    }


def processor_name() -> str:
    """The name of the processor, since numbers differ in the last digits between processors."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", info.read_text("utf-8"), re.MULTILINE) if info.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def installed_version(package: str) -> str | None:
    """The version of an installed package; None where it is not installed."""
    from importlib.metadata import PackageNotFoundError, version  # slow, and no help page needs it

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def git_revision(folder: Path) -> str | None:
    """The commit of the repository that tracks a folder, "-dirty" after it where files differ; None without one."""
    if _git(folder, "ls-files", "--error-unmatch", ".") is None:
        return None

    return _git(folder, "describe", "--always", "--dirty", "--abbrev=40")


def _git(folder: Path, *words: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None

    return answer.stdout.strip()
