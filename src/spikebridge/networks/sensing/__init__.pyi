from .baselines.ann_only import FrameTracker
from .baselines.motion import ConstantVelocity, Hold, Kalman, fit_kalman
from .baselines.opencv import OpenCVTracker
from .baselines.snn_only import EventTracker
from .evaluation.follow import Outputs
from .evaluation.latency import newest_available, streaming_score
from .evaluation.metrics import TrackingScore, error_by_speed, score, score_by_bin, target_speed
from .evaluation.protocols import between_frames, chained, declared_latency, streaming, thinned
from .model.sensing import Sensing
from .tracker.tracker import SensingTracker

__all__ = [
    "ConstantVelocity",
    "EventTracker",
    "FrameTracker",
    "Hold",
    "Kalman",
    "OpenCVTracker",
    "Outputs",
    "Sensing",
    "SensingTracker",
    "TrackingScore",
    "between_frames",
    "chained",
    "declared_latency",
    "error_by_speed",
    "fit_kalman",
    "newest_available",
    "score",
    "score_by_bin",
    "streaming",
    "streaming_score",
    "target_speed",
    "thinned",
]
