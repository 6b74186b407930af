from .model.backbone import Backbone, Gating
from .model.branch import Branch, BranchSettings
from .model.gating import KWinners
from .model.subnetwork import extract_subnetwork
from .model.task_inference import GateTable, GaussianPrototypes

__all__ = [
    "Backbone",
    "Branch",
    "BranchSettings",
    "GateTable",
    "Gating",
    "GaussianPrototypes",
    "KWinners",
    "extract_subnetwork",
]
