"""Evaluation without side effects: eval mode, no gradients, every module's own mode restored."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from spikebridge.neurons.state import map_tensors
from spikebridge.ops.modes import evaluating
from spikebridge.training.batches import TrainingData
from spikebridge.training.loader import naming_collate, open_source
from spikebridge.training.phase import loss_and_metrics, refuse_other_metrics
from spikebridge.training.rng import preserve_rng_state


def evaluate(
    module: nn.Module, objective: Callable[..., Any], data: TrainingData, *, batch_size: int = 32
) -> dict[str, float]:
    """Loss and metrics over a data set, in eval mode, without gradients or a change of the global generators.

    `fit(..., validate=partial(evaluate, objective=objective, data=data))` puts them into the rows of a training.

    Args:
        module: any module; batches are moved to its device.
        objective: as in `Phase`: `(module, batch) -> loss` or `-> (loss, {name: number})`, means over the batch.
        data: in any form that `fit` takes.
        batch_size: samples of a batch, where the data do not bring their own.

    Returns:
        `loss` and the metrics: means over the samples.

    Raises:
        DataError: the data set raises an error.
        ConfigError: data that cannot be read, or an objective that gives no loss.

    Example:
        >>> error = lambda module, x: (module(x) - x).square().mean()
        >>> evaluate(nn.Identity(), error, [torch.zeros(1), torch.ones(1)])
        {'loss': 0.0}
    """
    device = next((tensor.device for tensor in [*module.parameters(), *module.buffers()]), torch.device("cpu"))
    sums: dict[str, float] = {}
    num_samples = 0

    with preserve_rng_state(), evaluating(module):
        source = open_source(data, batch_size, shuffle=False)
        for batch in source.epoch(0, 0, 0):
            with naming_collate(source):
                result = objective(module, map_tensors(lambda tensor: tensor.to(device), batch.data))
            loss, metrics = loss_and_metrics(result, "the objective")
            values = {"loss": loss, **metrics}
            refuse_other_metrics(values, sums, "the objective")

            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + float(value) * batch.num_samples
            num_samples += batch.num_samples

    return {name: total / num_samples for name, total in sums.items()}
