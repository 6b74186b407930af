"""Precision of a training: what is cast, what keeps its digits."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikebridge.neurons import Integrator, Sequential
from spikebridge.training import WHOLE, Batches, Phase, fit

Make = Callable[..., Any]


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision_keeps_the_digits_of_targets_and_states(
    line: nn.Linear, settings: Make, precision: Any
) -> None:
    seen: list[Tensor] = []

    def objective(module: nn.Module, piece: dict[str, Tensor], state: Tensor | None) -> tuple[Tensor, Tensor]:
        seen.extend([piece["y"], *([] if state is None else [state])])
        assert module(piece["x"]).dtype == {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}[precision]
        return (module(piece["x"]).float() - piece["y"]).square().mean(), piece["y"] + 0.001

    data = Batches({"x": torch.ones(4, 1), "y": torch.full((4, 1), 257.001)}, batch={"x": 0, "y": 0})
    phase = Phase(
        "line",
        WHOLE,
        objective,
        1,
        partial(torch.optim.SGD, lr=1e-3),
        slices=lambda batch: [batch, batch],
    )

    fit(line, [phase], data, settings=settings(precision=precision))
    assert {value.dtype for value in seen} == {torch.float32}
    assert seen[0].unique().item() == pytest.approx(257.001, abs=1e-4)
    assert seen[2].unique().item() == pytest.approx(257.002, abs=1e-4)


def test_true_half_precision_casts_the_batch_but_no_state(settings: Make) -> None:
    network = Sequential(fc=nn.Linear(1, 1), out=Integrator(0.1, dt=0.001))

    def objective(module: nn.Module, piece: dict[str, Tensor], state: Any) -> tuple[Tensor, Any]:
        y, state = module(piece["x"], state)
        assert y.dtype == torch.bfloat16 and state.layers[1].v.dtype == torch.float32
        return y.float().square().mean(), state

    data = Batches({"x": torch.ones(6, 4, 1)}, batch={"x": 1})
    slices = lambda batch: [{"x": x} for x in batch["x"].split(2)]  # noqa: E731
    phase = Phase("all", WHOLE, objective, 1, partial(torch.optim.SGD, lr=1e-3), slices=slices)
    (row,) = fit(network, [phase], data, settings=settings(precision="bf16-true"))

    assert row["loss"] > 0
