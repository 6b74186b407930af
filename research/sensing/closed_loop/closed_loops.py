"""Closed loops from many starts on the validation part of the real recording: what tells one detector from another.

    python research/sensing/closed_loop/closed_loops.py  # the research weights; results/closed_loops.json
    python research/sensing/closed_loop/closed_loops.py --run RUN --gains 0.3 0.5    # others, and other settings

A single loop from the first box to the last one is won or lost by one frame, so it says little. Here the part, which no
training has seen, is followed from every fifth frame to its end: as it is, backwards in time, mirrored, and both; also
with every second and fourth frame, beside each network's own ANN in frames alone. It needs the recording of FE240hz in
SPIKEBRIDGE_DATA.
"""

import argparse
import json
from dataclasses import replace
from math import ceil
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np

from spikebridge.data.events.binned import EventBins
from spikebridge.data.io.atomic import write_text
from spikebridge.data.recordings.recording import Recording, temporal_splits
from spikebridge.networks.sensing import data as sensing_parts
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.baselines.ann_only import FrameTracker
from spikebridge.networks.sensing.evaluation.protocols import one_pass_evaluation
from spikebridge.networks.sensing.evaluation.runner import TrackingResult, join_results
from spikebridge.pretrained import shipped_run
from spikebridge.training import Run

RESULTS = Path(__file__).parent / "results" / "closed_loops.json"
APART = 5  # frames from one start to the next, and from the last start to the end
MIN_FRAMES = 15  # of a loop
KEPT_SECONDS = (1, 2, 4)
ALONE: tuple[Literal["hold", "constant_velocity"], ...] = ("hold", "constant_velocity")


def cut(recording: Recording, frames: range) -> Recording:
    """Some frames, and the events and boxes from the first of them to the last."""
    first, last = (int(recording.frame_bins[k]) for k in (frames.start, frames.stop - 1))
    events = recording.events
    before, after = (int(events.edges[edge]) for edge in (first, last))
    x, y, on = events.slice_events(before, after)
    chosen = slice(frames.start, frames.stop)

    return Recording(
        "validation",
        recording.dt,
        EventBins(x, y, on, events.edges[first : last + 1] - before, events.height, events.width),
        # in memory, since every loop reads the frames again
        np.stack([recording.frames[k] for k in frames]),
        (recording.frame_bins[chosen] - first) * recording.dt,
        (recording.frame_events[chosen] - before).clip(max=after - before),
        recording.frame_boxes[chosen],
        recording.boxes[first:last],
    )


def random_flip(recording: Recording) -> Recording:
    """Left and right turned round."""
    events = recording.events
    width = events.width

    def turned(boxes: np.ndarray) -> np.ndarray:
        return np.column_stack([width - boxes[:, 0] - boxes[:, 2], boxes[:, 1:]])

    return replace(
        recording,
        events=replace(events, x=(width - 1 - events.x).astype(np.uint16)),
        frames=np.ascontiguousarray(np.asarray(recording.frames)[:, :, ::-1]),
        frame_boxes=turned(recording.frame_boxes),
        boxes=turned(recording.boxes),
    )


def backwards(recording: Recording) -> Recording:
    """The last frame first; what became brighter becomes darker. It has to end with a frame, as `cut` leaves it."""
    events = recording.events
    number = len(events.x)
    x, y, on = (np.ascontiguousarray(column[::-1]) for column in (events.x, events.y, ~events.on))

    return replace(
        recording,
        events=replace(events, x=x, y=y, on=on, edges=number - events.edges[::-1]),
        frames=np.asarray(recording.frames)[::-1],
        frame_times=(recording.num_bins - recording.frame_bins[::-1]) * recording.dt,
        frame_events=number - recording.frame_events[::-1],
        frame_boxes=recording.frame_boxes[::-1],
        # a box holds at the end of its bin, which is the beginning of the next one
        boxes=np.concatenate([recording.boxes[-2::-1], recording.frame_boxes[:1]]),
    )


def loops(
    recording: Recording,
    tracker: sensing.SensingTracker | FrameTracker,
    apart: int = APART,
    min_frames: int = MIN_FRAMES,
) -> list[TrackingResult]:
    """The loop from every start to the end."""
    starts = range(0, recording.num_frames - min_frames, apart)
    return [one_pass_evaluation(recording, tracker, range(start, recording.num_frames)) for start in starts]


def ways() -> dict[str, Recording]:
    """The validation part as it is, backwards in time, and both mirrored."""
    recording, _ = sensing_parts.recording_parts("real", "train", 1)[0]
    plain = cut(recording, temporal_splits(recording.num_frames)["validation"])
    both = {"as it is": plain, "backwards": backwards(plain)}
    return both | {f"{name}, mirrored": random_flip(way) for name, way in both.items()}


def measured(run: Run, gains: list[float]) -> list[dict[str, Any]]:
    """AUC of every seed and way to look at the part, and how many of its loops lost the target."""
    rows = []
    # the same parts for all trainings, so that differences are those of the detectors
    looked = ways()

    for path in run.children():
        tracker = sensing.tracker(run, *_named(path))
        for gain in gains or [tracker.options.detector_gain]:
            tracker = tracker.with_options(detector_gain=gain)
            found = {name: loops(way, tracker) for name, way in looked.items()}
            every = [one.score() for outputs in found.values() for one in outputs]
            shares = {name: round(join_results(outputs).score().auc, 3) for name, outputs in found.items()}
            row = {"training": path, "recall": gain, "auc": round(fmean(shares.values()), 3), **shares}
            rows.append({**row, "loops": len(every), "loops that lost it": sum(one.lost_share > 0 for one in every)})
            print(rows[-1], flush=True)

    return rows


def slower(run: Run) -> list[dict[str, Any]]:
    """AUC of every seed with every frame, each second and each fourth, beside its ANN in frames alone.

    The detector gain was chosen for the hybrid; for its ANN the better of this and 1 counts.
    """
    rows = []
    thinned = {keep: [way.subsample_frames(keep) for way in ways().values()] for keep in KEPT_SECONDS}

    for path in run.children():
        hybrid, wholly = (sensing.tracker(run, *_named(path)) for _ in range(2))
        wholly = wholly.with_options(detector_gain=1.0)
        methods: dict[str, list[Any]] = {"hybrid": [hybrid]}
        methods |= {name: [FrameTracker(one, name) for one in (hybrid, wholly)] for name in ALONE}

        for keep, looked in thinned.items():
            row: dict[str, Any] = {"training": path, "keep every": keep}
            for name, trackers in methods.items():
                row[name] = max((_unflatten(looked, one, keep) for one in trackers), key=lambda found: found["auc"])
            rows.append(row)
            print(row, flush=True)

    return rows


def _unflatten(recordings: list[Recording], tracker: Any, keep: int) -> dict[str, Any]:
    every = [one for each in recordings for one in loops(each, tracker, ceil(APART / keep), ceil(MIN_FRAMES / keep))]
    lost = sum(one.score().lost_share > 0 for one in every)
    return {"auc": round(join_results(every).score().auc, 3), "lost": lost, "loops": len(every)}


def _named(path: str) -> tuple[str, int]:
    network, _, seed = path.partition("/seed-")
    return network, int(seed)


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--gains", nargs="+", type=float, default=[])
    arguments = parser.parse_args()
    run = Run.open(arguments.run) if arguments.run is not None else shipped_run("sensing_research")

    if run is None:
        raise SystemExit("no weights are shipped: name a run (--run)")

    found = {"rows": measured(run, arguments.gains), "slower": slower(run)}
    content = {"config": run.config, "environment": run.environment(), **found}
    write_text(RESULTS, json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
