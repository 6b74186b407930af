"""The frame's filter on ordinary clips, each scored with the settings that the other clips choose.

    python research/sensing/closed_loop/left_out_clips.py        # 15 minutes of one core; needs the extra opencv
    python research/sensing/closed_loop/left_out_clips.py --fit  # weights of the probability, and nothing else

Frames alone, colours as the files have them, from the first box to the last frame: area under the overlap curve.

| row | what |
|---|---|
| track | the default tracker, as `spikebridge track` runs it |
| left out | the filter with the setting that has the best mean on the other eight clips, forwards and backwards |
| before | the tracker before it weighed the target's pixels, with the settings of six of these clips |
| csrt, kcf | OpenCV's, on the same frames |

The probability of an answer is fitted on the other eight clips and on cuts to another scene after their first half;
`lost` are three frames in a row below one half. Nothing is drawn at random. Writes results/left_out_clips.json.
"""

import argparse
import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize

from spikebridge.data.events.binned import BinEvents
from spikebridge.data.io.atomic import write_text
from spikebridge.data.recordings.video_clips import VideoClip, clip_recording, find_clips, load_clip
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.detection.box_detector import DetectorInputs
from spikebridge.networks.sensing.detection.correlation_filter import CorrelationFilter, Signs
from spikebridge.networks.sensing.evaluation.metrics import overlaps, score
from spikebridge.networks.sensing.evaluation.protocols import at_frames, one_pass_evaluation
from spikebridge.networks.sensing.model.background import initial_background
from spikebridge.networks.sensing.tracker.inputs import read_picture
from spikebridge.pretrained import shipped_run
from spikebridge.training.run.environment import describe_environment

_RESULTS = Path(__file__).with_name("results") / "left_out_clips.json"
_SETTINGS: dict[str, dict[str, float]] = {
    "as shipped": {},
    "no colours": {"colour_share": 0.0, "colour_weight": 0.0},
    "colours do not answer": {"colour_share": 0.0},
    "colours do not weigh": {"colour_weight": 0.0},
    "no window": {"window": 1e6},
    "nothing beside": {"beside": 0.0},
    "more beside": {"beside": 0.4},
}
# AUC of commit 94068ed, by `python research/sensing/closed_loop/clips.py --detectors both` there
_BEFORE = {
    "OTB_Biker": 0.608,
    "OTB_Bolt": 0.019,
    "OTB_Couple": 0.583,
    "OTB_Crossing": 0.733,
    "OTB_Football1": 0.560,
    "OTB_MotorRolling": 0.519,
    "OTB_Tiger1": 0.113,
    "VOT15_bag": 0.525,
    "VOT15_ball1": 0.312,
}
_NOTHING = BinEvents(np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, bool))
_THRESHOLD = 0.5
_NUM_UNSURE = 3
# learned frames before a cut, and frames behind it
_CUT = (24, 20)


class _Loop(NamedTuple):
    """The answers of a filter to frames: boxes, log-ratios of signs, probabilities, and overlaps with true boxes."""

    boxes: np.ndarray
    ratios: np.ndarray
    probabilities: np.ndarray
    overlaps: np.ndarray


def _follow(detector: CorrelationFilter, frames: Iterator[np.ndarray], box: np.ndarray, truths: np.ndarray) -> _Loop:
    """The filter alone, around its last box; the first of the frames has the given one."""
    target = detector.start(read_picture(next(frames)), box)
    boxes, ratios, probabilities = [], [], []

    for frame in frames:
        picture = read_picture(frame)
        background = initial_background(picture.grey[:2, :2])
        inputs = DetectorInputs(picture.grey, picture.grey, _NOTHING, background, box, False, colours=picture.colours)
        usual: Signs | None = target.usual
        detection, target = detector.detect(inputs, target)
        box = detection.box
        boxes.append(box)
        ratios.append(target.last.log_ratios(usual or target.last))
        probabilities.append(detection.probability)
        if detection.probability >= 0.1:
            target = detector.update(picture, box, target)

    return _Loop(np.array(boxes), np.array(ratios), np.array(probabilities), overlaps(np.array(boxes), truths))


def _both_ways(clip: VideoClip, detector: CorrelationFilter) -> list[_Loop]:
    """From the first frame to the last, and from the last one with a box to the first."""
    labelled = np.flatnonzero(np.isfinite(clip.boxes).all(1))
    orders = (range(len(clip.frames)), range(int(labelled[-1]), -1, -1))
    return [
        _follow(detector, (clip.frames.colours(k) for k in order), clip.boxes[order[0]], clip.boxes[list(order)[1:]])
        for order in orders
    ]


def _cut(clip: VideoClip, detector: CorrelationFilter) -> _Loop:
    """The answers behind a cut to the same film upside down and turned round."""
    learned, behind = _CUT
    frames = (
        clip.frames.colours(k) if number < learned else np.ascontiguousarray(clip.frames.colours(k)[::-1, ::-1])
        for number, k in enumerate([*range(learned), *range(behind)])
    )
    loop = _follow(detector, frames, clip.boxes[0], np.full((learned + behind - 1, 4), -1.0))
    return _Loop(*(part[learned - 1 :] for part in loop[:3]), np.zeros(behind))


def _auc(loop: _Loop, clip: VideoClip) -> float:
    """AUC of a loop from the first frame on, in which the box is given."""
    return score(np.concatenate([clip.boxes[:1], loop.boxes]), clip.boxes).auc


