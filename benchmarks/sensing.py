"""The sensing network on the real recording: every protocol beside the baselines, ablation, cost, and the targets.

    python benchmarks/sensing.py                                  # every cell, or what is missing of them
    python benchmarks/sensing.py --out RUNS --cells main cost     # some of them
    python benchmarks/sensing.py --out RUNS --finders RUN         # with the finders of another run
    python benchmarks/sensing.py --out RUNS --pathways RUN        # with all but the finders of another run

Each cell is a run folder of its own and goes on where it was stopped; after each, results/sensing.json is written from
all that is finished. It needs the recording of FE240hz (and clips of OTB and VOT) in SPIKEBRIDGE_DATA. Settings were
chosen on the validation frames.

| cell | what it trains | seeds |
|---|---|---|
| main | the networks that are shipped, on the real recording, generated scenes and clips | 3 |
| generated | on generated scenes alone; measured on the real recording | 1 |
| left_out | on the real recording alone; measured on generated scenes | 1 |
| ablation | unit none, fixed, learned x additive, kernel x prior, memory; some at 10 frames a second too | 3 |
| ten_hertz | nothing: A on every fourth frame, of the networks of `main` | |
| closed_loop | nothing: C, of the networks of `main` | |
| late | nothing: E at the rates of the paper's chip, of the networks of `main`, beside their own ANN alone | |
| slow_loops | nothing: C with fewer frames, of the networks of `main`, beside their own ANN alone | |
| unseen | nothing: A on recordings made of the test part, mirrored and turned, of the networks of `main` | |
| protocols | nothing: B, D and E, and a Kalman filter, of the first network of `main` | |
| cost | nothing: operations, energy, time and memory of that network | |
| training | `quick`, `default`, and `shipped` for an epoch, in processes of their own: time and memory | 1 |
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median, stdev
from time import thread_time
from typing import Any

import torch

import sensing_training
from spikebridge.analysis.cost import Cost, count_cost, count_run
from spikebridge.analysis.energy import hardware_profile, joules
from spikebridge.analysis.following import bins_of
from spikebridge.analysis.operations import Operations
from spikebridge.data.files import find
from spikebridge.data.recording import Recording
from spikebridge.networks.sensing_ready import made_ready
from spikebridge.recipes import sensing, sensing_scores
from spikebridge.recipes.sensing import Config, Evaluation
from spikebridge.training import Run
from spikebridge.training.atomic import replacing
from unseen_recording import PIECES, write

RESULTS = Path(__file__).parent / "results" / "sensing.json"
RUNS = Path("runs") / "benchmarks" / "sensing"
ALONE = ("ann_hold", "ann_constant_velocity")
BASELINES = "hold,constant_velocity,kalman"
CONFIGS = {
    "main": sensing.PRESETS["three"],
    "generated": Config(recording="generated", num_scenes=24, epochs=4, finding_epochs=0),
    "left_out": Config(recording="real", finding_epochs=0),
    "ablation": replace(sensing.PRESETS["ablation"], recording="real"),
}
AT_TEN_HERTZ = ("learned", "fixed", "none", "memoryless")  # of the networks of `ablation`
NUM_COUNTED = 21  # frames over which operations are counted
OPENS = ("frames", "boxes", "before", "motion")
FIGURES = ("mean_distance_px", "auc", "precision_3px", "precision_5px", "precision_20px", "miou", "lost_share")


def asked(run: Run, data: Path | None = None, baselines: str = BASELINES, **options: Any) -> dict[str, Any]:
    """An evaluation beside the baselines, on the test part of the real recording or on all of another one."""
    where: dict[str, Any] = {} if data else {"split": "test", "recording": "FE240hz_star_motion_0"}
    found = sensing.evaluate(run, data, options=Evaluation(baselines=baselines, **where, **options))
    more = ("by_every", "by_frame_rate", "by_speed")

    def figures(one: dict[str, Any]) -> dict[str, Any]:
        distances = [bin_["mean_distance_px"] for bin_ in one["per_bin"]]
        return {name: one[name] for name in (*FIGURES, *more) if name in one} | {"distance by bin": distances}

    return {
        "options": options,
        "offsets": found["offsets"],
        **figures(found),
        "baselines": {name: figures(one) for name, one in found["baselines"].items()},
    }


def protocols(out: Path) -> dict[str, Any]:
    """A beside a filter too, B, D and E."""
    run = Run.open(out / "main")
    return {
        "A": asked(run, protocol="A"),
        "A shaken 1 px": asked(run, protocol="A", shake=1.0),
        "B": asked(run, protocol="B"),
        "D": asked(run, protocol="D"),
        "E measured": asked(run, protocol="E"),
        "E tianjic": asked(run, protocol="E", latency="tianjic"),
    }


def of_seeds(out: Path, **options: Any) -> dict[str, Any]:
    """A question put to each network of `main`, and the mean of the answers."""
    run = Run.open(out / "main")
    found = [asked(run, **options, weights_seed=seed) for seed in seeds(run.config_as(Config))]
    distances, shares = ([one[name] for one in found] for name in ("mean_distance_px", "auc"))
    row: dict[str, Any] = {"tracker": "learned", "distance px": round(fmean(distances), 3)}
    row |= {"sd": round(stdev(distances), 3), "auc": round(fmean(shares), 3), "sd of auc": round(stdev(shares), 3)}
    return {"trackers": [row], "seeds": found}


def ten_hertz(out: Path) -> dict[str, Any]:
    """A on every fourth frame."""
    return of_seeds(out, protocol="A", keep_every=4)


def closed_loop(out: Path) -> dict[str, Any]:
    """C."""
    return of_seeds(out, protocol="C")


def late(out: Path) -> dict[str, Any]:
    """E at the rates of the paper's chip, beside each network's own ANN in frames alone."""
    return beside_the_ann(out, protocol="E", latency="tianjic")


def slow_loops(out: Path) -> dict[str, Any]:
    """C with every frame, and each second, fourth and eighth, beside each network's own ANN in frames alone."""
    return {str(keep): beside_the_ann(out, protocol="C", keep_every=keep) for keep in (1, 2, 4, 8)}


