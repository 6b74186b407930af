"""Samples of the detector: patches with the target, and patches without it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from spikebridge.errors import ConfigError
from spikebridge.networks.sensing import data as sensing_parts
from spikebridge.networks.sensing.model.detector import TargetDetector
from spikebridge.networks.sensing.training.detector_samples import (
    DetectorDataset,
    detector_samples,
    random_background_box,
)
from spikebridge.networks.sensing.training.objectives import detection_objective

pytestmark = pytest.mark.untyped


@pytest.fixture(scope="module")
def parts() -> list[sensing_parts.RecordingPart]:
    return sensing_parts.generated_parts("train", 1)


def all_samples(dataset: DetectorDataset) -> dict[str, Tensor]:
    return dataset.select(torch.arange(len(dataset)))


def test_some_additional_samples_do_not_show_the_target(parts: list[sensing_parts.RecordingPart]) -> None:
    plain = all_samples(detector_samples(parts, absent_share=0.0))
    mixed = all_samples(detector_samples(parts, absent_share=0.5))

    assert plain["has_target"].all()

    has_target = mixed["has_target"]
    assert has_target.sum() == len(plain["has_target"])
    assert 0.3 < (~has_target).sum() / has_target.sum() < 0.7

    # the centre of a sample is that of its two boxes
    side = mixed["frame"].shape[-1]
    center = sum(mixed[name][:, :2] + mixed[name][:, 2:] / 2 for name in ("box", "box_before")) / 2
    torch.testing.assert_close(center, torch.full_like(center, side / 2), atol=1e-3, rtol=0)
    torch.testing.assert_close(mixed["box_before"][~has_target], mixed["box"][~has_target])


def test_first_frames_and_empty_events_are_stored_once(parts: list[sensing_parts.RecordingPart]) -> None:
    recording, frames = parts[0]
    x, y, on = recording.events.slice_events(0, 0)
    no_events = replace(recording.events, x=x, y=y, on=on, edges=0 * recording.events.edges)
    still = replace(recording, events=no_events, frame_events=0 * recording.frame_events)
    dataset = detector_samples([(still, frames[:6]), (recording, frames)], absent_share=0.0)
    rows = dataset.rows.tensors
    batch = all_samples(dataset)

    assert len(dataset.first) < len(dataset)
    assert len(dataset.first) == len(rows["first"].unique())

    is_still = rows["events"] == 0
    assert is_still.sum() == 5
    assert batch["events"][is_still].max() == 0
    assert (batch["events"][~is_still].flatten(1).max(1).values > 0).all()

    same = rows["first"] == rows["first"][-1]
    assert (batch["first"][same] == batch["first"][-1]).all()
    assert (batch["box_first"][same] == batch["box_first"][-1]).all()


def test_both_directions_of_time_share_their_pictures(parts: list[sensing_parts.RecordingPart]) -> None:
    dataset = detector_samples(parts, absent_share=0.0)
    assert len(dataset) == 2 * len(dataset.pairs)

    batch = all_samples(dataset)
    forwards, backwards = ({name: x[i::2] for name, x in batch.items()} for i in (0, 1))
    for name, other in (("frame", "before"), ("before", "frame"), ("box", "box_before"), ("box_before", "box")):
        assert (backwards[name] == forwards[other]).all()

    assert (backwards["events"] == forwards["events"].flip(1)).all()
    assert (backwards["events"] != forwards["events"]).any()
    assert (forwards["box"] != forwards["box_before"]).any()


def test_brighter_pixels_have_on_events_and_darker_ones_off_events(parts: list[sensing_parts.RecordingPart]) -> None:
    batch = all_samples(detector_samples(parts, absent_share=0.0))
    change = batch["frame"].float() - batch["before"].float()
    on, off = batch["events"].split(1, 1)

    assert change[(on > 200) & (off < 50)].mean() > 10
    assert change[(off > 200) & (on < 50)].mean() < -10
    assert {0, 255} <= set(on.unique().tolist())


def test_the_background_behind_a_target_does_not_show_the_target(parts: list[sensing_parts.RecordingPart]) -> None:
    batch = all_samples(detector_samples(parts, absent_share=0.0))
    grey, known = (one[:, 0].float() for one in batch["behind"].split(1, 1))

    assert set(known.unique().tolist()) == {0.0, 255.0}

    # an unknown background is the frame itself
    frame = batch["frame"][:, 0].float()
    assert (grey[known == 0] == frame[known == 0]).all()

    y, x = torch.meshgrid(*(torch.arange(frame.shape[-1]) + 0.5,) * 2, indexing="ij")
    center = batch["box"][:, :2] + batch["box"][:, 2:] / 2
    size = batch["box"][:, 2:]
    distance = ((x - center[:, 0, None, None]) / size[:, 0, None, None]) ** 2
    distance = distance + ((y - center[:, 1, None, None]) / size[:, 1, None, None]) ** 2
    target = distance < 0.15
    around = (distance > 1.2) & (known > 0)

    # later in the recording more of the background has been uncovered
    uncovered = [i for i in range(len(frame)) if (known[i] > 0)[target[i]].float().mean() > 0.9]
    assert len(uncovered) > len(frame) // 4

    difference = (frame - grey).abs()
    inside, outside = (
        torch.stack([difference[i][where[i]].median() for i in uncovered]).median() for where in (target, around)
    )

    assert inside > 3 * outside


def test_a_box_without_the_target_is_away_from_its_patch(parts: list[sensing_parts.RecordingPart]) -> None:
    recording, _ = parts[0]
    box = recording.frame_boxes[3]
    generator = np.random.default_rng(0)
    drawn = [random_background_box(recording, box, generator) for _ in range(20)]
    boxes = np.array([one for one in drawn if one is not None])

    assert len(boxes)
    assert (boxes[:, 2:] == box[2:]).all()
    assert (np.hypot(*(boxes - box)[:, :2].T) > 2 * box[2:].prod() ** 0.5).all()

    centers = boxes[:, :2] + boxes[:, 2:] / 2
    assert ((centers >= 0) & (centers <= [recording.events.width, recording.events.height])).all()

    whole_image = np.array([0.0, 0.0, recording.events.width, recording.events.height])
    assert random_background_box(recording, whole_image, generator) is None


def test_samples_without_a_target_train_the_spread_only(parts: list[sensing_parts.RecordingPart]) -> None:
    torch.manual_seed(0)
    samples = all_samples(detector_samples(parts, absent_share=0.5))
    batch = {name: x[~samples["has_target"]][:8] for name, x in samples.items()}
    detector = TargetDetector()
    loss, figures = detection_objective(detector, batch, box_noise=1.0, template_rate=0.3)
    loss.backward()

    assert figures["overlap"] == 0.0

    gradient = detector.votes.weight.grad
    assert gradient is not None
    # the edges of the box, and the spread
    assert gradient[1:5].abs().max() == 0.0
    assert gradient[5].abs().max() > 0.0


def test_a_detector_without_pairs_of_frames_is_refused(parts: list[sensing_parts.RecordingPart]) -> None:
    recording, frames = parts[0]
    with pytest.raises(ConfigError, match="two neighbouring frames"):
        detector_samples([(recording, frames[:1])])
