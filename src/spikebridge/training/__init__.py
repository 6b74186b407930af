"""Training in phases, its runs and its checkpoints.

Names are looked up when they are first used: the command line reads run folders, and that needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikebridge.training.batches import Batches, Dataset, Samples
    from spikebridge.training.consolidation import Consolidation
    from spikebridge.training.consolidation_ewc import EWC, OnlineEWC
    from spikebridge.training.consolidation_fisher import Fisher
    from spikebridge.training.consolidation_gates import RandomGates
    from spikebridge.training.consolidation_metaplasticity import Metaplasticity
    from spikebridge.training.consolidation_si import SynapticIntelligence
    from spikebridge.training.continual import learn
    from spikebridge.training.continual_opening import Opening
    from spikebridge.training.continual_task import ContinualSettings, Learnt, Task, accuracy
    from spikebridge.training.evaluation import evaluating
    from spikebridge.training.loop import fit
    from spikebridge.training.phase import WHOLE, Phase
    from spikebridge.training.progress import Bars, Lines, Progress
    from spikebridge.training.run import Run
    from spikebridge.training.settings import Settings
    from spikebridge.training.slices import TimeSlices
    from spikebridge.training.weights import load_weights, read_weights, save_weights

__all__ = [
    "EWC",
    "WHOLE",
    "Bars",
    "Batches",
    "Consolidation",
    "ContinualSettings",
    "Dataset",
    "Fisher",
    "Learnt",
    "Lines",
    "Metaplasticity",
    "OnlineEWC",
    "Opening",
    "Phase",
    "Progress",
    "RandomGates",
    "Run",
    "Samples",
    "Settings",
    "SynapticIntelligence",
    "Task",
    "TimeSlices",
    "accuracy",
    "evaluating",
    "fit",
    "learn",
    "load_weights",
    "read_weights",
    "save_weights",
]

_FILES = {
    "batches": ("Batches", "Dataset", "Samples"),
    "consolidation": ("Consolidation",),
    "consolidation_ewc": ("EWC", "OnlineEWC"),
    "consolidation_fisher": ("Fisher",),
    "consolidation_gates": ("RandomGates",),
    "consolidation_metaplasticity": ("Metaplasticity",),
    "consolidation_si": ("SynapticIntelligence",),
    "continual": ("learn",),
    "continual_opening": ("Opening",),
    "continual_task": ("ContinualSettings", "Learnt", "Task", "accuracy"),
    "evaluation": ("evaluating",),
    "loop": ("fit",),
    "phase": ("WHOLE", "Phase"),
    "progress": ("Bars", "Lines", "Progress"),
    "run": ("Run",),
    "settings": ("Settings",),
    "slices": ("TimeSlices",),
    "weights": ("load_weights", "read_weights", "save_weights"),
}


def __getattr__(name: str) -> Any:
    for file, names in _FILES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{file}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__]