def beside_the_ann(out: Path, **options: Any) -> dict[str, Any]:
    """A question put to each network of `main` and to its ANN, and the mean of the answers."""
    run = Run.open(out / "main")
    options["baselines"] = ",".join(ALONE)
    found = [asked(run, **options, weights_seed=seed) for seed in seeds(run.config_as(Config))]
    everyone = {"learned": found, **{name: [one["baselines"][name] for one in found] for name in ALONE}}
    rows = [
        {"tracker": name, "auc": round(fmean(aucs), 3), "sd of auc": round(stdev(aucs), 3)}
        for name, aucs in ((name, [one["auc"] for one in rows]) for name, rows in everyone.items())
    ]
    return {"trackers": rows, "seeds": found}


def unseen(out: Path) -> dict[str, Any]:
    """A on every frame of recordings made of the test part, whose offsets `eval` has to find."""
    run, source = Run.open(out / "main"), find("fe240hz")[0].parent
    found = []
    with tempfile.TemporaryDirectory() as made:
        for name, piece in PIECES.items():
            write(source, Path(made) / name, piece)
            found += [
                {"piece": name, **asked(run, Path(made) / name, protocol="A", weights_seed=seed)}
                for seed in seeds(run.config_as(Config))
            ]
    everyone = {"learned": found, **{name: [one["baselines"][name] for one in found] for name in found[0]["baselines"]}}
    rows = [
        {"tracker": name, "distance px": round(fmean(one["mean_distance_px"] for one in rows), 3)}
        for name, rows in everyone.items()
    ]
    return {"trackers": rows, "seeds": found}


def on_real(run: Run, config: Config) -> dict[str, Any]:
    """A on a recording of a kind that no training has seen."""
    return {"A": asked(run, protocol="A")}


def on_generated(run: Run, config: Config) -> dict[str, Any]:
    """A on generated scenes that no training has seen."""
    scored = sensing_scores.generated("test", 4)
    scores = [sensing_scores.score(sensing.tracker(run, seed=seed), scored) for seed in seeds(config)]
    return {"trackers": sensing_scores.compare({"learned": scores}, scored)["trackers"]}


