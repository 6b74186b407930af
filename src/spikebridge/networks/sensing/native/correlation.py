"""The correlation of maps with a template, natively: at some displacements, or at every position.

Fourier transforms give every position, of two real maps at once. Where few displacements are asked for and most of the
map is 0, sums are faster. `correlation` of the detector gives the formula of the former.
"""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.errors import ShapeError
from spikebridge.networks.sensing.native.job import Job
from spikebridge.ops.native.library import int64_fields, pointer_fields
from spikebridge.ops.selection import PICTURES, Operation, Path, always, native_on_pictures

TEMPLATE_FITS = Operation(
    "the correlation of maps with a template at every position",
    (
        Path("native", PICTURES, native_on_pictures("spikebridge_template_fits")),
        Path("torch", "always", always),
    ),
    lambda _: (torch.zeros(1, 2, 8, 8),),
)


class _Correlation(Job):
    """`Correlation` of correlation.h."""

    _fields_ = [
        *int64_fields("height", "width", "channels", "template_width", "rows", "columns"),
        *pointer_fields("picture", "template", "fits"),
    ]


class _TemplateFits(Job):
    """`TemplateFits` of template_fits.h."""

    _fields_ = [
        *int64_fields("num_pictures", "channels", "height", "width"),
        *int64_fields("picture_step", "channel_step", "row_step", "column_step"),
        *int64_fields("side", "size"),
        *pointer_fields("pictures", "template", "fits"),
    ]


def correlate(
    picture: Float[Tensor, "1 C H W"], template: Float[Tensor, "H2 W2 C"], rows: range, columns: range
) -> Float[np.ndarray, "I J"]:
    """`fits[i, j] = sum_{y, x, c} picture[0, c, y, x] template[y + rows[i], x + columns[j], c]`.

    The picture lies channels last, the template is contiguous; both are float32 on a CPU. Sums are of single precision,
    in parts.
    """
    _, num_channels, height, width = picture.shape
    last = template.shape[0] - height, template.shape[1] - width
    if rows.stop - 1 > last[0] or columns.stop - 1 > last[1] or template.shape[2] != num_channels:
        raise ShapeError(
            f"a template {tuple(template.shape)}, of {num_channels} channels, expected displacements up to {last[0]} "
            f"and {last[1]}, but got {rows.stop - 1} and {columns.stop - 1}"
        )

    fits = np.empty((len(rows), len(columns)))
    job = _Correlation(height, width, num_channels, template.shape[1], len(rows), len(columns))
    job.point(picture=picture, template=template[rows.start :, columns.start :], fits=fits)
    job.run("spikebridge_correlate")

    return fits


def template_fits(pictures: Float[Tensor, "B C H W"], template: Float[Tensor, "1 C N N"]) -> Float[Tensor, "B H W"]:
    """The correlation at each position, 1 where a picture is the template, whose centre is at that position."""
    _, channels, height, width = pictures.shape
    side = template.shape[-1]
    if template.shape != (1, channels, side, side):
        raise ShapeError(f"a template (1, {channels}, N, N) was expected, but got {tuple(template.shape)}")

    # a template may be larger than a small picture
    size = _transform_size(max(max(height, width) + side - side // 2, side))
    fits = pictures.new_empty(len(pictures), height, width)

    job = _TemplateFits(*pictures.shape, *pictures.stride(), side, size)
    job.point(pictures=pictures, template=template.contiguous(), fits=fits)
    job.run("spikebridge_template_fits")

    return fits


@cache
def _transform_size(min_size: int) -> int:
    """The smallest product of 2s and 3s that is large enough."""
    powers = range(min_size.bit_length() + 1)
    sizes = [2**n * 3**m for n in powers for m in powers]
    return min(size for size in sizes if size >= min_size)
