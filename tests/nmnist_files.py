"""N-MNIST files for tests: 5 bytes an event, big-endian; the package only reads them."""

from pathlib import Path

import numpy as np

from spikebridge.data.events.events import Events


def write_nmnist(path: Path, events: Events) -> None:
    """Writes events as a `.bin` file: x, y, then one bit of polarity and 23 bits of microseconds."""
    records = np.empty((len(events), 5), np.uint8)
    records[:, 0] = events["x"]
    records[:, 1] = events["y"]
    records[:, 2] = events["p"].astype(np.int64) << 7 | events["t"] >> 16
    records[:, 3] = events["t"] >> 8 & 0xFF
    records[:, 4] = events["t"] & 0xFF
    path.write_bytes(records.tobytes())
