from .catalog import DATA_SETS, available
from .events.binned import BinEvents, EventBins
from .events.binning import bin_events, collate, collate_padded
from .events.dvs_gesture import GESTURES, read_gesture_labels, read_gestures
from .events.events import EVENT, check_events, make_events, slice_time
from .events.files import EventFile, read_events, write_events
from .events.formats.nmnist import read_nmnist
from .images.digits import load_digits
from .images.labelled import LabelledImages, read_digit_file
from .images.mnist import load_mnist
from .io.column import FileColumn
from .io.images import ImageFiles, ImagesInMemory
from .recordings.load import find_recordings, load_events, load_recording
from .recordings.recording import Recording
from .recordings.sync import estimate_box_offset, estimate_offset
from .recordings.video_clips import load_clip
from .recordings.write import write_recording
from .signals.checks import check_series
from .signals.files import read_series
from .signals.series import SensorSeries, cut_windows, make_series
from .signals.splits import folds_of, group_folds, random_folds
from .signals.wav import read_wav
from .simulation.event_camera import EventCamera, simulate
from .simulation.event_camera_torch import events_of_images
from .simulation.moving_objects import MovingObjects
from .simulation.panned_picture import PannedPicture
from .simulation.render import FrameCamera, Stimulus, render_recording
from .simulation.rotating_disk import RotatingDisk
from .simulation.tumbling_objects import TumblingObjects
from .streams.binner import EventBinner, FrameFeed, RecentEvents
from .streams.replay import EventFrameSource, ReplaySource
from .streams.samples import SampleReplay, SampleRequest, WavStream, open_samples
from .streams.sources import LiveSource, StreamRequest
from .tasks.permuted import GroupedPermutations
from .tasks.split import ClassSplits
from .tasks.tasks import BalancedPairs, TaskPairs, TaskSamples

__all__ = [
    "DATA_SETS",
    "EVENT",
    "GESTURES",
    "BalancedPairs",
    "BinEvents",
    "ClassSplits",
    "EventBinner",
    "EventBins",
    "EventCamera",
    "EventFile",
    "EventFrameSource",
    "FileColumn",
    "FrameCamera",
    "FrameFeed",
    "GroupedPermutations",
    "ImageFiles",
    "ImagesInMemory",
    "LabelledImages",
    "LiveSource",
    "MovingObjects",
    "PannedPicture",
    "RecentEvents",
    "Recording",
    "ReplaySource",
    "RotatingDisk",
    "SampleReplay",
    "SampleRequest",
    "SensorSeries",
    "Stimulus",
    "StreamRequest",
    "TaskPairs",
    "TaskSamples",
    "TumblingObjects",
    "WavStream",
    "available",
    "bin_events",
    "check_events",
    "check_series",
    "collate",
    "collate_padded",
    "cut_windows",
    "estimate_box_offset",
    "estimate_offset",
    "events_of_images",
    "find_recordings",
    "folds_of",
    "group_folds",
    "load_clip",
    "load_digits",
    "load_events",
    "load_mnist",
    "load_recording",
    "make_events",
    "make_series",
    "open_samples",
    "random_folds",
    "read_digit_file",
    "read_events",
    "read_gesture_labels",
    "read_gestures",
    "read_nmnist",
    "read_series",
    "read_wav",
    "render_recording",
    "simulate",
    "slice_time",
    "write_events",
    "write_recording",
]
