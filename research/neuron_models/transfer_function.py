"""The transfer function of a population of neurons: its rate as a function of the rates of its inputs, learned.

A mean-field model replaces a population by its rate. For some neurons the function is known (N. Brunel, Journal of
Computational Neuroscience 8, 2000, eq. 21); for any others it is learned here from recorded activity alone: every
signal passes through leaky integrators of several time constants, and a small network maps them to the rate. The spikes
of the population are taken as Poisson given that rate, as in a generalised linear model of a population (W. Truccolo et
al., Journal of Neurophysiology 93, 2005, eq. 4).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.errors import ConfigError, DataError, ShapeError
from spikebridge.neurons import Integrator, Sequential

_TIME_CONSTANTS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02)  # up to that of a membrane


class _Repeat(nn.Module):
    """`(B, S)` to `(B, S, K)`: each signal K times, in units of its mean in the recording."""

    scale: Tensor

    def __init__(self, num_signals: int, num_filters: int) -> None:
        super().__init__()
        self.num_filters = num_filters
        self.register_buffer("scale", torch.ones(num_signals))

    def forward(self, x: Tensor) -> Tensor:
        return (x / self.scale).unsqueeze(-1).expand(*x.shape, self.num_filters)


class _Rate(nn.Module):
    """A number as a rate: positive, in units of the mean rate in the recording, `(B, 1)` to `(B,)`."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * nn.functional.softplus(x).squeeze(-1)


class TransferFunction(Sequential):
    """The rate of a population from the rates of its inputs: leaky integrators, then a network of two hidden layers.

    A stateful layer, `(T, B, S)` to `(T, B)`: a part of a network.
    """

    repeat: _Repeat
    filters: Integrator
    flatten: nn.Flatten
    readout: nn.Sequential
    rate: _Rate

    def __init__(self, num_signals: int, *, dt: float, tau: Sequence[float] = _TIME_CONSTANTS, width: int = 48) -> None:
        if num_signals < 1 or not tau or min(tau) <= 0:
            raise ConfigError(
                f"a transfer function needs a signal and time constants above 0 s, but got {num_signals} signals and "
                f"{list(tau)}"
            )

        times = torch.tensor(tau)
        super().__init__(
            repeat=_Repeat(num_signals, len(tau)),
            # a constant signal keeps its value
            filters=Integrator(tau=times, dt=dt, r=1 - torch.exp(-dt / times)),
            flatten=nn.Flatten(1),
            readout=nn.Sequential(
                nn.Linear(num_signals * len(tau), width),
                nn.Tanh(),
                nn.Linear(width, width),
                nn.Tanh(),
                nn.Linear(width, 1),
            ),
            rate=_Rate(),
        )


def fit_transfer_function(
    function: TransferFunction,
    signals: Float[Tensor, "T B S"],
    rates: Float[Tensor, "T B"],
    *,
    num_updates: int = 3000,
    batch: int = 2048,
    lr: float = 3e-3,
    seed: int = 0,
) -> float:
    """Learns a transfer function in place by the likelihood of the recorded spikes.

    Returns the share of the deviance of the rates that the function explains: 1 is perfect, 0 a constant rate.
    """
    _check(function, signals, rates)
    with torch.no_grad():
        function.repeat.scale.copy_(signals.mean((0, 1)).clamp(min=torch.finfo(signals.dtype).tiny))
        function.rate.scale.copy_(rates.mean())
        filtered, _ = Sequential(function.repeat, function.filters, function.flatten)(signals)

    x = filtered.flatten(0, 1)
    y = rates.flatten() / rates.mean()
    readout = function.readout
    optimizer = torch.optim.Adam(readout.parameters(), lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_updates)
    generator = torch.Generator().manual_seed(seed)

    for _ in range(num_updates):
        steps = torch.randint(len(x), (min(batch, len(x)),), generator=generator)
        rate = nn.functional.softplus(readout(x[steps])).squeeze(-1)
        loss = nn.functional.poisson_nll_loss(rate, y[steps], log_input=False)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    with torch.no_grad():
        rate = nn.functional.softplus(readout(x)).squeeze(-1)

    return 1 - _deviance(y, rate) / _deviance(y, torch.ones_like(y))


def _check(function: TransferFunction, signals: Tensor, rates: Tensor) -> None:
    number = len(function.repeat.scale)
    if signals.ndim != 3 or signals.shape[-1] != number or rates.shape != signals.shape[:2]:
        raise ShapeError(
            f"the transfer function needs signals (T, B, {number}) and rates (T, B), but got {tuple(signals.shape)} "
            f"and {tuple(rates.shape)}"
        )

    if not rates.numel() or not bool((rates.isfinite() & (rates >= 0)).all()) or not bool((rates > 0).any()):
        raise DataError(
            "rates need to be finite, at least 0, and somewhere above 0; record the population while it fires"
        )

    if not bool(signals.isfinite().all()):
        raise DataError("signals hold NaN or infinity; correct the recording first")


def _deviance(y: Tensor, rate: Tensor) -> float:
    """The deviance of counts that are Poisson with a rate."""
    rate = rate.clamp(min=torch.finfo(rate.dtype).tiny)
    return float((torch.xlogy(y, y / rate) - (y - rate)).mean())
