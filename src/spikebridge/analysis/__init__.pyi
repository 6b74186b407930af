from .activity import Activity, LayerActivity, membrane_trace, recording
from .cost import Cost, Operations, count_cost, count_run
from .doctor.doctor import diagnose
from .doctor.finding import Finding
from .energy import Anchor, Energy, HardwareProfile, anchors, energy, hardware_profile, hardware_profiles, joules
from .latency import StepTimes, TickLatency, architectural_latency, measure_steps
from .summary import Summary, summarize

__all__ = [
    "Activity",
    "Anchor",
    "Cost",
    "Energy",
    "Finding",
    "HardwareProfile",
    "LayerActivity",
    "Operations",
    "StepTimes",
    "Summary",
    "TickLatency",
    "anchors",
    "architectural_latency",
    "count_cost",
    "count_run",
    "diagnose",
    "energy",
    "hardware_profile",
    "hardware_profiles",
    "joules",
    "measure_steps",
    "membrane_trace",
    "recording",
    "summarize",
]
