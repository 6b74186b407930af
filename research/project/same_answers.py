"""Compares the answers of two trees, equal to the last digit, or of two machines, within tolerances.

    python research/project/same_answers.py --keep FOLDER [--tree CHECKOUT]   # before a change: keeps the answers
    python research/project/same_answers.py --against FOLDER                  # after it: writes the comparison
    python research/project/same_answers.py --machines FOLDER FOLDER          # answers that two machines have kept

Commands: `eval --json` of the weights that ship, in the protocols of the pages; trainings of the quick presets with
their `results.json`; `compare --json` and `quantize --json` of bundles of shipped weights. Each runs on the CPU with
one thread, in an empty folder of its own, with the data of SPIKEBRIDGE_DATA. All numbers and words of an answer are
compared except those under a name in `OTHER`. Answers that are in the folder already are kept. Writes
results/same_answers.json, and fails if a value differs or is missing without a reason in `why` or `REMOVED`. All take
about 20 minutes of processor time.

Two machines add in another order, so that a training ends elsewhere. A value that stands beside its standard deviation
(`sd`) may differ by that; another one by the share of `TOLERANCES` of the larger value, or of 1 where that is more.
Writes results/same_answers_machines.json with the processors and the variables of `CHOOSING`, and fails beyond a
tolerance. Variables stand for another machine: `ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE python
research/project/same_answers.py --keep FOLDER`.
"""

import argparse
import json
import math
import os
import re
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from research.project.slowdown import in_tree
from spikebridge.data.io.atomic import write_text
from spikebridge.training.run.environment import describe_environment, git_revision, processor_name

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "research" / "project" / "results" / "same_answers.json"
MACHINES = RESULTS.with_name("same_answers_machines.json")
# kinds of commands by a word, and differences between two machines, relative to the larger value or to 1
KINDS = {"train": "trained", "export": "exported"}
TOLERANCES = {"evaluated": 0.01, "exported": 0.01, "trained": 0.05}
# variables that choose the arithmetic of PyTorch, its libraries and the native library
CHOOSING = ("ATEN_CPU_CAPABILITY", "MKL_CBWR", "DNNL_MAX_CPU_ISA", "SPIKEBRIDGE_NATIVE")
# words of names whose values depend on the machine, the clock or the folder
OTHER = {"run", "path", "bundle", "seconds", "s", "ms", "time", "environment", "version", "size", "bytes"}
# commands with the rows and columns of earlier answers that may be missing now, and the reason
REMOVED = {
    ("signals", "none"): "a network that left the recipe signals: no figure was measured",
    ("signals", "accuracy by answer"): "eval shows at most eight accuracies by answer, evenly spaced",
    ("", "left_out"): "the level of OpenVINO, which was not installed, left the package",
    ("digits", "fixed"): "a network that left the recipe digits: research/digits/variants.py trains it",
    ("digits", "modulation"): "a network that left the recipe digits: research/digits/variants.py trains it",
}


@dataclass(frozen=True)
class Command:
    """A command of the comparison.

    Args:
        words: arguments of `spikebridge`; several commands are divided by "then".
        file: the file with the answer; without it the last command prints it.
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
SHORT = ("--training.copies", "1", "--training.epochs", "1")
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
    # as small as the quick presets of earlier trees, which had these names
    "signals, myo_quick": trained("signals", "--preset", "myo", "--num-series", "250", *SHORT),
    "signals, watch_quick": trained("signals", "--preset", "watch", "--folds", "0", *SHORT),
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

            # an error is an answer, too: both trees may refuse
            if done.returncode:
                return {"error": f"spikebridge {' '.join(words)}: {done.stderr.strip().splitlines()[-1]}"}

        return json.loads((Path(folder) / command.file).read_text("utf-8") if command.file else done.stdout)


def keep(tree: Path, folder: Path, names: list[str]) -> None:
    """Writes the answers of a tree into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    revision = git_revision(tree / "src")

    for name in names:
        file = folder / f"{name}.json"
        # a long run may be stopped and started again
        if file.exists():
            continue

        begin = resource.getrusage(resource.RUSAGE_CHILDREN)
        content = {"answer": answer(tree, COMMANDS[name]), "revision": revision, "machine": machine()}
        end = resource.getrusage(resource.RUSAGE_CHILDREN)
        content["processor_s"] = round(end.ru_utime - begin.ru_utime + end.ru_stime - begin.ru_stime, 1)

        write_text(file, json.dumps(content, indent=1) + "\n")
        print(f"{name}: {content['answer'].get('error') or 'kept'}", flush=True)


