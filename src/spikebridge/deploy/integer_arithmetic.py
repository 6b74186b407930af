"""Arithmetic of an integer machine: products, shifts, clamps. No floats, and no torch."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Whole: TypeAlias = NDArray[np.int64]
MOST_SHIFT = 46
FRACTION = 15  # bits of a decay behind the point


def rescale(q: Whole, multiplier: Whole, shift: Whole) -> Whole:
    """A whole number in another scale, `(q m + 2^(k - 1)) >> k`: halves go upwards.

    Example:
        >>> rescale(np.array([3, -3]), np.array(1), np.array(1)).tolist()
        [2, -1]
    """
    half = np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), 0)
    moved: Whole = (q * multiplier + half) >> shift
    return moved


def leak_towards(v: Whole, rest: Whole | int, decay: Whole) -> Whole:
    """A membrane one step closer to rest; the decay counts parts of 2^15.

    Example:
        >>> leak_towards(np.array([100]), 0, np.array(1 << 14)).tolist()
        [50]
    """
    left: Whole = rest + (((v - rest) * decay + (1 << (FRACTION - 1))) >> FRACTION)
    return left


def ratio(numbers: Mapping[str, Any], before: str = "", after: str = "") -> tuple[Whole, Whole]:
    """Multiplier and shift among the whole numbers of an operation."""
    return numbers[f"{before}multiplier{after}"].astype(np.int64), numbers[f"{before}shift{after}"].astype(np.int64)
