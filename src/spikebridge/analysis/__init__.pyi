from .activity import Activity, LayerActivity, membrane_trace, record_activity
from .cost import Cost, Operations, count_cost, count_run
from .doctor.doctor import diagnose
from .doctor.finding import Finding
from .energy import (
    Energy,
    HardwareProfile,
    PublishedChip,
    energy,
    hardware_profile,
    hardware_profiles,
    joules,
    published_chips,
)
from .latency import StepTimes, TickLatency, architectural_latency, measure_steps
from .neurobench import neurobench
from .summary import Summary, summarize

__all__ = [
    "Activity",
    "Cost",
    "Energy",
    "Finding",
    "HardwareProfile",
    "LayerActivity",
    "Operations",
    "PublishedChip",
    "StepTimes",
    "Summary",
    "TickLatency",
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
    "neurobench",
    "published_chips",
    "record_activity",
    "summarize",
]
