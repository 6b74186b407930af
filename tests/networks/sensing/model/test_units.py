"""Both forms of the sensing network and both heads: the same pathways, other units; and the pathways of paper size."""

from typing import Any

import pytest
import torch
from torch import Tensor

from spikebridge.errors import ConfigError
from spikebridge.hybrid import Modulation, Transmission
from spikebridge.networks.sensing.model.backbones import ResNetWhat, SpikingBottleneck, WherePathway, resnet_where
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.model.units import CorrelationHead, SensingOptions, TargetKernel, read_at
from spikebridge.neurons.stateless import modulated

DT = 1 / 240
FORMS = {
    "kernel": {"mode": "kernel"},
    "kernel_fixed": {"mode": "kernel", "unit": "fixed"},
    "kernel_none": {"mode": "kernel", "unit": "none"},
    "correlation": {"head": "correlation"},
    "resnet": {"size": "resnet", "num_features": 32, "reach": 2},
}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def some_inputs(size: int = 32) -> dict[str, Tensor]:
    frames = 255 * torch.rand(1, 2, 1, size, size)
    boxes = torch.tensor([[[0.0, 0.0, 12.0, 8.0], [0.3, -0.2, 9.0, 9.0]]])
    share = torch.linspace(0.02, 0.5, 6).reshape(-1, 1, 1, 1, 1)
    return {"frames": frames, "boxes": boxes, "events": (torch.rand(6, 2, 2, size, size) < share).float()}


