"""Whether this tree gives the answers of an earlier one: the same commands in both, compared to the last digit.

    python research/project/same_answers.py --before /path/to/checkout [--only modulation]

Commands: `eval --json` of the weights that both trees ship unchanged, in the protocols of the pages, trainings of quick
presets with their `results.json`, and `compare --json` of a bundle. Each runs on the CPU with one thread, in an empty
folder of its own, with the data of SPIKEBRIDGE_DATA. The earlier tree gets the options that it has: `RENAMED` holds
other names, and an option in `ADDED` asks this tree for the way of the earlier one. All numbers and words of an answer
are compared but those in `OTHER`. Writes results/same_answers.json after each command. All take about ten minutes of
processor time.
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
RENAMED = {"--box-noise": "--shake", "sensing_research": "sensing"}
ADDED = ("--detector", "--no-calibration")  # of `eval sensing`
EARLIER_TRACKER = ("--detector", "learned", "--no-calibration")
# words of names whose values a machine, a clock or a folder decides
OTHER = {"run", "path", "bundle", "seconds", "s", "ms", "time", "environment", "version", "size", "bytes"}
# the command with the layers of the shipped tracker one after the other, as they were trained, in place of fused ones
UNFUSED = """
import sys
try:
    from spikebridge.cli.main import main
    from spikebridge.networks.sensing.tracker import inference
    inference.can_fuse = lambda *_: False
except ImportError:
    from spikebridge.cli import main
    from spikebridge.networks import sensing_ready
    sensing_ready.is_foldable = lambda *_: False
sys.exit(main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Command:
    """A command, as this tree has it.

    Args:
        words: what stands behind `spikebridge`; several commands are divided by "then".
        why: why its numbers may differ; empty where they must be equal.
        file: where the answer is written; without it the last command prints it.
        unfused: the layers of the tracker run one after the other.
    """

    words: tuple[str, ...]
    why: str = ""
    file: str = ""
    unfused: bool = False


WORDS = "the words where one seed tells nothing; all numbers are equal"
ORDER = "the fused layers of the tracker sum in another order than those of the earlier tree"
SENSING = ("eval", "sensing_research", "--json", *EARLIER_TRACKER)
QUICK = ("--preset", "quick", "--quiet", "--out", "run")
COMMANDS = {
    "tracker, A, layers not fused": Command((*SENSING, "--baselines", "none"), unfused=True),
    "tracker, A": Command((*SENSING, "--baselines", "hold,constant_velocity,kalman"), ORDER),
    "tracker, B": Command((*SENSING, "--protocol", "B", "--baselines", "constant_velocity"), ORDER),
    "tracker, C, 1 px of noise in the box": Command(
        (*SENSING, "--protocol", "C", "--box-noise", "1.0", "--baselines", "constant_velocity"), ORDER
    ),
    "tracker, D": Command((*SENSING, "--protocol", "D", "--baselines", "constant_velocity"), ORDER),
    "tracker, E, latency of the chip": Command(
        (*SENSING, "--protocol", "E", "--latency", "tianjic", "--baselines", "hold"), ORDER
    ),
    "tracker, A, options of today": Command(
        ("eval", "sensing_research", "--json", "--baselines", "none"),
        "a second detector, and calibration while it runs",
    ),
    "modulation": Command(("eval", "modulation", "--json")),
    "reasoning": Command(("eval", "reasoning", "--json")),
    "reasoning, learned collisions": Command(("eval", "reasoning", "--json", "--collisions", "learned")),
    "digits, quick": Command(("train", "digits", *QUICK), WORDS, file="run/results.json"),
    "digits, comparison of its bundle": Command(
        (
            *("train", "digits", *QUICK, "--networks", "learned"),
            *("then", "export", "run", "--out", "bundle", "then", "compare", "bundle", "--json"),
        )
    ),
    "modulation, quick": Command(("train", "modulation", *QUICK), WORDS, file="run/results.json"),
    "reasoning, quick": Command(("train", "reasoning", *QUICK), file="run/results.json"),
    "sensing, quick": Command(("train", "sensing", *QUICK), file="run/results.json"),
}


def commands_of(command: Command, is_before: bool) -> list[list[str]]:
    """The words of each command, as one of the trees has them."""
    words = list(command.words)
    if is_before:
        added = [k + 1 for k, word in enumerate(words[:-1]) if word in ADDED and not words[k + 1].startswith("--")]
        words = [RENAMED.get(word, word) for k, word in enumerate(words) if word not in ADDED and k not in added]
    found: list[list[str]] = [[]]
    for word in words:
        if word == "then":
            found.append([])
        else:
            found[-1].append(word)
    return found


def answer(tree: Path, command: Command, is_before: bool) -> Any:
    """What a command gives in a tree."""
    with TemporaryDirectory() as folder:
        for words in commands_of(command, is_before):
            python = [sys.executable, *(("-c", UNFUSED) if command.unfused else ("-m", "spikebridge")), *words]
            done = subprocess.run(python, cwd=folder, env=in_tree(tree), capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{tree}: spikebridge {' '.join(words)}: {done.stderr.strip().splitlines()[-1]}")
        return json.loads((Path(folder) / command.file).read_text("utf-8") if command.file else done.stdout)


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
    one, other = dict(leaves(before)), dict(leaves(now))
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
    """Runs the commands and writes what they have in common."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="the checkout of the earlier tree")
    parser.add_argument("--only", nargs="*", default=list(COMMANDS), choices=list(COMMANDS), metavar="NAME")
    options = parser.parse_args()
    trees = {"before": options.before.resolve(), "now": ROOT}
    revisions = {label: git_revision(tree / "src") for label, tree in trees.items()}
    content = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"commands": {}}
    for name in options.only:
        command = COMMANDS[name]
        begin = resource.getrusage(resource.RUSAGE_CHILDREN)
        answers = {label: answer(tree, command, label == "before") for label, tree in trees.items()}
        end = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = compare(answers["before"], answers["now"])
        content["commands"][name] = {
            "command": " ".join(command.words),
            "unfused": command.unfused,
            "why": command.why,
            "revisions": revisions,
            "processor_s": round(end.ru_utime - begin.ru_utime + end.ru_stime - begin.ru_stime, 1),
            **found,
        }
        print(f"{name}: {found['num_equal']} of {found['num_values']} equal", end="")
        print(f", at most {found['largest_relative_difference']:.1e} apart")
        content["environment"] = describe_environment()
        write_text(RESULTS, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
