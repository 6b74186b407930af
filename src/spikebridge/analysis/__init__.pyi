from .activity import membrane_trace, record_activity
from .chips import Chip, NetworkLoad, Placement, measure_load, place, read_chip, simulate
from .cost import Cost, Operations, count_cost, count_run
from .doctor.doctor import diagnose
from .energy import Energy, HardwareProfile, energy, hardware_profile, hardware_profiles, joules, published_chips
from .latency import architectural_latency, measure_steps
from .neurobench import neurobench
from .summary import summarize

__all__ = [
    "Chip",
    "Cost",
    "Energy",
    "HardwareProfile",
    "NetworkLoad",
    "Operations",
    "Placement",
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
