"""The sensing network as a tracker, and the crops that it reads."""

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from research.sensing.variants.rotating_disk import RotatingDisk
from spikebridge.data.events.binned import BinEvents, crop_events
from spikebridge.data.recordings.recording import Inputs, Recording
from spikebridge.data.simulation.render import render_recording
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.sensing.evaluation.protocols import (
    DeclaredLatency,
    interframe,
    one_pass_evaluation,
    streaming,
)
from spikebridge.networks.sensing.model.boxes import crop_around, crop_frame, translate_box
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.model.units import SensingOptions
from spikebridge.networks.sensing.tracker.fused_detector import FusedDetector
from spikebridge.networks.sensing.tracker.tracker import SensingTracker, TrackerOptions
from spikebridge.networks.sensing.training.samples import cut_samples
from spikebridge.ops import without_native

pytestmark = pytest.mark.untyped

DT = 0.005


@pytest.fixture(scope="module")
def recording() -> Recording:
    return render_recording(RotatingDisk(height=64, width=64), duration=0.15, dt=DT)


@pytest.fixture(scope="module")
def tracker() -> SensingTracker:
    torch.manual_seed(0)
    return SensingTracker(Sensing(DT, SensingOptions(num_features=4, reach=6)).eval(), TrackerOptions(crop=48))


def test_the_tracker_gives_the_places_of_the_network_for_the_same_samples(
    recording: Recording, tracker: SensingTracker
) -> None:
    outputs = interframe(recording, tracker, range(1, 5))
    samples = cut_samples(recording, range(1, 5), 48)
    with torch.no_grad():
        start = tracker.sensing.begin(samples.frames, samples.boxes, samples.before, samples.motion)
        places, _ = tracker.sensing.track(samples.frames, samples.events, samples.boxes, start)

    answers = (outputs.boxes[:, :2] + outputs.boxes[:, 2:] / 2).reshape(4, 5, 2)
    here = recording.frame_boxes[1:5]
    expected = places.transpose(0, 1).numpy() + (here[:, :2] + here[:, 2:] / 2)[:, None]
    np.testing.assert_allclose(answers, expected, atol=1e-3)


@pytest.mark.parametrize("calibrate", [False, True])
def test_boxes_are_the_same_without_the_native_library(
    recording: Recording, tracker: SensingTracker, calibrate: bool
) -> None:
    tracker = tracker.with_options(calibrate=calibrate, detector="both", warns=False)
    rows: list[list[np.ndarray]] = []

    for context in (nullcontext(), without_native()):
        state = None
        boxes = []

        with context:
            for b in range(int(recording.frame_bins[-1]) + 1):
                given = {} if state is not None else {"box": recording.frame_boxes[0]}
                box, state = tracker.step({**recording.inputs(b, b + 1), **given}, state)
                boxes.append(np.append(box, [state.spread, state.confidence]))

        rows.append(boxes)

    np.testing.assert_allclose(*rows, atol=1e-3)


def test_nothing_from_before_a_frame_is_left_in_membranes_and_unit(
    recording: Recording, tracker: SensingTracker
) -> None:
    first, second = recording.frame_bins[1:3].tolist()
    _, state = tracker.step({**recording.inputs(0, 1), "box": recording.frame_boxes[0]}, None)
    disturbed = state
    everywhere = np.indices((64, 64)).reshape(2, -1).astype(np.uint16)
    noise = BinEvents(everywhere[0], everywhere[1], np.ones(64 * 64, bool))

    for b in range(1, first):
        _, state = tracker.step(recording.inputs(b, b + 1), state)
        _, disturbed = tracker.step({**recording.inputs(b, b + 1), "events": noise}, disturbed)

    assert not np.array_equal(state.box, disturbed.box)
    for b in range(first, second):
        given = {"box": recording.frame_boxes[1]} if b == first else {}
        box, state = tracker.step({**recording.inputs(b, b + 1), **given}, state)
        other, disturbed = tracker.step({**recording.inputs(b, b + 1), **given}, disturbed)
        assert np.array_equal(box, other)


