"""What is trained in one task: the network with masks, or the sub-network of its open neurons."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from spikebridge.training.continual.regularizer import Consolidation, LabelledData, trained_parameters
from spikebridge.training.continual.subnetwork import Subnetwork, masked_step
from spikebridge.training.continual.task import Forward, Subnetworks, default_forward


@dataclass(frozen=True, kw_only=True)
class ContinualMethod:
    """How a network learns tasks one after the other.

    Args:
        optimizer: makes the optimizer from the parameters, for each task; SGD, Adam or AdamW where a consolidation
            takes proximal steps.
        scheduler: makes the learning-rate schedule, for each task; it steps once an epoch.
        consolidation: protects what earlier tasks need.
        subnetworks: the part of the network that each task may use, by the task's number, for training and testing;
            called once a task. None opens the whole network.
        forward: `(module, x, quantities) -> logits (B, C)`.
        loss: `(logits, labels) -> mean over the samples`.
        measure: measures the network after each task, given the number of learned tasks; its numbers go into the row.
    """

    optimizer: Callable[[Iterable[Parameter]], Optimizer]
    scheduler: Callable[[Optimizer], LRScheduler] | None = None
    consolidation: Consolidation = field(default_factory=Consolidation)
    subnetworks: Subnetworks | None = None
    forward: Forward = default_forward
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy
    measure: Callable[[nn.Module, int], Mapping[str, float]] | None = None


class TaskTrainer:
    """What is trained in one task: the network with masks, or the sub-network of its open neurons."""

    def __init__(self, module: nn.Module, subnetwork: Subnetwork, method: ContinualMethod, momentum: Any) -> None:
        self.module, self.subnetwork, self.method = module, subnetwork, method
        self.network = subnetwork.module_for(module)
        self.is_extracted = self.network is not module
        self.quantities = {} if self.is_extracted else subnetwork.quantities
        self.parameters = trained_parameters(self.network)
        whole = method.consolidation
        self.consolidation = whole.extract(subnetwork.gather) if self.is_extracted else whole
        self.masks = {} if self.is_extracted else subnetwork.masks(self.parameters)
        self.optimizer = method.optimizer(self.parameters.values())
        if momentum is not None:
            state = {"state": momentum, "param_groups": self.optimizer.state_dict()["param_groups"]}
            self.optimizer.load_state_dict(state)
        self.scheduler = None if method.scheduler is None else method.scheduler(self.optimizer)
        self.network.train()

    def step(self, x: Tensor, labels: Tensor) -> float:
        logits = self.method.forward(self.network, x, self.quantities)
        loss = self.method.loss(logits, labels)
        self.optimizer.zero_grad()
        loss.backward()
        masked_step(self.parameters, self.optimizer, self.consolidation, self.masks)
        return loss.item()

    def end_epoch(self) -> None:
        if self.scheduler is not None:
            self.scheduler.step()

    def end_of_task(self, data: LabelledData) -> None:
        self.optimizer.zero_grad()
        self.consolidation.end_of_task(self.network, data, self._answer, self.masks)

    def write_back(self) -> None:
        """Writes a sub-network and what is kept of it back into the whole."""
        if self.is_extracted:
            self.subnetwork.write_back(self.network, self.module)
            whole = trained_parameters(self.module)
            self.method.consolidation.write_back(self.consolidation, self.subnetwork.scatter, whole)

    def restore(self, saved: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(saved["scheduler"])

    def _answer(self, network: nn.Module, x: Tensor) -> Tensor:
        return self.method.forward(network, x, self.quantities)
