"""NaN is never silence: it passes through units and neurons, and the part that gave it is named."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from modules import DISCRETIZERS, DT, NEURONS
from spikebridge.errors import DataError, deferred_checks
from spikebridge.hybrid import (
    Discretizer,
    HybridNetwork,
    HybridUnit,
    PhaseCode,
    SpikingLayer,
    Threshold,
    Transmission,
    every,
)
from spikebridge.neurons import (
    IF,
    LIF,
    Memoryless,
    Sequential,
    detach,
)
from spikebridge.neurons.surrogate import ARCTAN
from spikebridge.ops import reference
from spikebridge.ops.checks import checks, without_value_checks
from spikebridge.training import WHOLE, Batches, Phase, Settings, fit

# "population" has one more axis, and "fire" is a neuron
STAGES: list[Discretizer] = [
    *(make() for name, make in DISCRETIZERS.items() if name not in ("population", "fire")),
    PhaseCode(ARCTAN),
]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: type(stage).__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_discretizer_gives_nan_for_nan(stage: Discretizer, dtype: torch.dtype) -> None:
    h = torch.rand(2, 1 if stage.kind == "expands" else 3, 2, 2, dtype=dtype)
    h[1, -1, 0, 1] = math.nan
    y, _ = stage.eval()(h, length=3)

    assert y[1, -1, 0, 1].isnan()
    assert y[0].isfinite().all() and y[:, :, 1].isfinite().all() and y[:, :, :, 0].isfinite().all()


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("plain", [False, True])
def test_spikes_of_a_membrane_that_became_nan_are_nan_from_there_on(name: str, trained: bool, plain: bool) -> None:
    layer = NEURONS[name](dt=DT)
    x = 0.05 * torch.rand(12, 2, 3)  # no spike, after which a refractory neuron would ignore its input
    _, state = layer(x[:1])
    x[6, 0, 1] = math.nan
    x.requires_grad_(trained)

    if plain:
        with reference():
            y, last = layer(x, detach(state))
    else:
        y, last = layer(x, detach(state))

    assert y[6:, 0, 1].isnan().all() and y[:6].isfinite().all()
    assert y[:, 1].isfinite().all() and y[:, :, 0].isfinite().all()
    assert last[0][0, 1].isnan()


def test_nan_passes_through_fused_layers() -> None:
    layers = Sequential(fc=nn.Linear(2, 3), fire=Memoryless(), out=LIF(0.02, dt=0.001))
    _, state = layers(torch.rand(4, 2, 2))
    x = torch.rand(4, 2, 2)
    x[2, 0] = math.nan
    y, _ = layers(x, detach(state))

    assert y[2:, 0].isnan().all() and y[:, 1].isfinite().all()


class Ratio(nn.Module):
    """Gives NaN for zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x / x


def network() -> HybridNetwork:
    return HybridNetwork(
        dt=0.001,
        inputs={"x": every(0.001)},
        parts={"first": nn.Linear(2, 2), "ratio": Ratio(), "snn": IF(), "last": nn.Linear(2, 1)},
        links=[
            Transmission("x", "first"),
            Transmission("x", "ratio"),
            Transmission("ratio", "snn", HybridUnit(discretizer=Threshold(0.5))),
            Transmission("snn", "last"),
        ],
        outputs=["first", "last"],
    )


def test_a_network_gives_nan_and_with_checks_it_names_the_part() -> None:
    net = network()
    x = torch.ones(5, 1, 2)
    _, state = net({"x": x})
    x[3] = 0
    y, _ = net({"x": x}, state)

    assert y["last"][3:].isnan().all() and y["last"][:3].isfinite().all() and y["first"].isfinite().all()
    with checks("always"), pytest.raises(DataError, match=r"part 'ratio' is the first that gave NaN .*, at tick 8"):
        net({"x": x}, state)

    # where a stream begins the neurons find it
    with pytest.raises(DataError, match=r"part 'ratio' is the first that gave NaN .*, at tick 3 .*IF met NaN"):
        net({"x": x})

    with without_value_checks():
        assert net({"x": x})[0]["last"].isnan().any()


def test_fit_names_the_part_or_the_parameters() -> None:
    def objective(net: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        with without_value_checks():
            return net({"x": batch["x"]})[0]["last"].square().mean()

    def checked(net: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        _, state = net({"x": torch.ones(1, 1, 2)})
        return net({"x": batch["x"]}, state)[0]["last"].square().mean()

    data = Batches({"x": torch.zeros(5, 1, 2)}, {"x": 1})
    settings = Settings(accelerator="cpu", quiet=True)
    optimizer = partial(torch.optim.SGD, lr=0.1)

    with pytest.raises(DataError, match=r"the loss is nan in phase 'all', .*; part 'ratio' is the first that gave NaN"):
        fit(network(), [Phase("all", WHOLE, checked, 1, optimizer)], data, settings=settings)

    net = network()
    nn.init.constant_(net.parts["last"].weight, math.nan)
    with pytest.raises(DataError, match=r"the loss is nan .*; parameters that are not finite: parts\.last\.weight"):
        fit(net, [Phase("all", WHOLE, objective, 1, optimizer)], data, settings=settings)


def test_a_spiking_layer_of_a_unit_passes_nan() -> None:
    unit = HybridUnit(discretizer=SpikingLayer(IF()))
    _, state = unit(torch.ones(3, 1, 1))
    assert unit(torch.full((3, 1, 1), math.nan), state)[0].isnan().all()


def test_the_end_of_a_command_names_the_part_of_the_last_call() -> None:
    net = network()
    x = torch.ones(5, 1, 2)
    _, state = net({"x": x})

    with deferred_checks():
        net({"x": x}, state)

    x = x.clone()
    x[2] = 0
    done = []

    with pytest.raises(DataError, match=r"part 'ratio' is the first that gave NaN .*, at tick 7"), deferred_checks():
        y, _ = net({"x": x}, state)
        y["last"].sum().backward()
        done.append(y)

    assert done and done[0]["last"].isnan().any()
