"""What each extra adds to an installation, in MB: files of all packages that it brings and that the core does not.

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
    """All packages that requirements bring, by their plain names.

    Raises:
        PackageNotFoundError: one is not installed.
    """
    found: set[str] = set()
    waiting = [Requirement(name) for name in names]
    while waiting:
        one = waiting.pop()
        key = one.name.lower().replace("_", "-")
        package = distribution(one.name)
        wanted = {"", *one.extras}
        more = [Requirement(line) for line in package.requires or ()]
        needed = [r for r in more if r.marker is None or any(r.marker.evaluate({"extra": extra}) for extra in wanted)]

        if key in found and not one.extras:
            continue

        waiting += [r for r in needed if r.name.lower().replace("_", "-") not in found or r.extras]
        found.add(key)

    return found


def megabytes(names: set[str]) -> float:
    """Of the installed files."""
    total = 0
    for name in names:
        for file in distribution(name).files or ():
            path = Path(str(file.locate()))
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
    if "--check" not in sys.argv:
        RESULTS.write_text(
            json.dumps({"command": "python research/project/extras.py", "extras": measure()}, indent=1) + "\n"
        )

    known = json.loads(RESULTS.read_text(encoding="utf-8"))["extras"]
    rows = [(f"`{row['extra']}`", str(len(row["packages"])), f"{row['megabytes']:.0f}") for row in known]
    table = measured(("extra", "packages", "MB"), rows)

    return write_or_check(Path(__file__), __doc__, {"extras": table})


if __name__ == "__main__":
    sys.exit(main())
