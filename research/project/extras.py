"""Measures how much each extra adds to an installation [MB]: packages that it brings and that the core does not.

    python research/project/extras.py

Sizes are those of the files installed in this environment, compiled Python files left out. An extra with a package
that is not installed here is left out. Writes research/project/results/extras.json; the table stands in
docs/how-to/install.md.
"""

import json
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from research.pages.made_page import measured, write_or_check

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "extras.json"
LEFT_OUT = ("docs", "test", "dev", "bench")


def closure(names: list[str]) -> set[str]:
    """All packages that requirements bring, by their plain names; a `PackageNotFoundError` where one is missing."""
    packages: set[str] = set()
    waiting = [Requirement(name) for name in names]

    while waiting:
        requirement = waiting.pop()
        # a package that is known may bring more with an extra
        if _plain(requirement) in packages and not requirement.extras:
            continue

        packages.add(_plain(requirement))
        waiting += [one for one in _needed(requirement) if _plain(one) not in packages or one.extras]

    return packages


def _plain(requirement: Requirement) -> str:
    return requirement.name.lower().replace("_", "-")


def _needed(requirement: Requirement) -> list[Requirement]:
    """Requirements of a package with its extras, on this machine."""
    extras = ("", *requirement.extras)
    lines = [Requirement(line) for line in distribution(requirement.name).requires or ()]
    return [one for one in lines if one.marker is None or any(one.marker.evaluate({"extra": name}) for name in extras)]


def megabytes(names: set[str]) -> float:
    """Size of the installed files of packages [MB]."""
    total = 0
    for name in names:
        for file in distribution(name).files or ():
            path = Path(str(file.locate()))
            # compiled files come after the installation
            total += path.stat().st_size if path.is_file() and path.suffix != ".pyc" else 0

    return total / 1e6


def measure() -> list[dict[str, Any]]:
    """A row an extra."""
    project = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = closure(project["dependencies"])
    rows = []

    for extra, needed in project["optional-dependencies"].items():
        if extra in LEFT_OUT:
            continue

        try:
            brought = closure(needed) - core
        except PackageNotFoundError as missing:
            print(f"{extra}: {missing} is not installed here")
            continue

        rows.append({"extra": extra, "packages": sorted(brought), "megabytes": round(megabytes(brought), 1)})
        print(f"{extra:12s} {rows[-1]['megabytes']:7.1f} MB  {len(brought)} packages")

    return rows


def main() -> int:
    """Measures, unless the page is only checked, and writes the table."""
    if not {"--check", "-h", "--help"} & set(sys.argv):
        RESULTS.write_text(
            json.dumps({"command": "python research/project/extras.py", "extras": measure()}, indent=1) + "\n"
        )

    extras = json.loads(RESULTS.read_text(encoding="utf-8"))["extras"]
    rows = [(f"`{row['extra']}`", str(len(row["packages"])), f"{row['megabytes']:.0f}") for row in extras]
    table = measured(("extra", "packages", "MB"), rows)

    return write_or_check(Path(__file__), __doc__, {"extras": table})


if __name__ == "__main__":
    sys.exit(main())
