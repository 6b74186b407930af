from .activity import Activity, LayerActivity, membrane_trace, record_activity
from .chips import (
    Chip,
    LinkLoad,
    NetworkLoad,
    PartLoad,
    PathStep,
    Placement,
    Timing,
    measure_load,
    place,
    read_chip,
    simulate,
)
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
    "Chip",
    "Cost",
    "Energy",
    "Finding",
    "HardwareProfile",
    "LayerActivity",
    "LinkLoad",
    "NetworkLoad",
    "Operations",
    "PartLoad",
    "PathStep",
    "Placement",
    "PublishedChip",
    "StepTimes",
    "Summary",
    "TickLatency",
    "Timing",
    "architectural_latency",
    "count_cost",
    "count_run",
    "diagnose",
    "energy",
    "hardware_profile",
    "hardware_profiles",
    "joules",
    "measure_load",
    "measure_steps",
    "membrane_trace",
    "neurobench",
    "place",
    "published_chips",
    "read_chip",
    "record_activity",
    "simulate",
    "summarize",
]
