"""Import paths of release 0.1 end in one line that names the new path; for one release.

The import hook is the last entry of `sys.meta_path`: Python asks it only for paths that no other hook knows. Where a
package has no attribute `name`, `from package import name` looks for the module `package.name`: one hook serves modules
and exported names. The table is read at the first such import.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType


class _MovedPathHook:
    """Raises `ImportError` for an import path of release 0.1, with the path that replaces it."""

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None for every path that is not in the table."""
        if name.startswith("spikebridge."):
            line = moved(name)
            if line is not None:
                raise ImportError(line, name=name)
        return None


def moved(name: str) -> str | None:
    """The line about an import path of release 0.1; None for any other.

    Example:
        >>> moved("spikebridge.networks.sensing_tracker")
        'spikebridge.networks.sensing_tracker is now spikebridge.networks.sensing.tracker.tracker'
        >>> moved("spikebridge.data.read_scenes")
        'read_scenes of spikebridge.data is now spikebridge.networks.reasoning.read_scenes'
    """
    import json  # here, since only an old path needs it

    table = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    package, _, last = name.rpartition(".")
    module, exported = table["modules"].get(name), table["names"].get(name)
    lines = [f"{name} is now {module}"] if module is not None else []
    lines += [f"{last} of {package} is now {exported}"] if exported is not None else []
    return "; ".join(lines) or None


def install() -> None:
    """Adds the hook behind all others, once."""
    if _MovedPathHook not in sys.meta_path:
        sys.meta_path.append(_MovedPathHook)
