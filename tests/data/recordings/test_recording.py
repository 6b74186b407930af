import numpy as np
import pytest

from spikebridge.data.events.binned import bin_sparse
from spikebridge.data.events.events import make_events
from spikebridge.data.recordings.recording import Recording, temporal_splits
from spikebridge.errors import ConfigError, ShapeError

BOX = [0.0, 0.0, 1.0, 1.0]


def recording(frame_times=(0.0, 0.003), num_bins=6, **changes):
    """One event in the middle of each bin of 1 ms; its column tells the bin."""
    t = np.arange(num_bins) * 1000 + 500
    x = np.arange(num_bins)
    bins = bin_sparse(make_events(t=t, x=x, y=x * 0, p=x * 0), 1, num_bins, dt=0.001, num_bins=num_bins)
    frame_times = np.array(frame_times)

    parts = {
        "name": "dots",
        "dt": 0.001,
        "events": bins,
        "frames": np.arange(len(frame_times), dtype=np.uint8)[:, None, None],
        "frame_times": frame_times,
        "frame_events": np.searchsorted(t, frame_times * 1e6),
        "frame_boxes": np.array([BOX] * len(frame_times)),
        "boxes": np.array([BOX] * num_bins),
    }
    return Recording(**{**parts, **changes})


def test_a_step_without_a_frame_brings_its_events_alone():
    inputs = recording().inputs(1, 2)
    assert inputs["events"].x.tolist() == [1] and inputs["elapsed"] == 0.001
    assert set(inputs) == {"events", "elapsed"}


def test_a_frame_comes_with_the_bin_that_begins_at_its_time():
    inputs = recording().inputs(3, 4)
    assert inputs["frame"].item() == 1 and inputs["events"].x.tolist() == [3]
    assert inputs["frame_age"] == pytest.approx(0.001)


def test_a_frame_inside_a_bin_acts_from_the_next_one_with_the_events_since_its_time():
    """Frame 1 at 2.2 ms: bin 2 is answered without it; in bin 3 the event at 2.5 ms counts once more, after it."""
    late = recording(frame_times=(0.0, 0.0022))
    assert late.frame_bins.tolist() == [0, 3]
    assert "frame" not in late.inputs(2, 3) and late.inputs(2, 3)["events"].x.tolist() == [2]

    inputs = late.inputs(3, 4)
    assert inputs["events"].x.tolist() == [2, 3] and inputs["frame_age"] == pytest.approx(0.0018)


def test_a_busy_tracker_gets_the_newest_frame_and_what_came_after_it():
    inputs = recording(frame_times=(0.0, 0.001, 0.003)).inputs(1, 5)
    assert inputs["frame"].item() == 2 and inputs["events"].x.tolist() == [3, 4]
    assert inputs["elapsed"] == pytest.approx(0.004) and inputs["frame_age"] == pytest.approx(0.002)
    assert recording().inputs(1, 3)["events"].x.tolist() == [1, 2]


def test_frames_of_40_hz_fall_on_every_sixth_bin_of_240_hz():
    bins = bin_sparse(make_events([], [], [], []), 1, 1, dt=1 / 240, num_bins=240)
    times = np.arange(40) * 0.025
    boxes = np.array([BOX] * 40)

    slow = recording(
        frame_times=times,
        dt=1 / 240,
        events=bins,
        boxes=np.array([BOX] * 240),
        frame_boxes=boxes,
    )

    assert slow.frame_bins.tolist() == list(range(0, 240, 6))


def test_thinning_leaves_frames_out_and_nothing_else():
    thin = recording(frame_times=(0.0, 0.001, 0.002, 0.003)).subsample_frames(3)
    assert thin.frame_bins.tolist() == [0, 3] and thin.frames.ravel().tolist() == [0, 3]
    assert thin.num_frames == len(thin.frame_boxes) == 2
    assert thin.inputs(3, 4)["events"].x.tolist() == [3]
    assert "frame" not in thin.inputs(1, 2)

    with pytest.raises(ConfigError, match="keep_every of 1 or more"):
        thin.subsample_frames(0)


def test_unlabelled_times_are_counted_in_the_summary():
    boxes = np.array([BOX] * 6)
    boxes[2] = np.nan
    seen = recording(boxes=boxes)

    assert seen.num_unlabelled == 1
    assert seen.summary() == (
        "dots: 6 x 1 pixels, 2 frames, 6 bins of 1.000 ms, 6 events, 1 bins and 0 frames without a box"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": np.zeros((5, 4))}, "6 bins as many boxes"),
        ({"frame_boxes": np.zeros((1, 4))}, "2 frames need as many"),
        ({"frame_times": (0.003, 0.003)}, "frame times must be 0 s or more and grow"),
        ({"frame_times": (-0.001, 0.003)}, "frame times must be 0 s or more and grow"),
        ({"dt": 0.0}, "dt must be above 0 s"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ShapeError, match=message):
        recording(**changes)


def test_the_three_parts_are_apart_and_scale_with_the_recording():
    assert temporal_splits(560) == {"train": range(12, 280), "validation": range(285, 330), "test": range(340, 552)}
    for num_frames in range(40, 1000):
        train, validation, test = temporal_splits(num_frames).values()
        assert 1 <= train.start < train.stop < validation.start < validation.stop < test.start < test.stop
        assert test.stop < num_frames

    with pytest.raises(ConfigError, match="40 frames or more, but got 39"):
        temporal_splits(39)
