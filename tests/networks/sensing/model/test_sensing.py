"""The sensing network: memory, learned parameters, resets, and the places of the target."""

import pytest
import torch
from torch import Tensor

from spikebridge.errors import ConfigError
from spikebridge.hybrid import Exponential, Since
from spikebridge.networks.sensing.model.backbones import WhatPathway, WherePathway, log_intensity
from spikebridge.networks.sensing.model.heads import ChangeHead, Template
from spikebridge.networks.sensing.model.motion_prior import (
    ConstantVelocityPrior,
    MotionFusion,
    MotionPrior,
    soft_argmax,
)
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.model.units import SensingOptions, additive_unit

DT = 1 / 240


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def some_events(num_bins: int = 6, size: int = 32) -> Tensor:
    # bins of very different fullness, so that their order matters
    share = torch.linspace(0.02, 0.5, num_bins).reshape(-1, 1, 1, 1, 1)
    return (torch.rand(num_bins, 2, 2, size, size) < share).float()


def some_inputs(size: int = 32) -> dict[str, Tensor]:
    frames = 255 * torch.rand(1, 2, 1, size, size)
    boxes = torch.tensor([[[0.0, 0.0, 12.0, 8.0], [0.3, -0.2, 9.0, 9.0]]])
    return {"frames": frames, "boxes": boxes, "events": some_events(size=size)}


def test_the_order_of_bins_changes_the_output_of_the_spiking_path() -> None:
    where = WherePathway(4, dt=DT).eval()
    events = some_events()
    with torch.no_grad():
        # the sum over all bins: for a network without memory it does not depend on their order
        forth, back = (where.spiking(x)[0].sum(0) for x in (events, events.flip(0)))

    assert (forth - back).abs().max() > 1e-3


def test_time_constants_of_membranes_and_unit_are_learned() -> None:
    sensing = Sensing(DT, SensingOptions(num_features=4, reach=4))
    inputs = some_inputs()
    response, _ = sensing.respond(inputs, None)
    response.square().sum().backward()

    for path in ("parts.where.spiking.lif.log_tau", "units.unit.kernel.log_tau", "units.unit.nonlinearity.weight"):
        gradient = sensing.get_parameter(path).grad
        assert gradient is not None
        assert gradient.abs().max() > 0, path


