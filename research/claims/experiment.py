"""Tools of the experiments on the paper's claims: --quick, seeds, and a result file with command and time."""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from research.digits import variants
from spikebridge.data.io.atomic import write_text
from spikebridge.data.simulation.saccades import HybridRecording
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.digits import recipe as digits
from spikebridge.ops.modes import evaluating
from spikebridge.training.run.environment import describe_environment, git_revision

FOLDER = Path(__file__).parent
RUNS = FOLDER.parents[1] / "runs"
Results = dict[str, Any]


def spread(values: Sequence[float], digits: int = 4) -> dict[str, Any]:
    """Mean and standard deviation over seeds, and the values."""
    sd = statistics.stdev(values) if len(values) > 1 else None
    return {
        "mean": round(statistics.fmean(values), digits),
        "sd": None if sd is None else round(sd, digits),
        "values": [round(value, digits) for value in values],
    }


def digits_network(variant: str, config: digits.Config) -> HybridNetwork:
    """An untrained what/where network."""
    settings = {field.name: getattr(config, field.name) for field in fields(config)}
    return digits.build(variants.Config(**{**settings, "networks": (variant,)}))[variant]


def digits_accuracy(network: HybridNetwork, config: digits.Config, scored: HybridRecording) -> float:
    """The accuracy of a what/where network over four draws of the noise."""
    generator = torch.Generator().manual_seed(1000)
    hits = []
    batch = {"frames": scored.frames, "events": scored.events, "labels": scored.labels}
    augment = digits.noisy_batches(config, scored).augment

    with evaluating(network):
        for _ in range(4):
            noisy = batch if augment is None else augment(batch, generator)
            inputs = {name: noisy[name] for name in network.inputs}
            answer = network(inputs, ticks=config.camera.num_steps)[0]["answer"]
            hits.append(float((answer.mean(0).argmax(-1) == scored.labels).float().mean()))

    return statistics.fmean(hits)


def revision() -> str | None:
    """The commit of the sources, with "-dirty" where they differ from it."""
    commit = git_revision(Path(__file__).parent)
    if commit is None or not commit.endswith("-dirty"):
        return commit

    # result files do not count, since a long run saves them while it goes on
    sources = ["git", "-C", str(RUNS.parent), "diff", "--quiet", "HEAD", "--", ".", ":(exclude)research/**/results"]
    return commit if subprocess.run(sources, check=False).returncode else commit.removesuffix("-dirty")


def steps_of(name: str) -> Path:
    """The folder of the finished steps of a long experiment, by revision, so that different sources never mix."""
    return RUNS / name / (revision() or "unknown")


def kept(path: Path | None, measure: Callable[[], Any]) -> Results:
    """The `result` of a step and its `cpu_s`, kept in a file so that a stopped run resumes after it."""
    if path is not None and path.exists():
        step: Results = torch.load(path, weights_only=True)
        return step

    start = time.process_time()
    step = {"result": measure(), "cpu_s": time.process_time() - start}
    print(f"{path.stem if path else ''} {step['cpu_s']:.0f} s", file=sys.stderr, flush=True)

    if path is not None:
        # renamed when it is whole, so that a run stopped here measures the step again
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        torch.save(step, partial)
        partial.replace(path)

    return step


def run_plan(
    name: str,
    plan: Iterable[tuple[str, int, Callable[[], Any]]],
    results: Results,
    rows: Callable[[dict[str, list[Results]]], list[Results]],
    quick: bool,
) -> Results:
    """Takes the steps of a plan that are not kept yet, and saves the results after each.

    Args:
        name: name of the experiment.
        plan: name, seed and measurement of each step.
        results: the results without rows.
        rows: makes the rows from the finished steps, as `kept` gives them, by name.
        quick: keep and save nothing.
    """
    folder = None if quick else steps_of(name)
    finished: dict[str, list[Results]] = {}
    results["command"] = command_of(name)

    for step, seed, measure in plan:
        path = folder / f"{step.replace(', ', '-').replace(' ', '-')}-seed{seed}.pt" if folder else None
        finished.setdefault(step, []).append(kept(path, measure))
        times = [one["cpu_s"] for steps in finished.values() for one in steps]
        results |= {"rows": rows(finished), "finished": len(times), "cpu_s": round(sum(times))}

        if not quick:
            save(name, results)

    return results


def script_of(name: str) -> Path:
    """The script of an experiment."""
    return next(FOLDER.glob(f"*/{name}.py"))


def result_file(name: str) -> Path:
    """The result file of an experiment."""
    return script_of(name).parent / "results" / f"{name}.json"


def command_of(name: str) -> str:
    """The command of an experiment."""
    return f"python {script_of(name).relative_to(RUNS.parent)}"


def main(name: str, description: str, run: Callable[[bool], Results]) -> None:
    """Runs an experiment and writes its results; with --quick it is small, and only prints them.

    Args:
        name: name of the experiment.
        description: the text of --help.
        run: makes the results, in the quick form if its argument is True.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes; nothing is written")
    quick = parser.parse_args().quick
    start = time.perf_counter()
    cpu = time.process_time()
    results = run(quick)
    results["command"] = command_of(name)
    results["wall_s"] = round(time.perf_counter() - start)

    # an experiment of steps counts those of earlier runs too
    results.setdefault("cpu_s", round(time.process_time() - cpu))
    if quick:
        json.dump(results, sys.stdout, indent=1)
        print()
    else:
        save(name, results)


def save(name: str, results: Results) -> None:
    """Writes the results of an experiment."""
    environment = {**describe_environment(), "git_revision": revision()}
    write_text(result_file(name), json.dumps({**results, "environment": environment}, indent=1) + "\n")


def load(name: str) -> Results:
    """Reads the results of an experiment."""
    results: Results = json.loads(result_file(name).read_text(encoding="utf-8"))
    return results
