"""The fused form of the sensing network gives the answers of its layers."""

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from spikebridge.networks.sensing.model.motion_prior import MotionPrior
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.model.units import SensingOptions
from spikebridge.networks.sensing.tracker.fused_model import FusedInference, can_fuse
from spikebridge.networks.sensing.tracker.inference import EagerInference, InferenceCache, build_inference
from spikebridge.ops import without_native

pytestmark = pytest.mark.untyped

DT = 1 / 240
PATCH_SIDE = 64


def trained(**form: Any) -> Sensing:
    """A network whose every weight is something, so that nothing is equal by chance."""
    torch.manual_seed(0)
    sensing = Sensing(DT, SensingOptions(num_features=4, reach=8, search=6.0, **form))

    with torch.no_grad():
        for name, parameter in sensing.named_parameters():
            parameter += 0.1 * torch.randn_like(parameter) * (0.3 if "log" in name else 1.0)
        for buffer in sensing.buffers():
            if buffer.is_floating_point():
                buffer += 0.2 * torch.rand_like(buffer)

    return sensing.eval()


def frames_and_events(margin: int = 0, num_bins: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Two frames, a box, a motion, and events; none of these so near the edge of the crop."""
    torch.manual_seed(1)
    frame, before = 255 * torch.rand(2, 1, 1, PATCH_SIDE, PATCH_SIDE)
    events = (torch.rand(num_bins, 1, 2, PATCH_SIDE, PATCH_SIDE) < 0.2).float()
    inside = torch.zeros(PATCH_SIDE, PATCH_SIDE)
    inside[margin : PATCH_SIDE - margin, margin : PATCH_SIDE - margin] = 1.0

    return frame, before, torch.tensor([[0.3, -0.2, 12.0, 9.0]]), torch.tensor([[2.0, -1.5]]), events * inside


def answers(
    network: FusedInference | EagerInference, margin: int = 0, first: bool = False
) -> tuple[MotionPrior, np.ndarray]:
    """Start, and place and spread after each bin; of the first frame there is no motion."""
    frame, before, box, motion, events = frames_and_events(margin)
    rows = []

    with torch.no_grad():
        start, state = network.open(frame, box) if first else network.open(frame, box, before, motion)
        for m, bin_ in enumerate(events):
            place, spread, state = network(bin_, state, (m + 1) / len(events))
            rows.append([*place, spread])

    return start, np.array(rows)


PRIOR = MotionPrior(torch.tensor([[0.5, 0.0]]), torch.tensor([[1.0, 1.0]]), torch.tensor([0.5]))
FORMS: list[dict[str, Any]] = [{}, {"unit": "fixed"}, {"prior": False}]


@pytest.mark.parametrize("first", [False, True], ids=["with a motion", "of the first frame"])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_fused_form_gives_the_places_of_the_network_if_no_event_is_near_the_edge(
    form: dict[str, Any], first: bool
) -> None:
    sensing = trained(**form)
    start, places = answers(FusedInference(sensing, PATCH_SIDE), 8, first)
    expected_start, expected = answers(EagerInference(sensing), 8, first)

    for fused, eager in zip(start, expected_start, strict=True):
        torch.testing.assert_close(fused, eager, atol=1e-3, rtol=1e-4)

    np.testing.assert_allclose(places, expected, atol=2e-3)

    assert np.ptp(expected[:, 0]) > 0.01  # the events move it


def test_a_given_motion_prior_counts_as_in_the_network_also_without_a_trained_prior() -> None:
    sensing = trained(prior=False)
    frame, _, box, _, events = frames_and_events(8)
    places = []

    for network in (FusedInference(sensing, PATCH_SIDE), EagerInference(sensing)):
        with torch.no_grad():
            _, state = network.open(frame, box, start=PRIOR._replace(motion=torch.tensor([[5.0, -3.0]])))
            place, spread, _ = network(events[0], state, 1.0)
        places.append([*place, spread])

    np.testing.assert_allclose(*places, atol=2e-3)


def test_events_at_the_edge_make_a_small_difference() -> None:
    sensing = trained()
    _, places = answers(FusedInference(sensing, PATCH_SIDE))
    _, expected = answers(EagerInference(sensing))
    np.testing.assert_allclose(places, expected, atol=0.05)


def test_a_map_that_is_not_the_identity_counts() -> None:
    sensing = trained()
    _, places = answers(FusedInference(sensing, PATCH_SIDE), margin=8)
    sensing.units["unit"].nonlinearity = None
    _, without = answers(FusedInference(sensing, PATCH_SIDE), margin=8)

    assert abs(places - without).max() > 0.01


@pytest.mark.parametrize("form", [{}, {"unit": "fixed"}, {"unit": "none"}], ids=str)
def test_a_restarted_stream_begins_at_its_prior_without_its_events(form: dict[str, Any]) -> None:
    network = build_inference(trained(**form), PATCH_SIDE).network
    assert isinstance(network, FusedInference) is (form != {"unit": "none"})

    frame, _, box, _, events = frames_and_events()
    with torch.no_grad():
        _, opened = network.open(frame, box)
        later = network.accumulate(events[1], network(events[0], opened, 0.5)[2])
        place, spread, _ = network(events[2], network.restart_events(opened, PRIOR), 0.5)
        again, same, _ = network(events[2], network.restart_events(later, PRIOR), 0.5)

    np.testing.assert_allclose(again, place, atol=1e-5)
    assert same == pytest.approx(spread, abs=1e-5)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_fused_form_restarts_its_stream_as_the_network_does(form: dict[str, Any]) -> None:
    sensing = trained(**form)
    frame, _, box, _, events = frames_and_events(8)
    places = []

    for network in (FusedInference(sensing, PATCH_SIDE), EagerInference(sensing)):
        with torch.no_grad():
            state = network.restart_events(network.open(frame, box)[1], PRIOR)
            _, _, state = network(events[0], state, 0.5)
            place, spread, _ = network(events[1], state, 1.0)

        places.append([*place, spread])

    np.testing.assert_allclose(*places, atol=2e-3)


def test_only_a_linear_unit_can_be_fused() -> None:
    sensing = trained()
    assert can_fuse(sensing)
    sensing.units["unit"].nonlinearity = torch.nn.Sequential(sensing.units["unit"].nonlinearity, torch.nn.Tanh())
    assert not can_fuse(sensing)


@pytest.mark.parametrize("form", FORMS[:2], ids=str)
def test_the_native_pathway_gives_the_responses_of_the_layers(form: dict[str, Any]) -> None:
    network = FusedInference(trained(**form), PATCH_SIDE)
    frame, before, box, motion, events = frames_and_events(0)
    windows = [(slice(3, 14), slice(12, 21)), (slice(0, 33), slice(0, 33)), (slice(25, 33), slice(0, 8))]
    results: dict[bool, list[Any]] = {}

    for native in (True, False):
        context = nullcontext() if native else without_native()
        with context, torch.no_grad():
            _, state = network.open(frame, box, before, motion)
            rows = []
            for window, one in zip(windows, events, strict=False):
                fits, state = network.fits(one, state, window)
                rows.append(fits)

            place, spread, state = network(events[3], state, 1.0)
            restarted = network.restart_events(state, PRIOR)
            results[native] = [*rows, place, spread, network(events[0], restarted, 0.5)[0], network.changes(state)]

    for native, layers in zip(results[True], results[False], strict=True):
        np.testing.assert_allclose(native, layers, atol=2e-3, rtol=1e-4)


def test_weights_are_read_again_after_a_change_that_pytorch_counts() -> None:
    cache = InferenceCache()
    sensing = Sensing(DT).eval()
    first = cache(sensing, crop=96)
    assert cache(sensing, crop=96) is first

    torch.nn.init.zeros_(sensing.parts["what"].straight.weight)  # type: ignore[union-attr, arg-type]
    assert cache(sensing, crop=96) is not first
