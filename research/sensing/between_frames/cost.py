"""The cost of the sensing network: operations, energy and time, on the test part of the real recording.

    python research/sensing/between_frames/cost.py  # a minute; needs the recording of FE240hz in SPIKEBRIDGE_DATA
    python research/sensing/between_frames/cost.py --quick   # one round; writes nothing

The command measures the times of a step alone, calibrated, research weights, by detector, with and without the
native library: processor time of one thread, medians over the test part, rounds interleaved, of which the fastest
counts. On a busy machine times grow, ratios stay. Writes results/cost.json.
"""

import argparse
import json
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from time import thread_time
from typing import Any, cast

import torch

from spikebridge.analysis.cost import Cost, Operations, count_cost, count_run
from spikebridge.analysis.energy import hardware_profile, joules
from spikebridge.data.io.atomic import write_text
from spikebridge.data.recordings.recording import Recording
from spikebridge.networks.sensing import data as sensing_parts
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.evaluation.runner import bin_range
from spikebridge.networks.sensing.model.backbones import STRIDE
from spikebridge.networks.sensing.model.detector import PATCH_SIDE, SCALES
from spikebridge.networks.sensing.tracker.inference import build_inference
from spikebridge.ops import without_native
from spikebridge.pretrained import shipped_run
from spikebridge.training import Run
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "cost.json"
DETECTORS = ("both", "learned")
PATHS = ("native", "PyTorch")
ROUNDS = 3
NUM_COUNTED = 21  # frames over which operations are counted
OPENS = ("frames", "boxes", "before", "motion")


def cost(run: Run) -> dict[str, Any]:
    """Operations and energy of a frame and the bins after it, and time of a step."""
    tracker = sensing.tracker(run)
    part = sensing_parts.recording_parts("real", "test", 1)[0]
    timed = times(tracker, part)
    counted = {}

    for keep in (1, 4):
        recording = part.recording.subsample_frames(keep)
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
    """The cost of a frame and the bins up to the next one, and of an ANN that reads a frame at every bin."""
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
    first, stop = bin_range(recording, frames)
    begin = int(recording.frame_bins[frames.start + 1])
    state: Any = None

    for b in range(first, begin):
        inputs = recording.inputs(b, b + 1)
        if state is None:
            inputs["box"] = recording.frame_boxes[frames.start]
        # only operations of layers can be counted
        with without_native():
            _, state = tracker.step(inputs, state)

    def run() -> int:
        now = state
        for b in range(begin, stop):
            _, now = tracker.step(recording.inputs(b, b + 1), now)
        return len(frames) - 1

    modules = {"network": state.model.network, "finder": state.model.detector}
    return count_run(torch.nn.ModuleDict(modules), run)


def part_of(cost: Cost, name: str) -> Operations:
    """The operations of one of the modules that were counted together."""
    return sum((done for path, done in cost.layers.items() if path.split(".")[0] == name), Operations())


def between_cost(tracker: sensing.SensingTracker, recording: Recording, frames: range, num_bins: int) -> dict[str, Any]:
    """The same with given boxes: without the detector, compared with the bare ANN and its correlation."""
    samples = sensing.cut_samples(recording, frames, tracker.options.crop)
    network = build_inference(tracker.sensing, tracker.options.crop).network

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
    samples = sensing.cut_samples(recording, frames, tracker.options.crop)
    inputs = {"frames": samples.frames[None], "boxes": samples.boxes[None], "events": samples.events}
    return {"rows": count_cost(tracker.sensing, inputs).rows()}


def times(tracker: sensing.SensingTracker, part: sensing_parts.RecordingPart) -> dict[str, float]:
    """Milliseconds of processor time of a step with events alone, with a frame, and of the one after a frame, in which
    the detector processes it.

    Processor time of one thread, because other work on the machine must not count.
    """
    recording, frames = part
    first, stop = bin_range(recording, frames)
    spent: dict[str, list[float]] = {"bin": [], "frame": [], "finder": []}
    state: Any = None

    for b in range(first, stop):
        inputs = recording.inputs(b, b + 1)
        if state is None:
            inputs["box"] = recording.frame_boxes[frames.start]
        kind = "frame" if "frame" in inputs else "finder" if state.pending is not None else "bin"
        started = thread_time()
        _, state = tracker.step(inputs, state)
        spent[kind].append(1e3 * (thread_time() - started))

    return {
        "ms a bin": median(spent["bin"]),
        "ms a frame and bin": median(spent["frame"]),
        "ms a bin with the finder": median(spent["finder"]),
    }


def fastest(num_rounds: int) -> list[dict[str, Any]]:
    """The smallest of the medians of each round, for each detector and path."""
    tracker = sensing.tracker(cast(Run, shipped_run("sensing_research")), "learned", 0).with_options(warns=False)
    part = sensing_parts.recording_parts("real", "test", 1)[0]
    found: dict[tuple[str, str], list[dict[str, float]]] = {}

    # rounds take turns, so that a busy moment of the machine meets all of them
    for _ in range(num_rounds):
        for detector in DETECTORS:
            for path in PATHS:
                with nullcontext() if path == "native" else without_native():
                    spent = times(tracker.with_options(detector=detector), part)
                found.setdefault((detector, path), []).append(spent)

    return [
        {"detector": detector, "path": path, **{name: round(min(one[name] for one in rounds), 3) for name in rounds[0]}}
        for (detector, path), rounds in found.items()
    ]


def convolutions() -> dict[str, float]:
    """Milliseconds of processor time of the trained detector's convolutions in a step with the detector, by path."""
    tracker = sensing.tracker(cast(Run, shipped_run("sensing_research")), "learned", 0)
    detector: Any = build_inference(tracker.sensing, tracker.options.crop).detector
    num_features = detector.votes[0].layer.in_channels
    side = PATCH_SIDE // STRIDE
    features = torch.rand(len(SCALES), num_features, side, side)
    spent: dict[str, list[float]] = {path: [] for path in PATHS}
    pictures = 255 * torch.rand(2 * len(SCALES) + 1, 1, PATCH_SIDE, PATCH_SIDE)

    with torch.inference_mode():
        for path in PATHS * 100:
            with nullcontext() if path == "native" else without_native():
                started = thread_time()
                detector.what(pictures)
                detector.votes(features)
                spent[path].append(1e3 * (thread_time() - started))

    return {path: round(median(each), 3) for path, each in spent.items()}


def main() -> None:
    """Measures, prints and writes milliseconds of processor time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round; writes nothing")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    rows = fastest(1 if quick else ROUNDS)

    for row in rows:
        print(json.dumps(row), flush=True)

    if not quick:
        alone = {"ms of the detector's convolutions": convolutions()}
        loads = {**alone, "load before": round(load, 2), "load after": round(os.getloadavg()[0], 2)}
        write_text(RESULTS, json.dumps({"rows": rows, **loads, "environment": describe_environment()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
