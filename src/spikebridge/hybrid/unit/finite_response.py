"""Kernels with a finite response: learned taps, a Gaussian of past time, delays, and the change over some steps.

| kernel | value at a step | learns |
|---|---|---|
| `FIR` | sum of the last `num_taps` steps with learned weights | the weights |
| `Gaussian` | sum of past steps weighted by a Gaussian around `delay` | `delay`, `sigma` |
| `Delay` | the step `delay` seconds before | `delay` |
| `Difference` | change since the window's first step, or over its last `lag` steps | |

`TappedDelay` is a layer of such steps as they are.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikebridge.axes import Signal, Step
from spikebridge.errors import ConfigError, in_words, is_integer, is_number
from spikebridge.hybrid.unit.kernel import Kernel
from spikebridge.hybrid.unit.window import checked_integer
from spikebridge.neurons.base import Stateful, refuse_unknown
from spikebridge.neurons.dt import required_dt
from spikebridge.neurons.quantity import Modulated, Names, Quantity, Value, names_to_learn
from spikebridge.ops.filters.difference import Before, change
from spikebridge.ops.filters.fir import finite_response, last_response
from spikebridge.ops.filters.leaky_sum import Resets
from spikebridge.ops.precision import state_dtype, upcast
from spikebridge.ops.saturation import saturate


class FIRCarry(NamedTuple):
    """The last steps of the window, oldest first, `(B, n, *N)`."""

    last: Tensor


def _fir_step(x_t: Step, carry: FIRCarry, *, taps: Float[Tensor, "n *M"]) -> tuple[Step, FIRCarry]:
    """One step, `h_t = sum_k taps[k] x[t - k]`, with taps `(n,)`, `(n, *N)` or `(n, B, *N)`."""
    last = torch.cat([carry.last, x_t.unsqueeze(1)], dim=1)
    weights = taps.flip(0).reshape(taps.shape[0], *[1] * (x_t.ndim + 1 - taps.ndim), *taps.shape[1:])

    return (last.movedim(1, 0) * weights).sum(0), FIRCarry(last[:, 1:])


class _FiniteResponse(Kernel):
    """A kernel with `num_taps` weights, and a carry of the steps that the next value needs."""

    step_function: ClassVar[Callable[..., tuple[Tensor, FIRCarry]]] = staticmethod(_fir_step)
    is_vectorized = True
    num_taps: int

    def initial_state(self, x_t: Step) -> FIRCarry:
        return FIRCarry(x_t.new_zeros((x_t.shape[0], self.num_taps - 1, *x_t.shape[1:]), dtype=state_dtype(x_t.dtype)))

    def run(self, x: Signal, carry: FIRCarry | None, resets: Resets | None = None) -> tuple[Signal, FIRCarry]:
        if carry is None:
            return self._response(x), self._newest(x, x.new_zeros((max(0, self.num_taps - 1 - len(x)), *x.shape[1:])))

        before = carry.last.transpose(0, 1)
        return self._response(x, before), self._newest(x, before)

    def values(self, x: Signal) -> Signal:
        return self._response(x)

    def last(self, x: Signal) -> Step:
        inside = min(len(x), self.num_taps)
        return last_response(x[len(x) - inside :], self.constants(x)["taps"][:inside])

    def _newest(self, x: Signal, before: Tensor) -> FIRCarry:
        kept = self.num_taps - 1
        newest = x[max(0, len(x) - kept) :]
        steps = before[len(before) + len(newest) - kept :], newest

        # a copy, so that the state does not keep a long signal in memory
        return FIRCarry(torch.cat([part.transpose(0, 1) for part in steps], 1))

    def _response(self, x: Signal, before: Tensor | None = None) -> Signal:
        return finite_response(x, self.constants(x)["taps"], before)


class FIR(_FiniteResponse):
    """A finite impulse response with learned taps, the weights of the last `num_taps` steps.

    Args:
        num_taps: steps that the kernel covers, the present one included.
        shape: `()` for one kernel of all neurons, or the layer's shape for one kernel a neuron.
        keep: give out every step.

    Example:
        >>> kernel = FIR(2)
        >>> _ = nn.init.ones_(kernel.weight)
        >>> kernel(torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1))[0].flatten().tolist()
        [1.0, 3.0, 5.0]
    """

    record_name = "Taps"  # in the files of bundles and integer models

    def __init__(self, num_taps: int, shape: tuple[int, ...] = (), *, keep: bool = False) -> None:
        super().__init__(keep)
        self.num_taps = checked_integer("FIR", "num_taps", num_taps)
        if not isinstance(shape, tuple | list) or not all(is_integer(size) and size > 0 for size in shape):
            raise ConfigError(f"FIR needs shape as a tuple of integers above 0, (*N), but got {in_words(shape)}")
        self.weight = nn.Parameter(torch.full((num_taps, *shape), 1 / num_taps))

    def arguments(self, quantities: dict[str, Any], x_t: Tensor) -> dict[str, Any]:
        return {"taps": upcast(self.weight)}

    def check_quantities(self, neurons: Sequence[int]) -> None:
        super().check_quantities(neurons)
        self._refuse_shape("weight", self.weight.shape[1:], neurons)


class Gaussian(_FiniteResponse):
    """A Gaussian of past time, `exp(-(t - delay)^2 / (2 sigma^2))`; its taps sum to 1.

    Args:
        delay: time from the peak to the present step [s].
        sigma: standard deviation [s].
        dt: step of the clock [s]; None where a network binds it.
        keep: give out every step.
        learn: names among "delay" and "sigma" to train; the number of taps does not change.

    Example:
        >>> kernel = Gaussian(delay=2.0, sigma=0.5, dt=1.0)
        >>> len(kernel.taps()), int(kernel.taps().argmax())
        (5, 2)
    """

    delay = Quantity()
    sigma = Quantity(positive=True)

    def __init__(
        self, delay: Value, sigma: Value, *, dt: float | None = None, keep: bool = False, learn: Names = ()
    ) -> None:
        super().__init__(keep, dt, learn, delay=delay, sigma=sigma)
        if float(torch.as_tensor(delay).min()) < 0:
            raise ConfigError(f"Gaussian needs delay >= 0 s, since a kernel is causal, but got {delay}")
        self._reach = float((torch.as_tensor(delay) + 4 * torch.as_tensor(sigma)).max())  # [s]
        self.rate_scales = {"delay": self._reach}

    @property
    def uses_dt(self) -> bool:
        return True

    @property
    def num_taps(self) -> int:  # type: ignore[override]
        """The steps that the kernel covers: up to four standard deviations before the peak, as they were at first."""
        return math.ceil(self._reach / required_dt(self)) + 1

    def taps(self) -> Tensor:
        """The weights of the present step, the one before, and so on: `(n,)` or `(n, *N)`."""
        taps: Tensor = self.constants(upcast(next(self.parameters(), torch.empty(0))))["taps"]
        return taps

    def arguments(self, quantities: dict[str, Any], x_t: Tensor) -> dict[str, Any]:
        delay = quantities["delay"]
        sigma = quantities["sigma"]
        dt = required_dt(self)
        # plain numbers give exponents in double precision, rounded once
        if not (isinstance(delay, Tensor) or isinstance(sigma, Tensor)):
            exponents = [-((k * dt - delay) ** 2) / (2 * sigma**2) for k in range(self.num_taps)]
            return {"taps": torch.tensor(exponents, dtype=x_t.dtype, device=x_t.device).softmax(0)}

        delay, sigma = (torch.as_tensor(quantity).to(x_t) for quantity in (delay, sigma))
        t = torch.arange(self.num_taps, dtype=x_t.dtype, device=x_t.device) * dt
        t = t.reshape(-1, *[1] * max(delay.ndim, sigma.ndim))

        return {"taps": (-((t - delay) ** 2) / (2 * sigma**2)).softmax(0)}


def _delay_step(x_t: Step, carry: FIRCarry, *, ticks: Value = 0, taps: Tensor | None = None) -> tuple[Step, FIRCarry]:
    """One step of a delay by integer `ticks`, 0 to `n - 1`, or in training by `taps`, as those of `FIR`."""
    if taps is not None:
        return _fir_step(x_t, carry, taps=taps)

    last = torch.cat([carry.last, x_t.unsqueeze(1)], dim=1)
    place = (last.shape[1] - 1 - torch.as_tensor(ticks, device=x_t.device)).expand(x_t.shape).unsqueeze(1)

    return last.gather(1, place).squeeze(1), FIRCarry(last[:, 1:])


def delayed(x: Signal, ticks: Int64[Tensor, "*M"], before: Float[Tensor, "n B *N"]) -> Signal:
    """A signal some steps later, 0 to n; `*M` lines up from the right with it, `before` is the oldest first."""
    newest = torch.arange(len(before), len(before) + len(x), device=x.device).reshape(-1, *[1] * (x.ndim - 1))
    return torch.cat([before, x]).gather(0, (newest - ticks).expand(x.shape))


class Delay(_FiniteResponse):
    """The signal `delay` seconds later, zeros before. A layer of a `Sequential`, or the kernel of a link's unit.

    A delay of its own for each channel can be trained. In training it is a real number: the signal is weighted by a
    Gaussian of past time around it, whose gradient says whether earlier or later steps would serve better; the Gaussian
    begins wide and is narrowed with `narrow_delays`. In evaluation, and wherever the delay is not trained, it is the
    nearest integer number of steps, so that spikes stay spikes. (I. Hammouamri et al., "Learning delays in spiking
    neural networks using dilated convolutions with learnable spacings", ICLR 2024.)

    Args:
        delay: time from the input to the output [s], one for all channels or a tensor for the last axes of the signal.
        max_delay: the longest that may be learned [s], which fixes the length of the state; that of `delay` if None.
        sigma: standard deviation of the Gaussian in training [s]; half of `max_delay` if None.
        dt: step of the clock [s]; None where a network binds it.
        keep: give out every step of a window; without a window every step is given out.
        learn: `("delay",)` to train it; `fit` multiplies the learning rate by `max_delay`, the range of the parameter.

    Raises:
        ConfigError: a delay outside 0 to `max_delay`, or nothing to learn in between.

    Example:
        >>> layer = Delay(torch.tensor([0.0, 2.0]), dt=1.0).eval()
        >>> layer(torch.tensor([[1.0, 5.0], [2.0, 6.0], [3.0, 7.0]]).reshape(3, 1, 2))[0][:, 0].tolist()
        [[1.0, 0.0], [2.0, 0.0], [3.0, 5.0]]
    """

    delay = Quantity()
    sigma = Quantity(positive=True)
    step_function = staticmethod(_delay_step)

    def __init__(
        self,
        delay: Value,
        *,
        max_delay: float | None = None,
        sigma: float | None = None,
        dt: float | None = None,
        keep: bool = False,
        learn: Names = (),
    ) -> None:
        names_to_learn("Delay", learn, ("delay",))
        for name, seconds in (("delay", delay), ("max_delay", max_delay), ("sigma", sigma)):
            if not is_number(seconds) and not (isinstance(seconds, Tensor) if name == "delay" else seconds is None):
                raise ConfigError(f"Delay needs {name} as a number of seconds, but got {in_words(seconds)}")

        shortest = float(torch.as_tensor(delay).min())
        longest = float(torch.as_tensor(delay).max())
        max_delay = longest if max_delay is None else max_delay

        # single precision may put a delay that is the longest one just above it
        if not 0 <= shortest <= longest <= max_delay * (1 + 1e-6) < math.inf:
            raise ConfigError(
                f"Delay needs delays from 0 s to max_delay, {max_delay:g} s, but got {shortest:g} to {longest:g} s"
            )

        if learn and max_delay == 0:
            raise ConfigError("Delay learns delays up to max_delay, but that is 0 s; give max_delay=0.02, for example")

        self.max_delay = float(max_delay)
        super().__init__(keep, dt, learn, delay=delay, sigma=(self.max_delay / 2 or 1.0) if sigma is None else sigma)
        self.rate_scales = {"delay": self.max_delay}
        self.first_sigma = float(torch.as_tensor(self.sigma))

    @property
    def uses_dt(self) -> bool:
        return True

    @property
    def num_taps(self) -> int:  # type: ignore[override]
        """The steps that the longest delay reaches back, and the present one."""
        return math.floor(self.max_delay / required_dt(self) + 0.5) + 1  # halves are rounded up, as in `ticks`

    @property
    def is_trained(self) -> bool:
        """True if the delay is a real number: in training, where it is a parameter."""
        return self.training and "delay" in self._parameters

    @property
    def max_ticks(self) -> int:
        """The longest delay in steps."""
        return self.num_taps - 1

    @property
    def ticks(self) -> Tensor:
        """The delay in steps, int64, as evaluation uses it; halves are rounded up."""
        return self._rounded(torch.as_tensor(self.delay))

    def arguments(self, quantities: dict[str, Any], x_t: Tensor) -> dict[str, Any]:
        delay = torch.as_tensor(quantities["delay"], device=x_t.device)
        if not self.is_trained:
            return {"ticks": self._rounded(delay)}

        place = saturate(delay.to(x_t.dtype), 0.0, self.max_delay) / required_dt(self)
        k = torch.arange(self.num_taps, dtype=x_t.dtype, device=x_t.device).reshape(-1, *[1] * place.ndim)
        sigma = quantities["sigma"] / required_dt(self)

        return {"taps": (-((k - place) ** 2) / (2 * sigma**2)).softmax(0)}

    def last(self, x: Signal) -> Step:
        return super().last(x) if self.is_trained else self._response(x)[-1]

    def _response(self, x: Signal, before: Tensor | None = None) -> Signal:
        if self.is_trained:
            return super()._response(x, before)
        if before is None:
            before = x.new_zeros((self.max_ticks, *x.shape[1:]))

        return delayed(x, self.constants(x)["ticks"], before)

    def _rounded(self, delay: Tensor) -> Tensor:
        ticks = (delay.detach().clamp(0.0, self.max_delay) / required_dt(self) + 0.5).floor().long()
        return ticks.clamp(max=self.max_ticks)  # a half in single precision may lie above that of the longest delay


class TappedDelay(Stateful):
    """A tapped delay line: the last steps of a signal `(B, *N)`, oldest first, `(B, num_taps, *N)`; zeros before them.

    Args:
        num_taps: steps that are given out, the present one included.

    Raises:
        ConfigError: `num_taps` is no integer above 0.

    Example:
        >>> TappedDelay(2)(torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1))[0].flatten(1).tolist()
        [[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]]
    """

    def __init__(self, num_taps: int) -> None:
        super().__init__()
        self.num_taps = checked_integer("TappedDelay", "num_taps", num_taps)

    def initial_state(self, x_t: Step) -> FIRCarry:
        return FIRCarry(x_t.new_zeros(len(x_t), self.num_taps - 1, *x_t.shape[1:]))

    def step(self, x_t: Step, state: FIRCarry, **modulation: Any) -> tuple[Float[Tensor, "B n *N"], FIRCarry]:
        steps = torch.cat([state.last, x_t.unsqueeze(1)], 1)
        return steps, FIRCarry(steps[:, 1:])

    def counted(self, output: tuple[Tensor, FIRCarry]) -> dict[str, float]:
        # the present step is written, and nothing is moved
        return {"adds": output[0].numel() / self.num_taps}


def narrow_delays(module: nn.Module, progress: float) -> None:
    """Narrows the Gaussians of learned delays in the course of a training, from their first width to a quarter step.

    A wide Gaussian finds a better delay from afar; a narrow one differs little from the integer step of evaluation.

    Args:
        module: a network, a part or a layer.
        progress: share of the training that is done, 0 to 1; the width falls exponentially.

    Example:
        >>> layer = Delay(torch.tensor([2.0]), max_delay=8.0, dt=1.0, learn="delay")
        >>> narrow_delays(layer, 0.5)
        >>> layer.sigma  # halfway, in the logarithm, between 4 and 0.25 steps
        1.0
    """
    if not 0 <= progress <= 1:
        raise ConfigError(f"narrow_delays needs the share of the training that is done, 0 to 1, but got {progress}")

    for layer in module.modules():
        if isinstance(layer, Delay) and "delay" in layer._parameters:
            # a Gaussian that begins narrower than that keeps its width
            last = min(required_dt(layer) / 4, layer.first_sigma)
            layer.sigma = layer.first_sigma * (last / layer.first_sigma) ** progress


class _DifferenceCarry(NamedTuple):
    """Steps to compare with, oldest first `(B, n, *N)`, and whether the window has started `(B,)`."""

    last: Tensor
    started: Tensor


class Difference(Kernel):
    """The change since the window started, or over its last `lag` steps.

    Args:
        lag: steps to compare over; None compares with the window's first step.
        keep: give out every step.

    Example:
        >>> Difference()(torch.tensor([3.0, 5.0, 4.0]).reshape(3, 1, 1))[0].flatten().tolist()
        [0.0, 2.0, 1.0]
        >>> Difference(lag=1)(torch.tensor([3.0, 5.0, 4.0]).reshape(3, 1, 1))[0].flatten().tolist()
        [0.0, 2.0, -1.0]
    """

    is_vectorized = True

    def __init__(self, lag: int | None = None, *, keep: bool = False) -> None:
        super().__init__(keep)
        self.lag = None if lag is None else checked_integer("Difference", "its lag", lag)

    def initial_state(self, x_t: Step) -> _DifferenceCarry:
        empty = x_t.new_zeros((x_t.shape[0], self.lag or 1, *x_t.shape[1:]), dtype=state_dtype(x_t.dtype))
        return _DifferenceCarry(empty, torch.zeros(x_t.shape[:1], dtype=torch.bool, device=x_t.device))

    def step(self, x_t: Step, state: _DifferenceCarry, **modulation: Modulated) -> tuple[Step, _DifferenceCarry]:
        refuse_unknown(self, modulation)
        dtype = x_t.dtype
        x_t = upcast(x_t)
        started = state.started.reshape(-1, *[1] * x_t.ndim)

        # a missing step has the window's first value
        last = torch.where(started, state.last, x_t.unsqueeze(1))
        newest = last if self.lag is None else torch.cat([last[:, 1:], x_t.unsqueeze(1)], dim=1)

        return (x_t - last[:, 0]).to(dtype), _DifferenceCarry(newest, torch.ones_like(state.started))

    def run(
        self, x: Signal, carry: _DifferenceCarry | None, resets: Resets | None = None
    ) -> tuple[Signal, _DifferenceCarry]:
        if carry is None:
            return change(x, self.lag), self._newest(x, x[:1].expand(self.lag or 1, *x.shape[1:]))

        before = Before(carry.last.transpose(0, 1), carry.started)
        return change(x, self.lag, before), self._newest(x, before.steps(x[0]))

    def values(self, x: Signal) -> Signal:
        return change(x, self.lag)

    def last(self, x: Signal) -> Step:
        return x[-1] - x[0 if self.lag is None else max(0, len(x) - 1 - self.lag)]

    def _newest(self, x: Signal, before: Tensor) -> _DifferenceCarry:
        newest = before if self.lag is None else torch.cat([before, x[-self.lag :]])[-self.lag :]
        # a copy, so that the state does not keep a long signal in memory
        started = torch.ones(x.shape[1:2], dtype=torch.bool, device=x.device)
        return _DifferenceCarry(newest.transpose(0, 1).clone(), started)