def machine() -> str:
    """The processor, and the variables that choose other arithmetic on it."""
    chosen = [f"{name}={os.environ[name]}" for name in CHOOSING if name in os.environ]
    return ", ".join([processor_name(), *chosen])


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every number and word of an answer, with its path."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if OTHER.isdisjoint(re.split(r"[\W_]+", str(name).lower())):
                yield from leaves(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            # rows keep their paths if another one is missing
            row = inner.get("network", index) if isinstance(inner, dict) else index
            yield from leaves(inner, f"{path}[{row}]")
    else:
        yield path, value


def is_equal(first: Any, second: Any) -> bool:
    """True if two values are equal to the last digit; NaN equals NaN."""
    both_nan = isinstance(first, float) and isinstance(second, float) and math.isnan(first) and math.isnan(second)
    return both_nan or first == second


def compare(name: str, before: Any, now: Any) -> dict[str, Any]:
    """Numbers of values and of equal values of a command, the largest relative difference, paths that one answer lacks.

    Paths of `REMOVED` that are missing now are counted by their reason.
    """
    old = dict(leaves(before))
    new = dict(leaves(now))
    both = [path for path in old if path in new]
    unequal = [path for path in both if not is_equal(old[path], new[path])]
    numbers = [path for path in unequal if all(isinstance(values[path], int | float) for values in (old, new))]
    difference = {path: abs(new[path] - old[path]) / max(abs(old[path]), abs(new[path])) for path in numbers}
    largest = max(difference, key=difference.__getitem__, default=None)

    missing = [path for path in old if path not in new]
    removed = {word: reason for (command, word), reason in REMOVED.items() if name.startswith(command)}
    reasons = {path: removed[word] for path in missing for word in re.split(r"[.\[\]]+", path) if word in removed}

    return {
        "num_values": len(both),
        "num_equal": len(both) - len(unequal),
        "largest_relative_difference": 0.0 if largest is None else difference[largest],
        "largest": largest and {"value": largest, "before": old[largest], "now": new[largest]},
        "other_words": {path: [old[path], new[path]] for path in unequal if path not in difference},
        "removed": dict(Counter(reasons.values())),
        "only_before": [path for path in missing if path not in reasons],
        "only_now": [path for path in new if path not in old],
    }


def is_explained(comparison: dict[str, Any], why: str) -> bool:
    """True if all values are equal and none is missing, or a reason is given."""
    return bool(why) or (comparison["num_equal"] == comparison["num_values"] and not comparison["only_before"])


def tolerance(path: str, values: dict[str, Any], otherwise: float) -> float:
    """The allowed difference of a value of an answer: its standard deviation, where one stands beside it."""
    row, _, name = path.rpartition(".")
    # `sd per question` belongs to `per question %`
    measure = name.removeprefix("sd ").removesuffix(" %")
    spread = values.get(f"{row}.sd {measure}") or values.get(f"{row}.sd")
    return otherwise * max(1.0, abs(values[path])) if spread is None else spread


def kind_of(command: Command) -> str:
    """The kind of a command: a training, an export of shipped weights, or their evaluation."""
    return next((kind for word, kind in KINDS.items() if word in command.words), "evaluated")


def compare_machines(command: Command, first: Any, second: Any) -> dict[str, Any]:
    """Numbers of values, of equal ones and of those beyond their tolerance, and the largest share of a tolerance."""
    one = dict(leaves(first))
    other = dict(leaves(second))
    otherwise = TOLERANCES[kind_of(command)]
    both = sorted(one.keys() & other.keys())
    unequal = [path for path in both if not is_equal(one[path], other[path])]
    # a value that one machine lacks, or another word, is beyond any tolerance
    beyond = {path: [one.get(path), other.get(path)] for path in one.keys() ^ other.keys()}
    shares: dict[str, float] = {}

    for path in unequal:
        pair = [one[path], other[path]]
        is_number = all(isinstance(value, int | float) for value in pair)
        share = abs(pair[0] - pair[1]) / tolerance(path, one, otherwise) if is_number else math.inf

        if share > 1:
            beyond[path] = pair
        if is_number:
            shares[path] = share

    largest = max(shares, key=shares.__getitem__, default=None)
    return {
        "num_values": len(one),
        "num_equal": len(both) - len(unequal),
        "largest": largest and {"value": largest, "pair": [one[largest], other[largest]], "share": shares[largest]},
        "beyond": dict(sorted(beyond.items())),
    }


def write_machines(folders: list[Path], names: list[str]) -> int:
    """Compares the answers that two machines have kept; the exit code."""
    commands = {}
    machines = set()

    for name in names:
        one, other = (json.loads((folder / f"{name}.json").read_text("utf-8")) for folder in folders)
        machines.add((one["machine"], other["machine"]))
        row = {"kind": kind_of(COMMANDS[name]), **compare_machines(COMMANDS[name], one["answer"], other["answer"])}
        commands[name] = row
        print(f"{name}: {row['num_equal']} of {row['num_values']} equal, {len(row['beyond'])} beyond their tolerance")

    content = {
        "machines": sorted(machines),
        "tolerances": TOLERANCES,
        "commands": commands,
    }
    write_text(MACHINES, json.dumps(content, indent=1) + "\n")
    return int(any(row["beyond"] for row in commands.values()))


def main() -> int:
    """Keeps the answers of a tree, or compares those of this one with kept answers; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = parser.add_mutually_exclusive_group(required=True)
    folder.add_argument("--keep", type=Path, help="the folder to write answers into")
    folder.add_argument("--against", type=Path, help="the folder of the earlier answers")
    folder.add_argument("--machines", type=Path, nargs=2, metavar="FOLDER", help="folders that two machines have kept")
    parser.add_argument("--tree", type=Path, default=ROOT, help="with --keep: another checkout")
    parser.add_argument("--only", nargs="*", default=list(COMMANDS), choices=list(COMMANDS), metavar="NAME")
    options = parser.parse_args()

    if options.keep is not None:
        keep(options.tree.resolve(), options.keep, options.only)
        return 0

    if options.machines is not None:
        return write_machines(options.machines, options.only)

    content = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    # results of other earlier answers would be mixed with these
    if content.get("kept_in") != str(options.against.name):
        content = {"kept_in": options.against.name, "commands": {}}

    unexplained = []
    with TemporaryDirectory() as now:
        for name in options.only:
            keep(ROOT, Path(now), [name])
            before, after = (
                json.loads((place / f"{name}.json").read_text("utf-8")) for place in (options.against, Path(now))
            )
            comparison = compare(name, before["answer"], after["answer"])

            content["commands"][name] = {
                "command": " ".join(COMMANDS[name].words),
                "why": COMMANDS[name].why,
                "revisions": {"before": before["revision"], "now": after["revision"]},
                "processor_s": after["processor_s"],
                **comparison,
            }

            content["environment"] = describe_environment()
            write_text(RESULTS, json.dumps(content, indent=1) + "\n")
            print(f"{name}: {comparison['num_equal']} of {comparison['num_values']} equal", end="")
            print(f", at most {comparison['largest_relative_difference']:.1e} apart", end="")
            print(
                "".join(f"; {number} removed: {reason}" for reason, number in comparison["removed"].items()), flush=True
            )

            if not is_explained(comparison, COMMANDS[name].why):
                unexplained.append(name)

    print(f"without a reason: {', '.join(unexplained) or 'nothing'}")
    return bool(unexplained)


if __name__ == "__main__":
    sys.exit(main())
