"""The mean of the weights over the last steps of a training (stochastic weight averaging)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import get_swa_multi_avg_fn

from spikebridge.errors import ConfigError, is_integer
from spikebridge.training.callbacks.callback import Callback, Training

_add_to_means = get_swa_multi_avg_fn()


class AveragedWeights(Callback):
    """Gives the network, at the end, the mean of its weights over the last steps (P. Izmailov et al., UAI 2018).

    Each step moves the weights at random by its batch; their mean often generalises better and depends less on the
    seed. Running statistics of batch normalisation are averaged too, so no further pass over the data is needed. Values
    without a mean, such as a number of batches, stay the last. Until the end the network trains and is validated with
    its own weights.

    Args:
        start: the first step of the training whose weights count, from 1.

    Attributes:
        num_averaged: steps whose weights are in the mean so far.

    Raises:
        ConfigError: `start` below 1.

    Example:
        >>> from functools import partial
        >>> from spikebridge.training import WHOLE, AveragedWeights, Batches, Phase, Settings, fit
        >>> line = torch.nn.Linear(1, 1, bias=False)
        >>> _ = torch.nn.init.zeros_(line.weight)
        >>> data = Batches({"x": torch.ones(2, 1), "y": torch.full((2, 1), 8.0)}, batch={"x": 0, "y": 0})
        >>> error = lambda module, batch: (module(batch["x"]) - batch["y"]).square().mean()
        >>> phase = Phase("line", WHOLE, error, epochs=3, optimizer=partial(torch.optim.SGD, lr=0.25))
        >>> mean = AveragedWeights(start=2)  # the weight is 4, 6 and 7 after the three steps
        >>> _ = fit(line, [phase], data, settings=Settings(accelerator="cpu", quiet=True), callbacks=[mean])
        >>> line.weight.item()
        6.5
    """

    def __init__(self, start: int) -> None:
        if not is_integer(start) or start < 1:
            raise ConfigError(f"AveragedWeights: start is the number of a step, from 1, but is {start}")
        self.start = start
        self.num_averaged = 0
        self._means: dict[str, Tensor] = {}

    def on_fit_start(self, training: Training) -> None:
        self.num_averaged = 0
        self._means = {}

    def on_step_end(self, training: Training, values: Mapping[str, float]) -> None:
        if training.step < self.start:
            return

        weights = training.weights()
        if not self.num_averaged:
            self._means = {name: _at_least_float32(tensor).clone() for name, tensor in weights.items()}
        else:
            self._add(weights)

        self.num_averaged += 1

    def _add(self, weights: Mapping[str, Tensor]) -> None:
        # those of a checkpoint lie on the CPU
        before = {name: mean.to(weights[name].device) for name, mean in self._means.items()}
        averaged = {name: mean for name, mean in before.items() if mean.is_floating_point() or mean.is_complex()}
        current = [weights[name].detach().to(mean.dtype) for name, mean in averaged.items()]
        _add_to_means(list(averaged.values()), current, self.num_averaged)
        self._means = {name: averaged.get(name, weights[name].detach().clone()) for name in before}

    def on_fit_end(self, training: Training) -> None:
        if training.finished and self.num_averaged:
            training.module.load_state_dict(self._means)

    def state_dict(self) -> dict[str, Any]:
        """The means, and the number of steps that they are of."""
        return {"num_averaged": self.num_averaged, "means": self._means}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores the state of `state_dict`."""
        self.num_averaged = state["num_averaged"]
        self._means = state["means"]


def _at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor without its graph; a mean in half precision would soon cease to move."""
    tensor = tensor.detach()
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32)) if tensor.is_floating_point() else tensor
