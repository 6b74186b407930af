"""Augmented pictures keep their boxes, errors persist from frame to frame, and backgrounds are swapped."""

import numpy as np
import pytest
import torch
from torch import Tensor

from spikebridge.networks.sensing.model.detector import patch_side
from spikebridge.networks.sensing.training import augmentation

pytestmark = pytest.mark.untyped


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def noise(side: int) -> Tensor:
    return 255 * torch.rand(1, 1, side, side)


def test_a_flip_upside_down_swaps_rows() -> None:
    upside_down = augmentation._Flips(torch.tensor([False]), torch.tensor([True]), torch.tensor([False]))
    assert augmentation.flip_images(torch.tensor([[[1, 2], [3, 4]]]), upside_down).tolist() == [[[3, 4], [1, 2]]]


def test_a_displacement_is_flipped_and_a_size_keeps_its_sign() -> None:
    all_flips = augmentation._Flips(*torch.ones(3, 1, dtype=torch.bool))
    pair = torch.tensor([[1.0, 2.0]])
    assert augmentation.flip_vectors(pair, all_flips).tolist() == [[-2.0, -1.0]]
    assert augmentation.flip_vectors(pair, all_flips, signed=False).tolist() == [[2.0, 1.0]]


def test_corners_and_centres_of_a_box() -> None:
    box = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert augmentation.box_corners(box).tolist() == [[1.0, 2.0, 4.0, 6.0]]
    assert augmentation.box_centers(box).tolist() == [[2.5, 4.0]]


def test_flipped_pictures_and_boxes_are_flipped_together() -> None:
    size = 32
    box = torch.tensor([4.0, 10.0, 6.0, 3.0])
    picture = torch.zeros(64, 1, size, size, dtype=torch.uint8)
    picture[:, 0, 10:13, 4:10] = 200
    batch = dict.fromkeys(augmentation.PICTURES, picture) | {name: box.repeat(64, 1) for name in augmentation.BOXES}
    flipped = augmentation.random_flip({**batch, "events": picture.bool()})

    assert len({tuple(row) for row in flipped["box"].tolist()}) == 8
    for i in range(64):
        x, y, w, h = flipped["box"][i].int().tolist()
        for name in ("frame", "first", "events"):
            inside = flipped[name][i, 0, y : y + h, x : x + w]
            assert (inside > 0).all()
            assert (flipped[name][i] > 0).sum() == w * h


def test_some_pictures_of_a_batch_are_coarser_and_keep_their_light() -> None:
    picture = (
        torch.nn.functional.interpolate(noise(14), (112, 112), mode="bicubic").clamp(0, 255).expand(64, -1, -1, -1)
    )
    batch = dict.fromkeys(augmentation.PICTURES, picture) | {"box": torch.zeros(64, 4)}
    lowered = augmentation.lower_resolution(batch)["frame"]
    same = (lowered == picture).flatten(1).all(1)

    assert 32 < same.sum() < 60
    assert lowered.shape == picture.shape
    torch.testing.assert_close(lowered.mean((1, 2, 3)), picture.mean((1, 2, 3)), rtol=0.02, atol=0)


def test_one_predicted_box_in_five_has_a_large_error() -> None:
    truth = torch.tensor([[40.0, 40.0, 20.0, 20.0]]).repeat(4000, 1)
    stretch = (augmentation.jitter_boxes(truth, 1.0)[:, 2:] / 20).log().abs().max(1).values
    assert 0.02 < (stretch > 0.5).float().mean() < 0.2
    assert stretch.max() <= 1.0 + 1e-5


def test_some_predicted_boxes_have_a_wrong_size() -> None:
    truth = torch.tensor([[40.0, 40.0, 20.0, 20.0]]).repeat(4000, 1)
    stretch = (augmentation.jitter_boxes(truth, 1.0)[:, 2:] / 20).log()
    is_far = stretch.mean(1).abs() > 0.35

    # one in twelve is so far off by chance, and as many again by a wrong size, with equal errors of both sides
    assert 0.12 < is_far.float().mean() < 0.25
    assert (stretch[is_far].prod(1) > 0).float().mean() > 0.9


def test_without_noise_a_predicted_box_is_the_true_one() -> None:
    box = torch.tensor([[4.0, 10.0, 6.0, 3.0]])
    torch.testing.assert_close(augmentation.jitter_boxes(box, 0.0), box)
    # no smaller than 12 px
    torch.testing.assert_close(patch_side(box), torch.tensor([2.6 * 12.0]))
    assert np.isfinite(augmentation.jitter_boxes(box, 1.0).numpy()).all()


def test_errors_of_a_predicted_box_persist() -> None:
    boxes = torch.tensor([[40.0, 40.0, 20.0, 20.0]]).repeat(500, 1)
    # twice as large: errors are relative to the size
    before = torch.tensor([[30.0, 50.0, 40.0, 40.0]]).repeat(500, 1)
    predicted = augmentation.jitter_boxes(boxes, 1.0)
    wrong = augmentation.correlated_jitter(before, boxes, predicted)
    error, error_before = (
        augmentation.box_centers(one) - augmentation.box_centers(true)
        for one, true in ((predicted, boxes), (wrong, before))
    )

    share = (error_before / error / 2).nan_to_num()
    torch.testing.assert_close(share[:, 0], share[:, 1], atol=1e-3, rtol=1e-3)

    assert (share > -1e-3).all() and (share < 1 + 1e-3).all()
    # three in five have the whole error
    assert 0.5 < (share > 0.999).float().mean() < 0.7

    width_share, height_share = ((wrong[:, i] / 40).log() / (predicted[:, i] / 20).log() for i in (2, 3))
    torch.testing.assert_close(width_share, share[:, 0], atol=1e-2, rtol=1e-2)
    torch.testing.assert_close(height_share, share[:, 0], atol=1e-2, rtol=1e-2)


