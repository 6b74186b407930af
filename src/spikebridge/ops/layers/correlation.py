"""The correlation of pictures with a template, by the native library: at some displacements, or at every place.

Fourier transforms give every place, of two real maps at once; where few displacements are asked for and much of the
picture is 0, sums are faster. `correlation` of the sensing network's detector gives the formula of the former.
"""

import ctypes
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from spikebridge.errors import ShapeError
from spikebridge.ops.native.library import library


class _Job(ctypes.Structure):
    """`Correlation` of correlation.h."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("height", "width", "channels", "template_width", "rows", "columns")],
        *[(name, ctypes.c_void_p) for name in ("picture", "template", "fits")],
    ]


class _TemplateFits(ctypes.Structure):
    """`TemplateFits` of template_fits.h."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("num_pictures", "channels", "height", "width")],
        *[(name, ctypes.c_int64) for name in ("picture_step", "channel_step", "row_step", "column_step")],
        *[(name, ctypes.c_int64) for name in ("side", "size")],
        *[(name, ctypes.c_void_p) for name in ("pictures", "template", "fits")],
    ]


def correlate(
    picture: Float[Tensor, "1 C H W"], template: Float[Tensor, "H2 W2 C"], rows: range, columns: range
) -> Float[np.ndarray, "I J"]:
    """`fits[i, j] = sum_{y, x, c} picture[0, c, y, x] template[y + rows[i], x + columns[j], c]`.

    Args:
        picture: float32 on a CPU, channels last.
        template: float32 on a CPU, contiguous, larger by the displacements.
        rows: displacements along y, from 0 on, without gaps; `len(template) - len(picture)` at most.
        columns: the same along x.

    Returns:
        In double precision; sums are of single precision, in parts.

    Raises:
        ShapeError: the template ends before the last displacement, or has other channels.
        MemoryError: no memory for the list of what is not 0.
    """
    _, num_channels, height, width = picture.shape
    last = template.shape[0] - height, template.shape[1] - width
    if rows.stop - 1 > last[0] or columns.stop - 1 > last[1] or template.shape[2] != num_channels:
        raise ShapeError(
            f"a template {tuple(template.shape)}, of {num_channels} channels, expected displacements up to {last[0]} "
            f"and {last[1]}, but got {rows.stop - 1} and {columns.stop - 1}"
        )

    fits = np.empty((len(rows), len(columns)))
    first = (rows.start * template.shape[1] + columns.start) * num_channels * template.element_size()
    job = _Job(height, width, num_channels, template.shape[1], len(rows), len(columns))
    job.picture = picture.data_ptr()
    job.template = template.data_ptr() + first
    job.fits = fits.ctypes.data
    run: Any = library().steps

    if run.spikebridge_correlate(ctypes.byref(job)) != 0:
        raise MemoryError("out of memory in a correlation, for the list of what is not 0")

    return fits


def template_fits(pictures: Float[Tensor, "B C H W"], template: Float[Tensor, "1 C N N"]) -> Float[Tensor, "B H W"]:
    """The correlation at each place, 1 where a picture is the template: the template's middle is at that place.

    Args:
        pictures: float32 on a CPU, in any order.
        template: float32 on a CPU, square.

    Raises:
        ShapeError: the template is not square, or has other channels.
        MemoryError: no memory for the transforms.
    """
    _, channels, height, width = pictures.shape
    side = template.shape[-1]
    if template.shape != (1, channels, side, side):
        raise ShapeError(f"a template (1, {channels}, N, N) was expected, but got {tuple(template.shape)}")

    template = template.contiguous()
    fits = pictures.new_empty(len(pictures), height, width)
    size = _size(max(max(height, width) + side - side // 2, side))  # of small pictures, the template is the larger one
    job = _TemplateFits(*pictures.shape, *pictures.stride(), side, size)
    job.pictures, job.template, job.fits = (one.data_ptr() for one in (pictures, template, fits))
    run: Any = library().steps

    if run.spikebridge_template_fits(ctypes.byref(job)) != 0:
        raise MemoryError("out of memory in the correlation with a template, for its transforms")

    return fits


@cache
def _size(least: int) -> int:
    """The smallest product of 2s and 3s that is large enough."""
    powers = range(least.bit_length() + 1)
    return min(size for n in powers for m in powers if (size := 2**n * 3**m) >= least)
