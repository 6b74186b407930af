from .baselines.motion import ConstantVelocity, Kalman
from .evaluation.metrics import TrackingScore, score
from .model.sensing import Sensing
from .model.units import SensingOptions
from .tracker.tracker import SensingTracker, TrackerOptions

__all__ = [
    "ConstantVelocity",
    "Kalman",
    "Sensing",
    "SensingOptions",
    "SensingTracker",
    "TrackerOptions",
    "TrackingScore",
    "score",
]
