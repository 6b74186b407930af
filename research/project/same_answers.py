"""Compares the answers of two trees: the same commands, values equal to the last digit.

    python research/project/same_answers.py --keep FOLDER [--tree CHECKOUT]   # before a change: keeps the answers
    python research/project/same_answers.py --against FOLDER                  # after it: writes the comparison

Commands: `eval --json` of the weights that ship, in the protocols of the pages; trainings of the quick presets with
their `results.json`; `compare --json` and `quantize --json` of bundles of shipped weights. Each runs on the CPU with
one thread, in an empty folder of its own, with the data of SPIKEBRIDGE_DATA. All numbers and words of an answer are
compared but those in `OTHER`. Answers that are in the folder already are not made again. Writes
results/same_answers.json. All take about 20 minutes of processor time.
"""

import argparse
import json
import math
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from research.project.slowdown import in_tree
from spikebridge.data.io.atomic import write_text
from spikebridge.training.run.environment import describe_environment, git_revision

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "research" / "project" / "results" / "same_answers.json"
# words of names whose values a machine, a clock or a folder decides
OTHER = {"run", "path", "bundle", "seconds", "s", "ms", "time", "environment", "version", "size", "bytes"}


@dataclass(frozen=True)
class Command:
    """A command of the comparison.

    Args:
        words: the words behind `spikebridge`; several commands are divided by "then".
        file: the file of the answer; without it the last command prints it.
        why: the reason for values that differ; empty where all must be equal.
    """

    words: tuple[str, ...]
    file: str = ""
    why: str = ""


def evaluated(*words: str) -> Command:
    """An evaluation of shipped weights."""
    return Command(("eval", *words, "--json"))


def trained(*words: str) -> Command:
    """A training of a preset."""
    return Command(("train", *words, "--quiet", "--out", "run"), file="run/results.json")


def bundled(*words: str) -> Command:
    """A bundle, with its integer model where there is one, whose levels are compared."""
    return Command(("export", *words, "--out", "bundle", "then", "compare", "bundle", "--json"))


QUICK = ("--preset", "quick", "--quiet", "--out", "run")
COMMANDS = {
    **{
        f"{weights}, protocol {protocol}": evaluated(weights, "--protocol", protocol, *options)
        for weights in ("sensing", "sensing_research")
        for protocol, options in {
            "A": ("--baselines", "hold,constant_velocity,kalman"),
            "B": ("--baselines", "constant_velocity"),
            "C": ("--box-noise", "1.0", "--baselines", "constant_velocity"),
            "D": ("--baselines", "constant_velocity"),
            "E": ("--latency", "tianjic", "--baselines", "hold"),
        }.items()
    },
    "sensing, learned detector, not calibrated": evaluated("sensing", "--detector", "learned", "--no-calibration"),
    "modulation": evaluated("modulation"),
    "reasoning": evaluated("reasoning"),
    "reasoning, learned collisions": evaluated("reasoning", "--collisions", "learned"),
    "signals": evaluated("signals"),
    "signals_watch": evaluated("signals_watch"),
    **{
        f"{name}, quick": trained(name, "--preset", "quick")
        for name in ("digits", "modulation", "reasoning", "signals")
    },
    "sensing, quick": trained("sensing", "--preset", "quick"),
    "signals, myo_quick": trained("signals", "--preset", "myo_quick"),
    "signals, watch_quick": trained("signals", "--preset", "watch_quick"),
    "digits, bundle": Command(
        (
            *("train", "digits", *QUICK, "--networks", "learned"),
            *("then", "export", "run", "--out", "bundle", "then", "compare", "bundle", "--json"),
        )
    ),
    "digits, integers": Command(
        (*("train", "digits", *QUICK, "--networks", "learned"), *("then", "quantize", "run", "--json")),
    ),
    **{
        f"{name}, bundle": bundled(name)
        for name in ("sensing", "sensing_research", "modulation", "signals", "signals_watch")
    },
}


def commands_of(command: Command) -> list[list[str]]:
    """The words of each command."""
    commands: list[list[str]] = [[]]

    for word in command.words:
        if word == "then":
            commands.append([])
        else:
            commands[-1].append(word)

    return commands


