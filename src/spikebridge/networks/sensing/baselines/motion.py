"""Trackers without a network, which a network has to be better than.

All of them are given boxes at frames, and give the box at the end of each step. A state of None is a new start. The box
keeps the size it was last given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from spikebridge.data.recordings.recording import Inputs
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.sensing.model.boxes import box_center, check_box, translate_box

# steps of the fit of the noise around the best values so far
_GRID = np.linspace(-1, 1, 5)
# widths of that grid, one after the other, as exponents of 10
_WIDTHS = (2.0, 0.8, 0.3, 0.1)
_MIN_BOXES = 8
# [px/s]; a target that stands still has no scale
_MIN_SPEED = 1e-3


class _StaticBoxState(NamedTuple):
    """The last given box."""

    box: Float[np.ndarray, "4"]


class StaticBox:
    """A tracker that holds the last given box."""

    def step(self, inputs: Inputs, state: _StaticBoxState | None) -> tuple[Float[np.ndarray, "4"], _StaticBoxState]:
        """The last given box, and the new state."""
        if "box" in inputs:
            state = _StaticBoxState(check_box(inputs["box"]))

        if state is None:
            raise _missing_box()

        return state.box, state


class _BoxTracker:
    """A tracker that extrapolates given boxes: time passes up to the frame of a new box, then to the step's end."""

    def step(self, inputs: Inputs, state: Any) -> tuple[Float[np.ndarray, "4"], Any]:
        """The expected box at the end of this step.

        Args:
            inputs: with a `box` at the first step.
            state: the last state; None at first.

        Returns:
            The box, and the new state.

        Raises:
            DataError: no box was ever given, or one without a size or a place.
        """
        remaining = inputs["elapsed"]
        if "box" in inputs:
            box = check_box(inputs["box"])
            # at the frame, else at the beginning of the step
            remaining = inputs.get("frame_age", inputs["elapsed"])
            if state is None:
                state = self._start(box)
            else:
                state = self._update(self._advance(state, inputs["elapsed"] - remaining), box)

        if state is None:
            raise _missing_box()

        state = self._advance(state, remaining)
        return self._box(state), state

    def _start(self, box: NDArray[np.float64]) -> Any:
        """The state after a first box."""
        raise NotImplementedError

    def _advance(self, state: Any, dt: float) -> Any:
        """The state some seconds later."""
        raise NotImplementedError

    def _update(self, state: Any, box: NDArray[np.float64]) -> Any:
        """The state after a further box at the same time."""
        raise NotImplementedError

    def _box(self, state: Any) -> NDArray[np.float64]:
        """The expected box."""
        raise NotImplementedError


class _VelocityState(NamedTuple):
    """The last given box, the velocity of its centre [px/s], and the time since the box [s]."""

    box: Float[np.ndarray, "4"]
    velocity: Float[np.ndarray, "2"]
    age: float


class ConstantVelocity(_BoxTracker):
    """The target moves as it did between the last two given boxes; after a single one it stands still.

    Example:
        >>> from spikebridge.data.events.binned import BinEvents
        >>> nothing = BinEvents(np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, bool))
        >>> tracker, state = ConstantVelocity(), None
        >>> for x in (0.0, 6.0):  # 6 px in a step of 1 s; a box is given at the beginning of a step
        ...     given = Inputs(events=nothing, elapsed=1.0, frame_age=1.0, box=np.array([x, 0.0, 2.0, 2.0]))
        ...     box, state = tracker.step(given, state)
        >>> box.tolist()
        [12.0, 0.0, 2.0, 2.0]
    """

    def _start(self, box: NDArray[np.float64]) -> _VelocityState:
        return _VelocityState(box, np.zeros(2), 0.0)

    def _advance(self, state: _VelocityState, dt: float) -> _VelocityState:
        return state._replace(age=state.age + dt)

    def _update(self, state: _VelocityState, box: NDArray[np.float64]) -> _VelocityState:
        # two boxes at one time have no velocity
        if state.age <= 0:
            return _VelocityState(box, state.velocity, 0.0)
        return _VelocityState(box, (box_center(box) - box_center(state.box)) / state.age, 0.0)

    def _box(self, state: _VelocityState) -> NDArray[np.float64]:
        return translate_box(state.box, state.velocity * state.age)


class _KalmanState(NamedTuple):
    """Mean of place and velocity along x and y, their covariance (the same for both axes), and the size of the box."""

    mean: Float[np.ndarray, "2 2"]
    covariance: Float[np.ndarray, "2 2"]
    size: Float[np.ndarray, "2"]


