"""Losses and metrics of spiking classifiers: by firing rate, by first spike, by membrane potential.

| answer | loss | accuracy | source |
|---|---|---|---|
| firing rate | `rate_loss`, `rate_target_loss` | `rate_accuracy` | Zenke and Vogels, Neural Computation 33 (2021) |
| first spike | `first_spike_loss` | `first_spike_accuracy` | Mostafa, IEEE TNNLS 29 (2018), eq. 11 |
| membrane of a read-out without spikes | `membrane_loss` | `membrane_accuracy` | Cramer et al., IEEE TNNLS 33 (2022) |

Outputs are `(T, B, C)`, time first, labels `(B,)`. Losses are means over the batch, as `Phase.objective` needs them. In
an accuracy a tie of k classes counts 1/k for each, so that a silent network scores chance and not its share of class 0.

For a padded batch (`StackSamples(pad=...)`) all take `lengths`, the steps of each sample `(B,)`. Later steps do not
count: the numbers and gradients are those of every sample at its own length.
"""

from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from spikebridge.errors import ConfigError, ShapeError
from spikebridge.ops.checks import reads_values

_Over: TypeAlias = Literal["mean", "max", "last"]
_INTEGERS = (torch.int64, torch.int32, torch.int16)
_Lengths: TypeAlias = Int[Tensor, " B"] | None


def rate_loss(
    spikes: Float[Tensor, "T B C"], labels: Int[Tensor, " B"], *, lengths: _Lengths = None
) -> Float[Tensor, ""]:
    """Cross-entropy with the spike counts of the classes as logits: the neuron of the class should fire most.

    Args:
        spikes: spikes of one output neuron a class.
        labels: classes.
        lengths: steps of each sample of a padded batch, 1 to T; None takes all.

    Raises:
        ShapeError: shapes that do not fit.

    Example:
        >>> spikes = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 0.0]]])  # counts 2 and 0
        >>> round(rate_loss(spikes, torch.tensor([0])).item(), 4)  # log(1 + exp(-2))
        0.1269
    """
    _check(spikes, labels)
    return F.cross_entropy(_inside(spikes, lengths).sum(0), labels.long())


def rate_target_loss(
    spikes: Float[Tensor, "T B C"],
    labels: Int[Tensor, " B"],
    *,
    correct: float = 0.8,
    incorrect: float = 0.05,
    lengths: _Lengths = None,
) -> Float[Tensor, ""]:
    """Mean squared error of the firing rates from target rates; it keeps every neuron alive.

    Args:
        spikes: spikes of one output neuron a class.
        labels: classes.
        correct: target rate of the neuron of the class [spikes a step].
        incorrect: target rate of the others [spikes a step].
        lengths: steps of each sample of a padded batch, 1 to T; None takes all.

    Raises:
        ShapeError: shapes that do not fit.

    Example:
        >>> spikes = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]])  # rates 0.5 and 0
        >>> rate_target_loss(spikes, torch.tensor([0]), correct=1.0, incorrect=0.0).item()
        0.125
    """
    _check(spikes, labels)
    target = torch.full_like(spikes[0], incorrect).scatter(-1, labels.long()[:, None], correct)

    return (_mean(spikes, lengths) - target).square().mean()


def first_spike_times(spikes: Float[Tensor, "T *N"], *, dt: float, lengths: _Lengths = None) -> Float[Tensor, "*N"]:
    """The time [s] of the first spike, 0 for one in the first step and `T dt` for a silent neuron; differentiable."""
    # the steps before the first spike are a sum of products of `1 - s`: its gradient reaches all of them and the first
    # spike, so that a surrogate gradient can move a spike that is there and call for one that is not
    silent = (1 - _inside(spikes, lengths)).cumprod(0)
    return _inside(silent, lengths).sum(0) * dt


def first_spike_loss(
    spikes: Float[Tensor, "T B C"], labels: Int[Tensor, " B"], *, dt: float, tau: float, lengths: _Lengths = None
) -> Float[Tensor, ""]:
    """Cross-entropy with `-t / tau` as logits, t the times of the first spikes: the class should spike first.

    Args:
        spikes: spikes of one output neuron a class.
        labels: classes.
        dt: length of a step [s].
        tau: a lead of this time over another class makes the class e times as probable [s].
        lengths: steps of each sample of a padded batch, 1 to T; None takes all.

    Raises:
        ShapeError: shapes that do not fit.
        ConfigError: tau is not above 0.

    Example:
        >>> spikes = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]])  # times 0 and 2 ms
        >>> loss = first_spike_loss(spikes, torch.tensor([0]), dt=0.001, tau=0.001)
        >>> round(loss.item(), 4)  # log(1 + exp(-2))
        0.1269
    """
    _check(spikes, labels)
    if not tau > 0:
        raise ConfigError(f"first_spike_loss needs tau > 0 s, but got {tau}")

    return F.cross_entropy(-first_spike_times(spikes, dt=dt, lengths=lengths) / tau, labels.long())


