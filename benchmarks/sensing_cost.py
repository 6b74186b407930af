"""What the sensing network costs: operations, energy and time, on the test part of the real recording.

python benchmarks/sensing_cost.py  # prints the times of a step, calibrated, by detector, shipped weights of seed 0
"""

from collections.abc import Callable
from statistics import median
from time import thread_time
from typing import Any

import torch

from spikebridge.analysis.cost import Cost, Operations, count_cost, count_run
from spikebridge.analysis.energy import hardware_profile, joules
from spikebridge.data.recordings.recording import Recording
from spikebridge.networks.sensing import data as sensing_parts
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.evaluation.runner import bin_range
from spikebridge.networks.sensing.tracker.inference import build_inference
from spikebridge.ops import without_native
from spikebridge.pretrained import shipped_run
from spikebridge.training import Run

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
    first, stop = bin_range(recording, frames)
    begin = int(recording.frame_bins[frames.start + 1])
    state: Any = None
    for b in range(first, begin):
        inputs = recording.inputs(b, b + 1)
        if state is None:
            inputs["box"] = recording.frame_boxes[frames.start]
        with without_native():  # only what its layers do can be counted
            _, state = tracker.step(inputs, state)

    def run() -> int:
        now = state
        for b in range(begin, stop):
            _, now = tracker.step(recording.inputs(b, b + 1), now)
        return len(frames) - 1

    modules = {"network": state.model.network, "finder": state.model.detector}
    return count_run(torch.nn.ModuleDict(modules), run)


def part_of(cost: Cost, name: str) -> Operations:
    """What one of the modules did that were counted together."""
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


def main() -> None:
    """Prints milliseconds of processor time."""
    torch.set_num_threads(1)
    tracker = sensing.tracker(shipped_run("sensing"), "learned", 0).with_options(warns=False)
    part = sensing_parts.recording_parts("real", "test", 1)[0]
    for name in ("both", "learned"):
        print(name, {what: round(ms, 3) for what, ms in times(tracker.with_options(detector=name), part).items()})


if __name__ == "__main__":
    main()
