"""Changed pictures keep their boxes, errors last from frame to frame, and another room is another room."""

import numpy as np
import pytest
import torch
from torch import Tensor

from spikebridge.networks.sensing.model.detector import patch_side
from spikebridge.networks.sensing.training import augmentation as sensing_changes


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def noise(side: int) -> Tensor:
    return 255 * torch.rand(1, 1, side, side)


def test_mirrored_pictures_and_boxes_are_mirrored_together() -> None:
    size = 32
    box = torch.tensor([4.0, 10.0, 6.0, 3.0])
    picture = torch.zeros(64, 1, size, size, dtype=torch.uint8)
    picture[:, 0, 10:13, 4:10] = 200
    batch = dict.fromkeys(sensing_changes.PICTURES, picture) | {
        name: box.repeat(64, 1) for name in sensing_changes.BOXES
    }
    turned = sensing_changes.random_flip({**batch, "events": picture.bool()})

    assert len({tuple(row) for row in turned["box"].tolist()}) == 8
    for i in range(64):
        x, y, w, h = turned["box"][i].int().tolist()
        for name in ("now", "given", "events"):
            inside = turned[name][i, 0, y : y + h, x : x + w]
            assert (inside > 0).all()
            assert (turned[name][i] > 0).sum() == w * h


def test_some_pictures_of_a_batch_are_coarser_and_keep_their_light() -> None:
    picture = (
        torch.nn.functional.interpolate(noise(14), (112, 112), mode="bicubic").clamp(0, 255).expand(64, -1, -1, -1)
    )
    batch = dict.fromkeys(sensing_changes.PICTURES, picture) | {"box": torch.zeros(64, 4)}
    found = sensing_changes.lower_resolution(batch)["now"]
    same = (found == picture).flatten(1).all(1)

    assert 32 < same.sum() < 60
    assert found.shape == picture.shape

    torch.testing.assert_close(found.mean((1, 2, 3)), picture.mean((1, 2, 3)), rtol=0.02, atol=0)


def test_one_predicted_box_in_five_has_a_large_error() -> None:
    truth = torch.tensor([[40.0, 40.0, 20.0, 20.0]]).repeat(4000, 1)
    stretch = (sensing_changes.jitter_boxes(truth, 1.0)[:, 2:] / 20).log().abs().max(1).values
    assert 0.02 < (stretch > 0.5).float().mean() < 0.2
    assert stretch.max() <= 1.0 + 1e-5


def test_some_predicted_boxes_have_a_wrong_size() -> None:
    truth = torch.tensor([[40.0, 40.0, 20.0, 20.0]]).repeat(4000, 1)
    found = sensing_changes.jitter_boxes(truth, 1.0)
    stretch = (found[:, 2:] / 20).log()
    much = stretch.mean(1).abs() > 0.35

    # one in twelve is so far off by chance, and as many again by swelling, whose sides are wrong alike
    assert 0.12 < much.float().mean() < 0.25
    assert (stretch[much].prod(1) > 0).float().mean() > 0.9


def test_without_noise_a_predicted_box_is_the_true_one() -> None:
    box = torch.tensor([[4.0, 10.0, 6.0, 3.0]])
    torch.testing.assert_close(sensing_changes.jitter_boxes(box, 0.0), box)
    torch.testing.assert_close(patch_side(box), torch.tensor([2.6 * 12.0]))  # no smaller than 12 px
    assert np.isfinite(sensing_changes.jitter_boxes(box, 1.0).numpy()).all()


def test_errors_of_a_predicted_box_persist() -> None:
    boxes = torch.tensor([[40.0, 40.0, 20.0, 20.0]]).repeat(500, 1)
    before = torch.tensor([[30.0, 50.0, 40.0, 40.0]]).repeat(500, 1)  # twice as large: errors count in sizes
    believed = sensing_changes.jitter_boxes(boxes, 1.0)
    found = sensing_changes.correlated_jitter(before, boxes, believed)
    now, then = (
        sensing_changes.box_centers(one) - sensing_changes.box_centers(true)
        for one, true in ((believed, boxes), (found, before))
    )

    share = (then / now / 2).nan_to_num()
    torch.testing.assert_close(share[:, 0], share[:, 1], atol=1e-3, rtol=1e-3)

    assert (share > -1e-3).all() and (share < 1 + 1e-3).all()
    assert 0.5 < (share > 0.999).float().mean() < 0.7  # three in five wholly

    wide, high = ((found[:, i] / 40).log() / (believed[:, i] / 20).log() for i in (2, 3))
    torch.testing.assert_close(wide, share[:, 0], atol=1e-2, rtol=1e-2)
    torch.testing.assert_close(high, share[:, 0], atol=1e-2, rtol=1e-2)


