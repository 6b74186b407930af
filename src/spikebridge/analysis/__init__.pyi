from .activity import membrane_trace, record_activity
from .chips import Chip, NetworkLoad, Placement, measure_load, place, read_chip, simulate
from .cost import Cost, Operations, count_cost, count_run
from .doctor.doctor import diagnose
from .energy import Energy, energy, hardware_profile, joules
from .latency import architectural_latency, measure_steps
from .neurobench import neurobench
from .summary import summarize

__all__ = [
    "Chip",
    "Cost",
    "Energy",
    "NetworkLoad",
    "Operations",
    "Placement",
    "architectural_latency",
    "count_cost",
    "count_run",
    "diagnose",
    "energy",
    "hardware_profile",
    "joules",
    "measure_load",
    "measure_steps",
    "membrane_trace",
    "neurobench",
    "place",
    "read_chip",
    "record_activity",
    "simulate",
    "summarize",
]
