"""The protocols on a recording of six frames that can be followed by hand."""

import numpy as np
import pytest

from spikebridge.data.events.binned import bin_sparse
from spikebridge.data.events.events import make_events
from spikebridge.data.recordings.recording import Recording
from spikebridge.errors import ConfigError
from spikebridge.networks.sensing.baselines.motion import ConstantVelocity, StaticBox
from spikebridge.networks.sensing.evaluation.metrics import error_by_speed, target_speed
from spikebridge.networks.sensing.evaluation.protocols import (
    DeclaredLatency,
    interframe,
    one_pass_evaluation,
    reset_every,
    streaming,
)
from spikebridge.networks.sensing.evaluation.runner import TrackingResult

NUM_FRAMES = 6
RATIO = 4
DT = 0.01
NUM_BINS = NUM_FRAMES * RATIO


def box_at(bins):
    """1 px to the right a bin."""
    return np.array([100.0 + bins, 50.0, 10.0, 10.0])


def recording(**changes):
    """One event in each bin; its column is the number of the bin, and the grey of a frame its number."""
    bin_of = np.arange(NUM_BINS)
    events = make_events(t=bin_of * 10_000 + 5000, x=bin_of, y=bin_of * 0, p=bin_of * 0)
    frame_bins = RATIO * np.arange(NUM_FRAMES)

    parts = {
        "name": "straight",
        "dt": DT,
        "events": bin_sparse(events, 1, NUM_BINS, DT, NUM_BINS),
        "frames": np.arange(NUM_FRAMES, dtype=np.uint8)[:, None, None],
        "frame_times": frame_bins * DT,
        "frame_events": frame_bins,
        "frame_boxes": np.stack([box_at(b) for b in frame_bins]),
        "boxes": np.stack([box_at(b + 1) for b in bin_of]),
    }
    return Recording(**{**parts, **changes})


class Recorder:
    """Holds the last given box and keeps a list of its inputs."""

    def __init__(self):
        self.inputs = []
        self.starts = 0

    def step(self, inputs, state):
        self.starts += state is None
        frame = inputs["frame"].item() if "frame" in inputs else None
        given = inputs["box"][0] if "box" in inputs else None
        self.inputs.append((inputs["events"].x.tolist(), frame, given))
        state = inputs.get("box", state)

        return state, state


def test_between_frames_gives_two_boxes_and_every_event_up_to_the_answer():
    recorder = Recorder()
    outputs = interframe(recording(), recorder, range(2, 3))

    assert recorder.inputs == [
        ([4], 1, 104),
        ([5], None, None),
        ([6], None, None),
        ([7], None, None),
        ([8], 2, 108),
        ([9], None, None),
        ([10], None, None),
        ([11], None, None),
    ]

    assert outputs.bins.tolist() == [8, 9, 10, 11] and outputs.bin_of_frame.tolist() == [1, 2, 3, 4]
    assert outputs.truths[:, 0].tolist() == [109, 110, 111, 112]
    assert outputs.boxes[:, 0].tolist() == [108] * 4


def test_between_frames_starts_again_at_every_frame():
    recorder = Recorder()
    outputs = interframe(recording(), recorder)
    assert recorder.starts == 5 and len(outputs.boxes) == 5 * RATIO
    assert interframe(recording(), StaticBox(), num_given=1).bins.tolist() == list(range(NUM_BINS))


def test_hold_is_late_by_what_the_target_moved_and_constant_velocity_is_right():
    hold = interframe(recording(), StaticBox()).report()
    assert hold["mean_distance_px"] == 2.5
    assert [(one["bin"], one["mean_distance_px"]) for one in hold["per_bin"]] == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert interframe(recording(), ConstantVelocity()).score().mean_distance_px == pytest.approx(0)


def test_the_report_has_the_names_of_the_metrics():
    names = {"mean_distance_px", "auc", "precision_3px", "precision_5px", "precision_20px", "miou", "per_bin"}
    assert names <= set(one_pass_evaluation(recording(), StaticBox()).report())


