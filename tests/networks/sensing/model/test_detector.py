"""The target detector: patches at one scale, templates that match themselves, and boxes by hand."""

import numpy as np
import pytest
import torch

from research.sensing.between_frames.errors_left import detect_multiscale
from spikebridge.data.events.binned import BinEvents, crop_events
from spikebridge.errors import ConfigError
from spikebridge.networks.sensing.model.background import Background
from spikebridge.networks.sensing.model.detector import (
    PATCH_SIDE,
    SCALES,
    TargetDetector,
    blend_templates,
    correlation,
    patch_side,
    resample,
    search_full_frame,
    search_patches,
    target_mask,
)
from spikebridge.networks.sensing.tracker.fused_detector import FusedDetector


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def smooth_noise(height: int, width: int) -> torch.Tensor:
    coarse = torch.rand(1, 1, height // 8, width // 8)
    return 255 * torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)


def test_a_target_of_any_size_fills_the_same_share_of_a_patch() -> None:
    pictures = torch.zeros(2, 1, 120, 120)
    pictures[0, :, 40:60, 30:50] = 1.0
    pictures[1, :, 20:60, 50:90] = 1.0
    small, large = search_patches(pictures, torch.tensor([[30.0, 40, 20, 20], [50.0, 20, 40, 40]]))

    assert small.sum() == pytest.approx((PATCH_SIDE / 2.6) ** 2, rel=0.04)
    assert large.sum() == pytest.approx(small.sum().item(), rel=0.04)


def test_pixel_and_cell_agree_at_both_ends_of_the_mask() -> None:
    # features sit at pixels 0, 2, 4 ..; the middle 32 px lies between cells 15 (at 30.5) and 16 (at 32.5)
    mask = target_mask(torch.tensor([[0.0, 0.0, 20.0, 20.0]]), 32)[0, 0]
    assert mask[16, 16] > mask[15, 15] > mask[17, 17]
    torch.testing.assert_close(mask, mask.T)


def test_a_template_matches_itself_in_the_middle() -> None:
    detector = TargetDetector().eval()
    picture = smooth_noise(96, 96)
    box = torch.tensor([[30.0, 36.0, 24.0, 20.0]])

    with torch.no_grad():
        template = detector.template(picture, box)
        fits = correlation(template, template)[0]

    assert divmod(int(fits.argmax()), fits.shape[-1]) == (16, 16)
    assert fits[16, 16].item() == pytest.approx(1.0, abs=1e-4)


def test_a_lost_target_is_detected_in_the_whole_frame() -> None:
    detector = TargetDetector().eval()
    picture = smooth_noise(160, 200)
    there = torch.tensor([[130.0, 90.0, 26.0, 22.0]])
    nothing = torch.zeros(1, 2, 160, 200)

    with torch.no_grad():
        template = detector.template(picture, there)
        like = torch.tensor([[10.0, 12.0, 26.0, 22.0]])
        best = search_full_frame(detector.what, picture, nothing, like, template)

    torch.testing.assert_close(best, there, atol=3.0, rtol=0)


def test_of_two_alike_the_one_that_was_not_there_before_is_detected() -> None:
    detector = TargetDetector().eval()
    wall = smooth_noise(160, 200)
    target = smooth_noise(32, 32)[..., :22, :26]
    before = wall.clone()
    now = wall.clone()

    for picture in (before, now):
        picture[..., 20:42, 30:56] = target

    now[..., 100:122, 130:156] = target
    like = torch.tensor([[10.0, 12.0, 26.0, 22.0]])

    with torch.no_grad():
        template = detector.template(now, torch.tensor([[30.0, 20.0, 26.0, 22.0]]))
        behind = torch.cat([before, torch.ones_like(before)], 1)
        moving = search_full_frame(detector.what, now, behind, like, template)
        still = search_full_frame(detector.what, before, behind, like, template)

    torch.testing.assert_close(moving, torch.tensor([[130.0, 100.0, 26.0, 22.0]]), atol=3.0, rtol=0)
    # one that does not move is detected, too
    torch.testing.assert_close(still, torch.tensor([[30.0, 20.0, 26.0, 22.0]]), atol=3.0, rtol=0)


def test_the_template_never_forgets_the_first_one() -> None:
    first = torch.ones(2)
    newest = torch.zeros(2)
    for _ in range(50):
        assert blend_templates(first, newest, 0.3).tolist() == pytest.approx([0.7, 0.7])

    with pytest.raises(ConfigError, match="from 0 to 1"):
        blend_templates(first, newest, 1.5)


def test_a_moved_picture_moves_the_answer() -> None:
    detector = TargetDetector().eval()
    torch.nn.init.normal_(detector.votes.weight, std=0.3)
    picture = smooth_noise(128, 128)
    nothing = torch.zeros(1, 2, 128, 128)
    box = torch.tensor([[50.0, 50.0, 24.0, 24.0]])
    moved = picture.roll((5, -3), (2, 3))

    with torch.no_grad():
        template = detector.template(picture, box)
        one = detector(picture, picture, nothing, nothing, box, template, template, 0.3).boxes
        there = box + torch.tensor([-3.0, 5.0, 0, 0])
        two = detector(moved, moved, nothing, nothing, there, template, template, 0.3).boxes

    torch.testing.assert_close(two - one, torch.tensor([[-3.0, 5.0, 0.0, 0.0]]), atol=1e-3, rtol=0)


