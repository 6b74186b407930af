from .batches import Batches, TimeSlices
from .callbacks.averaging import AveragedWeights
from .callbacks.callback import Callback, Training
from .callbacks.loggers import MLflowLogger, TensorBoardLogger, WandbLogger
from .callbacks.monitor import BestWeights, EarlyStopping
from .collate import StackSamples
from .continual.ewc import EWC, Fisher
from .continual.loop import ContinualMethod, fit_tasks
from .continual.regularizer import Consolidation
from .continual.subnetwork import Subnetwork
from .continual.task import ContinualSettings, Task
from .evaluation import evaluate
from .loop import fit
from .losses import (
    first_spike_accuracy,
    first_spike_loss,
    membrane_accuracy,
    membrane_loss,
    rate_accuracy,
    rate_loss,
    rate_target_loss,
    spike_count,
)
from .phase import WHOLE, Phase
from .progress import Progress
from .run.run import Run
from .run.weights import load_weights, save_weights
from .settings import Settings

__all__ = [
    "EWC",
    "WHOLE",
    "AveragedWeights",
    "Batches",
    "BestWeights",
    "Callback",
    "Consolidation",
    "ContinualMethod",
    "ContinualSettings",
    "EarlyStopping",
    "Fisher",
    "MLflowLogger",
    "Phase",
    "Progress",
    "Run",
    "Settings",
    "StackSamples",
    "Subnetwork",
    "Task",
    "TensorBoardLogger",
    "TimeSlices",
    "Training",
    "WandbLogger",
    "evaluate",
    "first_spike_accuracy",
    "first_spike_loss",
    "fit",
    "fit_tasks",
    "load_weights",
    "membrane_accuracy",
    "membrane_loss",
    "rate_accuracy",
    "rate_loss",
    "rate_target_loss",
    "save_weights",
    "spike_count",
]
