"""The stages of hybrid units as records and tensors, and back."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.deploy.manifest import Setting, StageRecord
from spikebridge.errors import DataError, ExportError
from spikebridge.hybrid import (
    Alpha,
    Bernoulli,
    Burst,
    Count,
    Difference,
    Exponential,
    FirstSpike,
    FirstTime,
    Gaussian,
    Hold,
    Integrate,
    Last,
    Mean,
    Phase,
    SignedDelta,
    Since,
    Sliding,
    Sum,
    Taps,
    Threshold,
    Tumbling,
)

# what each stage is made of: the arguments that make one like it
ARGUMENTS: dict[type[nn.Module], tuple[str, ...]] = {
    Hold: ("length",),
    Tumbling: ("length",),
    Sliding: ("length", "stride"),
    Since: ("trigger",),
    Sum: ("keep",),
    Mean: ("keep",),
    Difference: ("lag", "keep"),
    Exponential: ("tau", "dt", "keep"),
    Alpha: ("tau", "dt", "keep"),
    Gaussian: ("delay", "sigma", "dt", "keep"),
    Taps: ("num_taps", "keep"),
    Bernoulli: ("seed",),
    Threshold: ("v_threshold",),
    SignedDelta: ("quantum", "limit"),
    Integrate: (),
    Last: (),
    Count: (),
    FirstTime: (),
    FirstSpike: (),
    Phase: (),
    Burst: (),
}


FUNCTION = "Function"


def is_known(stage: nn.Module) -> bool:
    """Whether a stage can be held by name and numbers."""
    return type(stage) in ARGUMENTS


def stage_record(stage: nn.Module, where: str) -> tuple[StageRecord, dict[str, Tensor]]:
    """A window, kernel or discretizer in words, and its tensors.

    Args:
        stage: the stage.
        where: its place, for messages.

    Raises:
        ExportError: it is of a kind that no bundle holds.

    Example:
        >>> stage_record(Tumbling(3), "the window of a unit")
        (StageRecord(name='Tumbling', settings={'length': 3}), {})
    """
    kind = type(stage)
    if kind not in ARGUMENTS:
        known = ", ".join(one.__name__ for one in ARGUMENTS)
        raise ExportError(f"{where} is a {kind.__name__}, which a bundle does not hold; it holds {known}")
    settings: dict[str, Setting] = {}
    tensors: dict[str, Tensor] = {}
    for name in ARGUMENTS[kind]:
        value = getattr(stage, name)
        if isinstance(value, Tensor):
            tensors[name] = value.detach()
        else:
            settings[name] = value
    if isinstance(stage, Taps):
        tensors["weight"] = stage.weight.detach()
    elif isinstance(stage, Gaussian):
        # for those who cannot work them out
        tensors["weight"] = stage.taps().detach()
    return StageRecord(kind.__name__, settings), tensors


def stage_of(record: StageRecord, tensors: Mapping[str, Tensor]) -> Any:
    """The stage of a record.

    Raises:
        DataError: there is no such stage, or it cannot be made of what the record says.
    """
    kinds = {kind.__name__: kind for kind in ARGUMENTS}
    kind: Any = kinds.get(record.name)
    if kind is None:
        raise DataError(f"there is no stage {record.name!r}; known are {', '.join(kinds)}")
    given = {**record.settings, **{name: t for name, t in tensors.items() if name in ARGUMENTS[kind]}}
    try:
        if kind is not Taps:
            return kind(**given)
        weight = tensors["weight"]
        stage = Taps(len(weight), tuple(weight.shape[1:]), keep=bool(given["keep"]))
        with torch.no_grad():
            stage.weight.copy_(weight)
        return stage
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"the stage {record.name!r} cannot be made of {record.settings}: {error}") from None