def test_a_swapped_background_leaves_the_target() -> None:
    side = 96
    box = torch.tensor([36.0, 30.0, 24.0, 36.0])
    # each sample has a level of its own, and ten times that on its target
    levels = torch.arange(1.0, 9.0)
    picture = levels[:, None, None, None].expand(-1, 1, side, side).clone()
    picture[:, :, 30:66, 36:60] *= 10
    batch = dict.fromkeys(augmentation.PICTURES, picture) | {name: box.repeat(8, 1) for name in augmentation.BOXES}
    swapped = augmentation.swap_background(batch, share=1.0)

    for name in ("frame", "before", "events"):
        core = swapped[name][:, 0, 42:54, 42:54]
        torch.testing.assert_close(core, 10 * levels[:, None, None].expand(-1, 12, 12), rtol=0.05, atol=0)

    edge = swapped["frame"][:, 0, :, :20].flatten(1)
    backgrounds = torch.stack([edge[i].mode().values for i in range(8)])

    # a permutation leaves some where they are
    assert ((backgrounds - levels).abs() > 0.5).sum() >= 4
    assert set(backgrounds.tolist()) <= set(levels.tolist()) | set((10 * levels).tolist())
    assert (swapped["first"] == picture).all()
    assert all((swapped[name] == batch[name]).all() for name in augmentation.BOXES)


def test_a_share_of_0_swaps_no_background() -> None:
    batch = dict.fromkeys(augmentation.PICTURES, noise(32)) | {
        name: torch.tensor([[8.0, 8.0, 10.0, 10.0]]) for name in augmentation.BOXES
    }
    swapped = augmentation.swap_background(batch, share=0.0)
    assert all((swapped[name] == batch[name]).all() for name in batch)


def test_a_swapped_background_is_that_of_the_other_target() -> None:
    number = 32
    side = 64
    box = torch.tensor([[24.0, 24.0, 16.0, 16.0]]).repeat(number, 1)
    behind = torch.full((number, 2, side, side), 255, dtype=torch.uint8)
    behind[:, 0] = torch.arange(number, dtype=torch.uint8)[:, None, None]
    frame = torch.full((number, 1, side, side), 200, dtype=torch.uint8)
    batch = dict.fromkeys(("frame", "before", "first"), frame)
    batch |= {"events": frame.expand(-1, 2, -1, -1), "behind": behind, **dict.fromkeys(augmentation.BOXES, box)}
    grey, known = augmentation.swap_background(batch, 1.0)["behind"].unbind(1)

    assert (grey == grey[:, :1, :1]).all()
    assert sorted(grey[:, 0, 0].tolist()) == list(range(number))
    assert (known[:, :10] > 254).all()

    hidden = known[:, 32, 32] < 1
    assert 1 <= hidden.sum() <= 16
    assert (known[~hidden] > 254).all()


def test_the_background_has_the_illumination_of_the_frame_before() -> None:
    number = 64
    side = 16
    frame = torch.full((number, 1, side, side), 90.0)
    known = torch.full((number, 1, side, side), 255.0)
    batch = dict.fromkeys(("frame", "before", "first", "events"), frame)
    changed = augmentation.jitter_illumination(
        {**batch, "behind": torch.cat([frame, known], 1), "box": torch.zeros(number, 4)}
    )
    grey, is_known = changed["behind"].split(1, 1)

    assert (is_known == 1).all()
    torch.testing.assert_close(grey.mean((1, 2, 3)), changed["before"].mean((1, 2, 3)), atol=2.0, rtol=0)
    assert grey.std() > 10


def test_another_camera_loses_a_share_of_the_events_and_changes_contrast_around_the_mean() -> None:
    torch.manual_seed(0)
    frames = torch.full((4, 1, 8, 8), 100.0)
    frames[:, :, :4] = 140.0
    batch = {"frames": frames, "before": frames, "after": frames, "events": torch.ones(6, 4, 2, 40, 40)}
    varied = augmentation.vary_camera(batch, lose_events=0.8, contrast=0.5)
    kept = varied["events"].mean((0, 2, 3, 4))

    # each sample loses a share of its own
    assert (kept > 0.15).all() and (kept <= 1).all() and kept.std() > 0.05

    factor = (varied["frames"][:, 0, 0, 0] - 120) / 20
    assert torch.allclose(varied["frames"].mean((1, 2, 3)), torch.full((4,), 120.0))
    assert (factor.log().abs() <= 0.5 + 1e-5).all() and factor.std() > 0
    assert torch.equal(varied["after"], varied["frames"])


def test_the_same_camera_draws_no_random_number() -> None:
    batch = {"events": torch.ones(1, 1, 2, 4, 4)}
    torch.manual_seed(0)

    assert augmentation.vary_camera(batch, 0.0, 0.0)["events"] is batch["events"]

    drawn = torch.rand(1)
    torch.manual_seed(0)

    assert torch.equal(torch.rand(1), drawn)
