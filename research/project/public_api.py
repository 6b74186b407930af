"""The public API as a file: names, parameters and commands, against which a test compares the sources.

python research/project/public_api.py   # writes docs/reference/public-api.json again, at a release
"""

import importlib
import inspect
import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[2] / "docs" / "reference" / "public-api.json"
PACKAGES = (
    "spikebridge",
    *(
        f"spikebridge.{name}"
        for name in ("neurons", "hybrid", "coding", "ops", "data", "training", "analysis", "deploy", "recipes")
    ),
    *(f"spikebridge.networks.{name}" for name in ("digits", "sensing", "modulation", "reasoning")),
)


def public_names() -> dict[str, dict[str, Any]]:
    """For each package its public names with their parameters; None for what is not called."""
    return {package: _names(importlib.import_module(package)) for package in PACKAGES}


def _names(module: Any) -> dict[str, Any]:
    return {name: parameters_of(getattr(module, name)) for name in sorted(module.__all__)}


def parameters_of(thing: Any) -> list[str] | None:
    """Names of the parameters, in order; `name*` is a keyword, `name=` has a default.

    Example:
        >>> def f(x, y=1, *, z=2): ...
        >>> parameters_of(f)
        ['x', 'y=', 'z*=']
    """
    if not callable(thing):
        return None

    try:
        parameters = inspect.signature(thing).parameters.values()
    except (ValueError, TypeError):
        # functions of C have no signature
        return None

    marks = {inspect.Parameter.VAR_POSITIONAL: "*args", inspect.Parameter.VAR_KEYWORD: "**kwargs"}
    return [
        marks.get(one.kind)
        or one.name
        + ("*" if one.kind is inspect.Parameter.KEYWORD_ONLY else "")
        + ("=" if one.default is not inspect.Parameter.empty else "")
        for one in parameters
    ]


def breaks(name: str, before: list[str] | None, after: list[str] | None) -> list[str]:
    """Failures of callers of the earlier parameters with the later ones; empty where every call still works.

    Example:
        >>> breaks("f", ["x", "y="], ["x", "z", "y="])
        ["f: 'z' is new and has no default", "f: the position of 'y' changed"]
        >>> breaks("f", ["x"], ["x", "y="])
        []
    """
    if before is None or after is None:
        return []

    earlier = {text.strip("*=") for text in before}
    later = {text.strip("*=") for text in after}
    failures = []

    # `**kwargs` takes a parameter that is gone
    if "**kwargs" not in after:
        gone = [text.strip("*=") for text in before if text.strip("*=") not in later and not text.startswith("*")]
        failures += [f"{name}: {parameter!r} is gone" for parameter in gone]

    failures += [
        f"{name}: {text.strip('*')!r} is new and has no default"
        for text in after
        if text.strip("*=") not in earlier and not text.endswith("=") and not text.startswith("*")
    ]

    positions = [[text.strip("=") for text in side if "*" not in text] for side in (before, after)]
    moved = [one for k, one in enumerate(positions[0]) if one in later and positions[1][k : k + 1] != [one]]

    return failures + [f"{name}: the position of {parameter!r} changed" for parameter in moved]


def main() -> None:
    """Writes the file."""
    FILE.write_text(json.dumps(public_names(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
