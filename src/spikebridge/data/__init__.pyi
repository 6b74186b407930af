from .catalog import DATA_SETS, available, data_folder
from .events.binned import BinEvents, EventBins, bin_sparse, crop_events
from .events.binning import bin_events, collate, collate_padded
from .events.dvs_gesture import GESTURES, GestureLabel, read_gesture_labels, read_gestures
from .events.events import EVENT, CheckedEvents, check_events, make_events, slice_time
from .events.files import BufferedEvents, EventFile, buffer_events, read_events, write_events
from .events.nmnist import read_nmnist, write_nmnist
from .images.digits import load_digits
from .images.labelled import ImageSplits, LabelledImages, read_digit_file
from .images.mnist import load_mnist
from .io.column import FileColumn
from .io.images import ImageFiles, ImagesInMemory, list_images, read_grey
from .recordings.fe240hz import load_fe240hz
from .recordings.folder import load_recording_folder
from .recordings.load import find_recordings, load_events, load_recording
from .recordings.recording import Inputs, Recording, read_boxes, temporal_splits, valid_boxes
from .recordings.sync import OffsetEstimate, estimate_box_offset, estimate_offset
from .recordings.video_clips import VideoClip, clip_recording, find_clips, load_clip
from .recordings.write import write_recording
from .signals.checks import SeriesFinding, check_series
from .signals.files import find_series, read_series
from .signals.series import SensorSeries, cut_windows, make_series
from .signals.splits import SeriesSplit, folds_of, group_folds, random_folds
from .signals.wav import read_wav
from .simulation.event_camera import EventCamera, simulate
from .simulation.event_camera_torch import events_of_images
from .simulation.families import SCENE_FAMILIES, family_recording
from .simulation.moving_objects import MovingObjects
from .simulation.render import FrameCamera, Stimulus, render_recording, scene_seeds
from .simulation.rotating_disk import RotatingDisk
from .simulation.saccades import (
    MNIST_SACCADES,
    HybridRecording,
    Saccades,
    add_noise,
    corrupt_events,
    hybrid_camera,
    subsample_frames,
)
from .simulation.textures import dead_leaves, fractal_noise
from .simulation.tumbling_objects import TumblingObjects
from .streams.binner import EventBinner, FrameFeed, RecentEvents
from .streams.replay import EventFrameSource, ReplaySource
from .streams.samples import SampleReplay, SampleRequest, WavStream, open_samples
from .streams.sources import LiveSource, StreamRequest
from .tasks.permuted import GroupedPermutations
from .tasks.split import ClassSplits
from .tasks.tasks import BalancedPairs, LabelledBatch, TaskPairs, TaskSamples, TaskSplit

__all__ = [
    "DATA_SETS",
    "EVENT",
    "GESTURES",
    "MNIST_SACCADES",
    "SCENE_FAMILIES",
    "BalancedPairs",
    "BinEvents",
    "BufferedEvents",
    "CheckedEvents",
    "ClassSplits",
    "EventBinner",
    "EventBins",
    "EventCamera",
    "EventFile",
    "EventFrameSource",
    "FileColumn",
    "FrameCamera",
    "FrameFeed",
    "GestureLabel",
    "GroupedPermutations",
    "HybridRecording",
    "ImageFiles",
    "ImageSplits",
    "ImagesInMemory",
    "Inputs",
    "LabelledBatch",
    "LabelledImages",
    "LiveSource",
    "MovingObjects",
    "OffsetEstimate",
    "RecentEvents",
    "Recording",
    "ReplaySource",
    "RotatingDisk",
    "Saccades",
    "SampleReplay",
    "SampleRequest",
    "SensorSeries",
    "SeriesFinding",
    "SeriesSplit",
    "Stimulus",
    "StreamRequest",
    "TaskPairs",
    "TaskSamples",
    "TaskSplit",
    "TumblingObjects",
    "VideoClip",
    "WavStream",
    "add_noise",
    "available",
    "bin_events",
    "bin_sparse",
    "buffer_events",
    "check_events",
    "check_series",
    "clip_recording",
    "collate",
    "collate_padded",
    "corrupt_events",
    "crop_events",
    "cut_windows",
    "data_folder",
    "dead_leaves",
    "estimate_box_offset",
    "estimate_offset",
    "events_of_images",
    "family_recording",
    "find_clips",
    "find_recordings",
    "find_series",
    "folds_of",
    "fractal_noise",
    "group_folds",
    "hybrid_camera",
    "list_images",
    "load_clip",
    "load_digits",
    "load_events",
    "load_fe240hz",
    "load_mnist",
    "load_recording",
    "load_recording_folder",
    "make_events",
    "make_series",
    "open_samples",
    "random_folds",
    "read_boxes",
    "read_digit_file",
    "read_events",
    "read_gesture_labels",
    "read_gestures",
    "read_grey",
    "read_nmnist",
    "read_series",
    "read_wav",
    "render_recording",
    "scene_seeds",
    "simulate",
    "slice_time",
    "subsample_frames",
    "temporal_splits",
    "valid_boxes",
    "write_events",
    "write_nmnist",
    "write_recording",
]