def test_answers_with_latency_of_nothing_are_those_of_the_closed_loop(
    recording: Recording, tracker: SensingTracker
) -> None:
    loop = one_pass_evaluation(recording, tracker)
    at_once = streaming(recording, tracker, latency=DeclaredLatency(0.0, 0.0).of())
    np.testing.assert_allclose(loop.boxes, at_once.boxes)
    slow = streaming(recording, tracker, latency=DeclaredLatency(0.012, 0.02).of())

    assert np.isfinite(slow.boxes).all()  # it takes several bins at once


def test_late_frames_lengthen_the_time_between_them(recording: Recording, tracker: SensingTracker) -> None:
    boxes = interframe(recording.subsample_frames(2), tracker, range(1, 3)).boxes
    assert len(boxes) == 20
    assert np.isfinite(boxes).all()


@pytest.mark.parametrize(
    "form",
    [{}, {"unit": "fixed"}, {"unit": "none"}],
    ids=["learned", "fixed", "none"],
)
def test_a_restarted_stream_keeps_its_frame_and_none_of_its_events(form: dict[str, Any]) -> None:
    torch.manual_seed(0)
    sensing = Sensing(DT, SensingOptions(num_features=4, reach=4, **form)).eval()
    frame = {"frames": 255 * torch.rand(1, 1, 1, 32, 32), "boxes": torch.tensor([[[1.0, 0.0, 9.0, 9.0]]])}
    first, second = (torch.rand(2, 3, 1, 2, 32, 32) < 0.2).float().unbind(0)

    with torch.no_grad():
        _, state = sensing.respond({**frame, "events": first}, None)
        again, _ = sensing.respond({"events": second}, sensing.restart_events(state))
        fresh, _ = sensing.respond({**frame, "events": second}, None)
        without, _ = sensing.respond({"events": second}, state)

    assert torch.equal(again, fresh)
    assert "events" not in sensing.inputs or not torch.equal(without, fresh)


def test_late_frames_restart_streams_without_the_ann(recording: Recording, tracker: SensingTracker) -> None:
    runs: list[int] = []
    state = None
    ages = []

    for b in range(20):
        given = {"box": recording.frame_boxes[0]} if b == 0 else {}
        _, state = tracker.step({**recording.subsample_frames(8).inputs(b, b + 1), **given}, state)
        ages.append(round(state.stream.age / DT))
        if b == 0:
            state.model.network.what.register_forward_hook(lambda *_: runs.append(0))

    assert ages == [1, 2, 3, 4, 5] * 4  # steps of 5 ms, streams of 25 ms
    assert runs == []


def test_the_displacement_of_a_stream_is_the_motion_prior_of_the_next_one(
    recording: Recording, tracker: SensingTracker
) -> None:
    state = None
    boxes = []
    for b in range(11):
        given = {"box": recording.frame_boxes[0]} if b == 0 else {}
        box, state = tracker.step({**recording.subsample_frames(8).inputs(b, b + 1), **given}, state)
        boxes.append(box[:2])

    assert state is not None

    np.testing.assert_allclose(state.stream.start.motion[0].numpy(), boxes[9] - boxes[4], atol=1e-4)
    rest = boxes[9] - state.estimate.box[:2] - state.stream.crop_offset
    np.testing.assert_allclose(state.stream.start.place[0].numpy(), rest, atol=1e-4)

    assert np.abs(rest).max() <= 0.5


def test_a_target_without_confident_detections_is_lost_after_three_frames_until_a_box_is_given(
    recording: Recording, tracker: SensingTracker
) -> None:
    doubtful = tracker.with_options(accept_confidence=1.0)
    state = None
    lost = []

    for b in range(int(recording.frame_bins[5])):
        given = {"box": recording.frame_boxes[0]} if b == 0 else {}
        _, state = doubtful.step({**recording.inputs(b, b + 1), **given}, state)
        state = doubtful.flush(state)

        assert state.estimate.num_unsure == np.searchsorted(recording.frame_bins, b, side="right") - 1
        assert 0 <= state.confidence <= 1

        lost.append(state.lost)

    assert lost.index(True) == recording.frame_bins[3]
    assert all(lost[recording.frame_bins[3] :])

    b = int(recording.frame_bins[5])
    _, state = doubtful.step({**recording.inputs(b, b + 1), "box": recording.frame_boxes[5]}, state)

    assert not state.lost


