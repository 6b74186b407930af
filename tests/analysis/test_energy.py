"""Energy by a stated model."""

import pytest

from spikebridge.analysis import Cost, Operations, energy, hardware_profile
from spikebridge.analysis.energy import HardwareProfile, joules
from spikebridge.errors import ConfigError


def test_prices_are_those_of_45_nm() -> None:
    profile = hardware_profile("45nm")
    pico = 1e12

    assert joules(Operations(macs=1), profile) * pico == pytest.approx(4.6)
    assert joules(Operations(synops=1), profile) * pico == pytest.approx(0.9)
    assert joules(Operations(adds=1), profile) * pico == pytest.approx(0.9)
    assert joules(Operations(compares=1), profile) * pico == pytest.approx(0.9)
    assert joules(Operations(updates=1), profile) * pico == pytest.approx(5.5)
    assert joules(Operations(), profile) == 0


def test_parts_and_links_add_up_and_time_makes_power() -> None:
    cost = Cost({"ann": Operations(macs=10)}, {"unit": Operations(synops=10)}, {}, num_samples=3, seconds=0.5)
    result = energy(cost, HardwareProfile("mine", "mine", mac=2.0, ac=1.0, source="here"))
    assert (result.parts, result.links, result.total, result.power) == ({"ann": 20.0}, {"unit": 10.0}, 30.0, 60.0)
    assert energy(Cost({}, {}, {}, 1, None), hardware_profile()).power is None


@pytest.mark.parametrize("name", ["45nm", "45nm-float16", "45nm-int8"])
def test_a_profile_states_its_source(name: str) -> None:
    assert hardware_profile(name).source


def test_wrong_profiles_are_refused() -> None:
    with pytest.raises(ConfigError, match="no hardware profile '45mn'; did you mean '45nm'"):
        hardware_profile("45mn")
    with pytest.raises(ConfigError, match="prices above 0 J"):
        HardwareProfile("free", "free", mac=0.0, ac=1.0, source="")
