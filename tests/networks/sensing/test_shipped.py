"""The weights that come with the package, on the real recording where it is there."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from spikebridge.data.events.binning import bin_edge
from spikebridge.data.events.events import make_events
from spikebridge.data.recordings.fe240hz import load_fe240hz
from spikebridge.data.recordings.recording import Inputs, Recording
from spikebridge.data.simulation.moving_objects import MovingObjects
from spikebridge.data.simulation.render import render_recording
from spikebridge.data.streams.binner import EventBinner
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.baselines.motion import ConstantVelocity, StaticBox
from spikebridge.networks.sensing.evaluation.metrics import score
from spikebridge.networks.sensing.evaluation.protocols import interframe, one_pass_evaluation
from spikebridge.pretrained import shipped_run
from spikebridge.training import Run

pytestmark = pytest.mark.untyped


def shipped() -> Run:
    run = shipped_run("sensing")
    assert run is not None, "no weights of the sensing network come with the package"
    return run


def test_the_shipped_run_can_be_opened_and_names_what_it_was_trained_on() -> None:
    tracker = sensing.tracker(shipped())
    assert not tracker.sensing.training
    assert "FE240hz_star_motion_0" not in shipped().results()["recording"]

    research = shipped_run("sensing_research")
    # by this `eval` knows whether a recording was trained on, and leaves that part out
    assert research is not None and "FE240hz_star_motion_0" in research.results()["recording"]


def test_the_shipped_weights_beat_constant_velocity_on_the_real_recording(
    real_set: Callable[[str], tuple[Path, ...]],
) -> None:
    """Forty frames of the test part, in which nothing was trained or chosen."""
    recording = load_fe240hz(real_set("fe240hz")[0].parent)
    frames = range(400, 440)
    network, velocity, hold = (
        interframe(recording, one, frames).score().mean_distance_px
        for one in (sensing.tracker(shipped()), ConstantVelocity(), StaticBox())
    )

    assert network < 0.9 * velocity and network < 0.5 * hold


def test_the_shipped_weights_follow_the_test_part_from_its_first_box(
    real_set: Callable[[str], tuple[Path, ...]],
) -> None:
    """The boxes between frames depend on the detector there, unlike those of protocol A."""
    recording = load_fe240hz(real_set("fe240hz")[0].parent)
    score = one_pass_evaluation(recording, sensing.tracker(shipped()), range(340, 430)).score()
    assert score.auc >= 0.6 and score.lost_share == 0


DT = 1 / 240


def arriving(recording: Recording, late: int) -> Iterator[Inputs]:
    """A live stream whose frames, but for the first, arrive some bins late."""
    stream = EventBinner(DT, recording.events.height, recording.events.width, recording.frame_boxes[0])
    stream.add_frame(0, recording.frames[0])

    for bin_ in range(recording.num_bins):
        x, y, on = recording.events.slice_bins(bin_, bin_ + 1)
        stream.add(make_events(np.full(len(x), bin_edge(bin_, DT)), x, y, on))
        for k in np.flatnonzero(recording.frame_bins[1:] + late == bin_) + 1:
            stream.add_frame(round(1e6 * recording.frame_times[k]), recording.frames[k])
        if bin_:
            yield stream.inputs(bin_ - 1, bin_)


def recorded(recording: Recording, late: int) -> Iterator[Inputs]:
    """The same from the recording, which has all events since a frame."""
    yield {**recording.inputs(0, 1), "box": recording.frame_boxes[0]}
    for bin_ in range(1, recording.num_bins - 1):
        inputs = recording.inputs(bin_, bin_ + 1)
        frame_bin = bin_ - late
        if frame_bin in recording.frame_bins[1:]:
            yield {**recording.inputs(frame_bin, bin_ + 1), "elapsed": DT}
        else:
            yield Inputs(events=inputs["events"], elapsed=DT)


def followed(steps: Iterator[Inputs]) -> np.ndarray:
    """The boxes of the shipped weights."""
    tracker = sensing.tracker(shipped())
    state = None
    boxes = []

    for inputs in steps:
        box, state = tracker.step(inputs, state)
        boxes.append(box)

    return np.array(boxes)


@pytest.mark.parametrize("seed", [0, 2])
def test_frames_that_arrive_late_in_a_live_stream_are_as_good_as_frames_in_time(seed: int) -> None:
    """Without the events since each frame the target was 9 and 14 px away instead of 2 and 4."""
    recording = render_recording(MovingObjects(seed=seed), duration=0.25, dt=DT)
    live, punctual = (followed(arriving(recording, late)) for late in (5, 0))
    np.testing.assert_allclose(live, followed(recorded(recording, 5)), atol=1e-9)
    late_error, punctual_error = (
        score(boxes, recording.boxes[: len(boxes)]).mean_distance_px for boxes in (live, punctual)
    )

    assert late_error < punctual_error + 2