@dataclass(frozen=True)
class Kalman(_BoxTracker):
    """The best estimate for a target whose velocity is a random walk, given boxes with noise.

    Args:
        acceleration: growth of the variance of the velocity a second [px^2/s^3].
        box_noise: standard deviation of a given box along each axis [px].
        speed: standard deviation of the velocity along each axis at the start [px/s].

    Source: R. E. Kalman, J. Basic Engineering 82:35 (1960); the motion is the "white acceleration" of Y. Bar-Shalom.

    Raises:
        ConfigError: a setting is out of range.

    Example:
        >>> from spikebridge.data.events.binned import BinEvents
        >>> nothing = BinEvents(np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, bool))
        >>> tracker, state = Kalman(acceleration=0.0, box_noise=1e-6, speed=1000.0), None
        >>> for x in (0.0, 6.0):  # without noise it is constant velocity
        ...     given = Inputs(events=nothing, elapsed=1.0, frame_age=1.0, box=np.array([x, 0.0, 2.0, 2.0]))
        ...     box, state = tracker.step(given, state)
        >>> box.round(6).tolist()
        [12.0, 0.0, 2.0, 2.0]
    """

    acceleration: float
    box_noise: float
    speed: float

    def __post_init__(self) -> None:
        for name, above in (("acceleration", False), ("box_noise", True), ("speed", True)):
            value = getattr(self, name)
            if not 0 <= value < inf or (above and value == 0):
                raise ConfigError(f"Kalman needs {name} {'above 0' if above else 'of 0 or more'}, but got {value!r}.")

    def surprise(self, centers: Float[np.ndarray, "F 2"], times: Float[np.ndarray, " F"]) -> float:
        """The mean negative log-likelihood of a place, given those before it.

        Args:
            centers: centres of boxes.
            times: times of the boxes [s].

        Raises:
            DataError: there are fewer than two.
        """
        if len(centers) < 2:
            raise DataError(f"places that follow each other are two or more, but got {len(centers)}.")

        state = self._start(np.concatenate([centers[0], np.zeros(2)]))
        total = 0.0

        for place, dt in zip(centers[1:], np.diff(times), strict=True):
            state = self._advance(state, float(dt))
            variance = state.covariance[0, 0] + self.box_noise**2
            total += float(((place - state.mean[0]) ** 2).sum() / (2 * variance) + np.log(2 * np.pi * variance))
            state = self._update(state, np.concatenate([place, np.zeros(2)]))

        return total / (len(centers) - 1)

    def _start(self, box: NDArray[np.float64]) -> _KalmanState:
        mean = np.stack([box_center(box), np.zeros(2)])
        return _KalmanState(mean, np.diag([self.box_noise**2, self.speed**2]), box[2:].copy())

    def _advance(self, state: _KalmanState, dt: float) -> _KalmanState:
        if dt <= 0:
            return state
        transition = np.array([[1.0, dt], [0.0, 1.0]])
        noise = self.acceleration * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
        covariance = transition @ state.covariance @ transition.T + noise
        return state._replace(mean=transition @ state.mean, covariance=covariance)

    def _update(self, state: _KalmanState, box: NDArray[np.float64]) -> _KalmanState:
        gain = state.covariance[:, 0] / (state.covariance[0, 0] + self.box_noise**2)
        mean = state.mean + gain[:, None] * (box_center(box) - state.mean[0])
        return _KalmanState(mean, state.covariance - np.outer(gain, state.covariance[0]), box[2:].copy())

    def _box(self, state: _KalmanState) -> NDArray[np.float64]:
        return np.concatenate([state.mean[0] - state.size / 2, state.size])


def fit_kalman(tracks: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> Kalman:
    """The Kalman tracker to which the boxes of targets are least surprising; 8 known boxes are needed.

    A track is `(F, 4)` boxes as the tracker will be given them, noise included, NaN where unknown, and `(F,)` times
    [s].
    """
    known = []
    for boxes, times in tracks:
        is_known = np.isfinite(boxes).all(axis=1)
        if is_known.sum() > 1:
            known.append((box_center(boxes[is_known]), times[is_known]))

    num_known = sum(len(times) for _, times in known)
    if num_known < _MIN_BOXES:
        raise DataError(
            f"fitting the noise of a Kalman filter needs 8 known boxes or more, but got {num_known}; leave it out, or "
            "take more frames."
        )

    steps = np.concatenate([np.diff(centers, axis=0) for centers, _ in known])
    period = float(np.concatenate([np.diff(times) for _, times in known]).mean())
    speed = max(float(steps.std() / period), _MIN_SPEED)

    def surprise(exponents: tuple[float, float]) -> float:
        kalman = Kalman(10 ** exponents[0], 10 ** exponents[1], speed)
        return sum(kalman.surprise(centers, times) * (len(times) - 1) for centers, times in known)

    # exponents of 10: a velocity that is new at every frame, and a tenth of a frame's displacement as noise
    best = (np.log10(speed**2 / period), np.log10(max(float(steps.std()), _MIN_SPEED)) - 1)
    for width in _WIDTHS:
        grid = [(a, n) for a in best[0] + width * _GRID for n in best[1] + width * _GRID]
        best = min(grid, key=surprise)

    return Kalman(float(10 ** best[0]), float(10 ** best[1]), speed)


def _missing_box() -> DataError:
    return DataError("the first step needs the target's box: give inputs['box'].")
