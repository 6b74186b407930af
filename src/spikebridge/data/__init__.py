"""Events, cameras and data sets. A data set is one file here and one entry in `DATA_SETS` of `files`.

Names are looked up when first used, so that `spikebridge.data.files` needs neither torch nor scikit-learn.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spikebridge.data.arriving import Arriving, FrameFeed
    from spikebridge.data.binning import bin_events, collate, collate_padded
    from spikebridge.data.boxes import read_boxes, usable_boxes
    from spikebridge.data.class_splits import ClassSplits
    from spikebridge.data.clevrer_questions import read_questions
    from spikebridge.data.clevrer_scenes import read_scenes
    from spikebridge.data.clevrer_what_if import what_if_questions
    from spikebridge.data.columns import FileColumn
    from spikebridge.data.digit_files import read_digit_file
    from spikebridge.data.digits import load_digits
    from spikebridge.data.event_bins import BinEvents, EventBins, bin_sparse, crop_events
    from spikebridge.data.event_camera import EventCamera, simulate
    from spikebridge.data.event_files import EventFile, HeldEvents, hold_events, read_events, write_events
    from spikebridge.data.event_grids import EventGrids
    from spikebridge.data.event_recording import load_events
    from spikebridge.data.event_steps import events_of_images
    from spikebridge.data.events import EVENT, CheckedEvents, check_events, make_events, slice_time
    from spikebridge.data.fe240hz import load_fe240hz
    from spikebridge.data.files import DATA_SETS, available, data_folder
    from spikebridge.data.image_files import HeldImages, ImageFiles, images_in, read_grey
    from spikebridge.data.images import ImageSplits, LabelledImages
    from spikebridge.data.live_sources import LiveSource, Wanted
    from spikebridge.data.mnist import load_mnist
    from spikebridge.data.moving_objects import MovingObjects
    from spikebridge.data.nmnist import read_nmnist, write_nmnist
    from spikebridge.data.offsets import OffsetEstimate, estimate_box_offset, estimate_offset
    from spikebridge.data.permutations import GroupedPermutations
    from spikebridge.data.played_recording import PlayedRecording
    from spikebridge.data.recent_events import RecentEvents
    from spikebridge.data.recording import Inputs, Recording, temporal_splits
    from spikebridge.data.recording_folder import load_recording_folder
    from spikebridge.data.recording_layouts import find_recordings, load_recording
    from spikebridge.data.rolling_files import read_video, write_video
    from spikebridge.data.rolling_objects import RollingVideo, draw_video
    from spikebridge.data.rolling_table import RollingTable
    from spikebridge.data.saccades import MNIST_SACCADES, HybridRecording, Saccades, hybrid_camera, lossy, noisy, thin
    from spikebridge.data.scene import Stimulus, film, scene_seeds
    from spikebridge.data.task_samples import LabelledBatch, TaskSamples
    from spikebridge.data.task_splits import BalancedPairs, TaskPairs, TaskSplit
    from spikebridge.data.textures import clouds
    from spikebridge.data.tumbling_objects import TumblingObjects
    from spikebridge.data.turning_disk import TurningDisk
    from spikebridge.data.video_clips import VideoClip, clip_recording, find_clips, load_clip

_HOMES = {
    "Arriving": "arriving",
    "BalancedPairs": "task_splits",
    "BinEvents": "event_bins",
    "CheckedEvents": "events",
    "ClassSplits": "class_splits",
    "DATA_SETS": "files",
    "EVENT": "events",
    "EventBins": "event_bins",
    "EventCamera": "event_camera",
    "EventFile": "event_files",
    "EventGrids": "event_grids",
    "FileColumn": "columns",
    "FrameFeed": "arriving",
    "LiveSource": "live_sources",
    "Wanted": "live_sources",
    "hold_events": "event_files",
    "load_events": "event_recording",
    "GroupedPermutations": "permutations",
    "HybridRecording": "saccades",
    "HeldEvents": "event_files",
    "HeldImages": "image_files",
    "ImageFiles": "image_files",
    "ImageSplits": "images",
    "Inputs": "recording",
    "LabelledBatch": "task_samples",
    "LabelledImages": "images",
    "MNIST_SACCADES": "saccades",
    "MovingObjects": "moving_objects",
    "OffsetEstimate": "offsets",
    "PlayedRecording": "played_recording",
    "RecentEvents": "recent_events",
    "Recording": "recording",
    "RollingTable": "rolling_table",
    "RollingVideo": "rolling_objects",
    "Saccades": "saccades",
    "Stimulus": "scene",
    "TaskPairs": "task_splits",
    "TaskSamples": "task_samples",
    "TaskSplit": "task_splits",
    "TumblingObjects": "tumbling_objects",
    "TurningDisk": "turning_disk",
    "VideoClip": "video_clips",
    "available": "files",
    "bin_events": "binning",
    "bin_sparse": "event_bins",
    "check_events": "events",
    "clip_recording": "video_clips",
    "clouds": "textures",
    "collate": "binning",
    "collate_padded": "binning",
    "crop_events": "event_bins",
    "data_folder": "files",
    "draw_video": "rolling_objects",
    "estimate_box_offset": "offsets",
    "estimate_offset": "offsets",
    "events_of_images": "event_steps",
    "film": "scene",
    "find_clips": "video_clips",
    "find_recordings": "recording_layouts",
    "hybrid_camera": "saccades",
    "images_in": "image_files",
    "load_clip": "video_clips",
    "load_digits": "digits",
    "load_fe240hz": "fe240hz",
    "load_mnist": "mnist",
    "load_recording": "recording_layouts",
    "load_recording_folder": "recording_folder",
    "lossy": "saccades",
    "make_events": "events",
    "noisy": "saccades",
    "read_boxes": "boxes",
    "read_digit_file": "digit_files",
    "read_events": "event_files",
    "read_grey": "image_files",
    "read_nmnist": "nmnist",
    "read_questions": "clevrer_questions",
    "read_scenes": "clevrer_scenes",
    "read_video": "rolling_files",
    "scene_seeds": "scene",
    "simulate": "event_camera",
    "slice_time": "events",
    "temporal_splits": "recording",
    "thin": "saccades",
    "usable_boxes": "boxes",
    "what_if_questions": "clevrer_what_if",
    "write_events": "event_files",
    "write_nmnist": "nmnist",
    "write_video": "rolling_files",
}

__all__ = [
    "DATA_SETS",
    "EVENT",
    "MNIST_SACCADES",
    "Arriving",
    "BalancedPairs",
    "BinEvents",
    "CheckedEvents",
    "ClassSplits",
    "EventBins",
    "EventCamera",
    "EventFile",
    "EventGrids",
    "FileColumn",
    "FrameFeed",
    "GroupedPermutations",
    "HeldEvents",
    "HeldImages",
    "HybridRecording",
    "ImageFiles",
    "ImageSplits",
    "Inputs",
    "LabelledBatch",
    "LabelledImages",
    "LiveSource",
    "MovingObjects",
    "OffsetEstimate",
    "PlayedRecording",
    "RecentEvents",
    "Recording",
    "RollingTable",
    "RollingVideo",
    "Saccades",
    "Stimulus",
    "TaskPairs",
    "TaskSamples",
    "TaskSplit",
    "TumblingObjects",
    "TurningDisk",
    "VideoClip",
    "Wanted",
    "available",
    "bin_events",
    "bin_sparse",
    "check_events",
    "clip_recording",
    "clouds",
    "collate",
    "collate_padded",
    "crop_events",
    "data_folder",
    "draw_video",
    "estimate_box_offset",
    "estimate_offset",
    "events_of_images",
    "film",
    "find_clips",
    "find_recordings",
    "hold_events",
    "hybrid_camera",
    "images_in",
    "load_clip",
    "load_digits",
    "load_events",
    "load_fe240hz",
    "load_mnist",
    "load_recording",
    "load_recording_folder",
    "lossy",
    "make_events",
    "noisy",
    "read_boxes",
    "read_digit_file",
    "read_events",
    "read_grey",
    "read_nmnist",
    "read_questions",
    "read_scenes",
    "read_video",
    "scene_seeds",
    "simulate",
    "slice_time",
    "temporal_splits",
    "thin",
    "usable_boxes",
    "what_if_questions",
    "write_events",
    "write_nmnist",
    "write_video",
]


def __getattr__(name: str) -> object:
    """Import the home of a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
