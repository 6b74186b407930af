"""Random changes of windows in training: other voices, noises, arms and ways to wear a sensor.

Every function takes its random generator as an argument, and changes no label.
"""

import numpy as np

from spikebridge.networks.signals.data.windows import Windows


def change_speed(windows: Windows, max_log: float, generator: np.random.Generator) -> Windows:
    """Each window faster or slower by a factor from `exp(-max_log)` to `exp(max_log)`, followed by zeros."""
    samples = np.zeros_like(windows.samples)
    lengths = windows.lengths.copy()
    factors = np.exp(generator.uniform(-max_log, max_log, len(lengths)))

    for index, factor in enumerate(factors):
        recorded = windows.samples[index, : windows.lengths[index]]
        length = min(int(len(recorded) / factor), samples.shape[1])

        # linear interpolation between the samples on both sides of each new one
        position = np.arange(length) * factor
        left = np.minimum(position.astype(np.int64), max(len(recorded) - 2, 0))
        right = np.minimum(left + 1, len(recorded) - 1)
        share = (position - left)[:, None].astype(np.float32)
        samples[index, :length] = recorded[left] * (1 - share) + recorded[right] * share
        lengths[index] = length

    return windows._replace(samples=samples, lengths=lengths)


def tilt_spectrum(windows: Windows, max_tilt: float, generator: np.random.Generator) -> Windows:
    """Each window brighter or darker, as through another microphone: `x[t] - tilt x[t - 1]`."""
    tilt = generator.uniform(-max_tilt, max_tilt, (len(windows.label), 1, 1)).astype(np.float32)
    samples = windows.samples.copy()
    samples[:, 1:] -= tilt * windows.samples[:, :-1]

    return windows._replace(samples=samples)


def add_noise(windows: Windows, snr_db: tuple[float, float], generator: np.random.Generator) -> Windows:
    """White noise on the recorded part of each window, at a signal-to-noise ratio of this range [dB]."""
    samples = windows.samples
    recorded = np.arange(samples.shape[1]) < windows.lengths[:, None]
    # the zeros after the end of a recording do not count
    power = (samples**2).sum((1, 2)) / np.maximum(recorded.sum(1), 1) / samples.shape[2]
    snr = generator.uniform(*snr_db, len(samples))
    amplitude = np.sqrt(power) * 10 ** (-snr / 20)
    noise = generator.standard_normal(samples.shape, dtype=np.float32) * amplitude[:, None, None].astype(np.float32)

    return windows._replace(samples=samples + noise * recorded[:, :, None])


def rotate_axes(windows: Windows, spread: float, generator: np.random.Generator) -> Windows:
    """Channels in threes as vectors, turned about a random axis by a normal angle: a sensor worn at another angle."""
    number = len(windows.label)
    axis = generator.standard_normal((number, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    angle = generator.normal(0, spread, (number, 1, 1))

    # Rodrigues' formula, with the matrix of the cross product by the axis
    cross = np.zeros((number, 3, 3))
    for row, column, part, sign in ((0, 1, 2, -1), (0, 2, 1, 1), (1, 2, 0, -1)):
        cross[:, row, column] = sign * axis[:, part]
        cross[:, column, row] = -sign * axis[:, part]

    rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    vectors = windows.samples.reshape(*windows.samples.shape[:2], -1, 3)
    rotated = np.einsum("bij,btvj->btvi", rotation.astype(np.float32), vectors)

    return windows._replace(samples=rotated.reshape(windows.samples.shape))


def mirror_arm(windows: Windows, generator: np.random.Generator) -> Windows:
    """Half of the windows as the other arm would have made them, the watch worn the usual way on both."""
    # the hand lies on the other side of the x axis: acceleration changes its sign in x, and rotation, a pseudovector,
    # in y and z
    mirrored = generator.random((len(windows.label), 1, 1)) < 0.5
    signs = np.where(mirrored, np.array([-1, 1, 1, 1, -1, -1]), 1).astype(np.float32)

    return windows._replace(samples=windows.samples * signs)


def shift_electrodes(windows: Windows, max_shift: int, generator: np.random.Generator) -> Windows:
    """The channels of a ring shifted by up to `max_shift` electrodes, and their past too: an armband worn rotated."""
    number = len(windows.label)
    width = windows.samples.shape[2]
    channel = (np.arange(width) + generator.integers(-max_shift, max_shift + 1, (number, 1))) % width
    past = windows.past

    if past.shape[1]:
        # the past holds one value a channel for each statistic, statistic by statistic
        starts = range(0, past.shape[1], width)
        past = np.take_along_axis(past, np.concatenate([channel + start for start in starts], 1), 1)

    return windows._replace(samples=np.take_along_axis(windows.samples, channel[:, None, :], 2), past=past)


def change_gains(windows: Windows, spread: float, generator: np.random.Generator) -> Windows:
    """Each channel of a window times a gain of its own; `spread` is the standard deviation of its logarithm."""
    number = len(windows.label)
    width = windows.samples.shape[2]
    gains = generator.normal(0, spread, (number, 1, width)).astype(np.float32)
    past = windows.past.copy()

    if past.shape[1]:
        # a level is the logarithm of a variance, and a variance grows with the square of the gain
        past[:, :width] += 2 * gains[:, 0]

    return windows._replace(samples=windows.samples * np.exp(gains), past=past)
