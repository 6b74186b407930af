"""The correlation of maps with a template at every place, by Fourier transforms, in one native call.

`correlation` of the sensing network's detector gives its formula; results are those of it to rounding. Two real maps
are transformed as one complex one. At a few displacements of sparse maps, sums are faster (`correlation.py`).
"""

import ctypes
from functools import cache
from typing import Any

from jaxtyping import Float
from torch import Tensor

from spikebridge.errors import ShapeError
from spikebridge.ops.native.library import library


class _Job(ctypes.Structure):
    """`TemplateFits` of fourier.h."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("num_pictures", "channels", "height", "width")],
        *[(name, ctypes.c_int64) for name in ("picture_step", "channel_step", "row_step", "column_step")],
        *[(name, ctypes.c_int64) for name in ("side", "size")],
        *[(name, ctypes.c_void_p) for name in ("pictures", "template", "fits")],
    ]


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
    template, fits = template.contiguous(), pictures.new_empty(len(pictures), height, width)
    job = _Job(*pictures.shape, *pictures.stride(), side, _size(max(height, width) + side - side // 2))
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