def test_the_detector_measures_the_size_of_the_target(recording: Recording, tracker: SensingTracker) -> None:
    trusting = tracker.with_options(accept_confidence=0.0)
    sizes = one_pass_evaluation(recording, trusting, range(3)).boxes[:, 2:]
    np.testing.assert_allclose(sizes[0], recording.frame_boxes[0, 2:])

    assert not np.allclose(sizes[-1], sizes[0])


def test_only_confident_detections_update_the_template(recording: Recording, tracker: SensingTracker) -> None:
    second = int(recording.frame_bins[1])
    for sure, renewed in ((0.0, True), (1.0, False)):
        watcher = tracker.with_options(accept_confidence=sure)
        state = None

        for b in range(second + 1):
            given = {"box": recording.frame_boxes[0]} if b == 0 else {}
            _, state = watcher.step({**recording.inputs(b, b + 1), **given}, state)
            if b == 0:
                first, newest = state.estimate.target

        state = watcher.flush(state)
        assert state.estimate.target.first is first  # K_0 never changes
        assert (state.estimate.target.newest is newest) is not renewed


def test_the_detector_runs_in_the_step_after_a_frame(recording: Recording, tracker: SensingTracker) -> None:
    trusting = tracker.with_options(accept_confidence=0.0)
    state = None
    boxes = []
    second = int(recording.frame_bins[1])

    for b in range(second + 2):
        given = {"box": recording.frame_boxes[0]} if b == 0 else {}
        box, state = trusting.step({**recording.inputs(b, b + 1), **given}, state)

        assert (state.pending is not None) is (b == second)

        boxes.append(box)
        if b == second:
            predicted = state.estimate.box
            flushed = trusting.flush(state)
            assert trusting.flush(flushed) is flushed

    np.testing.assert_allclose(boxes[second][2:], recording.frame_boxes[0, 2:])
    np.testing.assert_allclose(boxes[second + 1][2:], flushed.estimate.box[2:])

    # the displacement since the frame is kept
    def middle(one: np.ndarray) -> np.ndarray:
        return one[:2] + one[2:] / 2

    corrected = middle(flushed.estimate.box) - middle(predicted)
    np.testing.assert_allclose(middle(flushed.box), middle(boxes[second]) + corrected)


def to_the_second_frame(recording: Recording, tracker: SensingTracker) -> Any:
    """The state in which the detector has not processed it yet."""
    state = None
    for b in range(int(recording.frame_bins[1]) + 1):
        given = {"box": recording.frame_boxes[0]} if b == 0 else {}
        _, state = tracker.step({**recording.inputs(b, b + 1), **given}, state)

    return state


def detecting(monkeypatch: pytest.MonkeyPatch, tracker: SensingTracker, box: np.ndarray) -> SensingTracker:
    """A tracker whose detector is sure of a box."""
    monkeypatch.setattr(FusedDetector, "detect", lambda *_, **__: (box, 0.1))
    return tracker.with_options(detector_gain=0.5)


@pytest.mark.parametrize(("keep", "gain"), [(1, 0.5), (2, 0.75), (3, 0.875)])
def test_the_longer_ago_the_last_frame_the_less_the_own_prediction_counts(
    recording: Recording, tracker: SensingTracker, monkeypatch: pytest.MonkeyPatch, keep: int, gain: float
) -> None:
    detected = np.array([20.0, 24.0, 16.0, 12.0])
    half = detecting(monkeypatch, tracker, detected)
    state = to_the_second_frame(recording.subsample_frames(keep), half)
    predicted = state.pending.box
    blended = half.flush(state).estimate.box
    np.testing.assert_allclose(blended, predicted + gain * (detected - predicted))


