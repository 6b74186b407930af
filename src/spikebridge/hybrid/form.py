"""Which stages of a hybrid unit can follow each other, and which of its two forms the window takes then."""

from typing import Literal, TypeAlias

from spikebridge.errors import ConfigError
from spikebridge.hybrid.discretizer import Discretizer
from spikebridge.hybrid.kernel import Kernel
from spikebridge.hybrid.window import Hold, Since, Window

Form: TypeAlias = Literal["cut", "running"]


def form_of(window: Window | None, kernel: Kernel | None, discretizer: Discretizer | None) -> Form:
    """The form that the window takes, or a `ConfigError` where the stages do not fit.

    Example:
        >>> from spikebridge.hybrid import Mean, Tumbling
        >>> form_of(Tumbling(6), Mean(), None), form_of(Tumbling(6), Mean(keep=True), None)
        ('cut', 'running')
    """
    kept = kernel is None or kernel.keep
    kind = discretizer.kind if discretizer is not None else "steps"
    who = type(discretizer).__name__
    if window is None or isinstance(window, Since):
        if kind != "steps":
            raise ConfigError(
                f"{who} {kind} the steps of a window, but {'without a window' if window is None else 'in Since'} there "
                "are none to count; use Tumbling, Sliding or Hold"
            )
        return "running"
    if kernel is not None and kept and kind == "expands":
        raise ConfigError(
            f"{who} makes the spikes of one value a window, but the kernel keeps {window.length}; give out its last "
            "one alone (keep=False)"
        )
    if isinstance(window, Hold):
        if kind == "reduces" or (not kept and kind != "expands"):
            raise ConfigError(
                "Hold makes steps of one value, and this unit reduces them to one again without making new ones; leave "
                "the window out, keep the kernel (keep=True), or use a discretizer that expands (FirstSpike, Phase, "
                "Burst)"
            )
        return "cut"
    if kept and kind == "expands":
        raise ConfigError(
            f"{who} makes the spikes of one value a window, but without a kernel there are {window.length}; reduce "
            "them first, for example with Mean()"
        )
    if kind == "reduces":
        return "cut"
    if kept and window.overlaps:
        raise ConfigError(
            "overlapping windows have no kept steps: a step would be given out twice; reduce them, or use Tumbling"
        )
    return "running" if kept else "cut"
