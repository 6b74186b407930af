"""Phases of the sensing recipe: who is trained when, and what labels they read."""

from dataclasses import replace

import pytest
import torch

from spikebridge.errors import ConfigError
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.model.units import SensingOptions
from spikebridge.networks.sensing.training.objectives import Batch, change_objective, events_objective, frames_objective
from spikebridge.networks.sensing.training.phases import PathwayTraining, tracking_phases
from spikebridge.training import Batches, Settings, fit

SETTINGS = PathwayTraining(epochs=2, box_noise=1.0)
DT = 1 / 240


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def small(**form: object) -> Sensing:
    return Sensing(DT, SensingOptions(num_features=4, reach=4, search=6.0, detector=False, **form))  # type: ignore[arg-type]


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


def batch() -> Batch:
    return samples().select(torch.arange(4))


@pytest.mark.parametrize("form", [{}, {"change_map": "joined"}, {"unit": "fixed"}], ids=str)
@pytest.mark.parametrize("schedule", ["joint", "alternate", "label_free"])
def test_every_schedule_trains_what_it_can(schedule: str, form: dict[str, str]) -> None:
    sensing = small(**form)
    before = {name: p.detach().clone() for name, p in sensing.named_parameters()}
    # three steps of each phase: after two of one size a number may be back where it began
    phases = tracking_phases(sensing, "x", schedule, replace(SETTINGS, epochs=6))
    fit(sensing, phases, samples(), settings=Settings(batch_size=4, accelerator="cpu", quiet=True))
    unchanged = {name.partition(".")[0] for name, p in sensing.named_parameters() if torch.equal(p, before[name])}

    # without labels between frames nothing tells how far to trust a velocity
    assert unchanged == ({"prior", "back", "trust"} if schedule == "label_free" else set())


def test_the_ann_stands_still_while_the_snn_is_trained_and_the_other_way_round() -> None:
    phases = tracking_phases(small(), "x", "alternate", SETTINGS)
    assert [phase.name for phase in phases] == ["x, frames 1", "x, events 1", "x, frames 2", "x, events 2"]
    for phase in phases:
        assert ("what" in phase.train) is ("frames" in phase.name)
        assert ("where" in phase.train) is ("events" in phase.name)
        assert ("unit" in phase.train) is ("events" in phase.name)


@pytest.mark.parametrize(("epochs", "lengths"), [(5, [3, 3, 2, 2]), (4, [2, 2, 2, 2]), (1, [1, 1, 1, 1])])
def test_alternating_phases_have_all_epochs_together(epochs: int, lengths: list[int]) -> None:
    phases = tracking_phases(small(), "x", "alternate", replace(SETTINGS, epochs=epochs))
    assert [phase.epochs for phase in phases] == lengths


@pytest.mark.parametrize("change_map", ["linear", "tanh", "joined"])
def test_the_change_between_frames_is_learned_without_labels(change_map: str) -> None:
    sensing = small(change_map=change_map)
    one = batch()
    no_labels = {**one, **{name: torch.full_like(one[name], torch.nan) for name in ("boxes", "motion", "truths")}}
    loss, _ = change_objective(sensing, no_labels)
    loss.backward()
    trained = {name for name, p in sensing.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}

    # the ANN is aimed at, and does not move towards what is easy
    assert trained == {name for name, _ in sensing.named_parameters() if name.startswith(("parts.where", "units"))}


def test_the_ann_learns_from_frames_alone() -> None:
    sensing = small()
    one = batch()
    loss, _ = frames_objective(sensing, {**one, "events": torch.zeros_like(one["events"])}, box_noise=0.0)
    loss.backward()

    assert sensing.get_parameter("parts.what.straight.weight").grad.abs().sum() > 0  # type: ignore[union-attr]
    assert all(p.grad is None for p in sensing.parts["where"].parameters())


def test_the_objective_of_the_events_has_both_parts() -> None:
    sensing = small().eval()
    one = batch()
    torch.manual_seed(1)
    loss, shown = events_objective(sensing, one, box_noise=0.0, alike=1.0)
    torch.manual_seed(1)
    without, _ = events_objective(sensing, one, box_noise=0.0, alike=0.0)
    torch.testing.assert_close(loss - without, shown["change"], atol=1e-4, rtol=1e-4)


def test_the_kernel_form_is_trained_in_one_phase_only() -> None:
    assert len(tracking_phases(small(mode="kernel"), "x", "joint", SETTINGS)) == 1  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="take joint"):
        tracking_phases(small(mode="kernel"), "x", "alternate", SETTINGS)


def test_a_share_of_lost_events_above_1_is_refused():
    with pytest.raises(ConfigError, match="lose_events is a share, from 0 to 1"):
        PathwayTraining(lose_events=1.5)