def membrane_loss(
    v: Float[Tensor, "T B C"], labels: Int[Tensor, " B"], *, over: _Over = "mean", lengths: _Lengths = None
) -> Float[Tensor, ""]:
    """Cross-entropy with membrane potentials as logits, of a read-out that does not spike (`Integrator`).

    Args:
        v: membranes of one output neuron a class.
        labels: classes.
        over: the logits are the `"mean"` over time, the `"max"`, or those of the `"last"` step.
        lengths: steps of each sample of a padded batch, 1 to T; None takes all.

    Raises:
        ShapeError: shapes that do not fit.
        ConfigError: another word for `over`.

    Example:
        >>> v = torch.tensor([[[2.0, 0.0]], [[0.0, 0.0]]])
        >>> round(membrane_loss(v, torch.tensor([0]), over="max").item(), 4)  # log(1 + exp(-2))
        0.1269
    """
    _check(v, labels)
    return F.cross_entropy(_over_time(v, over, lengths), labels.long())


def rate_accuracy(
    spikes: Float[Tensor, "T B C"], labels: Int[Tensor, " B"], *, lengths: _Lengths = None
) -> Float[Tensor, ""]:
    """The share of samples whose class fires most; a tie of k classes counts 1/k.

    Example:
        >>> silent = torch.zeros(5, 2, 4)
        >>> rate_accuracy(silent, torch.tensor([0, 3])).item()
        0.25
    """
    _check(spikes, labels)
    return _accuracy(_inside(spikes, lengths).sum(0), labels)


def first_spike_accuracy(
    spikes: Float[Tensor, "T B C"], labels: Int[Tensor, " B"], *, lengths: _Lengths = None
) -> Float[Tensor, ""]:
    """The share of samples whose class spikes first; a tie of k classes counts 1/k.

    Example:
        >>> spikes = torch.tensor([[[0.0, 1.0]], [[1.0, 1.0]]])
        >>> first_spike_accuracy(spikes, torch.tensor([1])).item()
        1.0
    """
    _check(spikes, labels)
    return _accuracy(-first_spike_times(spikes, dt=1.0, lengths=lengths), labels)


def membrane_accuracy(
    v: Float[Tensor, "T B C"], labels: Int[Tensor, " B"], *, over: _Over = "mean", lengths: _Lengths = None
) -> Float[Tensor, ""]:
    """The share of samples whose class has the highest membrane potential; a tie of k classes counts 1/k.

    Args:
        v: membranes of one output neuron a class.
        labels: classes.
        over: see `membrane_loss`.
        lengths: steps of each sample of a padded batch, 1 to T; None takes all.

    Example:
        >>> v = torch.tensor([[[3.0, 0.0]], [[0.0, 1.0]]])
        >>> [membrane_accuracy(v, torch.tensor([0]), over=over).item() for over in ("mean", "last")]
        [1.0, 0.0]
    """
    _check(v, labels)
    return _accuracy(_over_time(v, over, lengths), labels)


def spike_count(spikes: Float[Tensor, "T B *N"], *, lengths: _Lengths = None) -> Float[Tensor, ""]:
    """Spikes of a layer in one sample: the sum over time and neurons, the mean over the batch; differentiable.

    As a metric it is the activity. Times a small factor in the loss it keeps a network sparse.

    Example:
        >>> spike_count(torch.ones(5, 2, 3)).item()
        15.0
    """
    return _inside(spikes, lengths).sum() / spikes.shape[1]


def _over_time(v: Tensor, over: _Over, lengths: Tensor | None) -> Tensor:
    if over not in ("mean", "max", "last"):
        raise ConfigError(f"over should be 'mean', 'max' or 'last', but is {over!r}")
    if over == "mean":
        return _mean(v, lengths)

    v = _inside(v, lengths, -torch.inf)
    if over == "max":
        return v.amax(0)
    return v[-1] if lengths is None else v.take_along_dim(lengths.to(v.device).long()[None, :, None] - 1, 0)[0]


def _mean(x: Tensor, lengths: Tensor | None) -> Tensor:
    return x.mean(0) if lengths is None else _inside(x, lengths).sum(0) / lengths.to(x.device)[:, None]


def _inside(x: Tensor, lengths: Tensor | None, outside: float = 0.0) -> Tensor:
    """The signal inside of the length of each sample, and a number in the steps after it."""
    if lengths is None:
        return x
    if lengths.shape != x.shape[1:2] or lengths.dtype not in _INTEGERS:
        raise ShapeError(
            f"expected lengths as {x.shape[1]} integers (B,), but got {tuple(lengths.shape)} of {lengths.dtype}"
        )

    if reads_values(lengths, is_first=True) and not 1 <= int(lengths.min()) <= int(lengths.max()) <= len(x):
        raise ShapeError(
            f"lengths are 1 to {len(x)} steps, those of the data, but got {lengths.tolist()}; leave out empty samples"
        )

    steps = torch.arange(len(x), device=x.device).reshape(-1, *[1] * (x.ndim - 1))
    return x.where(steps < lengths.to(x.device).reshape(-1, *[1] * (x.ndim - 2)), outside)


def _accuracy(scores: Tensor, labels: Tensor) -> Tensor:
    best = (scores == scores.amax(-1, keepdim=True)).to(scores.dtype)
    return (best.gather(-1, labels.long()[:, None])[:, 0] / best.sum(-1)).mean()


def _check(outputs: Tensor, labels: Tensor) -> None:
    if outputs.ndim != 3 or labels.shape != outputs.shape[1:2] or not len(outputs):
        raise ShapeError(
            f"expected outputs (T, B, C) and labels (B,), but got {tuple(outputs.shape)} and {tuple(labels.shape)}; "
            "time is the first axis, and there is one output neuron a class"
        )

    if labels.is_floating_point() or labels.is_complex() or labels.dtype is torch.bool:
        raise ShapeError(f"labels are classes, integers from 0, but got {labels.dtype}; use labels.long()")
