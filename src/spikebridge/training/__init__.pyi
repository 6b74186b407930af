from .batches import Batches, Dataset, Samples, TimeSlices
from .continual.ewc import EWC, Fisher, OnlineEWC
from .continual.loop import ContinualMethod, fit_tasks
from .continual.metaplasticity import Metaplasticity
from .continual.regularizer import Consolidation
from .continual.si import SynapticIntelligence
from .continual.subnetwork import Subnetwork
from .continual.task import ContinualResult, ContinualSettings, Task, accuracy
from .continual.xdg import RandomGates
from .evaluation import evaluating
from .loop import fit
from .phase import WHOLE, Phase
from .progress import Progress, ProgressBars, ProgressLines
from .run.run import Run
from .run.weights import load_weights, read_weights, save_weights
from .settings import Settings

__all__ = [
    "EWC",
    "WHOLE",
    "Batches",
    "Consolidation",
    "ContinualMethod",
    "ContinualResult",
    "ContinualSettings",
    "Dataset",
    "Fisher",
    "Metaplasticity",
    "OnlineEWC",
    "Phase",
    "Progress",
    "ProgressBars",
    "ProgressLines",
    "RandomGates",
    "Run",
    "Samples",
    "Settings",
    "Subnetwork",
    "SynapticIntelligence",
    "Task",
    "TimeSlices",
    "accuracy",
    "evaluating",
    "fit",
    "fit_tasks",
    "load_weights",
    "read_weights",
    "save_weights",
]
