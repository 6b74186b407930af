"""Looking at networks: activity, cost, energy, latency, health, summaries, figures and reports."""

from spikebridge.analysis.activity import Activity, LayerActivity, recording
from spikebridge.analysis.cost import Cost, count_cost, count_run
from spikebridge.analysis.doctor import examine
from spikebridge.analysis.energy import (
    Anchor,
    Energy,
    HardwareProfile,
    anchors,
    energy,
    hardware_profile,
    hardware_profiles,
    joules,
)
from spikebridge.analysis.finding import Finding
from spikebridge.analysis.following import Outputs
from spikebridge.analysis.latency import StepTimes, TickLatency, architectural_latency, measure_steps
from spikebridge.analysis.membrane import membrane_trace
from spikebridge.analysis.operations import Operations
from spikebridge.analysis.streaming import newest_available, streaming_score
from spikebridge.analysis.summary import Summary, summarize
from spikebridge.analysis.tracking import TrackingScore, error_by_speed, score, score_by_bin, target_speed
from spikebridge.analysis.tracking_protocols import between_frames, chained, declared_latency, streaming, thinned

__all__ = [
    "Activity",
    "Anchor",
    "Cost",
    "Energy",
    "Finding",
    "HardwareProfile",
    "LayerActivity",
    "Operations",
    "Outputs",
    "StepTimes",
    "Summary",
    "TickLatency",
    "TrackingScore",
    "anchors",
    "architectural_latency",
    "between_frames",
    "chained",
    "count_cost",
    "count_run",
    "declared_latency",
    "energy",
    "error_by_speed",
    "examine",
    "hardware_profile",
    "hardware_profiles",
    "joules",
    "measure_steps",
    "membrane_trace",
    "newest_available",
    "recording",
    "score",
    "score_by_bin",
    "streaming",
    "streaming_score",
    "summarize",
    "target_speed",
    "thinned",
]
