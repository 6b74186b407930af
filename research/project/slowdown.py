"""Compares the speed of a tree with that of an earlier one: the benchmarks of both, run in turns on one machine.

    python research/project/slowdown.py --before /path/to/checkout [--turns 2] [--only live]

The checkout has its C library built (`python setup.py build_ext --inplace`). Each tree runs its own `plain_layers.py`
and `network_overhead.py`, from a copy, so that no result of the tree is written over. The trees take turns (before,
now, now, before): a machine that grows busy slows both. A time is the smallest of a tree's turns, in processor time; a
ratio is that of now to before. Only rows that both trees have are compared. `peers` are this package's layers of
`peers.py`, part A, `live` its streams of `live.py`, and `hybrid` the networks of `loops.py` as a batch and in steps,
each in two processes that run in turns, call by call: those scripts also run other libraries or ways, and their few
rounds do not resolve 15 %. Writes results/slowdown.json after each benchmark.
"""

import argparse
import json
import math
import os
import resource
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from spikebridge.data.io.atomic import write_text
from spikebridge.training.run.environment import describe_environment, git_revision

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "research" / "project" / "results" / "slowdown.json"
STARTS = 7
ROUNDS = 12  # of works, a turn
# a script whose clock is that of its process, since other work on the machine makes wall time uneven
BY_PROCESS = (
    "import runpy, sys, time; time.perf_counter = time.process_time; sys.argv = sys.argv[1:]; "
    "sys.path.insert(0, '.'); runpy.run_path(sys.argv[0], run_name='__main__')"
)
# what a process of each tree prepares, with the tree's own benchmarks: works by name
WORKS = {
    "peers": """
from contextlib import nullcontext
from research.speed import peers
from research.speed.beside_peers.layers import Ours
from research.speed.beside_peers.taking_turns import SETTLED
from spikebridge.ops import without_native
torch.empty(SETTLED).fill_(1.0)  # as in take_turns: large tensors come from the heap afterwards
paths = {"native": nullcontext, "pytorch": without_native}
works = {f"{name} {list(shape)} [ms]": peers.layer_alone(Ours(path), shape)
         for shape in peers.LAYERS for name, path in paths.items()}
""",
    "live": """
from research.speed import live
from spikebridge.ops.sparse import engine
net, streams = live.network(), {f"{share:.0%}": (torch.rand(50, *live.IMAGE) < share).float() for share in (0.02, 0.05)}
# the names of 0.2.0 are `prepare` and `own`
by_events = live.stepwise(engine.EventDriven(net)) if hasattr(live, "stepwise") else live.by_events(net, True)
own = live.stepwise if hasattr(live, "stepwise") else live.own
ways = {"events, one native call": by_events, "network": own(net)}
works = {f"{name}, {share} of inputs, 50 steps [ms]": lambda way=way, x=x: way(x)
         for share, x in streams.items() for name, way in ways.items()}
torch.set_grad_enabled(False)
""",
    "hybrid": """
from research.speed import loops
torch.manual_seed(1)
stream, thresholds, membrane = loops.spiking_stream(), loops.thresholds(), loops.hodgkin_huxley()
currents = torch.rand(60, 32, 16), 10 + 5 * torch.rand(12, 20, 1)
steps, batch = torch.rand(30, 1, 30), torch.rand(120, 32, 30)
without_gradients = {
    "a batch of 32, 120 ticks": lambda: loops.whole(stream, batch),
    "30 steps": lambda: loops.stepped(stream, steps),
    "a loop of thresholds, 60 ticks": lambda: loops.whole(thresholds, currents[0]),
    "a Hodgkin-Huxley loop, 12 ticks": lambda: loops.whole(membrane, currents[1]),
}
works = {f"{name} [ms]": torch.no_grad()(run) for name, run in without_gradients.items()}
works["a batch of 32, 120 ticks, with gradients [ms]"] = lambda: loops.whole(stream, batch).sum().backward()
works["30 steps, with gradients [ms]"] = lambda: loops.stepped(stream, steps).sum().backward()
""",
}
# runs the work that a line of its input names and prints the processor time [ms]
RUN_WORKS = """
import sys, time
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
torch.manual_seed(0)
exec(sys.argv[2])
for run in works.values():
    run()
print(*works, sep="\\t", flush=True)
for line in sys.stdin:
    begin = time.process_time()
    works[line.strip()]()
    print(1e3 * (time.process_time() - begin), flush=True)
"""
Times = dict[str, float]


def layer_times(results: Any) -> Times:
    """Times of layers, forward and backward [ms], and of a step [us]."""
    layers = {f"{row['layer']}, forward and backward [ms]": row["ours_ms"] for row in results["against_spikingjelly"]}
    steps = {f"{row['layer']}, a step of {row['num_steps']} [us]": row["us_a_step"] for row in results["over_lengths"]}
    return layers | steps


def network_times(results: Any) -> Times:
    """Times of a hybrid network [ms]."""
    return {f"{row['what']}, batch {row['batch']} [ms]": row["network [ms]"] for row in results["rows"]}


# scripts of research/speed, and the times in their results
BENCHMARKS: dict[str, Callable[[Any], Times]] = {"plain_layers": layer_times, "network_overhead": network_times}


