"""A live event camera, through the optional package `dv-processing` (Apache-2.0).

Checked with recordings, which that package reads in the same way; no camera was at hand.
"""

import importlib
import threading
from time import sleep
from typing import Any

import numpy as np
from jaxtyping import Float

from spikebridge.data.arriving import Arriving
from spikebridge.data.events import make_events
from spikebridge.errors import ConfigError, DataError

_IDLE = 0.0005  # seconds to sleep where the camera has nothing


def follow_camera(dt: float, box: Float[np.ndarray, "4"]) -> Arriving:
    """Opens the first camera and starts a thread that reads from it.

    Args:
        dt: length of a bin [s].
        box: of the target in the first frame.

    Raises:
        ConfigError: the package is not installed.
        DataError: there is no camera, or one without frames.
    """
    try:
        dv: Any = importlib.import_module("dv_processing")
    except ImportError:
        raise ConfigError("a live camera needs the package dv-processing: pip install spikebridge[camera]") from None
    try:
        camera = dv.io.camera.open()
    except RuntimeError as error:
        raise DataError(f"no event camera answers ({error}); is it plugged in, and may this user reach it?") from error
    return follow_device(camera, dt, box)


def follow_device(device: Any, dt: float, box: Float[np.ndarray, "4"]) -> Arriving:
    """The same for anything that dv-processing reads events and frames from.

    Args:
        device: a camera or a recording of that package.
        dt: length of a bin [s].
        box: of the target in the first frame.

    Raises:
        DataError: it has no events or no frames.
    """
    if not (device.isEventStreamAvailable() and device.isFrameStreamAvailable()):
        raise DataError("this camera has to give events and frames (a DAVIS does); lines of text can join two devices")
    size = device.getEventResolution()
    arriving = Arriving(dt, height=int(size[1]), width=int(size[0]), box=box)
    thread = threading.Thread(target=_read, args=(device, arriving), name="event camera", daemon=True)
    thread.start()
    return arriving


def _read(device: Any, arriving: Arriving) -> None:
    try:
        while device.isRunning():
            frame, events = device.getNextFrame(), device.getNextEventBatch()
            if frame is not None:
                picture = np.asarray(frame.image)
                grey = picture if picture.ndim == 2 else picture.mean(axis=2).astype(np.uint8)
                arriving.add_frame(int(frame.timestamp), grey)
            if events is not None:
                table = events.numpy()
                arriving.add(make_events(table["timestamp"], table["x"], table["y"], table["polarity"]))
            if frame is None and events is None:
                sleep(_IDLE)
    except RuntimeError as error:
        arriving.bad(1, f"the camera broke off ({error})")
    finally:
        arriving.end()
