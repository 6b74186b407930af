from .catalog import available
from .events.binned import BinEvents, EventBins
from .events.binning import bin_events, collate, collate_padded
from .events.dvs_gesture import read_gestures
from .events.events import EVENT, make_events, slice_time
from .events.files import read_events, write_events
from .images.digits import load_digits
from .images.labelled import read_digit_file
from .images.mnist import load_mnist
from .io.column import FileColumn
from .io.images import ImageFiles, ImagesInMemory
from .recordings.load import load_events, load_recording
from .recordings.recording import Recording
from .recordings.video_clips import load_clip
from .recordings.write import write_recording
from .signals.checks import check_series
from .signals.files import read_series
from .signals.series import SensorSeries, cut_windows, make_series
from .signals.splits import folds_of, group_folds
from .signals.wav import read_wav
from .simulation.event_camera import EventCamera, simulate
from .simulation.moving_objects import MovingObjects
from .simulation.render import FrameCamera, Stimulus, render_recording
from .streams.binner import EventBinner
from .streams.replay import EventFrameSource, ReplaySource
from .streams.samples import SampleReplay, SampleRequest, WavStream, open_samples
from .streams.sources import LiveSource, StreamRequest
from .tasks.permuted import GroupedPermutations
from .tasks.tasks import TaskSamples

__all__ = [
    "EVENT",
    "BinEvents",
    "EventBinner",
    "EventBins",
    "EventCamera",
    "EventFrameSource",
    "FileColumn",
    "FrameCamera",
    "GroupedPermutations",
    "ImageFiles",
    "ImagesInMemory",
    "LiveSource",
    "MovingObjects",
    "Recording",
    "ReplaySource",
    "SampleReplay",
    "SampleRequest",
    "SensorSeries",
    "Stimulus",
    "StreamRequest",
    "TaskSamples",
    "WavStream",
    "available",
    "bin_events",
    "check_series",
    "collate",
    "collate_padded",
    "cut_windows",
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
    "read_digit_file",
    "read_events",
    "read_gestures",
    "read_series",
    "read_wav",
    "render_recording",
    "simulate",
    "slice_time",
    "write_events",
    "write_recording",
]
