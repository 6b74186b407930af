"""The frame rate at which the network's own ANN is as good as the hybrid, and accuracy against speed.

    python research/sensing/between_frames/equivalent_frame_rate.py                # 8 minutes of one core
    python research/sensing/between_frames/equivalent_frame_rate.py --keep FOLDER  # keeps each rate there, and resumes
    python research/sensing/between_frames/equivalent_frame_rate.py --weights sensing_research --rates-only

From the first box alone (C), AUC over the boxes at 240 Hz, trained detector. The hybrid has the default weights, which
have not seen the recording, or those for research, and events. The ANN is its detector without events, trained further
on frames of one rate (generated training scenes; up to 40 Hz also the training part of the recording) or as shipped,
whichever is better. Between frames its box moves at constant velocity, or it is held and goes half of the way to what
the ANN finds, whichever is better. Both are chosen on what is scored, which favours the ANN. Six generated test scenes
have frames at any rate; the test part of the recording, five loops of 72 frames from starts that are spread over it, up
to 40 Hz.

An event counts as 4 bytes (32-bit words), a pixel of a frame as 1. Energy is that of operations counted over three
frames of a run, at 45 nm; a frame at 240 Hz counts as one at 120 Hz. Against speed: AUC of the boxes that are there in
time with the latencies of the Tianjic chip (protocol E), frames at 40 Hz. Writes results/equivalent_frame_rate.json, or
with other weights results/equivalent_frame_rate_WEIGHTS.json.
"""

import argparse
import json
from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise
from math import exp, log
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

from research.sensing.baselines.snn_only import EventTracker
from research.sensing.between_frames.cost import following_cost, part_of
from spikebridge.analysis.energy import hardware_profile, joules
from spikebridge.data.io.atomic import write_text
from spikebridge.data.recordings.degradation import Degradation, degraded
from spikebridge.data.recordings.recording import Recording
from spikebridge.data.simulation.moving_objects import MovingObjects
from spikebridge.data.simulation.render import FrameCamera, render_recording, scene_seeds
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.baselines.ann_only import FrameTracker
from spikebridge.networks.sensing.data import DT, RecordingPart, recording_parts, subsample_part
from spikebridge.networks.sensing.evaluation.protocols import DECLARED, one_pass_evaluation, streaming
from spikebridge.networks.sensing.evaluation.runner import join_results
from spikebridge.networks.sensing.tracker.tracker import SensingTracker
from spikebridge.networks.sensing.training.detector_samples import detector_samples
from spikebridge.networks.sensing.training.phases import DetectorTraining, detector_phase
from spikebridge.pretrained import shipped_run
from spikebridge.training.loop import fit
from spikebridge.training.run.environment import describe_environment
from spikebridge.training.settings import Settings

_RESULTS = Path(__file__).with_name("results")
_SCRIPT = "research/sensing/between_frames/equivalent_frame_rate.py"
_WEIGHTS = "sensing", "sensing_research"
_MAX_RATE = 240
_ANN_RATES = (5, 10, 20, 40, 120, 240)
_HYBRID_RATES = (5, 10, 20, 40)
_REAL_RATE = 40
_SPEEDS = (50, 100, 200, 400, 800)
_NUM_TEST = 6
_TEST_SECONDS = 1.0
_SPEED_SECONDS = 0.5
_NUM_LOOPS = 5
_LOOP_FRAMES = 72
_NUM_TRAIN = 4
_TRAIN_SECONDS = 4.0
_TRAIN_FRAMES = 40
_UPDATES = 40
_NUM_SEEDS = 1
_BYTES_OF_EVENT = 4
_WAYS: tuple[tuple[Any, float], ...] = (("constant_velocity", 1.0), ("hold", 0.5))  # between frames, detector gain
_NO_EVENTS = Degradation(lose_events=1.0)
_COUNTED = 3  # frames over which operations are counted
_COUNTED_RATE = 120  # with a frame in every bin the detection of the last one is still to come, and is not counted


@cache
def _scenes(split: str, number: int, seconds: float) -> list[RecordingPart]:
    """With a frame at every bin."""
    found = [
        render_recording(
            MovingObjects(seed=seed, size=26.0),
            seconds,
            DT,
            image_interval=DT,
            frame_camera=FrameCamera(rate=_MAX_RATE),
            name=f"scene {seed}",
        )
        for seed in scene_seeds(split, number)
    ]
    return [RecordingPart(one, range(one.num_frames)) for one in found]


