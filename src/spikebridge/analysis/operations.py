"""Kinds of operations, and sums of them."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Operations:
    """How often each kind of operation was done.

    Args:
        macs: multiply-accumulates of real values with weights (or with each other), and of kernels and gains.
        synops: synaptic operations: one addition for every spike and every weight that it meets.
        adds: additions of biases.
        updates: updates of a neuron, one a neuron and step.
        compares: comparisons of discretizers, one a value.

    Example:
        >>> (Operations(macs=2) + Operations(macs=1, synops=4)).scaled(0.5)
        Operations(macs=1.5, synops=2.0, adds=0.0, updates=0.0, compares=0.0)
    """

    macs: float = 0
    synops: float = 0
    adds: float = 0
    updates: float = 0
    compares: float = 0

    def __add__(self, other: "Operations") -> "Operations":
        return Operations(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def scaled(self, factor: float) -> "Operations":
        """Every count times a factor."""
        return Operations(*(getattr(self, f.name) * factor for f in fields(self)))

    @property
    def num_operations(self) -> float:
        """All operations, of whatever kind."""
        return float(sum(getattr(self, f.name) for f in fields(self)))