def test_several_assumed_sizes_give_the_mean_of_their_boxes() -> None:
    detector = TargetDetector().eval()
    torch.nn.init.normal_(detector.votes.weight, std=0.3)
    picture = smooth_noise(96, 96)
    nothing = torch.zeros(1, 2, 96, 96)
    box = torch.tensor([[30.0, 34.0, 24.0, 20.0]])

    with torch.no_grad():
        template = detector.template(picture, box)
        mean = detect_multiscale(detector, (picture, picture, nothing, nothing), box, template, template, 0.3)
        alone = [
            detector(picture, picture, nothing, nothing, torch.tensor([around]), template, template, 0.3).boxes
            for around in ([42 - 12 * s, 44 - 10 * s, 24 * s, 20 * s] for s in SCALES)
        ]

    torch.testing.assert_close(mean.boxes, torch.stack(alone).mean(0), atol=1e-3, rtol=1e-4)


def test_the_order_of_samples_changes_nothing_in_eval() -> None:
    detector = TargetDetector().eval()
    torch.nn.init.normal_(detector.votes.weight, std=0.3)
    pictures = torch.cat([smooth_noise(96, 96) for _ in range(3)])
    events = torch.rand(3, 2, 96, 96).round()
    behind = torch.cat([255 * torch.rand(3, 1, 96, 96), torch.ones(3, 1, 96, 96)], 1)
    boxes = torch.tensor([[30.0, 30, 20, 24], [40.0, 28, 12, 24], [20.0, 40, 30, 30]])

    with torch.no_grad():
        template = detector.template(pictures, boxes)
        inputs = (pictures, pictures, events, behind, boxes, template, template)
        forth = detector(*inputs, 0.3).boxes
        order = torch.tensor([2, 0, 1])
        back = detector(*(one[order] for one in inputs), 0.3).boxes

    torch.testing.assert_close(back, forth[order], atol=1e-4, rtol=1e-4)


CORNERS = [[30.0, 35.0, 20.0, 16.0], [-3.0, -4.0, 20.0, 30.0], [95.0, 70.0, 30.0, 40.0], [20.0, 20.0, 4.0, 5.0]]


@pytest.mark.parametrize("corner", CORNERS, ids=str)
def test_the_fused_detector_equals_the_detector_at_every_position(corner: list[float]) -> None:
    detector = TargetDetector()
    generator = np.random.default_rng(0)
    torch.nn.init.normal_(detector.votes.weight, std=0.3)
    frame, before = (smooth_noise(96, 112).round().clamp(0, 255) for _ in range(2))
    x, y = (generator.integers(0, n, 600).astype(np.uint16) for n in (112, 96))
    events = BinEvents(x, y, generator.random(600) < 0.5)
    event_picture = crop_events(events, (0, 0, 112, 96))[None]
    known = (torch.rand(1, 1, 96, 112) < 0.8).float()
    background = Background(
        torch.cat([smooth_noise(96, 112), known], 1), np.array([[0.98, 0.05, 0.1], [-0.04, 1.01, -0.05]], np.float32)
    )
    behind = background.behind((0, 0, 112, 96))
    some = torch.tensor(CORNERS[:1])

    # so that batch norms have statistics
    for _ in range(3):
        template = detector.template(frame, some)
        detector(frame, before, event_picture, behind, some, template, template, 0.3)

    fused = FusedDetector(detector.eval())
    pictures = (frame, before, event_picture, behind)
    box = np.array(corner)
    last = np.add(corner, [2.0, -3.0, 1.0, 2.0])
    rows = [torch.tensor(one[None], dtype=torch.float32) for one in (box, last)]
    bytes_ = [one[0, 0].numpy().astype(np.uint8) for one in (frame, before)]

    with torch.no_grad():
        template = detector.template(frame, rows[0])
        recent = detector.template(before, rows[1])
        expected = detect_multiscale(detector, pictures, rows[0], template, recent, 0.3)
        first = fused.template(fused.patch(bytes_[0], box))
        newest = fused.patch(bytes_[1], last)
        detected, spread = fused.detect(*bytes_, events, background, box, first, newest, 0.3)

        first_only, first_spread = fused.detect(*bytes_, events, background, box, first, None, 0.3)
        expected_first = detect_multiscale(detector, pictures, rows[0], template, template, 0.3)
        best = search_full_frame(detector.what, frame, behind, rows[0], template)[0].numpy()
        np.testing.assert_allclose(fused.search(bytes_[0], background, box, template), best, atol=1e-3)

    np.testing.assert_allclose(detected, expected.boxes[0].numpy(), atol=1e-3)
    assert spread == pytest.approx(expected.spread.item(), rel=1e-4)

    np.testing.assert_allclose(first_only, expected_first.boxes[0].numpy(), atol=1e-3)
    assert first_spread == pytest.approx(expected_first.spread.item(), rel=1e-4)


def test_the_side_of_a_patch_is_that_of_a_square_target_and_its_context() -> None:
    # 2.6 times the root of 400
    assert patch_side(torch.tensor([[0.0, 0.0, 40.0, 10.0]])).item() == pytest.approx(52.0)


def test_resampling_takes_the_mean_of_two_pixels_between_them() -> None:
    center = torch.tensor([[1.0, 0.5]])
    assert resample(torch.tensor([[[[1.0, 3.0]]]]), center, torch.ones(1, 2), 1).item() == 2.0