def _fitted(loops: list[list[_Loop]]) -> np.ndarray:
    """Weights of the log-ratios, none below zero, and the log-odds of usual signs; each clip counts as much."""
    overlap = [np.concatenate([loop.overlaps for loop in clip]) for clip in loops]
    known = [np.isfinite(one) for one in overlap]
    x = np.concatenate([loop.ratios for clip in loops for loop in clip])[np.concatenate(known)]
    y = np.concatenate(overlap)[np.concatenate(known)]
    shares = np.concatenate([np.full(one.sum(), 1 / one.sum()) for one in known])
    signs = np.where(y > 0.5, 1.0, -1.0)

    def loss(weights: np.ndarray) -> float:
        odds = signs * (x @ weights[:-1] + weights[-1])
        return float((shares * np.logaddexp(0, -odds)).sum() + 1e-3 * (weights[:-1] ** 2).sum())

    bounds = [(0, None)] * x.shape[1] + [(None, None)]
    return minimize(loss, np.zeros(x.shape[1] + 1), bounds=bounds, method="L-BFGS-B").x


def _lost(probabilities: np.ndarray) -> np.ndarray:
    """True where the last frames were all unsure."""
    unsure = np.concatenate([np.zeros(_NUM_UNSURE - 1, bool), probabilities < _THRESHOLD])
    return np.lib.stride_tricks.sliding_window_view(unsure, _NUM_UNSURE).all(1)


def _claims(loops: dict[str, list[_Loop]]) -> dict[str, float]:
    """Shares of frames that are called lost, and the expected calibration error, each clip by the others' weights."""
    rows = []
    for name, own in loops.items():
        weights = _fitted([other for key, other in loops.items() if key != name])
        for number, loop in enumerate(own):
            odds = loop.ratios @ weights[:-1] + weights[-1]
            probabilities = 1 / (1 + np.exp(-odds))
            is_cut = np.full(len(odds), number == 2)
            rows.append(np.column_stack([probabilities, _lost(probabilities), loop.overlaps, is_cut]))

    probability, lost, overlap, is_cut = np.concatenate([row[np.isfinite(row[:, 2])] for row in rows]).T
    tracked = is_cut == 0
    error = probability[tracked] - (overlap[tracked] > 0.5)
    bins = np.minimum(10 * probability[tracked], 9).astype(int)
    ece = sum(abs(error[bins == k].sum()) for k in range(10)) / len(error)

    return {
        "lost where nothing overlaps": float(lost[tracked & (overlap <= 0)].mean()),
        "lost where more than half overlaps": float(lost[tracked & (overlap > 0.5)].mean()),
        "lost behind a cut": float(lost[~tracked].mean()),
        "ece": float(ece),
    }


def _track(folder: Path, detector: str) -> float:
    """AUC of the default tracker with a detector."""
    tracker = sensing.tracker(shipped_run("sensing")).with_options(detector=detector, synchronous=True, warns=False)
    recording = clip_recording(folder)
    return at_frames(recording, one_pass_evaluation(recording, tracker)).score().auc


def _left_out(aucs: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, Any]]:
    """For each clip the setting that the others choose, and its AUC."""
    found = {}
    for name in aucs["as shipped"]:
        means = {
            setting: fmean(fmean(ways) for key, ways in clips.items() if key != name) for setting, clips in aucs.items()
        }
        best = max(means, key=means.__getitem__)
        found[name] = {"setting": best, "auc": aucs[best][name][0]}

    return found


def main() -> None:
    """Prints and writes all rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", action="store_true", help="print the weights of the probability, and stop")
    torch.set_num_threads(1)
    only_fit = parser.parse_args().fit
    folders = {folder.name: folder for folder in find_clips()}
    clips = {name: load_clip(folder, allow_unlabelled=True) for name, folder in folders.items()}

    shipped = {name: _both_ways(clip, CorrelationFilter()) for name, clip in clips.items()}
    loops = {name: [*shipped[name], _cut(clip, CorrelationFilter())] for name, clip in clips.items()}
    claims = _claims(loops)
    print(claims, "weights", _fitted(list(loops.values())).round(2).tolist(), flush=True)
    if only_fit:
        return

    aucs: dict[str, dict[str, list[float]]] = {}
    for setting, fields in _SETTINGS.items():
        for name, clip in clips.items():
            ways = _both_ways(clip, CorrelationFilter(**fields)) if fields else shipped[name]
            backwards = fmean((ways[1].overlaps[:, None] > np.arange(0, 1.01, 0.05)).mean(0))
            aucs.setdefault(setting, {})[name] = [_auc(ways[0], clip), backwards]
        print(setting, fmean(ways[0] for ways in aucs[setting].values()), flush=True)

    left_out = _left_out(aucs)
    rows = {row: {name: _track(folders[name], row) for name in clips} for row in ("auto", "csrt", "kcf")}
    table = {
        "track": rows.pop("auto"),
        "left out": {name: row["auc"] for name, row in left_out.items()},
        "before": _BEFORE,
        **rows,
    }
    for row, values in table.items():
        print(row, round(fmean(values.values()), 3), {name: round(auc, 2) for name, auc in values.items()})

    environment = describe_environment(seed=0, threads=1, opencv=version("opencv-contrib-python-headless"))
    content = {
        "command": "python research/sensing/closed_loop/left_out_clips.py",
        "took part in choices": {
            "settings, whole clips": {s: {n: w[0] for n, w in c.items()} for s, c in aucs.items()}
        },
        "took no part": {"number of clips": len(clips), "chosen": left_out, "claims": claims},
        "auc": table,
        "mean": {row: fmean(values.values()) for row, values in table.items()},
        "clips at least as good as csrt": sum(table["left out"][n] >= table["csrt"][n] for n in clips),
        "environment": environment,
    }
    write_text(_RESULTS, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
