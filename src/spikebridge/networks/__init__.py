"""The reference networks and their parts."""

from spikebridge.networks.sensing import Sensing
from spikebridge.networks.sensing_tracker import SensingTracker
from spikebridge.networks.trackers import ConstantVelocity, Hold, Kalman, fit_kalman
from spikebridge.networks.what_where import KINDS, Answer, Sensitize, matched, num_parameters, what_where

__all__ = [
    "KINDS",
    "Answer",
    "ConstantVelocity",
    "Hold",
    "Kalman",
    "Sensing",
    "SensingTracker",
    "Sensitize",
    "fit_kalman",
    "matched",
    "num_parameters",
    "what_where",
]
