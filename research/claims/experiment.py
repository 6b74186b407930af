"""What the experiments on the paper's claims share: --quick, seeds, and a result with its command and time."""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from spikebridge.data.io.atomic import write_text
from spikebridge.data.simulation.saccades import HybridRecording
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.digits import recipe as digits
from spikebridge.training.evaluation import evaluating
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
    return digits.build(replace(config, networks=(variant,)))[variant]


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
    """The commit of the sources, "-dirty" after it where they differ; results do not count, which long runs save."""
    found = git_revision(Path(__file__).parent)
    if found is None or not found.endswith("-dirty"):
        return found

    sources = ["git", "-C", str(RUNS.parent), "diff", "--quiet", "HEAD", "--", ".", ":(exclude)research/**/results"]
    return found if subprocess.run(sources, check=False).returncode else found.removesuffix("-dirty")


def steps_of(name: str) -> Path:
    """Where the finished steps of a long experiment lie: by revision, so that those of different sources never mix."""
    return RUNS / name / (revision() or "unknown")


def kept(path: Path | None, measure: Callable[[], Any]) -> Results:
    """What a step has `found` and its `cpu_s`, kept in a file so that a run that was stopped goes on after it."""
    if path is not None and path.exists():
        found: Results = torch.load(path, weights_only=True)
        return found

    begin = time.process_time()
    found = {"found": measure(), "cpu_s": time.process_time() - begin}
    print(f"{path.stem if path else ''} {found['cpu_s']:.0f} s", file=sys.stderr, flush=True)

    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        torch.save(found, partial)
        partial.replace(path)

    return found


def run_plan(
    name: str,
    plan: Iterable[tuple[str, int, Callable[[], Any]]],
    found: Results,
    rows: Callable[[dict[str, list[Results]]], list[Results]],
    quick: bool,
) -> Results:
    """Takes the steps of a plan that are not kept yet, and saves the result after each.

    Args:
        name: of the experiment.
        plan: what is measured, its seed, and how.
        found: the result without rows.
        rows: makes them of what is done, as `kept` gives it, by what was measured.
        quick: keep and save nothing.
    """
    folder = None if quick else steps_of(name)
    done: dict[str, list[Results]] = {}
    found["command"] = command_of(name)

    for what, seed, measure in plan:
        path = folder / f"{what.replace(', ', '-').replace(' ', '-')}-seed{seed}.pt" if folder else None
        done.setdefault(what, []).append(kept(path, measure))
        everything = [one for some in done.values() for one in some]
        found |= {"rows": rows(done), "finished": len(everything)}
        found["cpu_s"] = round(sum(one["cpu_s"] for one in everything))

        if not quick:
            save(name, found)

    return found


def script_of(name: str) -> Path:
    """The script of an experiment."""
    return next(FOLDER.glob(f"*/{name}.py"))


def result_file(name: str) -> Path:
    """The result file of an experiment, beside its script."""
    return script_of(name).parent / "results" / f"{name}.json"


def command_of(name: str) -> str:
    """What runs an experiment."""
    return f"python {script_of(name).relative_to(RUNS.parent)}"


def main(name: str, description: str, run: Callable[[bool], Results]) -> None:
    """Runs an experiment and writes its result; with --quick it is small and only printed.

    Args:
        name: of the result.
        description: the text of --help.
        run: of whether it is quick.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes; nothing is written")
    quick = parser.parse_args().quick
    start = time.perf_counter()
    cpu = time.process_time()
    found = run(quick)
    found["command"] = command_of(name)
    found["wall_s"] = round(time.perf_counter() - start)

    # an experiment of steps knows those of earlier runs too
    found.setdefault("cpu_s", round(time.process_time() - cpu))
    if quick:
        json.dump(found, sys.stdout, indent=1)
        print()
    else:
        save(name, found)


def save(name: str, found: Results) -> None:
    """Writes a result."""
    environment = {**describe_environment(), "git_revision": revision()}
    write_text(result_file(name), json.dumps({**found, "environment": environment}, indent=1) + "\n")


def load(name: str) -> Results:
    """Reads a result."""
    found: Results = json.loads(result_file(name).read_text(encoding="utf-8"))
    return found
