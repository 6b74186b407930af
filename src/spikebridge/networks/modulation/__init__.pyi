from .model.backbone import Backbone, BinUnit, Gating, sample_mean_unit
from .model.branch import Branch, BranchSettings
from .model.gating import DensityController, KWinners
from .model.subnetwork import extract_subnetwork, open_indices, per_sample_logits
from .model.task_inference import GateTable, GaussianPrototypes, prototype_features
from .training.objectives import TaskPairDataset

__all__ = [
    "Backbone",
    "BinUnit",
    "Branch",
    "BranchSettings",
    "DensityController",
    "GateTable",
    "Gating",
    "GaussianPrototypes",
    "KWinners",
    "TaskPairDataset",
    "extract_subnetwork",
    "open_indices",
    "per_sample_logits",
    "prototype_features",
    "sample_mean_unit",
]
