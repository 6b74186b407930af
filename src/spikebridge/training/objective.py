"""Results of objectives: a loss or several by name, metrics, and what a rule of one's own gets."""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, TypeAlias

from torch import Tensor

from spikebridge.errors import ConfigError, in_words

Loss: TypeAlias = Tensor | Mapping[str, Tensor]
Result: TypeAlias = Loss | tuple[Loss, dict[str, Any]] | tuple[Loss, dict[str, Any], Any]
"""A loss, or a loss and metrics, or these and the activity for `Phase.gradients`; all are means over the samples."""

_COLUMNS = ("kind", "phase", "epoch", "step", "lr", "loss")  # of a row, besides metrics


@dataclass(frozen=True)
class Outcome:
    """The result of an objective in one form; a loss without a name is called `""`."""

    losses: dict[str, Tensor]
    metrics: dict[str, Any]
    activity: Any

    @property
    def loss(self) -> Tensor:
        """The sum of all losses."""
        first, *others = self.losses.values()
        return sum(others, start=first)

    @property
    def values(self) -> dict[str, Any]:
        """Loss, single losses and metrics by the names of their columns."""
        single = {f"loss/{name}": loss for name, loss in self.losses.items() if name}
        return {"loss": self.loss, **single, **self.metrics}


def read_result(result: Any, objective: str) -> Outcome:
    """Losses, metrics and activity of a result; a `ConfigError` names the objective that gave something else."""
    parts = result if isinstance(result, tuple) and len(result) in (2, 3) else (result, {})
    loss, metrics, *activity = parts
    losses = dict(loss) if isinstance(loss, Mapping) and loss else {"": loss}
    for one in losses.values():
        if not isinstance(one, Tensor) or one.ndim != 0 or not isinstance(metrics, dict):
            form = tuple(one.shape) if isinstance(one, Tensor) else type(one).__name__
            raise ConfigError(
                f"{objective} must give one number, or one for each optimizer by name, or that and a dict of metrics, "
                f"but gave {form}"
            )

    own = (*_COLUMNS, *(f"loss/{name}" for name in losses))
    for name, value in metrics.items():
        if name in own:
            raise ConfigError(f"{objective} has a metric called {name!r}; that name is the {name}'s own")
        check_number(value, f"the metric {name!r} of {objective}")

    return Outcome(losses, metrics, activity[0] if activity else None)


def check_number(value: Any, what: str) -> None:
    """Raises a `ConfigError` where a metric is not one number; of a tensor it reads no value."""
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise ConfigError(f"{what} must be one number, but is a tensor {tuple(value.shape)}")
    elif not isinstance(value, Real) and getattr(value, "size", None) != 1:
        raise ConfigError(f"{what} must be one number, but is {in_words(value)}")


def refuse_other_metrics(metrics: Mapping[str, Any], before: Mapping[str, Any], objective: str) -> None:
    """Raises a `ConfigError` where an objective gives other metrics than before, whose means would lack samples."""
    if before and metrics.keys() != before.keys():
        raise ConfigError(
            f"{objective} gave {', '.join(metrics)}, but {', '.join(before)} before; give the same at every step"
        )
