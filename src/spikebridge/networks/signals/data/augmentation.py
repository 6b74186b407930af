"""Random changes of windows in training: other voices, noises, arms and ways to wear a sensor.

Every function draws from the generator that it is given, and changes no label.
"""

import numpy as np
from numpy.typing import NDArray

from spikebridge.networks.signals.data.windows import Windows

Samples = NDArray[np.float32]


def change_speed(windows: Windows, most: float, generator: np.random.Generator) -> Windows:
    """Each window faster or slower by a factor from `exp(-most)` to `exp(most)`; what then lies behind it is zero.

    Args:
        windows: to change.
        most: logarithm of the largest factor.
        generator: of the draws.
    """
    samples = np.zeros_like(windows.samples)
    lengths = windows.lengths.copy()
    factors = np.exp(generator.uniform(-most, most, len(lengths)))

    for index, factor in enumerate(factors):
        before = windows.samples[index, : windows.lengths[index]]
        number = min(int(len(before) / factor), samples.shape[1])
        at = np.arange(number) * factor
        left = np.minimum(at.astype(np.int64), max(len(before) - 2, 0))
        part = (at - left)[:, None].astype(np.float32)
        right = np.minimum(left + 1, len(before) - 1)
        samples[index, :number] = before[left] * (1 - part) + before[right] * part
        lengths[index] = number

    return windows._replace(samples=samples, lengths=lengths)


def tilt_spectrum(windows: Windows, most: float, generator: np.random.Generator) -> Windows:
    """Each window brighter or darker, as through another microphone: `x[t] - a x[t - 1]`.

    Args:
        windows: to change.
        most: largest absolute value of `a`, below 1.
        generator: of the draws.
    """
    part = generator.uniform(-most, most, (len(windows.label), 1, 1)).astype(np.float32)
    samples = windows.samples.copy()
    samples[:, 1:] -= part * windows.samples[:, :-1]

    return windows._replace(samples=samples)


def add_noise(windows: Windows, signal_to_noise: tuple[float, float], generator: np.random.Generator) -> Windows:
    """White noise on the recorded part of each window.

    Args:
        windows: to change.
        signal_to_noise: least and largest ratio [dB].
        generator: of the draws.
    """
    samples = windows.samples
    recorded = np.arange(samples.shape[1]) < windows.lengths[:, None]
    power = (samples**2).sum((1, 2)) / np.maximum(recorded.sum(1), 1) / samples.shape[2]
    ratio = generator.uniform(*signal_to_noise, len(samples))
    spread = np.sqrt(power) * 10 ** (-ratio / 20)
    noise = generator.standard_normal(samples.shape, dtype=np.float32) * spread[:, None, None].astype(np.float32)

    return windows._replace(samples=samples + noise * recorded[:, :, None])


def rotate_axes(windows: Windows, most: float, generator: np.random.Generator) -> Windows:
    """Channels in threes as vectors, turned together about a random axis: a sensor worn at another angle.

    Args:
        windows: with 3 or 6 channels, acceleration before rotation.
        most: standard deviation of the angle [rad].
        generator: of the draws.
    """
    number = len(windows.label)
    axis = generator.standard_normal((number, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    angle = generator.normal(0, most, (number, 1, 1))
    cross = np.zeros((number, 3, 3))

    for row, column, part, sign in ((0, 1, 2, -1), (0, 2, 1, 1), (1, 2, 0, -1)):
        cross[:, row, column] = sign * axis[:, part]
        cross[:, column, row] = -sign * axis[:, part]

    turned = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    vectors = windows.samples.reshape(*windows.samples.shape[:2], -1, 3)

    return windows._replace(
        samples=np.einsum("bij,btvj->btvi", turned.astype(np.float32), vectors).reshape(windows.samples.shape)
    )


def mirror_arm(windows: Windows, generator: np.random.Generator) -> Windows:
    """Half of the windows as the other arm would have made them, the watch worn the usual way on both.

    Seen from the watch, the hand lies on the other side of the x axis: acceleration changes its sign in x, and
    rotation, a pseudovector, in y and z.

    Args:
        windows: with 6 channels, acceleration before rotation.
        generator: of the draws.
    """
    mirrored = generator.random((len(windows.label), 1, 1)) < 0.5
    signs = np.where(mirrored, np.array([-1, 1, 1, 1, -1, -1]), 1).astype(np.float32)

    return windows._replace(samples=windows.samples * signs)


def shift_electrodes(windows: Windows, most: int, generator: np.random.Generator) -> Windows:
    """The channels of a ring moved on by up to so many places, and so their past: an armband worn rotated.

    Args:
        windows: whose channels lie around an arm.
        most: places.
        generator: of the draws.

    Example:
        >>> place, none = np.zeros(1, np.int64), np.zeros((1, 0), np.float32)
        >>> ring = Windows(np.arange(4, dtype=np.float32).reshape(1, 1, 4), place + 1, place, place, place, none)
        >>> shift_electrodes(ring, 1, np.random.default_rng(2)).samples.ravel().tolist()
        [1.0, 2.0, 3.0, 0.0]
    """
    number = len(windows.label)
    width = windows.samples.shape[2]
    places = (np.arange(width) + generator.integers(-most, most + 1, (number, 1))) % width
    parts = windows.past.shape[1] // width

    past = (
        np.take_along_axis(windows.past, np.concatenate([places + width * part for part in range(parts)], 1), 1)
        if parts
        else windows.past
    )
    return windows._replace(samples=np.take_along_axis(windows.samples, places[:, None, :], 2), past=past)


def change_gains(windows: Windows, spread: float, generator: np.random.Generator) -> Windows:
    """Every channel of a window with a gain of its own, `exp` of a normal number with this standard deviation."""
    number = len(windows.label)
    width = windows.samples.shape[2]
    gains = generator.normal(0, spread, (number, 1, width)).astype(np.float32)
    past = windows.past.copy()

    if past.shape[1]:
        past[:, :width] += 2 * gains[:, 0]  # a level is the logarithm of a variance

    return windows._replace(samples=windows.samples * np.exp(gains), past=past)