def test_a_swapped_background_leaves_the_target() -> None:
    side = 96
    box = torch.tensor([36.0, 30.0, 24.0, 36.0])
    levels = torch.arange(1.0, 9.0)  # each sample has a level of its own, and ten times that on its target
    picture = levels[:, None, None, None].expand(-1, 1, side, side).clone()
    picture[:, :, 30:66, 36:60] *= 10
    batch = dict.fromkeys(sensing_changes.PICTURES, picture) | {
        name: box.repeat(8, 1) for name in sensing_changes.BOXES
    }
    found = sensing_changes.swap_background(batch, share=1.0)

    for name in ("now", "before", "events"):
        core = found[name][:, 0, 42:54, 42:54]
        torch.testing.assert_close(core, 10 * levels[:, None, None].expand(-1, 12, 12), rtol=0.05, atol=0)

    edge = found["now"][:, 0, :, :20].flatten(1)
    background_sequence = torch.stack([edge[i].mode().values for i in range(8)])

    assert ((background_sequence - levels).abs() > 0.5).sum() >= 4  # a permutation leaves some where they are
    assert set(background_sequence.tolist()) <= set(levels.tolist()) | set((10 * levels).tolist())
    assert (found["given"] == picture).all()
    assert all((found[name] == batch[name]).all() for name in sensing_changes.BOXES)


def test_a_share_of_0_swaps_no_background() -> None:
    batch = dict.fromkeys(sensing_changes.PICTURES, noise(32)) | {
        name: torch.tensor([[8.0, 8.0, 10.0, 10.0]]) for name in sensing_changes.BOXES
    }
    found = sensing_changes.swap_background(batch, share=0.0)

    assert all((found[name] == batch[name]).all() for name in batch)


def test_a_swapped_background_is_that_of_the_other_target() -> None:
    number = 32
    side = 64
    box = torch.tensor([[24.0, 24.0, 16.0, 16.0]]).repeat(number, 1)
    behind = torch.full((number, 2, side, side), 255, dtype=torch.uint8)
    behind[:, 0] = torch.arange(number, dtype=torch.uint8)[:, None, None]
    frame = torch.full((number, 1, side, side), 200, dtype=torch.uint8)
    batch = {"now": frame, "before": frame, "given": frame, "events": frame.expand(-1, 2, -1, -1), "behind": behind}
    found = sensing_changes.swap_background(batch | dict.fromkeys(sensing_changes.BOXES, box), 1.0)["behind"]
    grey, known = found.unbind(1)

    assert (grey == grey[:, :1, :1]).all()
    assert sorted(grey[:, 0, 0].tolist()) == list(range(number))
    assert (known[:, :10] > 254).all()

    hidden = known[:, 32, 32] < 1
    assert 1 <= hidden.sum() <= 16
    assert (known[~hidden] > 254).all()


def test_what_is_behind_a_target_is_seen_in_the_light_of_the_frame_before() -> None:
    number = 64
    side = 16
    frame = torch.full((number, 1, side, side), 90.0)
    known = torch.full((number, 1, side, side), 255.0)
    batch = dict.fromkeys(("now", "before", "given", "events"), frame)
    lit = sensing_changes.jitter_illumination(
        {**batch, "behind": torch.cat([frame, known], 1), "box": torch.zeros(number, 4)}
    )
    behind, seen = lit["behind"].split(1, 1)

    assert (seen == 1).all()

    torch.testing.assert_close(behind.mean((1, 2, 3)), lit["before"].mean((1, 2, 3)), atol=2.0, rtol=0)
    assert behind.std() > 10


def test_another_camera_loses_a_share_of_the_events_and_changes_contrast_around_the_mean():
    torch.manual_seed(0)
    frames = torch.full((4, 1, 8, 8), 100.0)
    frames[:, :, :4] = 140.0
    batch = {"frames": frames, "before": frames, "after": frames, "events": torch.ones(6, 4, 2, 40, 40)}
    varied = sensing_changes.vary_camera(batch, lose_events=0.8, contrast=0.5)
    kept = varied["events"].mean((0, 2, 3, 4))

    assert (kept > 0.15).all() and (kept <= 1).all() and kept.std() > 0.05  # each sample its own share

    factor = (varied["frames"][:, 0, 0, 0] - 120) / 20
    assert torch.allclose(varied["frames"].mean((1, 2, 3)), torch.full((4,), 120.0))
    assert (factor.log().abs() <= 0.5 + 1e-5).all() and factor.std() > 0
    assert torch.equal(varied["after"], varied["frames"])


def test_the_same_camera_draws_no_random_number():
    batch = {"events": torch.ones(1, 1, 2, 4, 4)}
    torch.manual_seed(0)

    assert sensing_changes.vary_camera(batch, 0.0, 0.0)["events"] is batch["events"]

    drawn = torch.rand(1)
    torch.manual_seed(0)

    assert torch.equal(torch.rand(1), drawn)
