"""The background behind a target: a camera that moves, a target that moves on, and pixels that are unknown."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from spikebridge.networks.sensing.model.background import (
    COVER_FACTOR,
    NO_MOTION,
    Background,
    Motion,
    camera_motion,
    initial_background,
    log_contrast,
)
from spikebridge.ops import without_native

HEIGHT = 120
WIDTH = 160
NOWHERE = np.array([-50.0, -50.0, 1.0, 1.0])


def wall(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> torch.Tensor:
    """A wall with patches and fine grain."""
    generator = torch.Generator().manual_seed(seed)
    rough = F.interpolate(torch.rand(1, 1, 6, 8, generator=generator), (height, width), mode="bicubic")
    fine = F.interpolate(torch.rand(1, 1, 24, 32, generator=generator), (height, width), mode="bicubic")
    return (120 * rough + 60 * fine + 20).clamp(0, 255)


def moved(*rows: list[float]) -> Motion:
    return np.array(rows, np.float32)


def view(picture: torch.Tensor, motion: Motion) -> np.ndarray:
    """The frame of a camera that reads the picture at `motion @ place`."""
    grid = F.affine_grid(torch.from_numpy(motion)[None], [1, 1, HEIGHT, WIDTH], align_corners=False)
    return F.grid_sample(picture, grid, padding_mode="border", align_corners=False)[0, 0].numpy().astype(np.uint8)


def with_target(frame: np.ndarray, box: np.ndarray, grey: int = 250) -> np.ndarray:
    left, top, width, height = box.astype(int)
    shown = frame.copy()
    shown[top : top + height, left : left + width] = grey
    return shown


@given(
    shift=st.tuples(st.floats(-0.05, 0.05), st.floats(-0.05, 0.05)),
    turn=st.floats(-0.03, 0.03),
    size=st.floats(0.98, 1.02),
    seed=st.integers(0, 20),
)
def test_the_motion_of_a_camera_is_measured_to_a_third_of_a_pixel_or_a_tenth_of_its_length(
    shift: tuple[float, float], turn: float, size: float, seed: int
) -> None:
    motion = moved([size, turn, shift[0]], [-turn, size, shift[1]])
    picture = wall(seed=seed)
    before = view(picture, NO_MOTION)
    now = view(picture, motion)

    # something of its own moves as well
    box = np.array([60.0, 40.0, 30.0, 24.0])
    there = np.array([70.0, 36.0, 30.0, 24.0])
    now = with_target(now, there)
    before = with_target(before, box)
    measured = camera_motion(now, before, [there, box], NO_MOTION)
    corners = np.array([[-0.8, -0.8, 1.0], [0.8, -0.8, 1.0], [-0.8, 0.8, 1.0], [0.8, 0.8, 1.0]])
    error, length = (
        np.abs(corners @ one.T * [WIDTH / 2, HEIGHT / 2]).max() for one in (measured - motion, motion - NO_MOTION)
    )

    assert error < 0.33 or error < 0.1 * length


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_frames_without_contrast_and_frames_full_of_the_target_have_no_motion(grey: int) -> None:
    frame = np.full((HEIGHT, WIDTH), grey, np.uint8)
    start = moved([1.0, 0.0, 0.02], [0.0, 1.0, 0.0])
    np.testing.assert_allclose(camera_motion(frame, frame, [NOWHERE], start), NO_MOTION)
    everywhere = np.array([0.0, 0.0, WIDTH, HEIGHT])
    frame = wall()[0, 0].numpy().astype(np.uint8)
    np.testing.assert_allclose(camera_motion(frame, frame, [everywhere], start), NO_MOTION)


def test_a_start_that_is_far_off_does_no_harm() -> None:
    motion = moved([1.0, 0.0, 0.03], [0.0, 1.0, -0.02])
    before = view(wall(), NO_MOTION)
    now = view(wall(), motion)
    alone = camera_motion(now, before, [NOWHERE], NO_MOTION)

    for start in (moved([1, 0, 5], [0, 1, 5]), moved([9, 0, 0], [0, 9, 0]), moved([0, 0, 0], [0, 0, 0])):
        np.testing.assert_allclose(camera_motion(now, before, [NOWHERE], start), alone)


def test_a_fast_camera_is_measured_from_its_last_motion() -> None:
    before = view(wall(), NO_MOTION)
    now = view(wall(), moved([1.0, 0.0, 0.3], [0.0, 1.0, 0.1]))
    measured = camera_motion(now, before, [NOWHERE], moved([1.0, 0.0, 0.29], [0.0, 1.0, 0.11]))
    np.testing.assert_allclose(measured, moved([1.0, 0.0, 0.3], [0.0, 1.0, 0.1]), atol=0.004)


@pytest.mark.parametrize("size", [(HEIGHT - 1, WIDTH - 2), (HEIGHT, WIDTH - 1)], ids=str)
def test_pixels_that_are_left_over_shift_no_place(size: tuple[int, int]) -> None:
    """Cells are two by two pixels from 132 rows on; with a row or a column over they end before the frame does."""
    big = wall(2 * size[0], 2 * size[1])[0, 0].numpy().astype(np.uint8)
    now = big[4:, :-6]
    before = big[:-4, 6:]
    measured = camera_motion(now, before, [NOWHERE], NO_MOTION)
    height, width = now.shape
    np.testing.assert_allclose(measured[:, 2] * [width / 2, height / 2], [-6.0, 4.0], atol=0.15)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 200), (90, 90)], ids=str)
def test_frames_of_any_size_have_a_background(size: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, size).astype(np.uint8)
    background = initial_background(frame).updated(
        frame, np.array([0.0, 0.0, 1.0, 1.0]), frame, np.array([0.0, 0.0, 1.0, 1.0])
    )
    behind = background.behind((0, 0, size[1], size[0]))

    assert behind.shape == (1, 2, *size)
    assert behind.isfinite().all()


def test_the_background_behind_a_target_is_known_once_it_has_moved_on() -> None:
    bare = wall()[0, 0].numpy().astype(np.uint8)
    places = [np.array([20.0 + 8 * k, 40.0, 24.0, 30.0]) for k in range(8)]
    frames = [with_target(bare, box) for box in places]
    background = initial_background(frames[0])

    assert background.behind((0, 0, WIDTH, HEIGHT))[0, 1].max() == 0
    for k in range(1, 8):
        background = background.updated(frames[k - 1], places[k - 1], frames[k], places[k])
        grey, known = background.behind((0, 0, WIDTH, HEIGHT))[0].numpy()
        # the place of the target at first, with its margin, and ever since
        unknown = np.zeros((HEIGHT, WIDTH), bool)
        margin = 12 * COVER_FACTOR
        first = 32 - margin
        last = places[k - 1][0] + 12 - margin
        unknown[
            int(55 - 15 * COVER_FACTOR) : int(np.ceil(55 + 15 * COVER_FACTOR)),
            int(last) : int(np.ceil(first + 2 * margin)),
        ] = 1

        assert ((known < 0.5) == unknown).mean() > 0.99

        clear = known > 0.99
        assert np.abs(grey - bare)[clear].max() < 12
        assert np.abs(grey - bare)[clear].mean() < 1

    assert known.min() == pytest.approx(1.0, abs=1e-3)


def test_pixels_that_enter_the_frame_are_unknown() -> None:
    frame = wall()[0, 0].numpy().astype(np.uint8)
    picture = torch.from_numpy(frame.astype(np.float32))[None, None]
    background = Background(torch.cat([picture, torch.ones_like(picture)], 1), moved([1, 0, 0.25], [0, 1, 0]))
    grey, known = background.behind((0, 0, WIDTH, HEIGHT))[0].numpy()

    # a quarter of half a width: twenty columns
    assert known[:, : WIDTH - 20].min() == 1
    assert known[:, WIDTH - 20 :].max() == 0

    np.testing.assert_allclose(grey[:, : WIDTH - 20], frame[:, 20:], atol=1e-3)
    part = background.behind((30, 10, 50, 40))[0].numpy()
    np.testing.assert_allclose(part[0], grey[10:50, 30:80], atol=1e-3)


def test_a_background_of_two_frames_ago_is_registered_by_both_motions() -> None:
    picture = wall()
    earlier = Background(torch.cat([picture, torch.ones_like(picture)], 1), moved([1, 0, 0.1], [0, 1, 0.05]))
    later = Background(earlier.behind((0, 0, WIDTH, HEIGHT)), moved([0.9, 0.1, -0.1], [-0.1, 0.9, 0.0]))
    straight = later.since(earlier).behind((0, 0, WIDTH, HEIGHT))
    in_steps = later.behind((0, 0, WIDTH, HEIGHT))
    clear = (in_steps[:, 1] > 0.99) & (straight[:, 1] > 0.99)

    assert clear.float().mean() > 0.8
    assert (straight - in_steps)[:, 0][clear].abs().mean() < 1.0


def test_a_background_is_an_argument_and_a_result() -> None:
    frame = wall()[0, 0].numpy().astype(np.uint8)
    box = np.array([20.0, 20.0, 30.0, 30.0])
    background = initial_background(frame)
    kept = background.picture.clone()
    one, two = (background.updated(frame, box, frame, box) for _ in range(2))
    torch.testing.assert_close(background.picture, kept, rtol=0, atol=0)
    torch.testing.assert_close(one.picture, two.picture, rtol=0, atol=0)
    np.testing.assert_array_equal(one.motion, two.motion)


@pytest.mark.parametrize("shape", [(41, 67), (90, 61), (120, 33)], ids=str)
def test_native_steps_of_a_motion_are_those_of_the_products(shape: tuple[int, int]) -> None:
    y, x = np.mgrid[: shape[0] + 6, : shape[1] + 6]
    wall = (128 + 50 * np.sin(x / 5 + y / 17) + 50 * np.cos(y / 6) + 20 * np.sin(x * y / 90)).astype(np.uint8)
    now = wall[2:-4, 3:-3]
    before = wall[3:-3, 1:-5]
    start = NO_MOTION + np.array([[0.01, -0.02, 0.05], [0.0, 0.01, -0.03]], np.float32)
    box = np.array([10.0, 12.0, 9.0, 7.0])
    native = camera_motion(now, before, [box], start)

    with without_native():
        expected = camera_motion(now, before, [box], start)

    np.testing.assert_allclose(native, expected, atol=1e-5)
    assert abs(native - NO_MOTION).max() > 0.01


def test_a_frame_cut_four_pixels_further_to_the_right_is_a_motion_of_four_pixels() -> None:
    y, x = np.mgrid[:80, :84]
    wall = (128 + 60 * np.sin(x / 9 + y / 30) + 60 * np.cos(y / 7)).astype(np.uint8)
    motion = camera_motion(wall[:, 4:], wall[:, :80], [], NO_MOTION)
    np.testing.assert_allclose(40 * motion[:, 2], [4.0, 0.0], atol=0.05)


def test_a_target_that_moves_uncovers_the_background() -> None:
    frame = np.full((40, 60), 50, np.uint8)
    frame[10:20, 10:20] = 200
    background = initial_background(frame).updated(frame, np.array([10.0, 10.0, 10.0, 10.0]), frame, np.zeros(4))
    _, known = background.behind((0, 0, 60, 40))[0]
    assert (known[15, 15].item(), known[15, 40].item()) == (0.0, 1.0)

    frame = np.roll(frame, 20, 1)
    background = background.updated(frame, np.array([30.0, 10.0, 10.0, 10.0]), frame, np.zeros(4))
    grey, known = background.behind((0, 0, 60, 40))[0]
    assert (known[15, 15].item(), known[15, 35].item()) == (1.0, 1.0)
    assert grey[15, 35].item() == pytest.approx(50)


def test_the_contrast_is_the_logarithm_of_a_ratio_and_0_on_an_unknown_background() -> None:
    behind = torch.tensor([[[[42.0, 42.0]], [[1.0, 0.0]]]])
    # of 92 + 8 and 42 + 8
    contrast = log_contrast(torch.full((1, 1, 1, 2), 92.0), behind)
    torch.testing.assert_close(contrast.flatten(), torch.tensor([2.0, 1.0]).log())
