"""The Mackey-Glass series: a chaotic signal of one delay equation, as the NeuroBench task of forecasting uses it.

    dx/dt = beta x(t - tau) / (1 + x(t - tau)^n) - gamma x(t)

M. Mackey, L. Glass, Science 197, 1977. Task: J. Yik et al., "The NeuroBench framework", Nature Communications 16:1545
(2025): 14 series, tau = 17 to 30; a model is trained on the first half, then predicts one step ahead on its own
predictions; the score is the symmetric mean absolute percentage error (sMAPE).
"""

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from spikebridge.data.signals.series import SensorSeries, make_series
from spikebridge.errors import ConfigError

_LYAPUNOV_TIME = 197.0  # time units of one Lyapunov time of tau = 17: NeuroBench measures lengths in it
POINTS_PER_LYAPUNOV_TIME = 75
_SUBSTEPS = 10


def mackey_glass(
    num_samples: int,
    tau: float = 17.0,
    *,
    dt: float = _LYAPUNOV_TIME / POINTS_PER_LYAPUNOV_TIME,
    beta: float = 0.2,
    gamma: float = 0.1,
    exponent: float = 10.0,
    start: float = 0.9,
    warm_up: float = 2000.0,
) -> SensorSeries:
    """One series of one channel, with the delay `tau` and the step `dt` in time units; its rate is `1 / dt`.

    `start` is the constant past, and the first `warm_up` time units are dropped.
    """
    if num_samples < 1 or not (tau > 0 and dt > 0 and warm_up >= 0):
        raise ConfigError(f"needs samples and times above 0, but got {num_samples} samples, tau={tau}, dt={dt}")

    step = dt / _SUBSTEPS
    past = max(2, round(tau / step))
    # the delay is an integral number of steps
    step = tau / past
    x = _integrate(round((warm_up + num_samples * dt) / step) + 1, past, step, (beta, gamma, exponent, start))
    time = warm_up + dt * np.arange(num_samples)

    return make_series([np.interp(time / step, np.arange(len(x)), x)], 1 / dt, channel_names=["x"])


def _integrate(
    num_steps: int, past: int, step: float, equation: tuple[float, float, float, float]
) -> Float64[np.ndarray, " S"]:
    """Runge-Kutta of fourth order; the delayed value in the middle of a step is the mean of its ends."""
    beta, gamma, exponent, start = equation
    x = np.full(num_steps + past, start)

    def slope(value: float, delayed: float) -> float:
        return beta * delayed / (1 + delayed**exponent) - gamma * value

    for k in range(past, num_steps + past - 1):
        first = float(x[k - past])
        last = float(x[k - past + 1])
        middle = (first + last) / 2
        a = slope(float(x[k]), first)
        b = slope(float(x[k]) + step / 2 * a, middle)
        c = slope(float(x[k]) + step / 2 * b, middle)
        d = slope(float(x[k]) + step * c, last)
        x[k + 1] = x[k] + step / 6 * (a + 2 * b + 2 * c + d)

    return x[past:]


def smape(predicted: NDArray[np.floating], true: NDArray[np.floating]) -> float:
    """The symmetric mean absolute percentage error, `200 mean(|y - x| / (|y| + |x|))`, 0 to 200."""
    return float(200 * np.mean(np.abs(predicted - true) / (np.abs(predicted) + np.abs(true))))
