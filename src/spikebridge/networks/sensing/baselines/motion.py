"""Trackers without a network: what a network has to be better than.

All of them are given boxes at frames and say where the target is at the end of each step. A state of None is a new
start. The box keeps the size it was last given.
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

# where the fit of the noise looks, around the best so far
_AROUND = np.linspace(-1, 1, 5)


class _StaticBoxState(NamedTuple):
    """The box that was given last."""

    box: Float[np.ndarray, "4"]


class StaticBox:
    """The target is where it was at the last given box.

    Example:
        >>> from spikebridge.data.events.binned import BinEvents
        >>> nothing = BinEvents(np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, bool))
        >>> given = Inputs(events=nothing, elapsed=0.01, box=np.array([1.0, 2.0, 3.0, 4.0]))
        >>> box, state = StaticBox().step(given, None)
        >>> StaticBox().step(Inputs(events=nothing, elapsed=0.01), state)[0].tolist()
        [1.0, 2.0, 3.0, 4.0]
    """

    def step(self, inputs: Inputs, state: _StaticBoxState | None) -> tuple[Float[np.ndarray, "4"], _StaticBoxState]:
        """The box that was given last.

        Args:
            inputs: with a `box` at the first step.
            state: what is known; None at first.

        Returns:
            The box, and what is known now.

        Raises:
            DataError: no box was ever given, or one that cannot be meant.
        """
        if "box" in inputs:
            state = _StaticBoxState(check_box(inputs["box"]))

        if state is None:
            raise _missing_box()

        return state.box, state


class _BoxTracker:
    """A tracker that moves given boxes on. A box holds at its frame: time goes by up to it, then to the step's end.

    Subclasses say what a first box starts, what time changes, what a further box adds, and where the target then is.
    """

    def step(self, inputs: Inputs, state: Any) -> tuple[Float[np.ndarray, "4"], Any]:
        """Where the target is expected at the end of this step.

        Args:
            inputs: with a `box` at the first step.
            state: what is known; None at first.

        Returns:
            The box, and what is known now.

        Raises:
            DataError: no box was ever given, or one that cannot be meant.
        """
        left = inputs["elapsed"]
        if "box" in inputs:
            box = check_box(inputs["box"])
            left = _age(inputs)
            if state is None:
                state = self._started(box)
            else:
                state = self._given(self._later(state, inputs["elapsed"] - left), box)

        if state is None:
            raise _missing_box()

        state = self._later(state, left)
        return self._box(state), state

    def _started(self, box: NDArray[np.float64]) -> Any:
        """What is known from a first box."""
        raise NotImplementedError

    def _later(self, state: Any, dt: float) -> Any:
        """The same knowledge, some seconds later; nothing changes in no time or less."""
        raise NotImplementedError

    def _given(self, state: Any, box: NDArray[np.float64]) -> Any:
        """Knowledge after a further box was given at this very time."""
        raise NotImplementedError

    def _box(self, state: Any) -> NDArray[np.float64]:
        """Where the target is expected now."""
        raise NotImplementedError


class _VelocityState(NamedTuple):
    """The last given box, the velocity of its middle [px/s], and how long ago it held [s]."""

    box: Float[np.ndarray, "4"]
    velocity: Float[np.ndarray, "2"]
    age: float


class ConstantVelocity(_BoxTracker):
    """The target moves on as it did between the last two given boxes; after a single one it stands still.

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

    def _started(self, box: NDArray[np.float64]) -> _VelocityState:
        return _VelocityState(box, np.zeros(2), 0.0)

    def _later(self, state: _VelocityState, dt: float) -> _VelocityState:
        return state._replace(age=state.age + dt)

    def _given(self, state: _VelocityState, box: NDArray[np.float64]) -> _VelocityState:
        known = state.age > 0
        velocity = (box_center(box) - box_center(state.box)) / state.age if known else state.velocity
        return _VelocityState(box, velocity, 0.0)

    def _box(self, state: _VelocityState) -> NDArray[np.float64]:
        return translate_box(state.box, state.velocity * state.age)


class _KalmanState(NamedTuple):
    """Mean of place and velocity along both axes, their covariance (the same for both), and the size of the box."""

    mean: Float[np.ndarray, "2 2"]  # place and velocity by x and y
    covariance: Float[np.ndarray, "2 2"]
    size: Float[np.ndarray, "2"]


