from .batches import Batches, Dataset, Samples, TimeSlices
from .continual.ewc import EWC, OnlineEWC
from .continual.loop import learn
from .continual.metaplasticity import Metaplasticity
from .continual.opening import Opening
from .continual.quadratic import Fisher
from .continual.regularizer import Consolidation
from .continual.si import SynapticIntelligence
from .continual.task import ContinualSettings, Learnt, Task, accuracy
from .continual.xdg import RandomGates
from .evaluation import evaluating
from .loop import fit
from .phase import WHOLE, Phase
from .progress import Bars, Lines, Progress
from .run.run import Run
from .run.weights import load_weights, read_weights, save_weights
from .settings import Settings

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
