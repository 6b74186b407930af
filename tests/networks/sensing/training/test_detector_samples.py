"""What a finder learns from: targets where they are, and places where they are not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from spikebridge.errors import ConfigError
from spikebridge.networks.sensing import data as sensing_parts
from spikebridge.networks.sensing.model.detector import TargetDetector
from spikebridge.networks.sensing.training import detector_samples as sensing_sightings
from spikebridge.networks.sensing.training import objectives as sensing_finding


@pytest.fixture(scope="module")
def parts() -> list[sensing_parts.RecordingPart]:
    return sensing_parts.generated_parts("train", 1)


def everything(found: sensing_sightings.DetectorDataset) -> dict[str, Tensor]:
    return found.select(torch.arange(len(found)))


def test_some_more_samples_look_where_the_target_is_not(parts: list[sensing_parts.RecordingPart]) -> None:
    plain = everything(sensing_sightings.detector_samples(parts, lost=0.0))
    some = everything(sensing_sightings.detector_samples(parts, lost=0.5))

    assert plain["is_there"].all()

    there = some["is_there"]
    assert there.sum() == len(plain["is_there"])
    assert 0.3 < (~there).sum() / there.sum() < 0.7

    side = some["now"].shape[-1]
    middle = sum(some[name][:, :2] + some[name][:, 2:] / 2 for name in ("box", "box_before")) / 2
    # the sample's middle is that of the two places of the target, or one that is not its
    torch.testing.assert_close(middle, torch.full_like(middle, side / 2), atol=1e-3, rtol=0)
    shows = some["box_before"][~there]
    torch.testing.assert_close(shows, some["box"][~there])


def test_first_frames_and_empty_events_are_stored_once(parts: list[sensing_parts.RecordingPart]) -> None:
    recording, frames = parts[0]
    x, y, on = recording.events.slice_events(0, 0)
    silence = replace(recording.events, x=x, y=y, on=on, edges=0 * recording.events.edges)
    still = replace(recording, events=silence, frame_events=0 * recording.frame_events)
    found = sensing_sightings.detector_samples([(still, frames[:6]), (recording, frames)], lost=0.0)
    rows = found.rows.tensors
    batch = everything(found)

    assert len(found.given) < len(found)
    assert len(found.given) == len(rows["given"].unique())

    silent = rows["events"] == 0
    assert silent.sum() == 5
    assert batch["events"][silent].max() == 0
    assert (batch["events"][~silent].flatten(1).max(1).values > 0).all()

    same = rows["given"] == rows["given"][-1]
    assert (batch["given"][same] == batch["given"][-1]).all()
    assert (batch["box_given"][same] == batch["box_given"][-1]).all()


def test_both_ways_in_time_look_at_the_same_pictures(parts: list[sensing_parts.RecordingPart]) -> None:
    found = sensing_sightings.detector_samples(parts, lost=0.0)
    assert len(found) == 2 * len(found.pairs)

    batch = everything(found)
    forwards, backwards = ({name: x[i::2] for name, x in batch.items()} for i in (0, 1))
    for name, other in (("now", "before"), ("before", "now"), ("box", "box_before"), ("box_before", "box")):
        assert (backwards[name] == forwards[other]).all()

    assert (backwards["events"] == forwards["events"].flip(1)).all()
    assert (backwards["events"] != forwards["events"]).any()
    assert (forwards["box"] != forwards["box_before"]).any()


def test_what_became_brighter_is_on_and_what_became_darker_off(parts: list[sensing_parts.RecordingPart]) -> None:
    batch = everything(sensing_sightings.detector_samples(parts, lost=0.0))
    brighter = batch["now"].float() - batch["before"].float()
    on, off = batch["events"].split(1, 1)

    assert brighter[(on > 200) & (off < 50)].mean() > 10
    assert brighter[(off > 200) & (on < 50)].mean() < -10
    assert {0, 255} <= set(on.unique().tolist())


def test_behind_a_target_is_what_was_there_before_it_came(parts: list[sensing_parts.RecordingPart]) -> None:
    found = sensing_sightings.detector_samples(parts, lost=0.0)
    batch = everything(found)
    grey, known = (one[:, 0].float() for one in batch["behind"].split(1, 1))

    assert set(known.unique().tolist()) == {0.0, 255.0}

    now = batch["now"][:, 0].float()
    # what is not known makes no difference
    assert (grey[known == 0] == now[known == 0]).all()

    y, x = torch.meshgrid(*(torch.arange(now.shape[-1]) + 0.5,) * 2, indexing="ij")
    middle = batch["box"][:, :2] + batch["box"][:, 2:] / 2
    size = batch["box"][:, 2:]
    away = ((x - middle[:, 0, None, None]) / size[:, 0, None, None]) ** 2
    away = away + ((y - middle[:, 1, None, None]) / size[:, 1, None, None]) ** 2
    target = away < 0.15
    around = (away > 1.2) & (known > 0)

    # neighbours of neighbours have seen more of it
    late = [i for i in range(len(now)) if (known[i] > 0)[target[i]].float().mean() > 0.9]
    assert len(late) > len(now) // 4

    off = (now - grey).abs()
    inside, outside = (torch.stack([off[i][where[i]].median() for i in late]).median() for where in (target, around))

    assert inside > 3 * outside


def test_a_box_without_the_target_is_away_from_its_patch(parts: list[sensing_parts.RecordingPart]) -> None:
    recording, _ = parts[0]
    box = recording.frame_boxes[3]
    generator = np.random.default_rng(0)
    away = [sensing_sightings.random_background_box(recording, box, generator) for _ in range(20)]
    found = np.array([one for one in away if one is not None])

    assert len(found)
    assert (found[:, 2:] == box[2:]).all()
    assert (np.hypot(*(found - box)[:, :2].T) > 2 * box[2:].prod() ** 0.5).all()

    middles = found[:, :2] + found[:, 2:] / 2
    assert ((middles >= 0) & (middles <= [recording.events.width, recording.events.height])).all()

    everywhere = np.array([0.0, 0.0, recording.events.width, recording.events.height])
    assert sensing_sightings.random_background_box(recording, everywhere, generator) is None


def test_samples_without_a_target_train_the_spread_only(parts: list[sensing_parts.RecordingPart]) -> None:
    torch.manual_seed(0)
    columns = everything(sensing_sightings.detector_samples(parts, lost=0.5))
    batch = {name: x[~columns["is_there"]][:8] for name, x in columns.items()}
    finder = TargetDetector()
    loss, figures = sensing_finding.detection_objective(
        finder, batch, box_noise=1.0, background_swaps=0.4, template_error=1.0, a=0.3
    )
    loss.backward()

    assert figures["overlap"] == 0.0

    gradient = finder.votes.weight.grad
    assert gradient is not None
    assert gradient[1:5].abs().max() == 0.0  # edges
    assert gradient[5].abs().max() > 0.0  # the spread


def test_a_detector_without_pairs_of_frames_is_refused(parts: list[sensing_parts.RecordingPart]) -> None:
    recording, frames = parts[0]
    with pytest.raises(ConfigError, match="two neighbouring frames"):
        sensing_sightings.detector_samples([(recording, frames[:1])])
