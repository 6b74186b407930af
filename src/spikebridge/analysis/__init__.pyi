from .activity import membrane_trace, record_activity
from .chips import Chip, measure_load, place, simulate
from .conversion import Conversion, convert, hybridise
from .cost import Cost, Operations, count_cost
from .doctor.doctor import diagnose
from .energy import Energy, Standby, energy, hardware_profile
from .latency import measure_steps
from .neurobench import neurobench
from .summary import summarize

__all__ = [
    "Chip",
    "Conversion",
    "Cost",
    "Energy",
    "Operations",
    "Standby",
    "convert",
    "count_cost",
    "diagnose",
    "energy",
    "hardware_profile",
    "hybridise",
    "measure_load",
    "measure_steps",
    "membrane_trace",
    "neurobench",
    "place",
    "record_activity",
    "simulate",
    "summarize",
]