@dataclass(frozen=True)
class Kalman(_BoxTracker):
    """The best guess for a target whose velocity is a random walk, given boxes that are a little wrong.

    Args:
        acceleration: how fast the velocity wanders: its variance grows by this a second [px^2/s^3].
        box_noise: standard deviation of a given box along each axis [px].
        speed: standard deviation of the velocity along each axis before anything is known [px/s].

    Source: R. E. Kalman, J. Basic Engineering 82:35 (1960); the motion is the "white acceleration" of Y. Bar-Shalom.

    Raises:
        ConfigError: a setting cannot be meant.

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
        """Refuse settings that cannot be meant."""
        for name, above in (("acceleration", False), ("box_noise", True), ("speed", True)):
            value = getattr(self, name)
            if not 0 <= value < inf or (above and value == 0):
                raise ConfigError(f"Kalman needs {name} {'above 0' if above else 'of 0 or more'}, but got {value!r}.")

    def surprise(self, centers: Float[np.ndarray, "F 2"], times: Float[np.ndarray, " F"]) -> float:
        """How unlikely places are to follow each other as they do: mean negative log-likelihood of one of them.

        Args:
            centers: middles of boxes.
            times: when they were given [s].

        Raises:
            DataError: there are fewer than two.
        """
        if len(centers) < 2:
            raise DataError(f"places that follow each other are two or more, but got {len(centers)}.")

        state = self._started(np.concatenate([centers[0], np.zeros(2)]))
        total = 0.0

        for place, dt in zip(centers[1:], np.diff(times), strict=True):
            state = self._later(state, float(dt))
            variance = state.covariance[0, 0] + self.box_noise**2
            total += float(((place - state.mean[0]) ** 2).sum() / (2 * variance) + np.log(2 * np.pi * variance))
            state = self._given(state, np.concatenate([place, np.zeros(2)]))

        return total / (len(centers) - 1)

    def _started(self, box: NDArray[np.float64]) -> _KalmanState:
        return _KalmanState(
            np.stack([box_center(box), np.zeros(2)]), np.diag([self.box_noise**2, self.speed**2]), box[2:].copy()
        )

    def _later(self, state: _KalmanState, dt: float) -> _KalmanState:
        if dt <= 0:
            return state
        moves = np.array([[1.0, dt], [0.0, 1.0]])
        wanders = self.acceleration * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
        return state._replace(mean=moves @ state.mean, covariance=moves @ state.covariance @ moves.T + wanders)

    def _given(self, state: _KalmanState, box: NDArray[np.float64]) -> _KalmanState:
        gain = state.covariance[:, 0] / (state.covariance[0, 0] + self.box_noise**2)
        mean = state.mean + gain[:, None] * (box_center(box) - state.mean[0])
        return _KalmanState(mean, state.covariance - np.outer(gain, state.covariance[0]), box[2:].copy())

    def _box(self, state: _KalmanState) -> NDArray[np.float64]:
        return np.concatenate([state.mean[0] - state.size / 2, state.size])


def fit_kalman(frame_boxes: Float[np.ndarray, "F 4"], frame_times: Float[np.ndarray, " F"]) -> Kalman:
    """The Kalman tracker to which boxes are least surprising.

    Args:
        frame_boxes: boxes as the tracker will be given them, noise included; NaN where unknown.
        frame_times: when they hold [s].

    Returns:
        The tracker.

    Raises:
        DataError: fewer than 8 boxes are known.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> times = np.arange(300) * 0.025
        >>> places = np.cumsum(np.cumsum(rng.normal(0, 2.0, (300, 2)), axis=0) * 0.025, axis=0)
        >>> given = np.hstack([places + rng.normal(0, 1.0, (300, 2)), np.full((300, 2), 10.0)])
        >>> round(fit_kalman(given, times).box_noise, 1)  # 1 px of noise was put in
        1.0
    """
    return fit_kalman_to([(frame_boxes, frame_times)])


def fit_kalman_to(tracks: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> Kalman:
    """The same for several targets, each with boxes and times of its own.

    Args:
        tracks: `(F, 4)` boxes and `(F,)` times [s] of each.

    Returns:
        The tracker.

    Raises:
        DataError: fewer than 8 boxes are known.
    """
    known = [(boxes[given], times[given]) for boxes, times in tracks for given in [np.isfinite(boxes).all(axis=1)]]
    ways = [(box_center(boxes), times) for boxes, times in known if len(boxes) > 1]
    if (num_known := sum(len(times) for _, times in ways)) < 8:
        raise DataError(
            f"fitting the noise of a Kalman filter needs 8 known boxes or more, but got {num_known}; leave it out, or "
            "take more frames."
        )

    steps = np.concatenate([np.diff(centers, axis=0) for centers, _ in ways])
    period = float(np.concatenate([np.diff(times) for _, times in ways]).mean())
    speed = max(float(steps.std() / period), 1e-3)

    def surprise(pair: tuple[float, float]) -> float:
        kalman = Kalman(10 ** pair[0], 10 ** pair[1], speed)
        return sum(kalman.surprise(centers, times) * (len(times) - 1) for centers, times in ways)

    # exponents of 10: a velocity that is new at every frame, and a tenth of a frame's way as noise
    best = (np.log10(speed**2 / period), np.log10(max(float(steps.std()), 1e-3)) - 1)
    for width in (2.0, 0.8, 0.3, 0.1):
        best = min([(a, n) for a in best[0] + width * _AROUND for n in best[1] + width * _AROUND], key=surprise)

    return Kalman(float(10 ** best[0]), float(10 ** best[1]), speed)


def _age(inputs: Inputs) -> float:
    """How long ago a given box held: at the frame, else at the beginning of the step."""
    return inputs.get("frame_age", inputs["elapsed"])


def _missing_box() -> DataError:
    return DataError("the first step needs the target's box: give inputs['box'].")
