from .model.backbone import Backbone, BinUnit, Gating, over_samples
from .model.gating import DensityController, KWinners
from .model.model import Branch, BranchSettings
from .model.objectives import PairedPictures
from .model.subnetwork import cut_branch, open_places, per_sample_logits
from .model.task_inference import GateTable, GaussianTable, few_drives

__all__ = [
    "Backbone",
    "BinUnit",
    "Branch",
    "BranchSettings",
    "DensityController",
    "GateTable",
    "Gating",
    "GaussianTable",
    "KWinners",
    "PairedPictures",
    "cut_branch",
    "few_drives",
    "open_places",
    "over_samples",
    "per_sample_logits",
]
