"""Confidence of the tracker: reliability curve and expected calibration error (ECE), and the fit of its weights.

    python research/sensing/cameras/confidence.py
    python research/sensing/cameras/confidence.py --fit  # prints weights and their scores
    python research/sensing/cameras/confidence.py --keep FOLDER  # keeps boxes of each source; resumes

Default weights, calibrated, default detector, all boxes given (A) and the first box only (C); a wrong first box is one
on background, half a target away, or 1.5 to 3 times too large. Fitted on what the default weights were not trained on:
generated validation scenes of all families, dark ones, those of fast and of small targets, events alone after the first
frame, films without events, the first two parts of the real recording, and the clips. Where the filter answers alone,
without events, the confidence is its own probability; in grey frames its weights (`_ODDS` in `correlation_filter.py`)
are fitted here, too, also on the clips in grey. Scored on other scenes and films, on the real test part, which no fit
has seen, and on each clip, in colours and in grey, with the weights of a fit without it.

Half of the films are of targets that a filter should follow, half of ones that it often loses: fast, small, hidden for
.4 s, turning. ECE: mean of |share of boxes with IoU >= .5 - mean confidence| over ten classes of confidence, by their
size. Writes results/confidence.json.
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

from research.sensing.closed_loop.hidden_targets import HiddenTarget
from spikebridge.data.io.atomic import write_text
from spikebridge.data.recordings.degradation import Degradation, degraded
from spikebridge.data.recordings.recording import Inputs, Recording
from spikebridge.data.simulation.families import SCENE_FAMILIES, family_recording
from spikebridge.data.simulation.moving_objects import MovingObjects
from spikebridge.data.simulation.render import FrameCamera, render_recording, scene_seeds
from spikebridge.data.simulation.tumbling_objects import TumblingObjects
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.data import RecordingPart, clip_parts, recording_parts
from spikebridge.networks.sensing.detection import correlation_filter
from spikebridge.networks.sensing.detection.correlation_filter import Signs
from spikebridge.networks.sensing.evaluation.metrics import overlaps
from spikebridge.networks.sensing.evaluation.runner import bin_range
from spikebridge.networks.sensing.model.boxes import box_center, box_from_center
from spikebridge.networks.sensing.tracker import confidence
from spikebridge.networks.sensing.tracker.confidence import Signals
from spikebridge.networks.sensing.tracker.inputs import read_picture
from spikebridge.networks.sensing.tracker.state import TrackingState
from spikebridge.pretrained import shipped_run
from spikebridge.training.run.environment import describe_environment

_RESULTS = Path(__file__).with_name("results") / "confidence.json"
_NUM_DRAWN = 6  # dark, fast or small scenes, fitted, and as many scored
_NUM_SCENES = 2  # of each family
_NUM_FILMS = 4  # of each kind
_NUM_PIECES = 3  # of a part of the recording
_SECONDS = 0.5
_MAX_FRAMES = 40  # of a piece
_CLIP_FRAMES = 100
_L2 = 30.0
_FILTER_L2 = 1e-3
_KINDS = {"scenes": 2.0, "dark": 1.0, "fast": 1.0, "small": 1.0, "events alone": 1.0}  # and what they count in the fit
_KINDS |= {"frames alone": 2.0, "real": 3.0, "clip": 2.0}
_FITTED, _SCORED = "validation", "test"
_FILMS = ("still camera", "moving camera", "deforming", "beside others", "swift", "tiny", "hidden", "turning")
_FILM_SECONDS = 1.5
_HIDDEN_SECONDS = (0.5, 0.9)
_NAMES = "signals"
# what is known of each box besides the signals
_COLUMNS = ("first", "colour", "margin", "has_colours", "has_events", "ceiling", "confidence", "overlap")
_SEED = 0  # of the default weights
_SIGNS = {"filled": 1, "focus": 1, "aside": -1, "change": 1, "moved": 0, "speed": -1, "detector_spread": -1}
_SIGNS |= {"moved_in_doubt": 1, "apart": -1, "age": -1, "unsure": -1}
_BOUNDS = {-1: (None, 0.0), 0: (None, None), 1: (0.0, None)}


class _Stream(NamedTuple):
    """One way to follow a recording: what is given, what is changed, and which frames are seen."""

    protocol: str
    change: Degradation = Degradation()
    start: str = "true"
    keep_every: int = 1
    # also of recordings without events
    only_frames: bool = True
    grey: bool = False


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
    _Stream("C in grey", grey=True),
)


class _Boxes(NamedTuple):
    """Boxes of one source: signals, signs of a filter that answers alone, confidence, and overlaps with true ones."""

    signals: NDArray[np.float64]
    # log-ratios; NaN where it does not answer alone
    ratios: NDArray[np.float64]
    has_colours: NDArray[np.bool_]
    # of the camera, where the filter does not answer alone
    has_events: NDArray[np.bool_]
    # the share of the fitted confidence that is left
    ceiling: NDArray[np.float64]
    confidence: NDArray[np.float64]
    overlap: NDArray[np.float64]

    @property
    def right(self) -> NDArray[np.bool_]:
        """True where they overlap by half."""
        return self.overlap >= 0.5

    @property
    def is_filtered(self) -> NDArray[np.bool_]:
        """True where the filter answers alone."""
        return np.isfinite(self.ratios).all(1)

    def chosen(self, rows: NDArray[np.bool_]) -> "_Boxes":
        """Some of them."""
        return _Boxes(*(column[rows] for column in self))


def _run(part: RecordingPart, tracker: Any, stream: _Stream) -> _Boxes:
    """One stream of boxes, one in three bins kept; frames but every N-th are not seen."""
    recording = degraded(part.recording, stream.change)
    frames = part.frames
    first, stop = bin_range(recording, frames)
    if stream.keep_every > 1:
        stop = min(stop, first + round(_SECONDS / recording.dt))

    # as `track` and `eval` do, the answer to a frame of a clip is that of its detector
    tracker = tracker.with_options(synchronous=recording.has_frames_only)
    state = None
    rows = []

    # boxes of neighbouring bins are alike: one in three is kept
    for b in range(first, stop):
        inputs = recording.inputs(b, b + 1)
        k = int(np.searchsorted(recording.frame_bins, b, side="right")) - 1
        if "frame" in inputs and (k - frames.start) % stream.keep_every:
            inputs = Inputs(events=recording.events.slice_bins(b, b + 1), elapsed=recording.dt)
        if "frame" in inputs and stream.grey:
            inputs["frame"] = read_picture(inputs["frame"]).grey

        is_given = "frame" in inputs and (k == frames.start or stream.protocol == "A")
        if is_given and np.isfinite(recording.frame_boxes[k]).all():
            inputs["box"] = _first_box(recording, k, stream.start)

        box, state = tracker.step(inputs, state)
        # boxes hold at the ends of bins, at the next frame of a clip
        truth = recording.frame_boxes[k] if recording.has_frames_only else recording.boxes[b]
        if np.isfinite(truth).all() and (recording.has_frames_only or b % 3 == 0):
            rows.append((*_known(state), overlaps(box[None], truth[None])[0]))

    return _as_boxes(np.array(rows, np.float64).reshape(-1, len(Signals._fields) + len(_COLUMNS)))


def _known(state: TrackingState) -> tuple[float, ...]:
    """All that is known of a box but its overlap."""
    ratios = [np.nan] * len(Signs._fields)
    if state.estimate.probability is not None:
        target = state.estimate.target.filtered
        ratios = target.last.log_ratios(target.usual or target.last)

    assert state.signals is not None
    has_events = state.evidence.has_events and state.estimate.probability is None
    return (*state.signals, *ratios, state.colours is not None, has_events, state.evidence.ceiling, state.confidence)


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
    for family in _FILMS:
        yield f"frames alone, {family}", partial(_drawn, split, partial(_film, family), _NUM_FILMS)

    for family in SCENE_FAMILIES:
        yield f"scenes, {family}", partial(_drawn, split, partial(_family, family), _NUM_SCENES)

    yield "dark", partial(_drawn, split, partial(_family, "dark"))
    yield "fast", partial(_drawn, split, partial(_scene, size=26.0, speed=700.0))
    yield "small", partial(_drawn, split, partial(_scene, size=9.0, speed=120.0))

    if split == _FITTED:
        yield "real, train part", partial(_real, "train")
        for part in clip_parts():
            yield f"clip {part.recording.name}", partial(list, [_shortened(part, part.frames.start, _CLIP_FRAMES)])

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
    (part,) = recording_parts("real", split, 1)
    step = len(part.frames) // _NUM_PIECES
    return [_shortened(part, part.frames.start + i * step, _MAX_FRAMES) for i in range(_NUM_PIECES)]


def _shortened(part: RecordingPart, start: int, num: int) -> RecordingPart:
    return part._replace(frames=range(start, min(start + num, part.frames.stop)))


def _film(family: str, seed: int) -> Recording:
    """A scene that is like an ordinary clip: a slower target of any size on a larger sensor, 30 frames a second."""
    generator = np.random.default_rng([seed, 30])
    size = float(generator.uniform(8.5, 14) if family == "tiny" else generator.uniform(20, 45))
    speed = float(generator.uniform(200, 600) if family == "swift" else generator.uniform(20, 150))
    settings: dict[str, Any] = {"height": 180, "width": 240, "seed": seed, "size": size, "speed": speed}
    scene: MovingObjects | TumblingObjects

    if family == "deforming":
        scene = TumblingObjects(**settings)
    elif family == "hidden":
        scene = HiddenTarget(**settings, begin=_HIDDEN_SECONDS[0], end=_HIDDEN_SECONDS[1])
    elif family == "beside others":
        scene = MovingObjects(**settings, num_distractors=3, beside=True)
    elif family == "turning":
        scene = MovingObjects(**settings, turning=6.0)
    else:
        scene = MovingObjects(**settings, camera_motion=40.0 if family == "moving camera" else 0.0)

    film = render_recording(
        scene, _FILM_SECONDS, 1 / 30, image_interval=1 / 30, frame_camera=FrameCamera(30.0), name=f"{family} {seed}"
    )
    return degraded(film, Degradation(lose_events=1.0))


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
        chosen = [*(names.index(name) for name in Signals._fields), *range(-len(_COLUMNS), 0)]
        return {key: _as_boxes(kept[key][:, chosen]) for key in kept if key != _NAMES}


def _as_boxes(values: NDArray[np.float64]) -> _Boxes:
    signals = values[:, : -len(_COLUMNS)]
    ratios = values[:, -len(_COLUMNS) : -5]
    has_colours, has_events = values[:, -5:-3].T > 0

    return _Boxes(signals, ratios, has_colours, has_events, *values[:, -3:].T)


def _boxes(name: str, parts: list[RecordingPart], tracker: Any) -> dict[str, _Boxes]:
    """The streams of a source, by protocol."""
    found: dict[str, list[_Boxes]] = {}
    has_events = any(part.recording.events.num_events for part in parts)
    is_clip = name.startswith("clip")
    streams = [one for one in _STREAMS if (has_events or one.only_frames) and (is_clip or not one.grey)]

    # a scene has every second stream, the first ones or the others
    offset = sum(map(ord, name)) % 2

    for i, part in enumerate(parts):
        for stream in streams[(i + offset) % 2 :: 2] if has_events else streams:
            found.setdefault(stream.protocol, []).append(_run(part, tracker, stream))

    return {name: _joined(runs) for name, runs in found.items()}


def _joined(runs: list[_Boxes]) -> _Boxes:
    return _Boxes(*(np.concatenate(column) for column in zip(*runs, strict=True)))


class _Fit(NamedTuple):
    """Bias and weights of the confidence with events, and of a filter that answers alone: in colours and in grey."""

    events: tuple[float, NDArray[np.float64]]
    colours: tuple[float, NDArray[np.float64]]
    grey: tuple[float, NDArray[np.float64]]

    def confidence(self, boxes: _Boxes) -> NDArray[np.float64]:
        """The confidence of boxes; that of the tracker where nothing is fitted."""
        bias, weights = self.events
        fitted = boxes.ceiling * _logistic(bias + _segments(boxes.signals) @ weights)
        found = np.where(boxes.has_events, fitted, boxes.confidence)
        for has_colours, (bias, weights) in ((True, self.colours), (False, self.grey)):
            is_so = boxes.is_filtered & (boxes.has_colours == has_colours)
            found = np.where(is_so, _logistic(bias + boxes.ratios @ weights), found)

        return np.where(boxes.confidence == 0, 0.0, found)  # 0: the box is off the sensor


def _fitted(sources: dict[str, _Boxes]) -> _Fit:
    with_events = {name: boxes.chosen(boxes.has_events) for name, boxes in sources.items()}
    of_each = [name for name, weights in confidence.WEIGHTS.items() for _ in weights]
    found = [
        _fit(with_events, lambda boxes: _segments(boxes.signals), [_BOUNDS[_SIGNS[name]] for name in of_each], _L2)
    ]

    for has_colours in (True, False):
        alone = {name: one.chosen(one.is_filtered & (one.has_colours == has_colours)) for name, one in sources.items()}
        found.append(_fit(alone, lambda boxes: boxes.ratios, [_BOUNDS[1]] * len(Signs._fields), _FILTER_L2))

    return _Fit(*found)


def _shipped() -> _Fit:
    """The weights that the tracker has."""
    events = confidence.BIAS, np.concatenate(list(confidence.WEIGHTS.values()))
    (in_colours, colour_bias), (in_grey, grey_bias) = (correlation_filter._ODDS[one] for one in (True, False))

    return _Fit(events, (colour_bias, np.array(in_colours)), (grey_bias, np.array(in_grey)))


def _kind(name: str) -> str:
    """The kind of a source: events alone are streams of scenes and of the recording."""
    return next(kind for kind in ("events alone", *_KINDS) if kind in name)


def _fit(
    sources: dict[str, _Boxes],
    inputs: Callable[[_Boxes], NDArray[np.float64]],
    bounds: list[tuple[float | None, float | None]],
    penalty: float,
) -> tuple[float, NDArray[np.float64]]:
    """Logistic regression with signs; an L2 penalty keeps weights small.

    Each source of a kind counts the same.
    """
    sources = {name: one for name, one in sources.items() if len(one.right)}
    x = np.concatenate([inputs(one) for one in sources.values()])
    y = np.concatenate([one.right for one in sources.values()]).astype(float)
    kinds = [_kind(name) for name in sources]
    per_box = [
        len(y) * _KINDS[kind] / sum(map(_KINDS.__getitem__, set(kinds))) / kinds.count(kind) / len(one.right)
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
        slope = rows.T @ (share * (_logistic(odds) - y))
        slope[1:] += penalty * weights[1:]
        value = (share * (np.logaddexp(0, odds) - y * odds)).sum() + penalty / 2 * weights[1:] @ weights[1:]

        return float(value), slope

    weights = minimize(loss, np.zeros(rows.shape[1]), jac=True, bounds=[(None, None), *bounds], method="L-BFGS-B").x
    slopes = weights[1:] / sd

    return float(weights[0] - slopes @ mean), slopes


def _segments(signals: NDArray[np.float64]) -> NDArray[np.float64]:
    """The segments of all signals of each box: up to the first limit, and how far into each of the others."""
    columns = []
    for x, limits in zip(signals.T, confidence.LIMITS.values(), strict=True):
        columns.append(x.clip(max=limits[0]) if limits else x)
        columns += [(x - low).clip(0, high - low) for low, high in pairwise((*limits, np.inf))]

    return np.column_stack(columns)


def _logistic(odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-odds.clip(-30, 30)))


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


def _print(fit: _Fit) -> None:
    """Prints weights as the package has them."""
    bias, weights = fit.events
    print(f"BIAS = {bias:.3f}\nWEIGHTS: dict[str, tuple[float, ...]] = {{")
    each = iter(weights.tolist())

    for name, of_name in confidence.WEIGHTS.items():
        cells = [f"{next(each):.3f}" for _ in of_name]
        print(f'    "{name}": ({", ".join(cells)}{"," * (len(cells) == 1)}),')
    print("}")

    for name, (bias, weights) in (("colours", fit.colours), ("grey", fit.grey)):
        print(f"_ODDS, {name}: {weights.round(2).tolist()}, {bias:.2f}")


def main() -> None:
    """Fits if asked to, prints a line for each source, and writes all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    tracker = sensing.tracker(shipped_run("sensing"), "learned", _SEED).with_options(warns=False)
    fitted = _collected(_FITTED, tracker, asked.keep)
    fit = _shipped()
    if asked.fit:
        # of colours there are clips alone, of which left_out_clips.py fits the weights
        fit = _fitted(fitted)._replace(colours=fit.colours)
        _print(fit)

    scored = {name: (one, fit) for name, one in _collected(_SCORED, tracker, asked.keep).items()}
    for clip in sorted({name.split(",")[0] for name in fitted if name.startswith("clip")}):
        others = _fitted({name: one for name, one in fitted.items() if name.split(",")[0] != clip})
        scored |= {name: (one, others) for name, one in fitted.items() if name.split(",")[0] == clip}

    claims = {name: (fit.confidence(one), one.right) for name, (one, fit) in scored.items() if len(one.right)}
    rows = {name: {key: x for key, x in _reliability(*one).items() if key != "curve"} for name, one in claims.items()}
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
