"""Tables of choosing threads, of the first hour with the package and of processors, from results of research/project.

python research/pages/project_page.py           # writes the pages
python research/pages/project_page.py --check   # exit code 1 where a page differs from the results
"""

import json
import sys
from pathlib import Path
from typing import Any

from research.pages.made_page import MISSING, head, line, result_file, table, write_or_check

LOADS = ("quiet", "busy")
WALKS = ("readme", "train", "track", "deploy")


def times(measured: dict[str, Any]) -> str:
    """A row a work, a column a setting: seconds, quiet / busy; last the ratio of auto to the best setting."""
    rows = measured["rows"]
    settings = list(dict.fromkeys(row["threads"] for row in rows))
    titles = [{"unset": "PyTorch's default", "auto": "`auto`"}.get(name, name) for name in settings]
    lines = [head("seconds, quiet / busy", *titles, "`auto` : best, quiet / busy", "results differ by at most")]

    for work in dict.fromkeys(row["work"] for row in rows):
        settings_of_work = {row["threads"]: row for row in rows if row["work"] == work}
        seconds = [[_seconds(settings_of_work, name, load) for load in LOADS] for name in settings]
        ratios = " / ".join(_ratio(settings_of_work, load) for load in LOADS)
        differences = [row["difference"] for row in settings_of_work.values() if row["difference"] is not None]
        largest = f"{max(differences):.1g}" if differences else "-"
        lines.append(line(work, *map(" / ".join, seconds), ratios, largest))

    # on a quiet machine one thread waits for nothing
    alone = [row["quiet"] for row in rows if row["threads"] == "1" and row["quiet"]["seconds"] is not None]
    share = min(row["cpu"] / row["seconds"] for row in alone)
    machine = f"{measured['cores']} cores. One thread, quiet: CPU time is at least {share:.2f} of the wall time."

    return "\n".join([*lines, "", machine])


def _seconds(rows: dict[str, Any], setting: str, load: str) -> str:
    value = rows[setting][load]["seconds"] if setting in rows else None
    return "-" if value is None else f"{value:.1f}"


def _ratio(rows: dict[str, Any], load: str) -> str:
    seconds = {name: row[load]["seconds"] for name, row in rows.items() if row[load]["seconds"] is not None}
    return f"{seconds['auto'] / min(seconds.values()):.2f}" if "auto" in seconds else "-"


def steps(measured: dict[str, Any], name: str) -> str:
    """A row a step: the line of the page, the typed text, seconds quiet and busy; last the sum."""
    walk = measured.get("walks", {}).get(name)
    if walk is None:
        return MISSING

    loads = [load for load in LOADS if load in walk]
    rows = [
        (str(steps[0]["line"]), _typed(steps[0]["what"]), *map(_step_seconds, steps))
        for steps in zip(*(walk[load] for load in loads), strict=True)
    ]

    sums = [f"**{sum(row['seconds'] for row in walk[load]):.0f}**" for load in loads]
    machine = f"{measured['cores']} cores, load average {measured['load_before']} before the first walk."
    titles = ("line", "what is typed", *(f"seconds, {load}" for load in loads))

    return "\n".join([table(titles, [*rows, ("", "all", *sums)]), "", machine])


def _typed(what: str) -> str:
    return what if what.startswith("Python: ") else f"`{' '.join(what.split())}`".replace("|", "\\|")


def _step_seconds(row: dict[str, Any]) -> str:
    return "failed" if "failed" in row else f"{row['seconds']:.1f}"


def settings(portable: dict[str, Any]) -> str:
    """A row a setting: its variables, and how many tests passed and failed."""
    rows = [
        (
            *(row["setting"], _variables(row), "{} of {}".format(*row["num_folders"])),
            *(f"{row['passed']:,}", str(len(row["failed"])), str(row["skipped"])),
        )
        for row in portable["settings"]
    ]
    titles = ("setting", "variables and options", "folders", "passed", "failed", "skipped")
    environment = portable["environment"]
    machine = f"{environment['processor']}, {environment['num_cores']} cores; torch {environment['torch']}."

    return "\n".join([table(titles, rows), "", machine])


def _variables(row: dict[str, Any]) -> str:
    words = [*(f"{name}={value}" for name, value in row["variables"].items()), *row["options"]]
    return ", ".join(f"`{word}`" for word in words)


def machines(compared: dict[str, Any]) -> str:
    """A row a kind of command: how many values are equal, and the largest difference."""
    commands = compared["commands"].values()
    lines = []

    for kind in dict.fromkeys(row["kind"] for row in commands):
        rows = [row for row in commands if row["kind"] == kind]
        largest = max((row["largest"]["share"] for row in rows if row["largest"]), default=0.0)
        counts = (sum(row["num_values"] for row in rows), sum(row["num_equal"] for row in rows))
        beyond = sum(len(row["beyond"]) for row in rows)
        lines.append((kind, str(len(rows)), *(f"{count:,}" for count in counts), f"{largest:.2g}", str(beyond)))

    names = "; and ".join(dict.fromkeys(name for pair in compared["machines"] for name in pair))
    titles = ("commands", "number", "values", "equal", "largest share of a tolerance", "beyond")
    return "\n".join([table(titles, lines), "", f"{names}."])


def main() -> int:
    """Writes or checks the pages."""
    results = ("busy", "first_hour", "portable", "same_answers_machines")
    files = [result_file(f"project/{name}") for name in results]
    busy, first_hour, portable, compared = (
        json.loads(file.read_text(encoding="utf-8")) if file.exists() else None for file in files
    )
    tables = {
        "threads": times(busy),
        **{name: steps(first_hour, name) for name in WALKS},
        "settings": settings(portable) if portable else MISSING,
        "machines": machines(compared) if compared else MISSING,
    }

    return write_or_check(Path(__file__), __doc__, tables)


if __name__ == "__main__":
    sys.exit(main())