def where_frames_are_rare(run: Run, config: Config) -> dict[str, Any]:
    """A on every fourth frame: what the unit is worth where no frame helps for long."""
    rows = []
    for name in AT_TEN_HERTZ:
        asks = [asked(run, protocol="A", keep_every=4, network=name, weights_seed=seed) for seed in seeds(config)]
        distances = [one["mean_distance_px"] for one in asks]
        rows.append({"tracker": name, "distance px": round(fmean(distances), 3), "sd": round(stdev(distances), 3)})
    return {"at 10 Hz": rows}


def nothing_more(run: Run, config: Config) -> dict[str, Any]:
    """What training wrote down is all."""
    return {}


MORE: dict[str, Callable[[Run, Config], dict[str, Any]]] = {
    "main": nothing_more,
    "generated": on_real,
    "left_out": on_generated,
    "ablation": where_frames_are_rare,
}


def seeds(config: Config) -> range:
    """The seeds of a training."""
    return range(config.seed, config.seed + config.num_seeds)


def trained(name: str, out: Path, finders: str, pathways: str) -> dict[str, Any]:
    """One cell, trained and measured, or what it was found to be before."""
    config, path = CONFIGS[name], out / name
    if config.finding_epochs:
        config = replace(config, finders=finders, pathways=pathways)
    run = Run.create(path, "sensing", config, resume=True)
    results = run.results() if run.finished else sensing.train(config, run)
    kept = path / "more.json"
    if not kept.exists():
        found = MORE[name](run, config)
        with replacing(kept) as temporary:
            temporary.write_text(json.dumps(found))
    child = next(iter(run.children().values()))
    made = {"config": run.config, "environment": child.environment()}
    return {**made, **results, **json.loads(kept.read_text())}


