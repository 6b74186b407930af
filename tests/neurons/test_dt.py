"""The step of a layer's clock: written in words, found in a module, and bound to it."""

import math

import pytest
from torch import nn

from spikebridge.errors import ConfigError
from spikebridge.neurons import IF, LIF, Stateful
from spikebridge.neurons.dt import bind_dt, decay_of, dt_of, format_seconds, match_dt, temporary_dt, unbound_layer


def test_a_step_is_written_as_a_program_can_state_it() -> None:
    assert list(map(format_seconds, (0.001, 1 / 240, 2 / 3))) == [
        "0.001",
        "1 / 240",
        "0.6666666666666666",
    ]


def test_a_membrane_without_a_leak_needs_no_step() -> None:
    assert decay_of(math.inf, None) == 1.0
    with pytest.raises(ConfigError, match="a time constant needs dt"):
        decay_of(0.02, None)


def test_the_first_layer_with_a_step_gives_that_of_a_module() -> None:
    assert dt_of(nn.Sequential(IF(), LIF(tau=0.02, dt=0.001))) == 0.001
    assert dt_of(nn.Sequential(IF(), LIF(tau=0.02))) is None


def test_a_layer_that_lacks_its_step_is_named_by_its_path() -> None:
    assert unbound_layer(nn.Sequential(IF(), LIF(tau=0.02))) == "1"
    assert unbound_layer(nn.Sequential(IF())) is None


def test_only_layers_that_depend_on_a_step_are_bound() -> None:
    layer = LIF(tau=0.02)
    module = nn.Sequential(IF(), layer)
    steps: dict[Stateful, float] = {}
    match_dt("snn", module, 0.001, steps)
    assert steps == {layer: 0.001}

    with temporary_dt(module, 0.001):
        assert layer.dt == 0.001
    assert layer.dt is None

    assert bind_dt("snn", module, 0.001) == [layer]
    assert layer.dt == 0.001


def test_a_module_that_is_refused_stays_unbound() -> None:
    layer = LIF(tau=0.02)
    with pytest.raises(ConfigError, match=r"'snn' runs every 0\.001 s, but its LIF at '1' has dt=0\.002 s"):
        bind_dt("snn", nn.Sequential(layer, LIF(tau=0.02, dt=0.002)), 0.001)

    assert layer.dt is None