def small(**form: object) -> Sensing:
    sizes = {"num_features": 4, "reach": 4, "search": 6.0, "detector": False}
    return Sensing(DT, SensingOptions(**{**sizes, **form}))  # type: ignore[arg-type]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_answers_at_every_bin_and_steps_are_the_whole(form: dict[str, object]) -> None:
    sensing = small(**form).eval()
    inputs = some_inputs()
    with torch.no_grad():
        whole, _ = sensing.respond(inputs, None)
        first, state = sensing.respond({**inputs, "events": inputs["events"][:2]}, None)
        later, state = sensing.respond({"events": inputs["events"][2:]}, state)

    assert whole.shape[:2] == (6, 2)
    assert whole.isfinite().all()

    torch.testing.assert_close(torch.cat([first, later]), whole, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_no_form_knows_later_events(form: dict[str, object]) -> None:
    sensing = small(**form).eval()
    inputs = some_inputs()
    other = inputs["events"].clone()
    other[3:] = 1 - other[3:]

    with torch.no_grad():
        one, two = (sensing.respond({**inputs, "events": x}, None)[0] for x in (inputs["events"], other))

    assert torch.equal(one[:3], two[:3])
    if form.get("size") != "resnet":  # untrained, its first layer hardly fires
        assert torch.equal(one, two) == (form.get("unit") == "none")


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_order_of_samples_changes_nothing_in_eval(form: dict[str, object]) -> None:
    sensing = small(**form).eval()
    inputs = some_inputs()
    turned = {name: x.flip(1) for name, x in inputs.items()}

    with torch.no_grad():
        forth, back = (sensing.respond(x, None)[0] for x in (inputs, turned))

    torch.testing.assert_close(back.flip(1), forth, atol=1e-4, rtol=1e-3)


def test_the_two_forms_differ_in_the_unit_and_not_in_the_pathways() -> None:
    additive = small()
    kernel = small(mode="kernel")
    for path in ("what", "where"):
        ours, theirs = (dict(one.parts[path].named_parameters()) for one in (additive, kernel))
        assert {name: p.shape for name, p in ours.items()} == {name: p.shape for name, p in theirs.items()}

    (there,) = (route.link for route in additive.routes if route.name == "unit")
    (back,) = (route.link for route in kernel.routes if route.name == "unit")

    assert isinstance(there, Transmission)
    assert (there.source, there.target) == ("where", "head")
    assert isinstance(back, Modulation)
    assert (back.source, back.target, back.by) == ("what", "head.weight", "replace")


def test_membranes_of_the_kernel_form_learn_their_time_constants() -> None:
    sensing = small(mode="kernel")
    inputs = some_inputs()
    sensing.respond(inputs, None)[0].square().sum().backward()

    for path in ("parts.where.spiking.lif.log_tau", "parts.membrane.log_tau", "units.unit.nonlinearity.map.weight"):
        gradient = sensing.get_parameter(path).grad
        assert gradient is not None
        assert gradient.abs().max() > 0, path


def test_a_learned_kernel_starts_as_the_bare_cut() -> None:
    features = torch.rand(2, 4, 20, 20)
    box = torch.tensor([[0.0, 1.0, 9, 9], [-3.0, 2.5, 9, 9]])
    torch.testing.assert_close(TargetKernel(4, 5, mapped=True)(features, box), TargetKernel(4, 5)(features, box))


def test_a_kernel_cut_at_the_target_finds_it_where_it_has_gone() -> None:
    features = torch.randn(1, 4, 24, 24)
    box = torch.tensor([[0.5, 0.5, 12.0, 12.0]])  # on the cell of pixel 24, of 48
    kernel = TargetKernel(4, size=5)(features, box)[0]
    head = CorrelationHead(4, reach=4, size=5)
    moved = features.roll((1, -2), (2, 3))  # one cell down, two to the left
    score = modulated(head, {"weight": kernel.unsqueeze(0)}, box[None], change=moved[None])[0, 0]
    row, column = divmod(int(score.argmax()), score.shape[-1])

    assert (column - 8, row - 8) == (-4, 2)  # a cell is two pixels


def test_pixels_and_cells_agree() -> None:
    # a cell of stride 2 sits on every second pixel: cell = (px + (n s - 1) / 2) / s
    ramp = torch.arange(10.0).expand(1, 1, 10, 10)  # the value of a cell is its column
    pixel = torch.arange(20.0)
    read = read_at(ramp, (pixel - 9.5)[None], torch.zeros(1, 1), stride=2).flatten()
    torch.testing.assert_close(read, (pixel / 2).clamp(max=9))


def test_order_of_bins_changes_what_membranes_of_the_kernel_form_hold() -> None:
    sensing = small(mode="kernel").eval()
    inputs = some_inputs()
    with torch.no_grad():
        forth, back = (
            sensing.respond({**inputs, "events": x}, None)[0][-1] for x in (inputs["events"], inputs["events"].flip(0))
        )

    assert (forth - back).abs().max() > 1e-3


def test_pathways_of_the_papers_size_have_its_weights() -> None:
    what = ResNetWhat(64)
    where = resnet_where(64, dt=DT)
    count = sum(p.numel() for p in what.parameters() if p.ndim == 4)

    assert count / 1e6 == pytest.approx(1.90, rel=0.04)  # the demonstration that the authors released has 1.90 million
    with torch.no_grad():
        assert what.eval()(torch.rand(1, 1, 48, 48)).shape == (1, 1024, 6, 6)
        change, _ = where.eval()(torch.ones(2, 1, 2, 48, 48))

    assert change.shape == (2, 1, 1024, 6, 6)


@pytest.mark.parametrize(
    ("make", "path", "channels"),
    [
        (lambda: WherePathway(4, dt=DT), "spiking.lif.v_threshold", 4),
        (lambda: SpikingBottleneck(2, 4, dt=DT), "fire.v_threshold", 16),
        (lambda: SpikingBottleneck(2, 4, dt=DT, fires=False), "body.2.v_threshold", 4),
    ],
    ids=["small", "fires", "inside"],
)
def test_layers_of_a_pathway_are_modulated_by_their_paths(make: Any, path: str, channels: int) -> None:
    pathway = make().eval()
    events = 9 * torch.ones(3, 1, 2, 16, 16)

    assert path in pathway.modulable_paths()
    with torch.no_grad():
        plain, _ = pathway(events)
        silent, _ = pathway(events, **{path: torch.full((1, channels, 1, 1), torch.inf)})

    assert not torch.equal(silent, plain)
    with pytest.raises(ConfigError, match="no layer 'nothing'"):
        pathway(events, **{"nothing.v_threshold": torch.ones(1)})


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"mode": "kernle"}, "did you mean 'kernel'"),
        ({"head": "chang"}, "did you mean 'change'"),
        ({"mode": "kernel", "head": "change"}, "no change of features"),
        ({"size": "resnat"}, "did you mean 'resnet'"),
        ({"size": "resnet", "num_features": 8}, "multiple of 16"),
    ],
)
def test_a_form_that_there_is_not_is_refused(form: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small(**form)


def test_only_an_additive_unit_has_a_change_of_features() -> None:
    with pytest.raises(ConfigError, match="additive form"):
        small(mode="kernel").change(some_inputs()["events"])
    assert small().change(some_inputs()["events"]).shape == (6, 2, 4, 16, 16)