def cost(out: Path) -> dict[str, Any]:
    """Operations and energy of a frame and the bins after it, time of a step, and memory over a recording's length."""
    tracker = sensing.tracker(Run.open(out / "main"))
    part = sensing_scores.parts("real", "test", 1)[0]
    timed = times(tracker, part)  # first, while nothing else is in memory
    counted = {}
    for keep in (1, 4):
        recording = part.recording.thinned(keep)
        frames = range(-(-part.frames.start // keep), part.frames.start // keep + NUM_COUNTED)
        num_bins = int(recording.frame_bins[frames.start + 1] - recording.frame_bins[frames.start])
        followed = following_cost(tracker, recording, frames)
        counted[f"{num_bins} bins"] = {
            "told boxes": between_cost(tracker, recording, frames, num_bins),
            "closed loop": saved(part_of(followed, "finder").scaled(num_bins), followed.total),
            "unfolded, told boxes": plain_cost(tracker, recording, frames),
        }
    return {**counted, **timed, "threads": torch.get_num_threads()}


def saved(everywhere: Operations, ours: Operations) -> dict[str, Any]:
    """What a frame and the bins up to the next one take, beside an ANN that sees a frame at every bin."""
    profile = hardware_profile("45nm")
    return {
        "ours": vars(ours),
        "ANN in every bin": vars(everywhere),
        "operations saved": everywhere.num_operations / ours.num_operations,
        "uJ": 1e6 * joules(ours, profile),
        "energy saved": joules(everywhere, profile) / joules(ours, profile),
    }


def following_cost(tracker: sensing.SensingTracker, recording: Recording, frames: range) -> Cost:
    """All that runs in a closed loop, a frame and the bins up to the next one."""
    first, stop = bins_of(recording, frames)
    begin = int(recording.frame_bins[frames.start + 1])
    state: Any = None
    for b in range(first, begin):
        inputs = recording.inputs(b, b + 1)
        if state is None:
            inputs["box"] = recording.frame_boxes[frames.start]
        _, state = tracker.step(inputs, state)

    def run() -> int:
        now = state
        for b in range(begin, stop):
            _, now = tracker.step(recording.inputs(b, b + 1), now)
        return len(frames) - 1

    return count_run(torch.nn.ModuleDict(state.ready._asdict()), run)


def part_of(cost: Cost, name: str) -> Operations:
    """What one of the modules did that were counted together."""
    return sum((done for path, done in cost.layers.items() if path.split(".")[0] == name), Operations())


def between_cost(tracker: sensing.SensingTracker, recording: Recording, frames: range, num_bins: int) -> dict[str, Any]:
    """The same where boxes are told: without what finds the target, and beside the bare ANN and its correlation."""
    samples = sensing.cut_samples(recording, frames, tracker.crop)
    network = made_ready(tracker.sensing, tracker.crop).network

    def each(run: Callable[[int, Any], None]) -> Cost:
        def all_of_them() -> int:
            for i in range(len(samples.frames)):
                one = samples._replace(**{name: getattr(samples, name)[i : i + 1] for name in OPENS})
                run(i, network.open(one.frames, one.boxes, one.before, one.motion)[1])
            return len(samples.frames)

        return count_run(network, all_of_them)

    def bins(number: int) -> Callable[[int, Any], None]:
        def run(i: int, state: Any) -> None:
            for m, events in enumerate(samples.events[:number, i : i + 1]):
                _, _, state = network(events, state, (m + 1) / num_bins)

        return run

    frame, one, ours = (each(bins(number)) for number in (0, 1, num_bins))
    # what a bin takes beside its layers is the correlation, which an ANN needs as well
    reading = Operations(macs=one.layers[""].macs - frame.layers[""].macs)
    ann = count_cost(tracker.sensing.parts["what"], samples.frames).total
    return saved((ann + reading).scaled(num_bins), ours.total)


def plain_cost(tracker: sensing.SensingTracker, recording: Recording, frames: range) -> dict[str, Any]:
    """Rows of the network as it is trained, a frame and the bins after it."""
    samples = sensing.cut_samples(recording, frames, tracker.crop)
    inputs = {"frames": samples.frames[None], "boxes": samples.boxes[None], "events": samples.events}
    return {"rows": count_cost(tracker.sensing, inputs).rows()}


def times(tracker: sensing.SensingTracker, part: sensing_scores.Part) -> dict[str, float]:
    """Milliseconds of processor time of a step with events alone, with a frame, and of the one after a frame, in which
    the finder looks at it; what is resident after them.

    Processor time of one thread, because other work on the machine must not count.
    """
    recording, frames = part
    first, stop = bins_of(recording, frames)
    spent: dict[str, list[float]] = {"bin": [], "frame": [], "finder": []}
    state: Any = None
    for b in range(first, stop):
        inputs = recording.inputs(b, b + 1)
        if state is None:
            inputs["box"] = recording.frame_boxes[frames.start]
        kind = "frame" if "frame" in inputs else "finder" if state.doubt is not None else "bin"
        started = thread_time()
        _, state = tracker.step(inputs, state)
        spent[kind].append(1e3 * (thread_time() - started))
    return {
        "ms a bin": median(spent["bin"]),
        "ms a frame and bin": median(spent["frame"]),
        "ms a bin with the finder": median(spent["finder"]),
        "MB resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def training(out: Path) -> dict[str, Any]:
    """Processor time and memory of trainings of their own, started by a small process: the system counts what a process
    had before it became another program, and so all of this one, as memory of what it starts."""
    command = [sys.executable, sensing_training.__file__]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


MEASURED: dict[str, Callable[[Path], dict[str, Any]]] = {
    "protocols": protocols,
    "ten_hertz": ten_hertz,
    "closed_loop": closed_loop,
    "late": late,
    "slow_loops": slow_loops,
    "unseen": unseen,
    "cost": cost,
    "training": training,
}


def beside_targets(cells: dict[str, Any]) -> list[dict[str, Any]]:
    """Each target with its measured figure and whether it is met; None where it was not measured."""
    ours, slow, loop = (_row(cells, name, "learned") for name in ("main", "ten_hertz", "closed_loop"))
    velocity = _row(cells, "main", "constant velocity")
    new, still, steady = (_row(cells, "unseen", name) for name in ("learned", "hold", "constant_velocity"))
    alone = cells.get("generated", {}).get("A")
    spent = cells.get("cost", {})
    in_time = _row(cells, "late", "learned").get("auc")
    frames_alone = max((_row(cells, "late", name).get("auc", 0.0) for name in ALONE), default=0.0)

    def shaken(noise: str) -> float | None:
        return ours[noise] / velocity[noise] if ours else None

    rows = [
        ("A: mean distance [px]", ours.get("distance px"), "at most", 1.25),
        ("A: of constant velocity", ours.get("of constant velocity"), "at most", 0.72),
        ("A: AUC", ours.get("auc"), "at least", 0.88),
        ("A shaken 1 px: of constant velocity", shaken("shaken 1 px"), "at most", 0.62),
        ("A shaken 2 px: of constant velocity", shaken("shaken 2 px"), "at most", 0.55),
        ("C: AUC", loop.get("auc"), "at least", 0.60),
        ("E: AUC, of its ANN in frames alone", in_time and in_time / frames_alone, "at least", 1.0),
        ("D: A at 10 Hz, mean distance [px]", slow.get("distance px"), "at most", 4.0),
        (
            "trained on generated scenes alone: of hold",
            alone and alone["mean_distance_px"] / alone["baselines"]["hold"]["mean_distance_px"],
            "at most",
            0.5,
        ),
        (
            "unseen (test part, mirrored and turned), A: of hold",
            new and new["distance px"] / still["distance px"],
            "at most",
            0.5,
        ),
        (
            "unseen (test part, mirrored and turned), A: of constant velocity",
            new and new["distance px"] / steady["distance px"],
            "at most",
            1.0,
        ),
        *saved_rows(spent),
        ("ms a bin", spent.get("ms a bin"), "at most", 1.5),
        ("ms a frame and bin", spent.get("ms a frame and bin"), "at most", 4.0),
        ("ms a bin with the finder", spent.get("ms a bin with the finder"), "at most", 4.0),
        ("MB resident", spent.get("MB resident"), "at most", 500.0),
        *sensing_training.rows(cells.get("training", {})),
    ]
    return [
        {
            "figure": figure,
            "measured": measured or None,
            "target": f"{side} {limit}",
            "met": None if not measured else bool(measured <= limit if side == "at most" else measured >= limit),
        }
        for figure, measured, side, limit in rows
    ]


def saved_rows(spent: dict[str, Any]) -> list[tuple[str, float | None, str, float]]:
    """Targets of operations and energy: for the tracker as it runs, and where boxes are told."""
    limits = (("6 bins", 3.0, 4.0), ("24 bins", 7.0, 12.0))
    return [
        (f"{figure} at {bins}, {loop}", spent.get(bins, {}).get(loop, {}).get(figure), "at least", limit)
        for loop in ("closed loop", "told boxes")
        for bins, *least in limits
        for figure, limit in zip(("operations saved", "energy saved"), least, strict=True)
    ]


def _row(cells: dict[str, Any], cell: str, tracker: str) -> dict[str, Any]:
    """What the table of a cell says of a tracker, nothing where the cell is missing."""
    return next((row for row in cells.get(cell, {}).get("trackers", []) if row["tracker"] == tracker), {})


def main() -> None:
    """Trains and measures what is missing, and writes the figures after each cell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RUNS)
    everything = [*CONFIGS, *MEASURED]
    parser.add_argument("--cells", nargs="+", choices=everything, default=everything)
    parser.add_argument("--finders", default="")
    parser.add_argument("--pathways", default="")
    arguments = parser.parse_args()
    for name in arguments.cells:
        written = json.loads(RESULTS.read_text())["cells"] if RESULTS.exists() else {}
        taken = arguments.finders, arguments.pathways
        found = MEASURED[name](arguments.out) if name in MEASURED else trained(name, arguments.out, *taken)
        cells = {**written, name: found}
        with replacing(RESULTS) as temporary:
            content = {"targets": beside_targets(cells), "cells": cells}
            temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for row in json.loads(RESULTS.read_text())["targets"]:
        print(row)


if __name__ == "__main__":
    main()
