"""Recordings that no training has seen, made of the real one's test part: mirrored or turned, on clocks of their own.

They are written in the layout of FE240hz, so that everything is asked of them that is asked of a new recording of that
set: the loader takes them as they are, and has to find their offsets.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from spikebridge.data.io.images import ImageFiles, list_images
from spikebridge.data.recordings.fe240hz import read_sparse_events
from spikebridge.data.recordings.recording import read_boxes


class Piece(NamedTuple):
    """The part of the real recording and the changes that make a new one."""

    frames: range
    # mirrored axes: 0 left and right, 1 top and bottom
    mirrored: tuple[int, ...]
    # number of empty bins before the events
    event_bins: int
    # number of copies of the first box before the fast boxes
    box_rows: int


PIECES = {
    "mirrored": Piece(range(340, 446), (0,), event_bins=4, box_rows=7),
    "turned": Piece(range(446, 552), (0, 1), event_bins=5, box_rows=2),
}


def write(source: Path, folder: Path, piece: Piece) -> None:
    """Writes the recording of a piece into a new folder, from the folder of the real one."""
    events, num_bins = read_sparse_events(source / "events_sparse.npz")
    frames = ImageFiles(list_images(source / "img"))
    extent = (events.width, events.height)
    start = piece.frames.start
    stop = piece.frames.stop
    (folder / "img").mkdir(parents=True)
    axes = [1 - axis for axis in piece.mirrored]  # rows come first

    for number, k in enumerate(piece.frames):
        Image.fromarray(np.flip(frames[k], axes)).save(folder / "img" / f"{number:04d}.png")

    bins = np.repeat(np.arange(events.num_bins), np.diff(events.edges))
    kept = slice(*events.edges[[num_bins * start, num_bins * stop - piece.event_bins]])
    places = [events.x[kept], events.y[kept]]

    # pixels count from 0, so the mirror of x is width - 1 - x; boxes have sizes, so theirs is width - x - w
    for axis in piece.mirrored:
        places[axis] = extent[axis] - 1 - places[axis]

    shape = np.array([len(piece.frames), num_bins, events.height, events.width])
    x, y = (place.astype(np.uint16) for place in places)
    bins = (bins[kept] - num_bins * start + piece.event_bins).astype(np.int32)
    np.savez(folder / "events_sparse.npz", bin=bins, x=x, y=y, p=~events.on[kept], shape=shape)

    fast = read_boxes(source / "groundtruth_rect.txt")[num_bins * start : num_bins * stop]
    fast = np.concatenate([np.repeat(fast[:1], piece.box_rows, 0), fast])
    for name, boxes in (
        ("groundtruth_rect.txt", fast),
        ("groundtruth_rect40.txt", read_boxes(source / "groundtruth_rect40.txt")[start:stop]),
    ):
        boxes = boxes.copy()
        for axis in piece.mirrored:
            boxes[:, axis] = extent[axis] - boxes[:, axis] - boxes[:, axis + 2]
        np.savetxt(folder / name, boxes, fmt="%.17g", delimiter=",")
