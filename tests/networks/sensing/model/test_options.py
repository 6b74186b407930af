"""Options of the sensing network: what the unit's map makes of the change, and events that are counted."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikebridge.data.events.binned import EventBins
from spikebridge.data.recordings.recording import Recording
from spikebridge.data.simulation.render import render_recording
from spikebridge.data.simulation.rotating_disk import RotatingDisk
from spikebridge.errors import ConfigError
from spikebridge.networks.sensing.baselines.snn_only import EventTracker
from spikebridge.networks.sensing.evaluation.protocols import interframe, one_pass_evaluation
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.model.units import SensingOptions, additive_unit
from spikebridge.networks.sensing.tracker.fused_model import FusedInference
from spikebridge.networks.sensing.tracker.inference import EagerInference, build_inference
from spikebridge.networks.sensing.tracker.tracker import SensingTracker, TrackerOptions
from spikebridge.networks.sensing.training.objectives import random_flip_samples
from spikebridge.networks.sensing.training.samples import TrackingSamples, cut_samples

DT = 0.005
OPTIONS: dict[str, dict[str, Any]] = {
    "tanh": {"change_map": "tanh"},
    "joined": {"change_map": "joined"},
    "joined, correlation": {"change_map": "joined", "head": "correlation"},
    "counts": {"counts": True},
    "counts, kernel": {"counts": True, "mode": "kernel"},
    "joined, counts": {"change_map": "joined", "counts": True},
}
options = pytest.mark.parametrize("form", OPTIONS.values(), ids=OPTIONS)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def recording() -> Recording:
    return render_recording(RotatingDisk(height=64, width=64), duration=0.15, dt=DT)


def small(**form: Any) -> Sensing:
    """A network whose every weight is something, so that nothing is equal by chance."""
    sensing = Sensing(DT, SensingOptions(num_features=4, reach=6, search=6.0, detector=False, **form))
    with torch.no_grad():
        for name, parameter in sensing.named_parameters():
            parameter += 0.1 * torch.randn_like(parameter) * (0.3 if "log" in name else 1.0)

    return sensing.eval()


def some_inputs(size: int = 32) -> dict[str, Tensor]:
    boxes = torch.tensor([[[0.0, 0.0, 12.0, 8.0], [0.3, -0.2, 9.0, 9.0]]])
    events = torch.poisson(0.3 * torch.ones(5, 2, 2, size, size))
    return {"frames": 255 * torch.rand(1, 2, 1, size, size), "boxes": boxes, "events": events}


@pytest.mark.parametrize(
    ("change_map", "weights", "expected"),
    [
        ("linear", {"weight": 2.0}, 1.0),
        ("tanh", {"0.weight": 2.0}, 0.761594),  # tanh(1)
        ("joined", {"change.weight": 2.0, "features.weight": -0.25}, 0.443031),  # tanh(1.5) - tanh(0.5)
    ],
)
def test_each_map_gives_what_is_worked_out_by_hand(change_map: Any, weights: dict[str, float], expected: float) -> None:
    unit = additive_unit("learned", 1, DT, side=1, change_map=change_map)
    unit.nonlinearity.load_state_dict({name: torch.full((1, 1, 1, 1), value) for name, value in weights.items()})
    summed = torch.full((1, 1, 1, 2, 2), 0.5)
    features = torch.full((1, 1, 1, 2, 2), -2.0)
    context = features if change_map == "joined" else None

    with torch.no_grad():
        change, _ = unit(summed, starts=torch.tensor([True]), context=context)

    torch.testing.assert_close(change, torch.full((1, 1, 1, 2, 2), expected))


@pytest.mark.parametrize("change_map", ["linear", "tanh", "joined"])
def test_where_nothing_has_changed_no_map_gives_a_change_whatever_the_features_are(change_map: Any) -> None:
    sensing = small(change_map=change_map)
    change = sensing.units["unit"].nonlinearity
    features = [torch.randn(2, 4, 8, 8)] if change_map == "joined" else []
    assert not change(torch.zeros(2, 4, 8, 8), *features).any()


def test_a_joined_map_starts_as_the_tanh_and_differs_with_the_frame_once_it_has_learned() -> None:
    torch.manual_seed(1)
    plain = Sensing(DT, SensingOptions(reach=4, change_map="tanh")).eval()
    torch.manual_seed(1)
    joined = Sensing(DT, SensingOptions(reach=4, change_map="joined")).eval()
    inputs = some_inputs()

    with torch.no_grad():
        expected, _ = plain.respond(inputs, None)
        assert torch.equal(joined.respond(inputs, None)[0], expected)
        nn.init.normal_(joined.units["unit"].nonlinearity.features.weight)
        assert not torch.equal(joined.respond(inputs, None)[0], expected)


def test_options_leave_every_other_weight_of_a_seed_as_it_is() -> None:
    states = []
    for form in ({}, {"change_map": "linear", "counts": True}, {"change_map": "tanh"}, {"change_map": "joined"}):
        torch.manual_seed(2)
        states.append(Sensing(DT, SensingOptions(**form)).state_dict())  # type: ignore[arg-type]

    default, same, *others = states
    path = "units.unit.nonlinearity"

    assert [name for name in default if name.startswith(path)] == [f"{path}.weight"]
    assert default.keys() == same.keys()
    for state in (same, *others):
        shared = default.keys() & state.keys()
        assert default.keys() - shared <= {f"{path}.weight"}
        assert all(torch.equal(state[name], default[name]) for name in shared)


@options
def test_steps_are_the_whole_and_know_no_later_events(form: dict[str, Any]) -> None:
    sensing = small(**form)
    inputs = some_inputs()

    with torch.no_grad():
        whole, _ = sensing.respond(inputs, None)
        response, state = sensing.respond({**inputs, "events": inputs["events"][:1]}, None)
        steps = [response]

        for events in inputs["events"][1:].split(1):
            response, state = sensing.respond({"events": events}, state)
            steps.append(response)

        inputs["events"][3:] += 1
        other, _ = sensing.respond(inputs, None)

    torch.testing.assert_close(torch.cat(steps), whole, atol=1e-4, rtol=1e-4)
    assert torch.equal(other[:3], whole[:3]) and not torch.equal(other[3:], whole[3:])


@options
def test_a_restarted_stream_keeps_its_frame_and_none_of_its_events(form: dict[str, Any]) -> None:
    sensing = small(**form)
    inputs = some_inputs()

    with torch.no_grad():
        _, state = sensing.respond(inputs, None)
        later = torch.poisson(0.2 * torch.ones_like(inputs["events"]))
        again, _ = sensing.respond({"events": later}, sensing.restart_events(state))
        anew, _ = sensing.respond({**inputs, "events": later}, None)

    assert torch.equal(again, anew)


@pytest.mark.parametrize("change_map", ["tanh", "joined"])
def test_every_parameter_gets_a_gradient(change_map: Any) -> None:
    sensing = Sensing(DT, SensingOptions(num_features=4, reach=4, search=4.0, detector=False, change_map=change_map))
    inputs = some_inputs()
    frames = inputs["frames"][0]
    boxes = inputs["boxes"][0]
    start = sensing.begin(frames, boxes, frames + 9 * torch.rand_like(frames), torch.tensor([[1.0, 2.0], [0.5, 0.0]]))
    places, _ = sensing.track(frames, inputs["events"], boxes, start)
    (places - 1).square().sum().backward()

    assert [name for name, p in sensing.named_parameters() if p.grad is None or not p.grad.any()] == []


@options
def test_the_tracker_says_what_the_network_says_of_the_same_samples(form: dict[str, Any], recording: Recording) -> None:
    sensing = small(**form)
    # only what is linear behind the spikes is folded
    linear = form.get("change_map") is None and "mode" not in form

    assert isinstance(build_inference(sensing, 48).network, FusedInference if linear else EagerInference)

    outputs = interframe(recording, SensingTracker(sensing, TrackerOptions(crop=48)), range(1, 5))
    samples = cut_samples(recording, range(1, 5), 48, counts=sensing.counts)

    assert bool(samples.events.max() > 1) is sensing.counts
    with torch.no_grad():
        start = sensing.begin(samples.frames, samples.boxes, samples.before, samples.motion)
        places, _ = sensing.track(samples.frames, samples.events, samples.boxes, start)

    said = (outputs.boxes[:, :2] + outputs.boxes[:, 2:] / 2).reshape(4, 5, 2)
    here = recording.frame_boxes[1:5]
    expected = places.transpose(0, 1).numpy() + (here[:, :2] + here[:, 2:] / 2)[:, None]
    np.testing.assert_allclose(said, expected, atol=0.02 if linear else 1e-3)  # the fold knows more of the crop's edge


@pytest.mark.parametrize(
    "tracker_of", [partial(SensingTracker, options=TrackerOptions(crop=48)), partial(EventTracker, crop=48)]
)
def test_a_tracker_counts_events_where_its_network_does(tracker_of: Any, recording: Recording) -> None:
    plain = small()
    counting = small(counts=True)
    counting.load_state_dict(plain.state_dict())
    seen, counted = (one_pass_evaluation(recording, tracker_of(one)).boxes for one in (plain, counting))

    assert not np.array_equal(seen, counted)


def test_counted_samples_hold_all_events_both_ways_in_time(recording: Recording) -> None:
    samples = cut_samples(recording, range(1, 4), 48, both_ways=True, as_bytes=True, counts=True)
    plain = cut_samples(recording, range(1, 4), 48, both_ways=True, as_bytes=True)

    assert samples.events.dtype == torch.uint8 and samples.events.max() > 1
    assert torch.equal(samples.events > 0, plain.events)

    # around a box that stands still the first interval is cut at one place both ways
    still = replace(recording, frame_boxes=np.tile([22.0, 22.0, 20.0, 20.0], (recording.num_frames, 1)))
    events = cut_samples(still, range(1, 4), 48, both_ways=True, as_bytes=True, counts=True).events

    assert torch.equal(events[:, 3].flip(0).flip(1), events[:, 0])

    floats = cut_samples(recording, range(1, 4), 48, both_ways=True, counts=True)
    assert torch.equal(floats.events, samples.events.float())


def test_more_events_than_a_byte_holds_do_not_begin_at_zero_again(recording: Recording) -> None:
    first = int(recording.frame_bins[1])
    edges = np.where(np.arange(recording.num_bins + 1) > first, 300, 0)  # all in the first bin after frame 1
    column = np.full(300, 32, np.uint16)
    events = EventBins(column, column, np.ones(300, bool), edges, 64, 64)
    crowded = replace(recording, events=events, frame_events=edges[recording.frame_bins])
    samples = cut_samples(crowded, range(1, 2), 48, counts=True)

    assert samples.events.sum() == samples.events.max() == 255


def test_counts_are_turned_with_their_samples(recording: Recording) -> None:
    samples = cut_samples(recording, range(1, 5), 48, as_bytes=True, counts=True)
    one = TrackingSamples(*(part.float() if name == "frames" else part for name, part in samples._asdict().items()))
    events = random_flip_samples(one).events

    assert events.dtype == torch.float32
    for mine, theirs in zip(events.unbind(1), samples.events.unbind(1), strict=True):
        assert torch.equal(mine.flatten(2).sort().values, theirs.float().flatten(2).sort().values)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"change_map": "tahn"}, "did you mean 'tanh'"),
        ({"change_map": "tanh", "mode": "kernel"}, "learned unit of the additive form, but got mode='kernel'"),
        ({"change_map": "joined", "unit": "fixed"}, "but got mode='additive' and unit='fixed'"),
        ({"change_map": "joined", "unit": "none"}, "leave out change_map"),
        ({"counts": True, "unit": "none"}, "leave out counts"),
    ],
)
def test_options_that_a_network_has_no_use_for_are_refused(form: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Sensing(DT, SensingOptions(**form))


def test_the_change_of_a_joined_map_needs_the_features_of_the_frame() -> None:
    sensing = small(change_map="joined")
    inputs = some_inputs()
    with pytest.raises(ConfigError, match="give features"):
        sensing.change(inputs["events"])

    with torch.no_grad():
        features = sensing.parts["what"](inputs["frames"][0])
        change = sensing.change(inputs["events"], features)
        template = sensing.cut(features, inputs["boxes"][0])
        expected, _ = sensing.respond(inputs, None)
        torch.testing.assert_close(sensing.parts["head"](template, change[-1]), expected[-1], atol=1e-4, rtol=1e-4)

    plain = small()
    assert torch.equal(plain.change(inputs["events"], features), plain.change(inputs["events"]))
