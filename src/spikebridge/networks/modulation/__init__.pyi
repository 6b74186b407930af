from .model.branch import Branch, BranchSettings
from .model.gating import Backbone, Gating
from .model.task_inference import GateTable, GaussianPrototypes

__all__ = [
    "Backbone",
    "Branch",
    "BranchSettings",
    "GateTable",
    "Gating",
    "GaussianPrototypes",
]
