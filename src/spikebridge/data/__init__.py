"""Events, cameras and data sets. A data set is one file here and one entry in `DATA_SETS` of `files`.

Names are looked up when first used, so that `spikebridge.data.files` needs neither torch nor scikit-learn.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spikebridge.data.binning import bin_events, collate, collate_padded
    from spikebridge.data.digits import load_digits
    from spikebridge.data.event_camera import EventCamera, simulate
    from spikebridge.data.event_steps import events_of_images
    from spikebridge.data.events import EVENT, CheckedEvents, check_events, make_events, slice_time
    from spikebridge.data.files import DATA_SETS, available, data_folder
    from spikebridge.data.images import ImageSplits, LabelledImages
    from spikebridge.data.mnist import load_mnist
    from spikebridge.data.nmnist import read_nmnist, write_nmnist
    from spikebridge.data.saccades import MNIST_SACCADES, HybridRecording, Saccades, hybrid_camera, lossy, noisy, thin

_HOMES = {
    "CheckedEvents": "events",
    "DATA_SETS": "files",
    "EVENT": "events",
    "EventCamera": "event_camera",
    "HybridRecording": "saccades",
    "ImageSplits": "images",
    "LabelledImages": "images",
    "MNIST_SACCADES": "saccades",
    "Saccades": "saccades",
    "available": "files",
    "bin_events": "binning",
    "check_events": "events",
    "collate": "binning",
    "collate_padded": "binning",
    "data_folder": "files",
    "events_of_images": "event_steps",
    "hybrid_camera": "saccades",
    "load_digits": "digits",
    "load_mnist": "mnist",
    "lossy": "saccades",
    "make_events": "events",
    "noisy": "saccades",
    "read_nmnist": "nmnist",
    "simulate": "event_camera",
    "slice_time": "events",
    "thin": "saccades",
    "write_nmnist": "nmnist",
}

__all__ = [
    "DATA_SETS",
    "EVENT",
    "MNIST_SACCADES",
    "CheckedEvents",
    "EventCamera",
    "HybridRecording",
    "ImageSplits",
    "LabelledImages",
    "Saccades",
    "available",
    "bin_events",
    "check_events",
    "collate",
    "collate_padded",
    "data_folder",
    "events_of_images",
    "hybrid_camera",
    "load_digits",
    "load_mnist",
    "lossy",
    "make_events",
    "noisy",
    "read_nmnist",
    "simulate",
    "slice_time",
    "thin",
    "write_nmnist",
]


def __getattr__(name: str) -> object:
    """Import the home of a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
