from .baselines.ann_only import FrameTracker
from .baselines.motion import ConstantVelocity, Kalman, StaticBox, fit_kalman
from .baselines.opencv import OpenCVTracker
from .baselines.snn_only import EventTracker
from .evaluation.latency import declared_latency, newest_available, streaming_score
from .evaluation.metrics import TrackingScore, error_by_speed, score, score_by_bin, target_speed
from .evaluation.protocols import (
    interframe,
    one_pass_evaluation,
    reset_every,
    streaming,
    subsampled_frames,
)
from .evaluation.runner import TrackingResult
from .model.sensing import Sensing
from .model.units import SensingOptions
from .tracker.tracker import SensingTracker, TrackerOptions

__all__ = [
    "ConstantVelocity",
    "EventTracker",
    "FrameTracker",
    "Kalman",
    "OpenCVTracker",
    "Sensing",
    "SensingOptions",
    "SensingTracker",
    "StaticBox",
    "TrackerOptions",
    "TrackingResult",
    "TrackingScore",
    "declared_latency",
    "error_by_speed",
    "fit_kalman",
    "interframe",
    "newest_available",
    "one_pass_evaluation",
    "reset_every",
    "score",
    "score_by_bin",
    "streaming",
    "streaming_score",
    "subsampled_frames",
    "target_speed",
]