@pytest.mark.parametrize("keep", [1, 2])
def test_a_target_detected_far_from_its_prediction_is_cut_out_again_there(
    recording: Recording, tracker: SensingTracker, monkeypatch: pytest.MonkeyPatch, keep: int
) -> None:
    fewer = recording.subsample_frames(keep)
    predicted = to_the_second_frame(fewer, tracker).pending.box

    for distance, is_far in ((1.0, False), (12.0, True)):
        sure = detecting(monkeypatch, tracker, translate_box(predicted, np.array([distance, 0.0])))
        state = to_the_second_frame(fewer, sure)
        flushed = sure.flush(state)
        shift = flushed.estimate.box[0] - predicted[0]

        assert shift == pytest.approx(distance * (1 - 0.5**keep))
        if not is_far:
            assert flushed.network is state.network
            continue

        crop, local_box = crop_around(flushed.estimate.box, sure.options.crop)
        # it moved by this much more since the last frame
        start = state.stream.start
        start = start._replace(motion=start.motion + torch.tensor([[shift / keep, 0.0]], dtype=torch.float32))
        run = state.model.network
        box = torch.tensor(local_box[None], dtype=torch.float32)
        _, network = run.open(crop_frame(state.frame, crop)[None], box, start=start)
        network = run.accumulate(crop_events(state.events[0], crop)[None], network)

        assert flushed.crop == crop

        torch.testing.assert_close(flushed.stream.start.motion, start.motion)
        torch.testing.assert_close(flushed.network.carry, network.carry)
        torch.testing.assert_close(flushed.network.template.kernel, network.template.kernel)
        np.testing.assert_allclose(flushed.network.expected.motion, network.expected.motion, rtol=1e-5)


