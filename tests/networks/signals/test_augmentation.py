"""Random changes of windows in training."""

import numpy as np
import pytest

from spikebridge.networks.signals.data._augmentation import (
    add_noise,
    change_gains,
    change_speed,
    rotate_axes,
    shift_electrodes,
    tilt_spectrum,
)
from spikebridge.networks.signals.data.windows import Windows

pytestmark = pytest.mark.untyped


def windows(num_channels: int, length: int = 40, number: int = 5, recorded: int | None = None) -> Windows:
    samples = np.random.default_rng(1).standard_normal((number, length, num_channels)).astype(np.float32)
    recorded = length if recorded is None else recorded
    samples[:, recorded:] = 0
    places = np.arange(number)
    past = np.zeros((number, 0), np.float32)

    return Windows(samples, np.full(number, recorded), places, places, places, past)


def test_a_rotation_keeps_lengths_and_turns_both_vectors_alike() -> None:
    before = windows(6)
    before.samples[:, :, 3:] = before.samples[:, :, :3]
    after = rotate_axes(before, 0.5, np.random.default_rng(0)).samples

    assert np.allclose((after[..., :3] ** 2).sum(-1), (before.samples[..., :3] ** 2).sum(-1), atol=1e-4)
    assert np.allclose(after[..., :3], after[..., 3:], atol=1e-6)
    assert not np.allclose(after, before.samples, atol=0.1)


def test_a_shift_of_electrodes_moves_all_samples_of_a_window_by_the_same_places() -> None:
    before = windows(8, number=40)
    after = shift_electrodes(before, 1, np.random.default_rng(0)).samples
    shifts = [
        next(s for s in (-1, 0, 1) if np.array_equal(np.roll(x, -s, 1), y))
        for x, y in zip(before.samples, after, strict=True)
    ]

    assert set(shifts) == {-1, 0, 1}


def test_a_faster_window_is_shorter_and_silent_after_its_end() -> None:
    before = windows(1, recorded=30)
    after = change_speed(before, 0.3, np.random.default_rng(0))

    assert len(set(after.lengths.tolist())) > 1
    assert all(30 * np.exp(-0.31) - 1 <= n <= 30 * np.exp(0.31) for n in after.lengths)
    assert all(not x[n:].any() for x, n in zip(after.samples, after.lengths, strict=True))


def test_a_ramp_at_another_speed_is_a_ramp_of_another_slope() -> None:
    ramp = windows(1, number=1)._replace(samples=np.arange(40, dtype=np.float32).reshape(1, 40, 1))
    after = change_speed(ramp, 0.3, np.random.default_rng(3))
    (n,) = after.lengths
    slopes = np.diff(after.samples[0, : n - 2, 0])

    assert np.allclose(slopes, slopes[0], atol=1e-4)
    assert slopes[0] != 1


def test_noise_has_the_ratio_asked_for_and_leaves_the_padding_silent() -> None:
    before = windows(1, length=4000, recorded=3000)
    noise = add_noise(before, (10, 10), np.random.default_rng(0)).samples - before.samples

    assert not noise[:, 3000:].any()

    ratio = 10 * np.log10((before.samples[:, :3000] ** 2).mean((1, 2)) / (noise[:, :3000] ** 2).mean((1, 2)))
    assert np.allclose(ratio, 10, atol=0.3)


def test_gains_are_one_factor_a_channel_in_a_window() -> None:
    before = windows(3)
    gains = change_gains(before, 0.2, np.random.default_rng(0)).samples / before.samples
    assert np.allclose(gains, gains[:, :1], rtol=1e-4)
    assert np.ptp(gains[0, 0]) > 0


def test_a_tilt_takes_a_part_of_the_sample_before() -> None:
    before = windows(1, number=8)
    parts = before.samples - tilt_spectrum(before, 0.5, np.random.default_rng(0)).samples

    assert not parts[:, 0].any()

    shares = parts[:, 1:] / before.samples[:, :-1]
    assert np.allclose(shares, shares[:, :1], atol=1e-2)
    assert shares.min() < 0 < shares.max()
    assert np.abs(shares).max() <= 0.51


@pytest.mark.parametrize("change", [rotate_axes, change_gains])
def test_the_same_generator_gives_the_same_change(change: object) -> None:
    first, second = (change(windows(3), 0.2, np.random.default_rng(4)).samples for _ in range(2))  # type: ignore[operator]
    assert np.array_equal(first, second)


def test_the_past_moves_with_the_electrodes_and_grows_with_their_gains() -> None:
    before = windows(8)
    past = np.arange(5 * 16, dtype=np.float32).reshape(5, 16)
    before = before._replace(past=past)
    moved = shift_electrodes(before, 3, np.random.default_rng(0))

    for x, y, old, new in zip(before.samples, moved.samples, past, moved.past, strict=True):
        (shift,) = [s for s in range(8) if np.array_equal(np.roll(x, -s, 1), y)]
        assert np.array_equal(np.roll(old[:8], -shift), new[:8])
        assert np.array_equal(np.roll(old[8:], -shift), new[8:])

    louder = change_gains(before, 0.5, np.random.default_rng(0))
    levels = [np.log(w.samples.var(1)) for w in (before, louder)]

    assert np.allclose(louder.past[:, :8] - past[:, :8], levels[1] - levels[0], atol=1e-3)
    assert np.array_equal(louder.past[:, 8:], past[:, 8:])
