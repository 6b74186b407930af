"""A live event camera, through the optional package `dv-processing` (Apache-2.0).

Tested with recordings, which that package reads through the same interface; not tested with a camera.
"""

import threading
from functools import partial
from time import sleep
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikebridge.data.events.events import make_events
from spikebridge.data.streams.binner import EventBinner, FrameFeed
from spikebridge.errors import DataError, import_extra

_IDLE = 0.0005  # seconds to sleep where the camera has nothing


def open_camera() -> Any:
    """Opens the first camera that answers."""
    dv = import_extra("dv_processing", "camera", "a live camera needs")
    try:
        return dv.io.camera.open()
    except RuntimeError as error:
        raise DataError(f"no event camera answers ({error}); is it plugged in and open to this user?") from error


def sensor_size(device: Any) -> tuple[int, int]:
    """Rows and columns of the event pixels of a camera."""
    if not device.isEventStreamAvailable():
        raise DataError("this camera gives no events")

    width, height = device.getEventResolution()
    return int(height), int(width)


def start_camera_reader(device: Any, feed: EventBinner | FrameFeed, events: bool = True, frames: bool = True) -> None:
    """Starts a thread that reads events and frames of a camera, or of a recording of that package, into a stream."""
    if (events and not device.isEventStreamAvailable()) or (frames and not device.isFrameStreamAvailable()):
        raise DataError("this camera lacks events or frames (a DAVIS has both); --frames takes those of another device")

    thread = threading.Thread(target=_read, args=(device, feed, events, frames), name="event camera", daemon=True)
    thread.start()


def _read(device: Any, feed: EventBinner | FrameFeed, events: bool, frames: bool) -> None:
    try:
        while device.isRunning():
            frame = device.getNextFrame() if frames else None
            batch = device.getNextEventBatch() if events else None
            if frame is not None:
                feed.add_frame(int(frame.timestamp), partial(_grey, frame))

            if batch is not None:
                table = batch.numpy()
                feed.add(make_events(table["timestamp"], table["x"], table["y"], table["polarity"]))

            # the interface has no call that waits
            if frame is None and batch is None:
                sleep(_IDLE)
    except RuntimeError as error:
        feed.count_bad(1, f"the camera broke off ({error})")
    finally:
        feed.end()


def _grey(frame: Any) -> NDArray[np.uint8]:
    image = np.asarray(frame.image)
    return image if image.ndim == 2 else image.mean(axis=2).astype(np.uint8)
