"""The reference networks and their parts."""

from spikebridge.networks.collision import CollisionUnit
from spikebridge.networks.collision_reading import CollisionReader
from spikebridge.networks.collision_rule import FixedCollisionUnit
from spikebridge.networks.event_tracker import EventTracker
from spikebridge.networks.frame_tracker import FrameTracker
from spikebridge.networks.modulation import Branch, BranchSettings
from spikebridge.networks.modulation_backbone import Backbone, BinUnit, Gating, over_samples
from spikebridge.networks.modulation_cut import cut_branch, open_places, per_sample_logits
from spikebridge.networks.modulation_inference import GateTable, GaussianTable, few_drives
from spikebridge.networks.modulation_opening import DensityController, KWinners
from spikebridge.networks.modulation_pairs import PairedPictures
from spikebridge.networks.opencv_trackers import OpenCVTracker
from spikebridge.networks.presence import PresenceUnit
from spikebridge.networks.sensing import Sensing
from spikebridge.networks.sensing_tracker import SensingTracker
from spikebridge.networks.trackers import ConstantVelocity, Hold, Kalman, fit_kalman
from spikebridge.networks.what_where import KINDS, Answer, Sensitize, matched, num_parameters, what_where

__all__ = [
    "KINDS",
    "Answer",
    "Backbone",
    "BinUnit",
    "Branch",
    "BranchSettings",
    "CollisionReader",
    "CollisionUnit",
    "ConstantVelocity",
    "DensityController",
    "EventTracker",
    "FixedCollisionUnit",
    "FrameTracker",
    "GateTable",
    "Gating",
    "GaussianTable",
    "Hold",
    "KWinners",
    "Kalman",
    "OpenCVTracker",
    "PairedPictures",
    "PresenceUnit",
    "Sensing",
    "SensingTracker",
    "Sensitize",
    "cut_branch",
    "few_drives",
    "fit_kalman",
    "matched",
    "num_parameters",
    "open_places",
    "over_samples",
    "per_sample_logits",
    "what_where",
]