def test_a_frame_without_a_known_box_is_no_start():
    boxes = recording().frame_boxes.copy()
    boxes[3] = np.nan
    outputs = interframe(recording(frame_boxes=boxes), StaticBox())

    # neither frame 3 nor frame 4, before which it stands
    assert sorted(set(outputs.bins // RATIO)) == [1, 2, 5]
    assert interframe(recording(frame_boxes=boxes), StaticBox(), range(3, 4)).score().num_outputs == 0


def test_unlabelled_bins_are_answered_and_not_scored():
    truths = recording().boxes.copy()
    truths[9] = np.nan
    outputs = interframe(recording(boxes=truths), StaticBox(), range(2, 3))
    assert len(outputs.boxes) == 4 and outputs.score().num_outputs == 3


def test_box_noise_is_the_same_for_every_tracker_and_drawn_once_per_frame():
    noisy = [
        interframe(recording(), tracker, noise_px=2.0, seed=3, num_given=1) for tracker in (StaticBox(), StaticBox())
    ]
    assert np.array_equal(noisy[0].boxes, noisy[1].boxes)

    noise = noisy[0].boxes[::RATIO, :2] - recording().frame_boxes[:, :2]
    part = interframe(recording(), StaticBox(), range(4, 6), noise_px=2.0, seed=3).boxes[::RATIO, :2]

    assert np.array_equal(part, noise[4:] + recording().frame_boxes[4:, :2])
    assert 0.5 < np.abs(noise).mean() < 4 and np.array_equal(noisy[0].boxes[:, 2:], np.full((NUM_BINS, 2), 10.0))

    other = interframe(recording(), StaticBox(), noise_px=2.0, seed=4, num_given=1)
    assert not np.array_equal(other.boxes, noisy[0].boxes)


@pytest.mark.parametrize(("every", "given_at"), [(1, [0, 1, 2, 3, 4, 5]), (2, [0, 2, 4]), (4, [0, 4]), (None, [0])])
def test_the_box_is_given_at_every_nth_frame(every, given_at):
    recorder = Recorder()
    outputs = reset_every(recording(), recorder, every=every)

    assert recorder.starts == 1 and len(outputs.boxes) == NUM_BINS
    assert [frame for _, frame, given in recorder.inputs if given is not None] == given_at
    assert [frame for _, frame, _ in recorder.inputs if frame is not None] == list(range(NUM_FRAMES))


def test_a_static_box_drifts_as_far_as_the_target_moves():
    """With a box every 2 frames the target is 1 .. 8 px away, with one alone 1 .. 24."""
    assert reset_every(recording(), StaticBox(), every=2).score().mean_distance_px == 4.5
    assert one_pass_evaluation(recording(), StaticBox()).score().mean_distance_px == 12.5


def test_a_part_begins_with_its_own_first_box():
    recorder = Recorder()
    outputs = one_pass_evaluation(recording(), recorder, range(2, 4))
    assert recorder.inputs[0] == ([8], 2, 108) and outputs.bins.tolist() == list(range(8, 16))


def test_no_answer_depends_on_later_events():
    class Counter:
        def step(self, inputs, state):
            state = (0.0 if state is None else state) + sum(inputs["events"].x.tolist())
            return np.array([state, 0.0, 1.0, 1.0]), state

    events = recording().events
    changed = events.x.copy()
    changed[14:] = 0
    later = recording(events=type(events)(changed, events.y, events.on, events.edges, 1, NUM_BINS))

    for ask in (
        lambda r: one_pass_evaluation(r, Counter()),
        lambda r: streaming(r, Counter(), latency=DeclaredLatency(0.0, 0.0).of()),
    ):
        before = ask(recording()).boxes
        after = ask(later).boxes
        assert np.array_equal(before[:14], after[:14]) and not np.array_equal(before[14:], after[14:])


def test_fewer_frames_make_longer_gaps_of_the_same_part():
    every = interframe(recording(), StaticBox(), range(2, 6))
    second = interframe(recording().subsample_frames(2), StaticBox(), range(1, 3))
    assert every.bins.tolist() == list(range(8, 24)) and second.bins.tolist() == list(range(8, 24))
    assert every.score().mean_distance_px == 2.5 and second.score().mean_distance_px == 4.5
    assert second.bin_of_frame.tolist() == [*range(1, 9), *range(1, 9)]


def test_a_busy_worker_takes_all_that_is_new_at_once():
    """2.5 bins of work: at the end of bin 0, then at 3.5 bins (1 and 2), at 6 bins (3, 4, 5), at 8.5 (6, 7) ..."""
    recorder = Recorder()
    outputs = streaming(recording(), recorder, latency=DeclaredLatency(2.5 * DT, 2.5 * DT).of())

    assert [events for events, _, _ in recorder.inputs[:5]] == [[0], [1, 2], [4, 5], [6, 7], [8, 9, 10]]
    # the frame of bin 4 came with bins 3 to 5: only what is after it is given
    assert [frame for _, frame, _ in recorder.inputs[:5]] == [0, None, 1, None, 2]
    assert len(outputs.boxes) == NUM_BINS


class Clock:
    """Answers with the time of its newest input, in bins."""

    def step(self, inputs, state):
        now = (state or 0) + round(inputs["elapsed"] / DT)
        return box_at(now), now


def test_each_truth_is_compared_with_the_newest_available_answer():
    """The answers of bins 1, 3, 6, 8 are there at 3.5, 6, 8.5 and 11 bins; before that the first box counts."""
    outputs = streaming(recording(), Clock(), latency=DeclaredLatency(2.5 * DT, 2.5 * DT).of())
    assert (outputs.boxes[:12, 0] - 100).tolist() == [0, 0, 0, 1, 1, 3, 3, 3, 6, 6, 8, 8]
    assert streaming(recording(), Clock(), latency=DeclaredLatency(0, 0).of()).score().mean_distance_px == 0


def test_only_frames_may_be_slow():
    """A frame takes 2 bins of work more: the answers of its bin and of the next are late."""
    outputs = streaming(recording(), Clock(), range(0, 2), latency=DeclaredLatency(step=0.0, frame=2 * DT).of())
    assert (outputs.boxes[:, 0] - 100).tolist() == [0, 0, 3, 4, 4, 4, 7, 8]


def test_without_declared_latencies_the_work_is_measured():
    outputs = streaming(recording(), Clock())
    # a step of microseconds is there long before the next bin ends
    assert (outputs.truths[1:, 0] - outputs.boxes[1:, 0]).max() <= 1


def test_the_error_by_speed_of_the_target():
    outputs = reset_every(recording(), StaticBox(), every=1)
    speeds = target_speed(recording().boxes, DT)[outputs.bins]
    slow, fast = error_by_speed(outputs.boxes, outputs.truths, speeds, [0, 99, 101])

    assert (slow.num_outputs, fast.num_outputs) == (0, NUM_BINS - 6)
    assert fast.mean_distance_px == pytest.approx(2.5, abs=0.2)


def test_wrong_frames_and_numbers_are_refused():
    unknown = recording().frame_boxes.copy()
    unknown[0] = np.nan

    for ask in (one_pass_evaluation, streaming):
        with pytest.raises(ConfigError, match="that of frame 0 is not known"):
            ask(recording(frame_boxes=unknown), StaticBox())
        with pytest.raises(ConfigError, match=r"inside the 6 of the recording, with 0 before it"):
            ask(recording(), StaticBox(), range(0, 7))

    with pytest.raises(ConfigError, match=r"with 1 before it, but got range\(0, 2\)"):
        interframe(recording(), StaticBox(), range(0, 2))

    with pytest.raises(ConfigError, match="num_given of 1 box or more"):
        interframe(recording(), StaticBox(), num_given=0)

    with pytest.raises(ConfigError, match="every of 1 or more"):
        reset_every(recording(), StaticBox(), every=0)

    with pytest.raises(ConfigError, match="noise_px of 0 or more"):
        one_pass_evaluation(recording(), StaticBox(), noise_px=-1.0)


def test_outputs_hold_arrays_and_nothing_else():
    assert set(TrackingResult._fields) == {"boxes", "truths", "bins", "bin_of_frame"}