def test_every_parameter_gets_a_gradient() -> None:
    sensing = Sensing(DT, SensingOptions(num_features=4, reach=4, search=4.0, detector=False))
    inputs = some_inputs()
    frames = inputs["frames"][0]
    boxes = inputs["boxes"][0]
    start = sensing.begin(frames, boxes, frames + 9 * torch.rand_like(frames), torch.tensor([[1.0, 2.0], [0.5, 0.0]]))
    places, _ = sensing.track(frames, inputs["events"], boxes, start)
    (places - 1).square().sum().backward()

    assert [name for name, p in sensing.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_unit_has_the_stages_of_the_paper_and_no_discretizer() -> None:
    unit = Sensing(dt=DT).units["unit"]
    assert isinstance(unit.window, Since)
    assert unit.window.trigger == "frames"
    assert isinstance(unit.kernel, Exponential)
    assert unit.nonlinearity.kernel_size == (3, 3)
    assert unit.discretizer is None


def test_a_learned_unit_starts_as_a_leaky_sum() -> None:
    x = torch.rand(3, 1, 2, 4, 4)
    y, _ = additive_unit("learned", 2, DT, tau=0.1)(x, starts=torch.tensor([True, False, False]))
    leak = torch.exp(torch.tensor(-DT / 0.1))
    torch.testing.assert_close(y[2], x[2] + leak * (x[1] + leak * x[0]))


def test_steps_are_the_whole() -> None:
    sensing = Sensing(DT, SensingOptions(num_features=4, reach=4)).eval()
    inputs = some_inputs()

    with torch.no_grad():
        whole, _ = sensing.respond(inputs, None)
        first, state = sensing.respond({**inputs, "events": inputs["events"][:1]}, None)
        steps = [first]

        for events in inputs["events"][1:].split(1):
            response, state = sensing.respond({"events": events}, state)
            steps.append(response)

    torch.testing.assert_close(torch.cat(steps), whole, atol=1e-4, rtol=1e-4)


def test_no_answer_depends_on_later_events() -> None:
    sensing = Sensing(DT, SensingOptions(num_features=4, reach=4)).eval()
    inputs = some_inputs()
    other = inputs["events"].clone()
    other[3:] = 1 - other[3:]

    with torch.no_grad():
        one, two = (sensing.respond({**inputs, "events": x}, None)[0] for x in (inputs["events"], other))

    assert torch.equal(one[:3], two[:3])
    assert not torch.equal(one[3:], two[3:])


def test_without_a_unit_events_change_nothing_and_the_target_stays() -> None:
    sensing = Sensing(DT, SensingOptions(unit="none", reach=4, search=4.0)).eval()
    inputs = some_inputs()
    frames = inputs["frames"][0]
    boxes = inputs["boxes"][0]

    with torch.no_grad():
        start = sensing.begin(frames, boxes)
        places, _ = sensing.track(frames, inputs["events"], boxes, start)
        peak = sensing.respond(inputs, None)[0].flatten(2).argmax(2)

    assert torch.equal(places[0], places[5])
    assert (peak == 17 * 17 // 2).all()


@pytest.mark.parametrize("shift", [(3, 0), (0, -2), (-4, 5)])
def test_the_head_scores_best_the_shift_that_makes_the_change(shift: tuple[int, int]) -> None:
    x, y = shift
    features = torch.randn(1, 4, 40, 40)
    boxes = torch.tensor([[0.5, 0.5, 20.0, 20.0]])
    template = Template()(features, boxes)
    change = template.roll((y, x), (2, 3)) - template
    score = ChangeHead(reach=6)(template, change)
    row, column = divmod(int(score.argmax()), score.shape[-1])

    assert (column - 12, row - 12) == (2 * x, 2 * y)  # a cell is two pixels


def test_the_mask_is_one_on_the_target_and_nothing_away_from_it() -> None:
    mask = Template().mask(torch.zeros(1, 1, 48, 48), torch.tensor([[10.0, 0.0, 20.0, 30.0]]))[0, 0]
    assert mask[24, 29] > 0.95  # 10 px to the right
    assert mask[24, 10] < 0.01
    assert mask[36, 29] > mask[24, 41]  # higher than wide


def test_log_intensity_does_not_depend_on_the_light_where_it_is_bright() -> None:
    frames = 50 + 200 * torch.rand(1, 1, 8, 8)
    torch.testing.assert_close(log_intensity(2 * frames + 8), log_intensity(frames))  # (2 I + 8) + 8 = 2 (I + 8)


def test_a_dead_frame_gives_numbers() -> None:
    assert WhatPathway(4).eval()(torch.zeros(1, 1, 32, 32)).isfinite().all()


def test_a_prior_without_a_velocity_changes_no_odds() -> None:
    odds = ConstantVelocityPrior()(torch.zeros(1, 2), torch.ones(1), torch.tensor([torch.inf]), side=5)
    assert torch.equal(odds, torch.zeros(1, 5, 5))


def test_a_sure_response_moves_the_answer_away_from_the_prediction() -> None:
    sensing = Sensing(DT, SensingOptions(reach=4, search=6.0)).eval()
    response = torch.zeros(1, 17, 17)
    start = MotionPrior(torch.zeros(1, 2), torch.tensor([[2.0, 0.0]]), torch.zeros(1))

    with torch.no_grad():
        expected, unsure = sensing.locate(response, torch.ones(1), start)
        response[0, 8, 13] = 99.0
        moved, sure = sensing.locate(response, torch.ones(1), start)

    torch.testing.assert_close(expected, torch.tensor([[2.0, 0.0]]), atol=0.05, rtol=0)
    torch.testing.assert_close(moved, torch.tensor([[5.0, 0.0]]), atol=0.01, rtol=0)

    assert sure < unsure


def test_a_target_of_unknown_velocity_is_searched_for_further_away() -> None:
    sensing = Sensing(DT, SensingOptions(reach=8, search=6.0)).eval()
    response = torch.zeros(2, 33, 33)
    response[:, 16, 16 + 9] = 99.0
    start = MotionPrior(torch.zeros(2, 2), torch.zeros(2, 2), torch.tensor([torch.inf, 5.0]))

    with torch.no_grad():
        unknown, still = sensing.locate(response, torch.ones(2), start)[0]

    torch.testing.assert_close(unknown, torch.tensor([9.0, 0.0]), atol=0.01, rtol=0)

    assert still.abs().max() < 0.1


def test_pictures_that_agree_with_boxes_leave_the_start_alone() -> None:
    motion = torch.tensor([[3.0, -1.0]])
    start = MotionFusion()(motion, motion)
    torch.testing.assert_close(start.motion, motion)

    assert start.place.abs().max() == 0
    assert MotionFusion()(motion, motion + 4).spread > start.spread


def test_places_outside_of_the_search_do_not_count() -> None:
    odds = torch.zeros(1, 9, 9)
    odds[0, 4, 8] = 99.0  # 4 px to the right
    place, _ = soft_argmax(odds, torch.zeros(1, 2), search=3)
    torch.testing.assert_close(place, torch.zeros(1, 2), atol=1e-5, rtol=0)
    places, _ = soft_argmax(odds.expand(2, -1, -1), torch.zeros(2, 2), search=torch.tensor([3.0, 4.0]))
    torch.testing.assert_close(places, torch.tensor([[0.0, 0.0], [4.0, 0.0]]), atol=1e-5, rtol=0)


def test_options_without_a_meaning_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'learned'"):
        Sensing(DT, SensingOptions(unit="lerned"))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="1 px or more"):
        Sensing(DT, SensingOptions(search=0.0))


def test_prior_head_and_detector_read_no_number_from_a_tensor() -> None:
    """Each would make a GPU wait for the host."""
    sensing = Sensing(DT, SensingOptions(num_features=4, reach=4)).eval()
    inputs = some_inputs()
    frames = inputs["frames"][0]
    boxes = inputs["boxes"][0]
    nothing = torch.zeros(len(frames), 2, *frames.shape[2:])

    assert sensing.detector is not None
    with torch.no_grad(), torch.profiler.profile() as profile:
        start = sensing.begin(frames, boxes, frames, boxes[:, :2])
        features = sensing.parts["what"](frames)
        response = sensing.parts["head"](sensing.parts["template"](features, boxes), features)
        sensing.locate(response, torch.ones(len(boxes)), start)
        template = sensing.detector.template(frames, boxes)
        sensing.detector(frames, frames, nothing, nothing, boxes, template, template, a=0.3)

    assert "aten::_local_scalar_dense" not in {event.key for event in profile.key_averages()}


def test_log_intensity_has_mean_0_and_variance_1_in_each_frame() -> None:
    # the logarithms of 8 and 256
    frame = log_intensity(torch.tensor([[[0.0, 248.0]]]))
    torch.testing.assert_close(frame, torch.tensor([[[-1.0, 1.0]]]), atol=1e-4, rtol=0)


def test_a_fixed_unit_is_a_plain_sum_since_the_frame() -> None:
    unit = additive_unit("fixed", 8, dt=DT)
    change, _ = unit(torch.ones(3, 1, 8, 4, 4), starts=torch.tensor([True, False, False]))
    assert change[:, 0, 0, 0, 0].tolist() == [1.0, 2.0, 3.0]


def test_layers_of_a_pathway_are_modulated_by_their_paths() -> None:
    pathway = WherePathway(4, dt=DT).eval()
    events = 9 * torch.ones(3, 1, 2, 16, 16)
    path = "spiking.lif.v_threshold"

    assert path in pathway.modulable_paths()
    with torch.no_grad():
        plain, _ = pathway(events)
        silent, _ = pathway(events, **{path: torch.full((1, 4, 1, 1), torch.inf)})

    assert not torch.equal(silent, plain)
    with pytest.raises(ConfigError, match="no layer 'nothing'"):
        pathway(events, **{"nothing.v_threshold": torch.ones(1)})


def test_the_order_of_samples_changes_nothing_in_eval() -> None:
    sensing = Sensing(DT, SensingOptions(num_features=4, reach=4, detector=False)).eval()
    inputs = some_inputs()
    turned = {name: x.flip(1) for name, x in inputs.items()}

    with torch.no_grad():
        forth, back = (sensing.respond(x, None)[0] for x in (inputs, turned))

    torch.testing.assert_close(back.flip(1), forth, atol=1e-4, rtol=1e-3)
