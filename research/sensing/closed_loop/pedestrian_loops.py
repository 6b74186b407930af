"""People who walk before an ordinary camera, followed from the first box (C): a real film that no weights have seen.

    python research/sensing/closed_loop/pedestrian_loops.py --film vtest.avi                 # six minutes of one core
    python research/sensing/closed_loop/pedestrian_loops.py --film vtest.avi --trackers csrt  # writes nothing

The film comes with the examples of OpenCV (`samples/data/vtest.avi`, 768 x 576 px, ten frames a second; in Debian in
the package opencv-doc), and is read by OpenCV (extra `opencv`). Nothing is trained on it. Fourteen people walk alone
for 20 to 149 frames. Their boxes, in pedestrians.json, are the connected regions that differ by more than 28
grey levels from the median of the film, the median over three frames; each was looked at. AUC of the answer to each
frame, default settings, seed 0; people of one film are no independent samples. Nothing is drawn at random. Writes
results/pedestrian_loops.json.
"""

import argparse
import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image

from research.sensing.baselines.opencv import OpenCVTracker
from spikebridge.data.io.atomic import write_text
from spikebridge.data.recordings.recording import Recording
from spikebridge.data.recordings.video_clips import clip_recording
from spikebridge.errors import DataError
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.evaluation.protocols import at_frames, one_pass_evaluation
from spikebridge.pretrained import shipped_run
from spikebridge.training.run.environment import describe_environment

_FOLDER = Path(__file__).parent
_RESULTS = _FOLDER / "results" / "pedestrian_loops.json"
_LABELS = _FOLDER / "pedestrians.json"
_WEIGHTS = ("sensing", "sensing_research")
_DETECTORS = ("both", "filter", "learned")
_OPENCV = ("csrt", "kcf")
_TRACKERS = (*(f"{name}, {detector}" for name in _WEIGHTS for detector in _DETECTORS), *_OPENCV)


def _frames(film: Path, labels: dict[str, Any]) -> list[Any]:
    """The frames of the film, as OpenCV reads them."""
    import cv2

    if hashlib.sha256(film.read_bytes()).hexdigest() != labels["sha256"]:
        raise DataError(f"{film}: expected the film {labels['film']} of OpenCV's examples, but it is another file.")

    reader = cv2.VideoCapture(str(film))
    frames = []
    while (read := reader.read())[0]:
        frames.append(read[1][..., ::-1])

    return frames


def _clip(frames: list[Any], person: dict[str, Any], folder: Path) -> Recording:
    """A person as a clip in a folder, as people have theirs."""
    (folder / "img").mkdir(parents=True)
    for number in range(len(person["boxes"])):
        picture = Image.fromarray(frames[person["first_frame"] + number])
        picture.save(folder / "img" / f"{number + 1:04d}.jpg", quality=95)

    # the benchmarks count pixels from 1
    lines = (f"{x + 1},{y + 1},{width},{height}" for x, y, width, height in person["boxes"])
    (folder / "groundtruth_rect.txt").write_text("\n".join(lines) + "\n")

    return clip_recording(folder, frame_rate=10.0)


def _tracker(name: Any) -> Any:
    if name in _OPENCV:
        return OpenCVTracker(name)
    weights, detector = name.split(", ")
    run: Any = shipped_run(weights)
    return sensing.tracker(run, "learned", 0).with_options(detector=detector, synchronous=True, warns=False)


def main() -> None:
    """Prints a row for each tracker, and writes all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--film", type=Path, required=True, help="vtest.avi of OpenCV's examples")
    parser.add_argument("--trackers", nargs="+", choices=_TRACKERS, help="only these; nothing is written")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    labels = json.loads(_LABELS.read_text())
    frames = _frames(asked.film, labels)
    rows = {}

    with TemporaryDirectory() as place:
        clips = [_clip(frames, person, Path(place) / f"{i:02d}") for i, person in enumerate(labels["people"])]
        for name in asked.trackers or _TRACKERS:
            tracker = _tracker(name)
            aucs = [at_frames(clip, one_pass_evaluation(clip, tracker)).score().auc for clip in clips]
            rows[name] = {"mean": fmean(aucs), "each": aucs}
            print(f"{name}: {fmean(aucs):.3f}", flush=True)

    if asked.trackers is None:
        environment = describe_environment(seed=0, threads=1, opencv=version("opencv-contrib-python-headless"))
        found = {"command": "python research/sensing/closed_loop/pedestrian_loops.py --film vtest.avi", "rows": rows}
        write_text(_RESULTS, json.dumps(found | {"environment": environment}, indent=1) + "\n")


if __name__ == "__main__":
    main()
