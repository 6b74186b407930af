"""One-pass evaluation of the tracker on ordinary video clips and on the real recording, with each detector.

    python research/sensing/closed_loop/clips.py                          # three minutes of one core
    python research/sensing/closed_loop/clips.py --detectors both filter  # prints these; writes nothing

The default weights, which have seen neither, protocol C from the first box, AUC:
of a clip the answer to each frame, of the recording the answer in each bin of the test part. `csrt` and `kcf` are
OpenCV's own trackers (extra `opencv`). How settings were chosen stands in docs/log.md. Nothing is drawn at
random. Writes results/clips.json.
"""

import argparse
import json
from importlib.metadata import version
from pathlib import Path
from time import thread_time
from typing import Any

import torch

from research.sensing.baselines.opencv import OpenCVTracker
from spikebridge.data.io.atomic import write_text
from spikebridge.data.recordings.video_clips import clip_recording, find_clips
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.data import recording_parts
from spikebridge.networks.sensing.evaluation.protocols import at_frames, one_pass_evaluation
from spikebridge.pretrained import shipped_run
from spikebridge.training.run.environment import describe_environment

_RESULTS = Path(__file__).with_name("results") / "clips.json"
_SEED = 0  # of the default weights
_OPENCV = ("csrt", "kcf")
_DETECTORS = (*_OPENCV, "both", "learned", "filter")  # a missing OpenCV is found at once


def _tracker(name: str) -> Any:
    if name in _OPENCV:
        return OpenCVTracker(name)
    return sensing.tracker(shipped_run("sensing"), "learned", _SEED).with_options(detector=name)


def _figures(case: str, name: str) -> dict[str, float]:
    """AUC and milliseconds of processor time a frame."""
    tracker = _tracker(name)
    started = thread_time()

    if case == "FE240hz":
        (recording, frames) = recording_parts("real", "test", 1)[0]
        result = one_pass_evaluation(recording, tracker, frames)
        num_frames = len(frames)
    else:
        (folder,) = (folder for folder in find_clips() if folder.name == case)
        recording = clip_recording(folder)
        # a clip is compared at its frames, so the detector has to answer in the step of the frame
        at_once = tracker if name in _OPENCV else tracker.with_options(synchronous=True)
        result = at_frames(recording, one_pass_evaluation(recording, at_once))
        num_frames = recording.num_frames

    return {"auc": result.score().auc, "ms a frame": 1e3 * (thread_time() - started) / num_frames}


def main() -> None:
    """Prints a line for each detector and case, and writes all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detectors", nargs="+", choices=_DETECTORS, help="only these; nothing is written")
    asked = parser.parse_args().detectors
    torch.set_num_threads(1)
    rows: dict[str, dict[str, dict[str, float]]] = {}

    for name in asked or _DETECTORS:
        for case in ("FE240hz", *(folder.name for folder in find_clips())):
            figures = rows.setdefault(name, {})[case] = _figures(case, name)
            print(name, case, figures, flush=True)

    if asked is None:
        environment = describe_environment(seed=_SEED, threads=1, opencv=version("opencv-contrib-python-headless"))
        found = {"command": "python research/sensing/closed_loop/clips.py", "rows": rows, "environment": environment}
        write_text(_RESULTS, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
