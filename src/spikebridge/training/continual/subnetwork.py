"""What is trained in one task: the network with masks, or the sub-network of its open neurons."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from spikebridge.training.continual.opening import Opening, step_open
from spikebridge.training.continual.regularizer import Consolidation, LabelledData, trained_parameters
from spikebridge.training.continual.task import Forward, Openings


class Method(NamedTuple):
    """How tasks are learnt: the arguments of `learn` of the same names."""

    optimizer: Callable[[Iterable[Parameter]], Optimizer]
    scheduler: Callable[[Optimizer], LRScheduler] | None
    consolidation: Consolidation
    openings: Openings | None
    forward: Forward
    loss: Callable[[Tensor, Tensor], Tensor]
    measure: Callable[[nn.Module, int], Mapping[str, float]] | None


class Part:
    """What is trained in one task: the network with masks, or the sub-network of its open neurons."""

    def __init__(self, module: nn.Module, opening: Opening, method: Method, momentum: Any) -> None:
        self.module, self.opening, self.method = module, opening, method
        self.network = opening.part_of(module)
        self.is_cut = self.network is not module
        self.quantities = {} if self.is_cut else opening.quantities
        self.parameters = trained_parameters(self.network)
        whole = method.consolidation
        self.consolidation = whole.cut(opening.take) if self.is_cut else whole
        self.masks = {} if self.is_cut else opening.masks(self.parameters)
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
        step_open(self.parameters, self.optimizer, self.consolidation, self.masks)
        return loss.item()

    def end_epoch(self) -> None:
        if self.scheduler is not None:
            self.scheduler.step()

    def end_of_task(self, data: LabelledData) -> None:
        self.optimizer.zero_grad()
        self.consolidation.end_of_task(self.network, data, self._answer, self.masks)

    def paste(self) -> None:
        """Writes a sub-network and what is kept of it back into the whole."""
        if self.is_cut:
            self.opening.paste(self.network, self.module)
            whole = trained_parameters(self.module)
            self.method.consolidation.paste(self.consolidation, self.opening.put, whole)

    def restore(self, saved: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(saved["scheduler"])

    def _answer(self, network: nn.Module, x: Tensor) -> Tensor:
        return self.method.forward(network, x, self.quantities)
