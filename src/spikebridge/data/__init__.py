"""Events, cameras and data sets. A data set is one file here and one line in `DATA_SETS` of `files`.

Names are looked up when first used, so that `spikebridge.data.files` needs neither torch nor scikit-learn.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spikebridge.data.digits import load_digits
    from spikebridge.data.event_camera import EventCamera
    from spikebridge.data.event_steps import events_of_images
    from spikebridge.data.images import ImageSplits, LabelledImages
    from spikebridge.data.saccades import HybridRecording, Saccades, hybrid_camera, noisy, thin

_HOMES = {
    "EventCamera": "event_camera",
    "HybridRecording": "saccades",
    "ImageSplits": "images",
    "LabelledImages": "images",
    "Saccades": "saccades",
    "events_of_images": "event_steps",
    "hybrid_camera": "saccades",
    "load_digits": "digits",
    "noisy": "saccades",
    "thin": "saccades",
}

__all__ = [
    "EventCamera",
    "HybridRecording",
    "ImageSplits",
    "LabelledImages",
    "Saccades",
    "events_of_images",
    "hybrid_camera",
    "load_digits",
    "noisy",
    "thin",
]


def __getattr__(name: str) -> object:
    """Import the home of a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
