"""Looking at networks: activity, cost, energy, latency, health, summaries, figures and reports."""

from spikebridge.analysis.activity import Activity, LayerActivity, recording
from spikebridge.analysis.cost import Cost, count_cost
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
from spikebridge.analysis.latency import StepTimes, TickLatency, architectural_latency, measure_steps
from spikebridge.analysis.membrane import membrane_trace
from spikebridge.analysis.operations import Operations
from spikebridge.analysis.streaming import newest_available, streaming_score

__all__ = [
    "Activity",
    "Anchor",
    "Cost",
    "Energy",
    "HardwareProfile",
    "LayerActivity",
    "Operations",
    "StepTimes",
    "TickLatency",
    "anchors",
    "architectural_latency",
    "count_cost",
    "energy",
    "hardware_profile",
    "hardware_profiles",
    "joules",
    "measure_steps",
    "membrane_trace",
    "newest_available",
    "recording",
    "streaming_score",
]
