"""Events in an npz file: arrays `t` [us], `x`, `y`, `p`, and optionally `width` and `height` of the sensor.

A cut file has lost the table of its members and is never read.
"""

import io
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from spikebridge.data.events.events import Events
from spikebridge.data.events.formats.event_format import Chunks, ReadOptions, Sensor
from spikebridge.data.io.npz import array_names, npz_columns, read_npz
from spikebridge.errors import DataError

_COLUMNS = ("t", "x", "y", "p")


def npz_events(path: Path, options: ReadOptions) -> tuple[Chunks, Sensor | None]:
    """Events of an npz file, and the sensor if the file holds its size."""
    chunks: Chunks = ((rows["t"], rows["x"], rows["y"], rows["p"]) for rows in npz_columns(path, _COLUMNS))
    if not {"height", "width"} & {*array_names(path)}:
        return chunks, None

    def check(headers: Mapping[str, Any]) -> None:
        for name, header in headers.items():
            if prod(header.shape) != 1 or header.dtype.kind not in "iu":
                raise DataError(f"{path}, {name}: expected one integer, but got {header.dtype} {header.shape}.")

    sensor = []
    for name, number in read_npz(path, ("height", "width"), check=check).items():
        if not 1 <= number.item() <= 2**16:
            raise DataError(f"{path}, {name}: expected one integer from 1 to {2**16}, but got {number!r}.")
        sensor.append(int(number.item()))

    return chunks, (sensor[0], sensor[1])


def npz_content(events: Events, height: int, width: int) -> bytes:
    """An npz file of events."""
    content = io.BytesIO()
    t, x, y, p = (events[name] for name in _COLUMNS)
    np.savez(content, t=t, x=x, y=y, p=p, width=np.int64(width), height=np.int64(height))

    return content.getvalue()
