"""Checks read values where a stream begins, or always. A call that continues a stream reads none."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

import modules
from device_reads import reads_of
from modules import DT, WIDTH
from spikebridge.errors import ConfigError, DataError
from spikebridge.neurons import (
    IF,
    LIF,
    PLIF,
    AdaptiveLIF,
    CubaLIF,
    Effect,
    Integrator,
    Recurrent,
    Sequential,
    Stateful,
)
from spikebridge.ops import reference, without_native
from spikebridge.ops.checks import checks
from spikebridge.ops.selection import has_hooks

pytestmark = pytest.mark.untyped

PER_NEURON = torch.full((WIDTH,), 0.01)
LAYERS: dict[str, Callable[[], Stateful]] = {
    **modules.LAYERS,
    "LIF, one tau a neuron": lambda: LIF(PER_NEURON, dt=DT, v_leak=torch.zeros(WIDTH)),
    "LIF, subtract, refractory": lambda: LIF(dt=DT, reset="subtract", refractory=2 * DT),
    "LIF, none": lambda: LIF(dt=DT, reset="none"),
    "LIF, learned": lambda: LIF(dt=DT, learn=("tau", "v_threshold", "v_reset", "v_leak", "r")),
    "CubaLIF, learned": lambda: CubaLIF(dt=DT, learn=("tau", "tau_syn")),
    "AdaptiveLIF, learned": lambda: AdaptiveLIF(dt=DT, learn="jump"),
    "Integrator, learned": lambda: Integrator(dt=DT, learn="tau"),
    "Recurrent, no bias": lambda: Recurrent(LIF(dt=DT), nn.Linear(WIDTH, WIDTH, bias=False)),
    "maps": lambda: Sequential(nn.Linear(WIDTH, 64), LIF(dt=DT), nn.Linear(64, WIDTH), PLIF(dt=DT)),
    "convolutions": lambda: Sequential(
        nn.Unflatten(1, (1, 2, 2)),
        nn.Conv2d(1, 32, 2, padding=1),
        IF(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32, WIDTH),
    ),
}


@pytest.fixture(params=["native", "pytorch", "reference"])
def path(request: pytest.FixtureRequest) -> Iterator[str]:
    ways = {"pytorch": without_native, "reference": reference}
    if request.param not in ways:
        yield request.param
        return

    with ways[request.param]():
        yield request.param


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_a_call_that_continues_a_stream_reads_no_number(name: str, train: bool, path: str) -> None:
    layer = LAYERS[name]()
    x = torch.rand(9, 3, 4, requires_grad=train)
    with torch.set_grad_enabled(train):
        _, state = layer(x)
        assert reads_of(lambda: layer(x, state)) == 0
        assert reads_of(lambda: layer.step(x[0], state)) == 0


def test_a_modulated_call_that_continues_a_stream_reads_no_number() -> None:
    layer = LIF(dt=0.004)
    x = torch.rand(9, 3, 4)
    _, state = layer(x)

    for tau in (torch.full((3, 4), 0.01), Effect(torch.ones(9, 3, 4), "multiply")):
        assert reads_of(lambda tau=tau: layer(x, state, tau=tau)) == 0  # type: ignore[misc]


def not_finite() -> Tensor:
    x = torch.ones(9, 3, 4)
    x[8, 0, 0] = torch.nan
    return x


def test_values_that_are_not_finite_are_refused_where_a_stream_begins() -> None:
    with pytest.raises(DataError, match="LIF met NaN or infinity"):
        LIF(dt=0.004)(not_finite())


def test_checks_always_find_the_call_of_a_stream_in_which_values_become_nan() -> None:
    layer = LIF(dt=0.004)
    _, state = layer(torch.ones(9, 3, 4))

    assert layer(not_finite(), state)[1].v.isnan().any()
    with checks("always"), pytest.raises(DataError, match="LIF met NaN or infinity"):
        layer(not_finite(), state)


def test_checks_always_refuse_a_time_constant_that_modulation_made_negative() -> None:
    layer = LIF(dt=0.004)
    x = torch.ones(9, 3, 4)
    _, state = layer(x)

    with checks("always"), pytest.raises(ConfigError, match="tau > 0 s under modulation"):
        layer(x, state, tau=torch.full((3, 4), -1.0))


def test_an_unknown_mode_of_checks_is_refused() -> None:
    with pytest.raises(ConfigError, match="checks are made 'first' or 'always', but got 'never'"), checks("never"):  # type: ignore[arg-type]
        pass


def test_hooks_of_one_module_and_of_all_modules_are_seen() -> None:
    layer = nn.Linear(2, 2)
    assert not has_hooks(layer)

    for register in (
        layer.register_forward_hook,
        torch.nn.modules.module.register_module_forward_hook,
        torch.nn.modules.module.register_module_forward_pre_hook,
    ):
        handle = register(lambda *_: None)
        assert has_hooks(layer)
        handle.remove()

    assert not has_hooks(layer)
