"""Confidence of the tracker: reliability curve and expected calibration error (ECE), and the fit of its weights.

    python research/sensing/cameras/confidence.py
    python research/sensing/cameras/confidence.py --fit  # prints weights and their scores
    python research/sensing/cameras/confidence.py --keep FOLDER  # keeps boxes of each source; resumes

Default weights, calibrated, default detector, all boxes given (A) and the first box only (C); a wrong first box is one
on background, half a target away, or 1.5 to 3 times too large. Fitted on what the default weights were not trained on,
eight kinds: generated validation scenes of all families, dark ones, those of fast and of small targets, events alone
after the first frame, frames alone, the first two parts of the real recording, and the clips. Streams with and without
events have weights of their own. Scored on other scenes and films, on the real test part, which no fit has seen, and on
each clip with the weights of a fit without it. ECE: mean of |share of boxes with IoU >= .5 - mean confidence| over ten
classes of confidence, by their size. Writes results/confidence.json.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from spikebridge.data.io.atomic import write_text
from spikebridge.data.recordings.degradation import Degradation, degraded
from spikebridge.data.recordings.recording import Inputs, Recording
from spikebridge.data.simulation.families import SCENE_FAMILIES, family_recording
from spikebridge.data.simulation.moving_objects import MovingObjects
from spikebridge.data.simulation.render import FrameCamera, render_recording, scene_seeds
from spikebridge.data.simulation.tumbling_objects import TumblingObjects
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.data import RecordingPart, clip_parts, recording_parts
from spikebridge.networks.sensing.evaluation.metrics import overlaps
from spikebridge.networks.sensing.evaluation.runner import bin_range
from spikebridge.networks.sensing.model.boxes import box_center, box_from_center
from spikebridge.networks.sensing.tracker import confidence
from spikebridge.networks.sensing.tracker.confidence import Signals
from spikebridge.pretrained import shipped_run
from spikebridge.training.run.environment import describe_environment

_RESULTS = Path(__file__).with_name("results") / "confidence.json"
_NUM_DRAWN = 2  # dark, fast or small scenes, fitted, and as many scored
_SECONDS = 0.5
_MAX_FRAMES = 40
_L2 = 30.0
_KINDS = {"scenes": 2.0, "dark": 1.0, "fast": 1.0, "small": 1.0, "events alone": 1.0}  # and what they count in the fit
_KINDS |= {"frames alone": 2.0, "real": 3.0, "clip": 2.0}
_FITTED, _SCORED = "validation", "test"
_CLIP_FAMILIES = ("still camera", "moving camera", "deforming")
_FILM_SECONDS = 1.5
_NAMES = "signals"
_SEED = 0  # of the default weights
_SIGNS = {"filled": 1, "focus": 1, "moved": 1, "detector_spread": -1, "apart": -1, "given": 0, "age": -1, "unsure": -1}
_BOUNDS = {-1: (None, 0.0), 0: (None, None), 1: (0.0, None)}


class _Stream(NamedTuple):
    """One way to follow a recording: what is given, what is changed, and which frames are seen."""

    protocol: str
    change: Degradation = Degradation()
    start: str = "true"
    keep_every: int = 1
    only_frames: bool = True


_STREAMS = (
    _Stream("A", only_frames=False),
    _Stream("A", Degradation(lose_events=0.75), only_frames=False),
    _Stream("C"),
    _Stream("C", Degradation(lose_events=1.0), only_frames=False),
    _Stream("C", Degradation(contrast=0.4), only_frames=False),
    _Stream("C", start="background", only_frames=False),
    _Stream("C", start="half a target away", only_frames=False),
    _Stream("C, first box too large", start="too large", only_frames=False),
    _Stream("C, rare frames", keep_every=8, only_frames=False),  # 5 Hz
    _Stream("events alone", keep_every=1000, only_frames=False),  # but for the first frame
)


class _Boxes(NamedTuple):
    """Boxes of one source: their signals, their confidence, and whether they overlap by half."""

    signals: NDArray[np.float64]
    confidence: NDArray[np.float64]
    overlap: NDArray[np.float64]

    @property
    def right(self) -> NDArray[np.bool_]:
        """True where they overlap by half."""
        return self.overlap >= 0.5


def _run(part: RecordingPart, tracker: Any, stream: _Stream) -> _Boxes:
    """One stream of boxes, one in three bins kept; frames but every N-th are not seen."""
    recording = degraded(part.recording, stream.change)
    frames = part.frames
    first, stop = bin_range(recording, frames)
    if stream.keep_every > 1:
        stop = min(stop, first + round(_SECONDS / recording.dt))

    state = None
    rows = []

    # boxes of neighbouring bins are alike: one in three is kept
    for b in range(first, stop):
        inputs = recording.inputs(b, b + 1)
        k = int(np.searchsorted(recording.frame_bins, b, side="right")) - 1
        if "frame" in inputs and (k - frames.start) % stream.keep_every:
            inputs = Inputs(events=recording.events.slice_bins(b, b + 1), elapsed=recording.dt)

        is_given = "frame" in inputs and (k == frames.start or stream.protocol == "A")
        if is_given and np.isfinite(recording.frame_boxes[k]).all():
            inputs["box"] = _first_box(recording, k, stream.start)

        box, state = tracker.step(inputs, state)
        truth = recording.boxes[b]
        if np.isfinite(truth).all() and (recording.has_frames_only or b % 3 == 0):
            rows.append((*state.signals, state.confidence, overlaps(box[None], truth[None])[0]))

    return _as_boxes(np.array(rows, np.float64).reshape(-1, len(Signals._fields) + 2))


def _first_box(recording: Recording, k: int, start: str) -> NDArray[np.float64]:
    box = recording.frame_boxes[k].copy()
    # by frame and name, so that a resumed run draws the same boxes
    generator = np.random.default_rng([k, len(recording.name)])

    if start == "half a target away":
        angle = generator.uniform(0, 2 * np.pi)
        box[:2] += 0.5 * box[2:] * (np.cos(angle), np.sin(angle))
    elif start == "too large":
        box = box_from_center(box_center(box), box[2:] * np.exp(generator.uniform(np.log(1.5), np.log(3.0))))
    elif start == "background":
        sensor = np.array([recording.events.width, recording.events.height])
        places = generator.uniform(0, 1, (50, 2)) * (sensor - box[2:]).clip(min=1)
        away = np.hypot(*(places - box[:2]).T)
        box[:2] = places[np.argmax(away > 1.5 * box[2:].max()) if (away > 1.5 * box[2:].max()).any() else away.argmax()]

    return box


def _sources(split: str) -> Iterator[tuple[str, Callable[[], list[RecordingPart]]]]:
    """Name and recordings of what is fitted or scored."""
    for family in _CLIP_FAMILIES:
        yield f"frames alone, {family}", partial(_film, family, split)

    for family in SCENE_FAMILIES:
        yield f"scenes, {family}", partial(_drawn, split, partial(_family, family), 1)

    yield "dark", partial(_drawn, split, partial(_family, "dark"))
    yield "fast", partial(_drawn, split, partial(_scene, size=26.0, speed=700.0))
    yield "small", partial(_drawn, split, partial(_scene, size=9.0, speed=120.0))

    if split == _FITTED:
        yield "real, train part", partial(_real, "train")
        for part in clip_parts():
            yield f"clip {part.recording.name}", partial(list, [_shortened(part)])

    yield f"real, {split} part", partial(_real, split)


def _drawn(split: str, make: Callable[[int], Recording], num: int = _NUM_DRAWN) -> list[RecordingPart]:
    """Scenes of the seeds of a split."""
    return [RecordingPart(one, range(1, one.num_frames)) for one in map(make, scene_seeds(split, num))]


def _family(family: str, seed: int) -> Recording:
    return family_recording(family, seed, _SECONDS)


def _scene(seed: int, size: float, speed: float) -> Recording:
    scene = MovingObjects(height=180, width=240, seed=seed, size=size, speed=speed, num_distractors=2)
    return render_recording(scene, _SECONDS, 1 / 240, image_interval=1 / 480, name=f"scene {seed}")


def _real(split: str) -> list[RecordingPart]:
    return [_shortened(part) for part in recording_parts("real", split, 1)]


def _shortened(part: RecordingPart) -> RecordingPart:
    return part._replace(frames=range(part.frames.start, min(part.frames.start + _MAX_FRAMES, part.frames.stop)))


def _film(family: str, split: str) -> list[RecordingPart]:
    """Scenes that are like ordinary clips: slower targets of all sizes on a larger sensor, 30 frames a second."""
    found = []
    for seed in scene_seeds(split, 1):
        generator = np.random.default_rng([seed, 30])
        size = float(generator.uniform(20, 45))
        speed = float(generator.uniform(20, 150))
        settings = {"height": 180, "width": 240, "seed": seed, "size": size, "speed": speed}

        scene = (
            TumblingObjects(**settings)
            if family == "deforming"
            else MovingObjects(**settings, num_distractors=2, camera_motion=40.0 if family == "moving camera" else 0.0)
        )

        film = render_recording(
            scene, _FILM_SECONDS, 1 / 30, image_interval=1 / 30, frame_camera=FrameCamera(30.0), name=f"{family} {seed}"
        )
        film = degraded(film, Degradation(lose_events=1.0))
        found.append(RecordingPart(film, range(1, film.num_frames)))

    return found


def _collected(split: str, tracker: Any, keep: Path | None) -> dict[str, _Boxes]:
    """The boxes of all sources, by source and protocol."""
    found = {}
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)

    for name, parts in _sources(split):
        file = None if keep is None else keep / f"{split}-{name}.npz".replace(" ", "_").replace("/", "_")
        if file is not None and file.exists():
            found.update(_read(file))
            continue

        boxes = {f"{name}, {protocol}": one for protocol, one in _boxes(name, parts(), tracker).items()}
        found |= boxes
        print(f"{name}: {sum(len(one.right) for one in boxes.values())} boxes", flush=True)
        if file is not None:
            columns = {key: np.column_stack(one) for key, one in boxes.items()}
            np.savez(file, **{_NAMES: np.array(Signals._fields)}, **columns)

    return found


def _read(file: Path) -> dict[str, _Boxes]:
    """Boxes that were kept; of their signals, those that the tracker has now."""
    with np.load(file) as kept:
        names = kept[_NAMES].tolist()
        chosen = [*(names.index(name) for name in Signals._fields), -2, -1]
        return {key: _as_boxes(kept[key][:, chosen]) for key in kept if key != _NAMES}


def _as_boxes(values: NDArray[np.float64]) -> _Boxes:
    return _Boxes(values[:, :-2], values[:, -2], values[:, -1])


def _boxes(name: str, parts: list[RecordingPart], tracker: Any) -> dict[str, _Boxes]:
    """The streams of a source, by protocol."""
    found: dict[str, list[_Boxes]] = {}
    has_events = any(part.recording.events.num_events for part in parts)
    streams = [one for one in _STREAMS if has_events or one.only_frames]

    # a scene has every second stream, the first ones or the others
    offset = sum(map(ord, name)) % 2

    for i, part in enumerate(parts):
        for stream in streams if name.startswith(("real", "clip", "frames")) else streams[(i + offset) % 2 :: 2]:
            found.setdefault(stream.protocol, []).append(_run(part, tracker, stream))

    return {name: _joined(runs) for name, runs in found.items()}


def _joined(runs: list[_Boxes]) -> _Boxes:
    return _Boxes(*(np.concatenate(column) for column in zip(*runs, strict=True)))


class _Fit(NamedTuple):
    """Bias and weights of streams with events, and of frames alone."""

    events: tuple[float, NDArray[np.float64]]
    frames: tuple[float, NDArray[np.float64]]


def _fitted(sources: dict[str, _Boxes]) -> _Fit:
    return _Fit(*(_fit({name: _with_events(one, chosen) for name, one in sources.items()}) for chosen in (True, False)))


def _with_events(boxes: _Boxes, chosen: bool) -> _Boxes:
    """The boxes of streams with events, or of those without."""
    has_events = np.array([Signals(*row).has_events for row in boxes.signals.tolist()], dtype=bool)
    return _Boxes(*(column[has_events == chosen] for column in boxes))


def _kind(name: str) -> str:
    """The kind of a source: events alone are streams of scenes and of the recording."""
    return next(kind for kind in ("events alone", *_KINDS) if kind in name)


def _fit(sources: dict[str, _Boxes]) -> tuple[float, NDArray[np.float64]]:
    """Logistic regression with signs; an L2 penalty keeps weights small.

    Each source of a kind counts the same.
    """
    sources = {name: one for name, one in sources.items() if len(one.right)}
    x = np.concatenate([_parts(one.signals) for one in sources.values()])
    y = np.concatenate([one.right for one in sources.values()]).astype(float)
    kinds = [_kind(name) for name in sources]
    per_box = [
        len(y) * _KINDS[kind] / sum(map(_KINDS.get, set(kinds))) / kinds.count(kind) / len(one.right)
        for kind, one in zip(kinds, sources.values(), strict=True)
    ]

    # weights of boxes, so that a long recording counts no more than a short one
    share = np.concatenate([np.full(len(one.right), w) for w, one in zip(per_box, sources.values(), strict=True)])
    # standardised, so that one penalty fits all signals
    mean = x.mean(0)
    sd = x.std(0) + 1e-9
    rows = np.column_stack([np.ones(len(x)), (x - mean) / sd])

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        odds = rows @ weights
        slope = rows.T @ (share * (1 / (1 + np.exp(-odds)) - y))
        slope[1:] += _L2 * weights[1:]
        value = (share * (np.logaddexp(0, odds) - y * odds)).sum() + _L2 / 2 * weights[1:] @ weights[1:]

        return float(value), slope

    of_each = [name for name, weights in confidence.WEIGHTS.items() for _ in weights]
    bounds = [(None, None), *(_BOUNDS[_SIGNS[name]] for name in of_each)]
    weights = minimize(loss, np.zeros(rows.shape[1]), jac=True, bounds=bounds, method="L-BFGS-B").x
    slopes = weights[1:] / sd

    return float(weights[0] - slopes @ mean), slopes


def _parts(signals: NDArray[np.float64]) -> NDArray[np.float64]:
    """The stretches of all signals of each box: up to the first limit, and how far into each of the others."""
    columns = []
    for x, limits in zip(signals.T, confidence.LIMITS.values(), strict=True):
        columns.append(x.clip(max=limits[0]) if limits else x)
        columns += [(x - low).clip(0, high - low) for low, high in pairwise((*limits, np.inf))]

    return np.column_stack(columns)


def _reliability(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> dict[str, Any]:
    """Share of right boxes by class of confidence, and the expected calibration error."""
    classes = np.minimum((10 * confidence).astype(int), 9)
    curve = [
        {
            "mean_confidence": float(confidence[chosen].mean()),
            "share_right": float(right[chosen].mean()),
            "num": int(chosen.sum()),
        }
        for chosen in (classes == c for c in range(10))
        if chosen.any()
    ]

    error = sum(abs(row["share_right"] - row["mean_confidence"]) * row["num"] for row in curve) / len(right)
    brier = float(((confidence - right) ** 2).mean())

    return {"ece": error, "brier": brier, "share_right": float(right.mean()), "num": len(right), "curve": curve}


def _of_signals(boxes: _Boxes, fit: _Fit) -> NDArray[np.float64]:
    has_events = np.array([Signals(*row).has_events for row in boxes.signals.tolist()], dtype=bool)
    by_events, by_frames = (bias + _parts(boxes.signals) @ weights for bias, weights in fit)
    odds = np.where(has_events, by_events, by_frames).clip(-30, 30)
    return np.where(boxes.confidence == 0, 0.0, 1 / (1 + np.exp(-odds)))  # 0: the box is off the sensor


def main() -> None:
    """Fits if asked to, prints a line for each source, and writes all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    tracker = sensing.tracker(shipped_run("sensing"), "learned", _SEED).with_options(warns=False)
    fitted = _collected(_FITTED, tracker, asked.keep)
    if asked.fit:
        fit = _fitted(fitted)
        for prefix, (bias, weights) in zip(("", "FRAME_"), fit, strict=True):
            print(f"{prefix}BIAS = {bias:.3f}\n{prefix}WEIGHTS: dict[str, tuple[float, ...]] = {{")
            each = iter(weights.tolist())

            for name, of_name in confidence.WEIGHTS.items():
                cells = [f"{next(each):.3f}" for _ in of_name]
                print(f'    "{name}": ({", ".join(cells)}{"," * (len(cells) == 1)}),')
            print("}")
    else:
        pairs = (confidence.BIAS, confidence.WEIGHTS), (confidence.FRAME_BIAS, confidence.FRAME_WEIGHTS)
        fit = _Fit(*((bias, np.concatenate(list(weights.values()))) for bias, weights in pairs))

    scored = {name: (one, fit) for name, one in _collected(_SCORED, tracker, asked.keep).items()}
    for clip in sorted({name.split(",")[0] for name in fitted if name.startswith("clip")}):
        others = _fitted({name: one for name, one in fitted.items() if name.split(",")[0] != clip})
        scored |= {name: (one, others) for name, one in fitted.items() if name.split(",")[0] == clip}

    claims = {name: (_of_signals(*one), one[0].right) for name, one in scored.items() if len(one[0].right)}
    rows = {name: _reliability(*one) for name, one in claims.items()}
    for kind in _KINDS:
        of_kind = [one for name, one in claims.items() if _kind(name) == kind]
        rows[f"all: {kind}"] = _reliability(*(np.concatenate(column) for column in zip(*of_kind, strict=True)))

    for name, row in rows.items():
        print(f"{name}: ECE {row['ece']:.3f}, Brier {row['brier']:.3f}, right {row['share_right']:.2f} of {row['num']}")

    found: dict[str, Any] = {"command": f"python research/sensing/cameras/confidence.py{' --fit' if asked.fit else ''}"}
    found |= {"detector": "both", "num_drawn": _NUM_DRAWN, "seconds": _SECONDS, "rows": rows}
    found["environment"] = describe_environment(seed=_SEED, threads=1)
    write_text(_RESULTS, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