def test_a_target_without_a_sure_detection_in_the_last_frame_has_no_known_velocity(
    recording: Recording, tracker: SensingTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = np.array([4.0, 6.0, 16.0, 12.0])
    monkeypatch.setattr(FusedDetector, "search", lambda self, *now: there)
    sure = detecting(monkeypatch, tracker, there)
    state = to_the_second_frame(recording, sure)

    assert torch.isfinite(sure.flush(state).stream.start.spread).all()
    for unsure in (1, 3):
        flushed = sure.flush(state._replace(estimate=state.estimate._replace(num_unsure=unsure)))
        start = flushed.stream.start
        assert torch.isinf(start.spread).all()
        assert start.motion.abs().max() == start.place.abs().max() == 0

    # searched in the whole frame, and the box is the detected one alone
    np.testing.assert_allclose(flushed.estimate.box, there)


def test_a_synchronous_tracker_detects_in_the_step_of_the_frame(recording: Recording, tracker: SensingTracker) -> None:
    trusting = tracker.with_options(accept_confidence=0.0)
    at_once = trusting.with_options(synchronous=True)
    second = int(recording.frame_bins[1])
    boxes = {}

    for name, one in (("later", trusting), ("at once", at_once)):
        state, boxes[name] = None, []
        for b in range(second + 3):
            given = {"box": recording.frame_boxes[0]} if b == 0 else {}
            box, state = one.step({**recording.inputs(b, b + 1), **given}, state)
            boxes[name].append(box)
            if b == second and name == "later":
                flushed = one.flush(state).box

    np.testing.assert_array_equal(boxes["at once"][:second], boxes["later"][:second])
    np.testing.assert_allclose(boxes["at once"][second], flushed)

    assert not np.allclose(boxes["later"][second], flushed)

    np.testing.assert_allclose(boxes["at once"][second + 1 :], boxes["later"][second + 1 :])


def test_little_confidence_starts_a_search_of_the_whole_frame(
    recording: Recording, tracker: SensingTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = np.array([40.0, 44.0, 8.0, 9.0])
    monkeypatch.setattr(FusedDetector, "search", lambda *_: elsewhere)
    monkeypatch.setattr(FusedDetector, "detect", lambda *given, **_: (given[5], 1.0 if given[5] is elsewhere else 2.0))
    ends = []

    # a box of about 8 px: a spread of 2 px is a confidence of .4, one of 1 px of .86
    for doubtful, convinced in ((0.3, 0.8), (0.5, 0.9), (0.5, 0.8)):
        watcher = tracker.with_options(search_confidence=doubtful, reacquire_confidence=convinced)
        state = None
        for b in range(int(recording.frame_bins[1]) + 1):
            given = {"box": np.array([10.0, 12.0, 8.0, 9.0])} if b == 0 else {}
            _, state = watcher.step({**recording.inputs(b, b + 1), **given}, state)

        ends.append(watcher.flush(state).estimate)

    assert np.abs(ends[0].box - elsewhere).max() > 5

    np.testing.assert_allclose(ends[1].box, ends[0].box)
    np.testing.assert_allclose(ends[2].box, elsewhere)

    assert [one.spread for one in ends] == [2.0, 2.0, 1.0]


def test_no_answer_depends_on_a_later_event(recording: Recording, tracker: SensingTracker) -> None:
    events = recording.events
    stop = 12
    later = int(events.edges[stop])
    other = np.concatenate([events.on[:later], ~events.on[later:]])
    changed = replace(recording, events=replace(events, on=other))
    trusting = tracker.with_options(accept_confidence=0.0)
    one, two = (one_pass_evaluation(r, trusting).boxes for r in (recording, changed))

    assert np.array_equal(one[:stop], two[:stop])
    assert not np.array_equal(one[stop:], two[stop:])


def test_silence_and_a_dead_frame_give_a_box(tracker: SensingTracker) -> None:
    nothing = BinEvents(np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, bool))
    given = Inputs(events=nothing, elapsed=DT, frame_age=DT, frame=np.zeros((64, 64), np.uint8))
    box, state = tracker.step({**given, "box": np.array([20.0, 20.0, 10.0, 8.0])}, None)

    for _ in range(3):
        box, state = tracker.step(given, state)

    state = tracker.flush(state)
    assert np.isfinite(box).all()
    assert box[2:].tolist() == [10.0, 8.0]
    assert state.confidence < 0.3
    assert state.lost


def test_a_crop_follows_the_middle_of_the_box() -> None:
    crop, local_box = crop_around(np.array([-3.0, 5.0, 4.0, 2.0]), size=16)
    assert crop[2:] == (16, 16)

    # middle (-1, 6): the crop's middle is at left + 8, in the plane where pixel 0 begins at 0
    np.testing.assert_allclose([crop[0] + 8 + local_box[0], crop[1] + 8 + local_box[1]], [-1.0, 6.0])
    assert abs(local_box[:2]).max() <= 0.5


def test_a_start_without_frame_or_box_is_refused(recording: Recording, tracker: SensingTracker) -> None:
    with pytest.raises(DataError, match="has no box"):
        tracker.step(recording.inputs(0, 1), None)

    with pytest.raises(DataError, match="has no frame"):
        tracker.step(recording.inputs(1, 2), None)

    with pytest.raises(DataError, match="given with its frame"):
        tracker.step({**recording.inputs(1, 2), "box": recording.frame_boxes[0]}, None)


def test_a_network_in_training_mode_is_refused(recording: Recording) -> None:
    tracker = SensingTracker(Sensing(dt=DT), TrackerOptions(crop=48))
    with pytest.raises(ConfigError, match="eval mode"):
        tracker.step({**recording.inputs(0, 1), "box": recording.frame_boxes[0]}, None)

    with pytest.raises(ConfigError, match="16 px or more, a multiple of 2, but got 47"):
        SensingTracker(Sensing(dt=DT), TrackerOptions(crop=47))

    with pytest.raises(ConfigError, match="from 0 to 1"):
        SensingTracker(Sensing(dt=DT), TrackerOptions(detector_gain=2.0))

    with pytest.raises(ConfigError, match="longer than 0"):
        SensingTracker(Sensing(dt=DT), TrackerOptions(max_stream=0.0))


@pytest.mark.parametrize("unit", ["learned", "none"])
def test_weights_of_another_type_are_named(recording: Recording, unit: Any) -> None:
    tracker = SensingTracker(Sensing(DT, SensingOptions(unit=unit)).eval().double(), TrackerOptions(crop=48))
    with pytest.raises(
        ConfigError, match=r"frames and events are torch.float32 on cpu, but parts\.what.* torch.float64"
    ):
        tracker.step({**recording.inputs(0, 1), "box": recording.frame_boxes[0]}, None)


def test_a_crop_may_be_smaller_than_the_reach_of_the_head(recording: Recording) -> None:
    torch.manual_seed(0)
    sensing = Sensing(DT, SensingOptions(num_features=4, reach=16)).eval()
    samples = cut_samples(recording, range(1, 2), 32)

    with torch.no_grad():
        start = sensing.begin(samples.frames, samples.boxes, samples.before, samples.motion)
        places, _ = sensing.track(samples.frames, samples.events, samples.boxes, start)

    answers = interframe(recording, SensingTracker(sensing, TrackerOptions(crop=32)), range(1, 2)).boxes
    middle = recording.frame_boxes[1, :2] + recording.frame_boxes[1, 2:] / 2
    # the crop cuts off some of what the fused form reads
    np.testing.assert_allclose(answers[:, :2] + answers[:, 2:] / 2, places[:, 0].numpy() + middle, atol=0.3)


@pytest.mark.parametrize("older", [0.0, 0.001])
@pytest.mark.parametrize("gain", [0.5, 1.0])
def test_a_frame_that_is_not_later_than_the_last_one_is_ignored(
    recording: Recording, tracker: SensingTracker, older: float, gain: float
) -> None:
    watcher = tracker.with_options(detector_gain=gain)
    given = {"box": recording.frame_boxes[0]}
    _, state = watcher.step({**recording.inputs(0, 1), **given}, None)
    events = recording.inputs(1, 2)
    again = Inputs(**events, frame=recording.frames[3], frame_age=state.age + DT + older)
    box, after = watcher.step(again, state)
    np.testing.assert_array_equal(box, watcher.step(events, state)[0])

    assert after.age == pytest.approx(2 * DT)
    assert after.pending is None
    with pytest.raises(DataError, match="none newer"):
        watcher.step({**again, **given}, state)


@pytest.mark.parametrize("is_counted", [False, True])
def test_a_new_stream_uses_changed_weights_where_pytorch_counts_the_change(
    recording: Recording, is_counted: bool
) -> None:
    sensing = Sensing(DT, SensingOptions(num_features=4, reach=6)).eval()
    tracker = SensingTracker(sensing, TrackerOptions(crop=48))
    before = interframe(recording, tracker).boxes
    np.testing.assert_array_equal(interframe(recording, tracker).boxes, before)

    if is_counted:
        with torch.no_grad():
            sensing.parts["head"].log_scale += 3.0  # type: ignore[operator]
    else:
        sensing.parts["head"].log_scale.data += 3.0  # type: ignore[operator]
        np.testing.assert_array_equal(interframe(recording, tracker).boxes, before)
        tracker.rebuild()

    after = interframe(recording, tracker).boxes
    assert np.abs(after - before).max() > 1e-3

    np.testing.assert_array_equal(interframe(recording, SensingTracker(sensing, TrackerOptions(crop=48))).boxes, after)


def test_a_new_stream_runs_a_unit_of_another_form(recording: Recording) -> None:
    sensing = Sensing(DT, SensingOptions(num_features=4, reach=6)).eval()
    tracker = SensingTracker(sensing, TrackerOptions(crop=48))
    unit = sensing.units["unit"]
    fused = interframe(recording, tracker).boxes
    unit.nonlinearity = torch.nn.Sequential(unit.nonlinearity, torch.nn.Tanh())

    assert np.abs(interframe(recording, tracker).boxes - fused).max() > 1e-3


@pytest.mark.parametrize("is_fused", [True, False], ids=["fused", "eager"])
def test_a_stream_keeps_the_weights_of_its_start(
    recording: Recording, is_fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_fused:
        monkeypatch.setattr("spikebridge.networks.sensing.tracker.inference.can_fuse", lambda sensing: False)

    boxes = []
    for changed in (False, True):
        torch.manual_seed(0)
        sensing = Sensing(DT, SensingOptions(num_features=4, reach=6)).eval()
        tracker = SensingTracker(sensing, TrackerOptions(crop=48))
        state = None

        for b in range(4):
            given = {"box": recording.frame_boxes[0]} if b == 0 else {}
            box, state = tracker.step({**recording.inputs(b, b + 1), **given}, state)
            if changed:
                torch.nn.init.zeros_(sensing.parts["where"].straight.weight)  # type: ignore[union-attr, arg-type]

        boxes.append(box)

    np.testing.assert_array_equal(*boxes)