def in_tree(tree: Path) -> dict[str, str]:
    """The environment of a process that imports the package of a tree, on one thread."""
    # with compiled files, as users have them
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": f"{tree / 'src'}{os.pathsep}{tree}", "OMP_NUM_THREADS": "1"}


def speed_of(tree: Path) -> Path:
    """The folder of the speed benchmarks of a tree; before research/ there was one flat folder."""
    folder = tree / "research" / "speed"
    return folder if folder.is_dir() else tree / "benchmarks"


def run(tree: Path, name: str) -> Times:
    """One turn of a benchmark."""
    with TemporaryDirectory() as folder:
        # results of the tree are not written over
        copy = Path(folder) / "speed"
        shutil.copytree(speed_of(tree), copy, ignore=shutil.ignore_patterns("results"))
        (copy / "results").mkdir()
        python = [sys.executable, "-c", BY_PROCESS, f"{name}.py"]
        subprocess.run(python, cwd=copy, env=in_tree(tree), check=True, stdout=subprocess.DEVNULL)

        return BENCHMARKS[name](json.loads((copy / "results" / f"{name}.json").read_text(encoding="utf-8")))


def starts(tree: Path) -> Times:
    """Processor time of an import and of `--help` [s], the smallest of several."""
    commands = {"import spikebridge [s]": ["-c", "import spikebridge"], "--help [s]": ["-m", "spikebridge", "--help"]}
    return {name: min(_seconds(tree, words) for _ in range(STARTS)) for name, words in commands.items()}


def _seconds(tree: Path, words: list[str]) -> float:
    begin = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], env=in_tree(tree), check=True, stdout=subprocess.DEVNULL)
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    return end.ru_utime - begin.ru_utime + end.ru_stime - begin.ru_stime


def compare(trees: dict[str, Path], measure: Callable[[Path], Times], turns: int) -> dict[str, Any]:
    """Compares the benchmark of two trees, whole runs in turns."""
    times: dict[str, list[Times]] = {label: [] for label in trees}
    for turn in range(turns):
        for label in in_turn(trees, turn):
            times[label].append(measure(trees[label]))

    return ratios({label: {name: min(row[name] for row in rows) for name in rows[0]} for label, rows in times.items()})


def compare_works(trees: dict[str, Path], works: str, turns: int) -> dict[str, Any]:
    """Compares works in a process for each tree, call by call in turns."""
    processes = {label: start_works(tree, works) for label, tree in trees.items()}
    names = {label: answer(process).split("\t") for label, process in processes.items()}
    best: dict[str, Times] = {label: {} for label in trees}

    for turn in range(ROUNDS * turns):
        for name in (name for name in names["now"] if name in names["before"]):
            for label in in_turn(trees, turn):
                milliseconds = float(answer(processes[label], name))
                best[label][name] = min(best[label].get(name, math.inf), milliseconds)

    for process in processes.values():
        process.communicate()

    return ratios(best)


def in_turn(trees: dict[str, Path], turn: int) -> list[str]:
    """Labels in the order of a turn: forwards, then backwards, so that a machine that grows busy slows both."""
    return list(trees)[:: 1 if turn % 2 == 0 else -1]


def start_works(tree: Path, works: str) -> subprocess.Popen[str]:
    """A process that runs works of a tree on request."""
    folder = speed_of(tree)
    if folder.name == "benchmarks":
        # the scripts of the flat folder import each other by their names
        works = works.replace("from research.speed import", "import").replace("research.speed.", "")

    # a process finds the modules of its working folder first
    command = [sys.executable, "-c", RUN_WORKS, str(folder), works]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=tree, env=in_tree(tree), **pipes)


def answer(process: subprocess.Popen[str], name: str = "") -> str:
    """The next line of a process that runs works, after it was asked for one of them."""
    assert process.stdin is not None and process.stdout is not None
    if name:
        process.stdin.write(f"{name}\n")
        process.stdin.flush()

    return process.stdout.readline().rstrip("\n")


def ratios(best: dict[str, Times]) -> dict[str, Any]:
    """The smallest times of both trees in the rows that both have, and the median of their ratios."""
    rows = {
        name: {
            "before": best["before"][name],
            "now": best["now"][name],
            "ratio": best["now"][name] / best["before"][name],
        }
        for name in best["before"]
        if name in best["now"]
    }
    return {"median_ratio": statistics.median(row["ratio"] for row in rows.values()), "rows": rows}


def main() -> None:
    """Runs the benchmarks and writes their ratios."""
    every = ["starts", *WORKS, *BENCHMARKS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="the checkout of the earlier tree")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=every, choices=every)
    options = parser.parse_args()
    trees = {"before": options.before.resolve(), "now": ROOT}
    content = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    facts = {
        "revisions": {label: git_revision(tree / "src") for label, tree in trees.items()},
        "turns": options.turns,
    }

    for name in options.only:
        if name in WORKS:
            comparison = compare_works(trees, WORKS[name], options.turns)
        else:
            measure = starts if name == "starts" else partial(run, name=name)
            comparison = compare(trees, measure, options.turns)

        content[name] = {**facts, "load": os.getloadavg()[0], **comparison}
        print(f"{name}: median ratio {content[name]['median_ratio']:.2f}")
        content["environment"] = describe_environment()
        write_text(RESULTS, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
