"""The what/where networks: equal sizes, learned units that start as fixed ones, and links that matter."""

from functools import partial

import pytest
import torch
from torch import Tensor

from spikebridge.analysis.summary import num_parameters
from spikebridge.errors import ConfigError
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.digits import VARIANTS, what_where
from spikebridge.networks.digits.model import parameter_matched

pytestmark = pytest.mark.untyped

SIZES = {"dt": 0.025, "frame_period": 3, "frame_every": 3, "sensor": 16}


def recording(batch: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "frames": torch.rand(4, batch, 1, 16, 16, generator=generator),
        "events": (torch.rand(12, batch, 2, 16, 16, generator=generator) < 0.3).float(),
    }


def answers(network: torch.nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    outputs, _ = network({name: inputs[name] for name in network.inputs}, ticks=12)
    return outputs["answer"]


def matched(variant: str, hidden: int) -> HybridNetwork:
    return parameter_matched(partial(what_where, variant, **SIZES), hidden, partial(what_where, "learned", **SIZES))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("hidden", [16, 32])
def test_parameters_are_equal_to_within_five_percent(variant: str, hidden: int) -> None:
    goal = num_parameters(what_where("learned", hidden, **SIZES))
    assert abs(num_parameters(matched(variant, hidden)) / goal - 1) < 0.05


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_network_answers_once_a_window(variant: str) -> None:
    assert answers(what_where(variant, 8, **SIZES), recording()).shape == (4, 2, 10)


def test_matching_draws_nothing_from_the_generator_but_the_network_itself() -> None:
    torch.manual_seed(3)
    direct = what_where("learned", 32, **SIZES)
    torch.manual_seed(3)
    searched = matched("learned", 32)

    assert all(torch.equal(a, b) for a, b in zip(direct.parameters(), searched.parameters(), strict=True))


def test_a_learned_transmission_starts_as_the_mean_and_a_learned_modulation_without_effect() -> None:
    learned = what_where("learned", 8, **SIZES)
    snn = what_where("snn", 8, **SIZES)
    spikes = (torch.rand(6, 2, 8) < 0.5).float()
    taps, _ = learned.units["where_to_answer"](spikes)
    mean, _ = snn.units["where_to_answer"](spikes)
    torch.testing.assert_close(taps, mean)
    factors, _ = learned.units["what_to_where"](torch.randn(2, 2, 8))

    assert torch.equal(factors, torch.ones_like(factors))


@pytest.mark.parametrize("blind", ["frames", "events"])
def test_an_input_reaches_the_answer(blind: str) -> None:
    torch.manual_seed(0)
    network = what_where("learned", 32, **SIZES)
    seen = recording(8)
    unseen = seen | {blind: torch.zeros_like(seen[blind])}

    assert not torch.equal(answers(network, seen), answers(network, unseen))


def test_a_misspelt_kind_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'learned'"):
        what_where("lerned", 8, **SIZES)
