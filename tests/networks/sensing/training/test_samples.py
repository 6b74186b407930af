"""Training samples worked by hand, with boxes at every bin and at frames alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from research.sensing.variants.rotating_disk import RotatingDisk
from spikebridge.data.events.binned import EventBins
from spikebridge.data.recordings.recording import Recording
from spikebridge.data.simulation.render import render_recording
from spikebridge.errors import ConfigError
from spikebridge.networks.sensing.training.samples import TrackingSamples, cut_samples

pytestmark = pytest.mark.untyped

DT = 0.005
NAN = float("nan")


@pytest.fixture(scope="module")
def recording() -> Recording:
    return render_recording(RotatingDisk(height=64, width=64), duration=0.15, dt=DT)


@pytest.fixture
def worked() -> Recording:
    """Four frames of 24 x 32 pixels, two bins apart, in which pixel x of frame k is x + 10 k.

    There is one event, an ON at (30, 3) in the first bin after frame 1, and a box of 4 x 4 that goes a pixel a bin, its
    middle at (12, 10) in frame 0.
    """
    events = EventBins(
        x=np.array([30], np.uint16),
        y=np.array([3], np.uint16),
        on=np.array([True]),
        edges=np.array([0, 0, 0, 1, 1, 1, 1, 1, 1]),
        height=24,
        width=32,
    )

    frames = (np.arange(32) + 10 * np.arange(4)[:, None, None]).repeat(24, axis=1).astype(np.uint8)
    at_frames, at_bins = (
        np.stack([10.0 + bins, np.full(len(bins), 8.0), *np.full((2, len(bins)), 4.0)], axis=1)
        for bins in (2 * np.arange(4), 1 + np.arange(8))
    )

    # frame 2 comes after the event
    frame_events = np.array([0, 0, 1, 1])
    return Recording("worked", DT, events, frames, 2 * DT * np.arange(4), frame_events, at_frames, at_bins)


def test_a_sample_with_boxes_at_every_bin(worked: Recording) -> None:
    samples = cut_samples(worked, range(1, 4), 16)
    # frame 2 is the last one that has both neighbours
    assert samples.boxes.tolist() == [[0.0, 0.0, 4.0, 4.0]] * 2
    assert samples.motion.tolist() == [[2.0, 0.0]] * 2
    assert samples.truths[:, 0].tolist() == [[1.0, 0.0], [2.0, 0.0]]

    # the middle of frame 1 is at (14, 10), so the crop begins at (6, 2), and does not see the event
    for one, k in ((samples.before, 0), (samples.frames, 1), (samples.after, 2)):
        assert one[0, 0, 7].tolist() == [6.0 + 10 * k + x for x in range(16)]

    assert samples.events.shape == (2, 2, 2, 16, 16) and not samples.events.any()


def test_with_boxes_at_frames_alone_the_last_truth_is_that_of_the_next_frame(worked: Recording) -> None:
    alone = replace(worked, boxes=np.full((8, 4), NAN))
    at_every_bin, at_frames = (cut_samples(one, range(1, 4), 16, both_ways=True) for one in (worked, alone))

    # forwards from frames 1 and 2, backwards from frame 2 to 1
    expected = [[2.0, 0.0], [2.0, 0.0], [-2.0, 0.0]]
    assert at_frames.truths[-1].tolist() == at_every_bin.truths[-1].tolist() == expected
    assert at_frames.truths[0].isnan().all()
    for name in ("frames", "before", "events", "boxes", "motion", "after"):
        assert torch.equal(getattr(at_frames, name), getattr(at_every_bin, name))


def test_one_bin_may_have_a_truth_and_the_next_one_none(worked: Recording) -> None:
    boxes = worked.boxes.copy()
    boxes[2] = NAN
    truths = cut_samples(replace(worked, boxes=boxes), range(1, 4), 16).truths

    assert truths[0, 0].isnan().all()
    assert truths[1, 0].tolist() == [2.0, 0.0] and truths[:, 1].isfinite().all()


@pytest.mark.parametrize("which", ["before", "here", "after"])
def test_a_sample_has_all_labels_that_it_needs(worked: Recording, which: str) -> None:
    boxes = worked.frame_boxes.copy()
    boxes[{"before": 0, "here": 1, "after": 2}[which]] = NAN
    incomplete = replace(worked, frame_boxes=boxes, boxes=np.full((8, 4), NAN))

    with pytest.raises(ConfigError, match="boxes of a frame, of the one before and of the next one, but no frame of 1"):
        cut_samples(incomplete, range(1, 2), 16)


def test_a_sample_never_has_an_unknown_box_or_motion_or_last_truth(recording: Recording) -> None:
    generator = np.random.default_rng(0)
    boxes = recording.boxes.copy()
    frame_boxes = recording.frame_boxes.copy()
    boxes[generator.random(len(boxes)) < 0.5] = NAN
    frame_boxes[3] = NAN
    samples: TrackingSamples = cut_samples(replace(recording, boxes=boxes, frame_boxes=frame_boxes), range(1, 5), 32)

    assert all(part.isfinite().all() for part in (samples.boxes, samples.motion, samples.truths[-1]))
    assert samples.truths.isnan().any()


def test_a_time_reversed_interval_ends_where_it_began(recording: Recording) -> None:
    # the last one is backwards
    samples = cut_samples(recording, range(1, 4), 48, both_ways=True)
    forwards = samples.truths[:, 0]
    backwards = samples.truths[:, 3]

    # the displacement of the whole interval
    torch.testing.assert_close(forwards[-1], -backwards[-1], atol=1e-4, rtol=0)
    # what became brighter becomes darker, last bin first
    assert samples.events[:, 0].sum() > 0

    counts = samples.events[:, 0].sum((2, 3)), samples.events[:, 3].flip(0).flip(1).sum((2, 3))
    # the two crops are not cut at the same place
    torch.testing.assert_close(*counts, rtol=0.1, atol=20)


def test_samples_are_of_one_length_where_a_frame_comes_a_bin_late(recording: Recording) -> None:
    times = recording.frame_times.copy()
    times[2] += DT
    late = replace(recording, frame_times=times)

    # four bins come after the late frame and six before it; it is still the frame before of the next one
    assert cut_samples(recording, range(1, 5), 48).events.shape[:2] == (5, 4)
    assert cut_samples(late, range(1, 5), 48).events.shape[:2] == (5, 2)