def _at(rate: int, parts: list[RecordingPart], most: int) -> list[RecordingPart]:
    return [subsample_part(part, most // rate) for part in parts]


@cache
def _tracker(weights: str, seed: int) -> SensingTracker:
    tracker = sensing.tracker(shipped_run(weights), "learned", seed)
    return tracker.with_options(detector="learned", warns=False)


def _trained_ann(weights: str, rate: int, seed: int) -> SensingTracker:
    """The detector of the weights, trained on at a frame rate; of each part the first frames."""
    shipped = _tracker(weights, seed)
    network = sensing.Config().network("learned")
    network.load_state_dict(shipped.sensing.state_dict())
    parts = _at(rate, _scenes("train", _NUM_TRAIN, _TRAIN_SECONDS), _MAX_RATE)

    # the camera has no frames at a higher rate
    if rate <= _REAL_RATE:
        parts = [*parts, *_at(rate, recording_parts("real", "train", 1), _REAL_RATE)]

    frames_alone = [
        (degraded(one, _NO_EVENTS), range(frames.start, min(frames.start + _TRAIN_FRAMES, frames.stop)))
        for one, frames in parts
    ]

    data = detector_samples(frames_alone, seed=seed)
    # as many updates at each rate, although high rates have more pairs
    settings = Settings(seed=seed, batch_size=16, accelerator="cpu", quiet=True)
    training = DetectorTraining(epochs=max(1, round(_UPDATES / (len(data) / settings.batch_size))), lr=5e-4)
    fit(network, [detector_phase(f"{rate} Hz", data, training, shipped.options.template_rate)], settings=settings)

    return SensingTracker(network.eval(), shipped.options)


def _auc(parts: list[RecordingPart], tracker: Any) -> dict[str, float]:
    score = join_results([one_pass_evaluation(one, tracker, frames) for one, frames in parts]).score()
    return {"auc": score.auc, "mean_distance_px": score.mean_distance_px}


def _best_ann(parts: list[RecordingPart], anns: dict[str, SensingTracker]) -> dict[str, Any]:
    ways = [
        {"weights": name, "between": between, "gain": gain}
        | _auc(parts, FrameTracker(ann.with_options(detector_gain=gain), between))
        for name, ann in anns.items()
        for between, gain in _WAYS
    ]
    return max(ways, key=lambda way: float(way["auc"]))


def _recorded() -> list[RecordingPart]:
    """Loops from starts that are spread over the test part."""
    (part,) = recording_parts("real", "test", 1)
    apart = (len(part.frames) - _LOOP_FRAMES) // (_NUM_LOOPS - 1)
    starts = (part.frames.start + apart * number for number in range(_NUM_LOOPS))
    return [part._replace(frames=range(start, start + _LOOP_FRAMES)) for start in starts]


def _rate_row(weights: str, seed: int, rate: int) -> dict[str, dict[str, Any]]:
    """AUC of hybrid and ANN at a frame rate, for generated scenes and the recording."""
    kinds = {
        "generated": (_scenes("test", _NUM_TEST, _TEST_SECONDS), _MAX_RATE),
        "recording": (_recorded(), _REAL_RATE),
    }

    rows: dict[str, dict[str, Any]] = {}
    anns = {"trained": _trained_ann(weights, rate, seed), "shipped": _tracker(weights, seed)}

    for kind, (parts, most) in kinds.items():
        if rate <= most:
            seen = _at(rate, parts, most)
            row = rows[kind] = {"rate": rate, "ann": _best_ann(seen, anns)}
            if rate in _HYBRID_RATES:
                row["hybrid"] = _auc(seen, _tracker(weights, seed))
            print(seed, kind, row, flush=True)

    return rows


def _speed_rows(weights: str, seed: int) -> list[dict[str, Any]]:
    """AUC in time by the target's speed."""
    declared = DECLARED["tianjic"]
    tracker = _tracker(weights, seed)
    rows = []

    for speed in _SPEEDS:
        parts = [
            render_recording(MovingObjects(seed=one, size=26.0, speed=speed), _SPEED_SECONDS, DT, image_interval=DT / 2)
            for one in scene_seeds("test", _NUM_TEST)
        ]

        def auc(one: Any, sees_events: bool = True, parts: list[Recording] = parts) -> float:
            latency = declared.of(sees_events)
            return join_results([streaming(part, one, latency=latency) for part in parts]).score().auc

        ann = max(
            auc(FrameTracker(tracker.with_options(detector_gain=gain), between), sees_events=False)
            for between, gain in _WAYS
        )

        row = {"speed": speed, "hybrid": auc(tracker), "ann": ann, "snn": auc(EventTracker(tracker.sensing))}
        rows.append(row)
        print(seed, row, flush=True)

    return rows


def _costs(weights: str) -> dict[str, list[dict[str, float]]]:
    """Bytes and energy a second, by frame rate."""
    profile = hardware_profile("45nm")
    tracker = _tracker(weights, 0)
    kinds = {
        "generated": (_scenes("test", _NUM_TEST, _TEST_SECONDS)[:1], _MAX_RATE),
        "recording": (_recorded(), _REAL_RATE),
    }

    found: dict[str, list[dict[str, float]]] = {}
    for kind, (parts, most) in kinds.items():
        recording, frames = parts[0]
        rows = []
        pixels = recording.events.width * recording.events.height
        first, stop = (int(recording.frame_bins[k]) for k in (frames.start, frames.stop - 1))
        events = len(recording.events.slice_bins(first, stop).x) / ((stop - first) * recording.dt)

        for rate in (rate for rate in _ANN_RATES if rate <= most):
            seen, of = subsample_part(parts[0], most // min(rate, _COUNTED_RATE))
            cost = following_cost(tracker, seen, range(of.start, of.start + _COUNTED))
            frame = part_of(cost, "finder")
            row = {"rate": float(rate), "ann_bytes": float(rate * pixels), "ann_joules": rate * joules(frame, profile)}

            if rate in _HYBRID_RATES:
                row["hybrid_bytes"] = row["ann_bytes"] + _BYTES_OF_EVENT * events
                row["hybrid_joules"] = rate * joules(cost.total, profile)

            rows.append(row)

        found[kind] = rows

    return found


def equivalent_rate(curve: dict[int, float], auc: float) -> float | None:
    """The lowest frame rate at which a curve of AUC reaches a value, on a logarithmic axis; None if no rate does.

    Example:
        >>> equivalent_rate({10: 0.2, 40: 0.6}, 0.4), equivalent_rate({10: 0.2, 40: 0.6}, 0.7)
        (20.0, None)
    """
    rates = sorted(curve)
    if curve[rates[0]] >= auc:
        return float(rates[0])

    for low, high in pairwise(rates):
        if curve[high] >= auc:
            share = (auc - curve[low]) / (curve[high] - curve[low])
            return exp(log(low) + share * log(high / low))

    return None


def _summary(seeds: list[dict[str, list[dict[str, Any]]]], kind: str) -> list[dict[str, Any]]:
    """Means over seeds, and the equivalent frame rate of each seed's hybrid and of the means."""
    mean = [_mean([one[kind][i] for one in seeds]) for i in range(len(seeds[0][kind]))]
    curves = [{row["rate"]: row["ann"]["auc"] for row in one[kind]} for one in seeds]
    of_means = {row["rate"]: row["ann"]["mean"] for row in mean}

    for i, row in enumerate(mean):
        if "hybrid" in row:
            row["equivalent_rate"] = equivalent_rate(of_means, row["hybrid"]["mean"])
            row["equivalent_rate_by_seed"] = [
                equivalent_rate(curve, one[kind][i]["hybrid"]["auc"]) for curve, one in zip(curves, seeds, strict=True)
            ]

    return mean


def _mean(rows: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {"rate": rows[0]["rate"]}
    for who in ("ann", "hybrid") if "hybrid" in rows[0] else ("ann",):
        aucs, distances = ([row[who][name] for row in rows] for name in ("auc", "mean_distance_px"))
        found[who] = {"mean": fmean(aucs), "sd": _sd(aucs), "mean_distance_px": fmean(distances)}
        found.setdefault("seeds", {})[who] = aucs

    return found


def _sd(values: list[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None


def _speeds(seeds: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    found = []
    for rows in zip(*seeds, strict=True):
        aucs = {who: [row[who] for row in rows] for who in ("hybrid", "ann", "snn")}
        spread = {who: {"mean": fmean(values), "sd": _sd(values)} for who, values in aucs.items()}
        found.append({"speed": rows[0]["speed"], "seeds": aucs, **spread})

    return found


def _kept(folder: Path | None, name: str, make: Callable[[], Any]) -> Any:
    """The result of a call, as JSON; read from a folder if it is there."""
    file = None if folder is None else folder / f"{name}.json"
    if file is not None and file.exists():
        return json.loads(file.read_text(encoding="utf-8"))

    made = make()
    if file is not None:
        write_text(file, json.dumps(made))

    return made


def main() -> None:
    """Measures seed by seed, and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--weights", choices=_WEIGHTS, default=_WEIGHTS[0])
    parser.add_argument("--rates-only", action="store_true", help="leave accuracy against speed out")
    asked = parser.parse_args()
    keep = asked.keep
    weights = asked.weights
    torch.set_num_threads(1)
    costs = _kept(keep, "costs", partial(_costs, weights))
    seeds = []
    speeds = []

    for seed in range(_NUM_SEEDS):
        rows = [_kept(keep, f"{seed}-{rate}-Hz", partial(_rate_row, weights, seed, rate)) for rate in _ANN_RATES]
        seeds.append({kind: [row[kind] for row in rows if kind in row] for kind in ("generated", "recording")})
        if not asked.rates_only:
            speeds.append(_kept(keep, f"{seed}-speeds", partial(_speed_rows, weights, seed)))

    others = "" if weights == _WEIGHTS[0] else f" --weights {weights}"
    found = {
        "command": f"python {_SCRIPT}{others}{' --rates-only' if asked.rates_only else ''}",
        "scenes": _NUM_TEST,
        "seconds": _TEST_SECONDS,
        "seeds": _NUM_SEEDS,
        "updates": _UPDATES,
        "rates": {kind: _summary(seeds, kind) for kind in ("generated", "recording")},
        "costs": costs,
        "speeds": _speeds(speeds) if speeds else [],
        "environment": describe_environment(seed=0, threads=1),
    }

    name = "equivalent_frame_rate" if weights == _WEIGHTS[0] else "equivalent_frame_rate_research"
    write_text(_RESULTS / f"{name}.json", json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
