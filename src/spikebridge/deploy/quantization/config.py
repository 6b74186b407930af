"""Widths of integers, for regions of a network: one frozen object a region, and the region of a layer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from spikebridge.errors import ConfigError, did_you_mean

_EVERYTHING = "*"
_WIDTHS = {"weights": (2, 8), "activations": (2, 8), "membranes": (16, 28)}


@dataclass(frozen=True)
class QConfig:
    """Widths of the integers in a region of a network.

    Args:
        path: a part, a unit (`units.LINK`) or a layer in one of them, with all that is below; `*` matches any text.
        weights: bits of a weight, one scale an output channel.
        activations: bits of a signal between layers.
        membranes: bits of a state: membranes, sums of kernels.
        power_of_two: every scale is a power of two, so that a change of scale is a shift. Weights, decays and means
            over another number of steps are still multiplied.

    Raises:
        ConfigError: widths outside their range.

    Example:
        >>> QConfig("where").holds("where.fc1"), QConfig("where").holds("what"), QConfig("*.lif2").holds("where.lif2")
        (True, False, True)
    """

    path: str = _EVERYTHING
    weights: int = 8
    activations: int = 8
    membranes: int = 16
    power_of_two: bool = False

    def __post_init__(self) -> None:
        for name, (low, high) in _WIDTHS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ConfigError(f"quantisation needs {name} of {low} to {high} bits, but got {value!r}")

        if not self.path:
            raise ConfigError("a region needs the path of a part, a unit or a layer, or '*'")

    def holds(self, path: str) -> bool:
        """True if a layer belongs to this region."""
        return fnmatchcase(path, self.path) or fnmatchcase(path, f"{self.path}.*")


@dataclass(frozen=True)
class QConfigMapping:
    """Regions of a network. A layer in no region stays real; of several regions with a layer, the last one counts.

    Args:
        qconfigs: one a region, in order.

    Example:
        >>> plan = QConfigMapping((QConfig(), QConfig("where", membranes=24)))
        >>> plan.qconfig("where.lif1").membranes, plan.qconfig("what").membranes
        (24, 16)
    """

    qconfigs: tuple[QConfig, ...] = (QConfig(),)

    def __post_init__(self) -> None:
        if not self.qconfigs:
            raise ConfigError("a quantisation needs one region at least, such as QConfig('*')")

    def qconfig(self, path: str) -> QConfig | None:
        """The region of a layer; None if it stays real."""
        # later regions are exceptions from earlier ones
        return next((qconfig for qconfig in reversed(self.qconfigs) if qconfig.holds(path)), None)

    def check(self, paths: Iterable[str]) -> None:
        """Raises a `ConfigError` for a region without a layer.

        Args:
            paths: paths of all parts, units and layers.
        """
        layers = list(paths)
        for qconfig in self.qconfigs:
            if not any(qconfig.holds(path) for path in layers):
                raise ConfigError(
                    f"the region {qconfig.path!r} names no layer of this network; {did_you_mean(qconfig.path, layers)}"
                )


def qconfigs_for(paths: Sequence[str], qconfig: QConfig) -> QConfigMapping:
    """The same widths for several paths, or for everything without paths."""
    return QConfigMapping(tuple(replace(qconfig, path=path) for path in paths or [_EVERYTHING]))
