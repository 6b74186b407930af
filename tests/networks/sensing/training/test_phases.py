"""The phases of training train every parameter, and settings out of range are refused."""

import pytest
import torch

from spikebridge.errors import ConfigError
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.model.units import SensingOptions
from spikebridge.networks.sensing.training.phases import (
    DetectorTraining,
    PathwayTraining,
    detector_phase,
    pathway_phase,
)
from spikebridge.training import Batches, Settings, fit

pytestmark = pytest.mark.untyped

DT = 1 / 240


def small(detector: bool = False, **form: object) -> Sensing:
    torch.manual_seed(0)
    return Sensing(DT, SensingOptions(num_features=4, reach=4, search=6.0, detector=detector, **form))  # type: ignore[arg-type]


def samples(count: int = 4, size: int = 32) -> Batches:
    tensors = {
        "frames": 255 * torch.rand(count, 1, size, size),
        "before": 255 * torch.rand(count, 1, size, size),
        "events": torch.rand(3, count, 2, size, size) < 0.2,
        "boxes": torch.tensor([[0.0, 0.0, 9.0, 9.0]]).repeat(count, 1),
        "motion": torch.randn(count, 2),
        "truths": torch.randn(3, count, 2),
        "after": 255 * torch.rand(count, 1, size, size),
    }
    return Batches(tensors, batch={name: 1 if name in ("events", "truths") else 0 for name in tensors})


@pytest.mark.parametrize("form", [{}, {"unit": "fixed"}, {"unit": "none"}, {"prior": False}], ids=str)
def test_every_parameter_of_the_pathways_is_trained(form: dict[str, object]) -> None:
    sensing = small(**form)
    before = {name: p.detach().clone() for name, p in sensing.named_parameters()}
    # six steps: after two steps of one size a number may have its first value again
    phase = pathway_phase(sensing, "x", PathwayTraining(epochs=6))
    fit(sensing, [phase], samples(), settings=Settings(batch_size=4, accelerator="cpu", quiet=True))

    assert [name for name, p in sensing.named_parameters() if torch.equal(p, before[name])] == []


def test_the_detector_is_trained_in_a_phase_of_its_own() -> None:
    sensing = small(detector=True)
    assert "finder" not in pathway_phase(sensing, "x", PathwayTraining()).train

    phase = detector_phase("x", samples(), DetectorTraining(epochs=7), template_rate=0.3)
    assert (phase.train, phase.epochs) == (("finder",), 7)


def test_a_network_without_a_detector_is_refused() -> None:
    phase = detector_phase("x", samples(), DetectorTraining(), template_rate=0.3)
    with pytest.raises(ConfigError, match="no detector to train"):
        phase.objective(small(), {})


def test_a_share_of_lost_events_above_1_is_refused() -> None:
    with pytest.raises(ConfigError, match="lose_events is a share, from 0 to 1"):
        PathwayTraining(lose_events=1.5)