def answer(tree: Path, command: Command) -> Any:
    """The answer of a command in a tree."""
    with TemporaryDirectory() as folder:
        for words in commands_of(command):
            python = [sys.executable, "-m", "spikebridge", *words]
            done = subprocess.run(python, cwd=folder, env=in_tree(tree), capture_output=True, text=True)

            if done.returncode:
                return {"error": f"spikebridge {' '.join(words)}: {done.stderr.strip().splitlines()[-1]}"}

        return json.loads((Path(folder) / command.file).read_text("utf-8") if command.file else done.stdout)


def keep(tree: Path, folder: Path, names: list[str]) -> None:
    """Writes the answers of a tree into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    revision = git_revision(tree / "src")

    for name in names:
        file = folder / f"{name}.json"
        if file.exists():
            continue

        begin = resource.getrusage(resource.RUSAGE_CHILDREN)
        content = {"answer": answer(tree, COMMANDS[name]), "revision": revision}
        end = resource.getrusage(resource.RUSAGE_CHILDREN)
        content["processor_s"] = round(end.ru_utime - begin.ru_utime + end.ru_stime - begin.ru_stime, 1)

        write_text(file, json.dumps(content, indent=1) + "\n")
        print(f"{name}: {content['answer'].get('error') or 'kept'}", flush=True)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every number and word of an answer, with its path."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if OTHER.isdisjoint(re.split(r"[\W_]+", str(name).lower())):
                yield from leaves(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from leaves(inner, f"{path}[{place}]")
    else:
        yield path, value


def is_equal(one: Any, other: Any) -> bool:
    """Whether two values are equal to the last digit; NaN equals NaN."""
    both_nan = isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    return both_nan or one == other


def compare(before: Any, now: Any) -> dict[str, Any]:
    """How many values are equal, the largest relative difference, and what one of the answers lacks."""
    one = dict(leaves(before))
    other = dict(leaves(now))
    both = [path for path in one if path in other]
    unlike = [path for path in both if not is_equal(one[path], other[path])]
    numbers = [p for p in unlike if all(isinstance(x[p], int | float) for x in (one, other))]
    apart = {p: abs(other[p] - one[p]) / max(abs(one[p]), abs(other[p])) for p in numbers}
    largest = max(apart, key=apart.__getitem__, default=None)

    return {
        "num_values": len(both),
        "num_equal": len(both) - len(unlike),
        "largest_relative_difference": 0.0 if largest is None else apart[largest],
        "largest": largest and {"value": largest, "before": one[largest], "now": other[largest]},
        "other_words": {p: [one[p], other[p]] for p in unlike if p not in apart},
        "only_before": [path for path in one if path not in other],
        "only_now": [path for path in other if path not in one],
    }


def main() -> None:
    """Keeps the answers of a tree, or compares those of this one with kept answers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = parser.add_mutually_exclusive_group(required=True)
    folder.add_argument("--keep", type=Path, help="the folder to write answers into")
    folder.add_argument("--against", type=Path, help="the folder of the earlier answers")
    parser.add_argument("--tree", type=Path, default=ROOT, help="with --keep: another checkout")
    parser.add_argument("--only", nargs="*", default=list(COMMANDS), choices=list(COMMANDS), metavar="NAME")
    options = parser.parse_args()

    if options.keep is not None:
        keep(options.tree.resolve(), options.keep, options.only)
        return

    content = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    if content.get("kept_in") != str(options.against.name):
        content = {"kept_in": options.against.name, "commands": {}}

    with TemporaryDirectory() as now:
        for name in options.only:
            keep(ROOT, Path(now), [name])
            before, after = (
                json.loads((place / f"{name}.json").read_text("utf-8")) for place in (options.against, Path(now))
            )
            found = compare(before["answer"], after["answer"])

            content["commands"][name] = {
                "command": " ".join(COMMANDS[name].words),
                "why": COMMANDS[name].why,
                "revisions": {"before": before["revision"], "now": after["revision"]},
                "processor_s": after["processor_s"],
                **found,
            }

            content["environment"] = describe_environment()
            write_text(RESULTS, json.dumps(content, indent=1) + "\n")
            print(f"{name}: {found['num_equal']} of {found['num_values']} equal", end="")
            print(f", at most {found['largest_relative_difference']:.1e} apart", flush=True)


if __name__ == "__main__":
    main()
