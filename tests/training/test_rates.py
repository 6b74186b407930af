"""Learning rates of parameters that are measured in a unit of their own, such as learned delays in seconds."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikebridge.hybrid import Delay, Gaussian
from spikebridge.training import WHOLE, Batches, Phase, Run, fit, optimizers

Make = Callable[..., Any]
SCALE = 0.012
ADAM = partial(torch.optim.Adam, lr=0.02)
DATA = Batches({"x": torch.ones(1, 1)}, batch={"x": 0})
SPIKES = torch.zeros(24, 1, 5)
SPIKES[torch.arange(7, 12), 0, torch.arange(5)] = 1
TARGET = torch.zeros(24, 1, 1)
TARGET[14] = 1


class Late(nn.Module):
    """Spikes of five channels, each with a delay of its own, and their weights."""

    def __init__(self) -> None:
        super().__init__()
        self.wait = Delay(torch.full((5,), 0.005), max_delay=SCALE, sigma=0.002, dt=0.001, learn="delay")
        self.gain = nn.Linear(5, 1, bias=False)
        nn.init.constant_(self.gain.weight, 0.5)


def lateness(module: Any, batch: Any) -> Tensor:
    """The error from one pulse at step 14, to which the five spikes have to be delayed by 7 to 3 steps."""
    return (module.gain(module.wait(SPIKES)[0]) - TARGET).square().sum()


def by_hand(parameters: Any) -> torch.optim.Optimizer:
    """One rate for all, in groups that the program makes itself."""
    return ADAM([{"params": [parameter]} for parameter in parameters])


def late(optimizer: Any = ADAM, epochs: int = 1, objective: Any = lateness, **changes: Any) -> Phase:
    return Phase("late", WHOLE, objective, epochs, optimizer, **changes)


@pytest.mark.untyped
def test_delays_are_learned_beside_weights_at_a_rate_that_suits_weights(settings: Make) -> None:
    steps = Batches({"x": torch.ones(40, 1)}, batch={"x": 0})
    network = Late()
    rows = fit(network, [late()], steps, settings=settings(batch_size=1))

    assert network.wait.ticks.tolist() == [7, 6, 5, 4, 3]
    assert [rows[0][name] for name in ("lr", "lr/wait.delay")] == [0.02, pytest.approx(0.02 * SCALE)]

    # the rate of the weights carries them across the whole range
    other = Late()
    fit(other, [late(by_hand)], steps, settings=settings(batch_size=1))
    wrong = (other.wait.ticks - network.wait.ticks).abs()
    assert wrong.max() >= 3


def test_groups_of_the_program_keep_their_rates(settings: Make) -> None:
    (row,) = fit(Late(), [late(by_hand)], DATA, settings=settings())
    assert (row["lr"], row["lr/1"]) == (0.02, 0.02)


def test_a_phase_of_delays_alone_has_their_rate(settings: Make) -> None:
    (row,) = fit(Late(), [Phase("wait", ("wait",), lateness, 1, ADAM)], DATA, settings=settings())
    assert row["lr"] == pytest.approx(0.02 * SCALE)


def test_the_rate_does_not_depend_on_the_unit_of_time() -> None:
    for kernel in (Delay, partial(Gaussian, sigma=0.001)):
        (seconds,) = kernel(0.004, dt=0.001).rate_scales.values()
        (steps,) = kernel(4.0, dt=1.0, **({"sigma": 1.0} if kernel is not Delay else {})).rate_scales.values()
        assert steps == pytest.approx(1000 * seconds)


def test_a_module_of_ones_own_declares_its_scale_and_each_optimizer_has_it(settings: Make) -> None:
    class Own(nn.Linear):
        rate_scales = {"bias": 100.0}

    network = nn.ModuleDict({"own": Own(1, 1), "other": nn.Linear(1, 1)})

    def loss(module: Any, batch: Any) -> Tensor:
        return (module["own"](batch["x"]) + module["other"](batch["x"])).sum()

    rates = {"own": partial(torch.optim.SGD, lr=0.01), "other": partial(torch.optim.SGD, lr=0.5)}
    (row,) = fit(network, [Phase("both", WHOLE, loss, 1, rates)], DATA, settings=settings())
    assert {name: rate for name, rate in row.items() if name.startswith("lr")} == {
        "lr": 0.01,
        "lr/own": 0.01,
        "lr/own/own.bias": 1.0,
        "lr/other": 0.5,
    }


SCHEDULES: dict[str, Any] = {
    "decay": partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5),
    "one rate at the peak": partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=9),
    "two rates": partial(torch.optim.lr_scheduler.CyclicLR, base_lr=0.01, max_lr=0.1, cycle_momentum=False),
    "plateau": partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=0),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("train", [("",), ("wait",)])
def test_a_schedule_keeps_the_scale(name: str, train: tuple[str, ...], settings: Make) -> None:
    rows, plain = (
        fit(Late(), [Phase("late", names, lateness, 6, ADAM, SCHEDULES[name])], DATA, settings=settings())
        for names in (train, ("gain",))
    )
    column = "lr/wait.delay" if train == ("",) else "lr"
    assert [row[column] for row in rows] == pytest.approx([SCALE * row["lr"] for row in plain])


def test_rates_that_a_schedule_gives_each_group_are_kept(settings: Make) -> None:
    cycle = partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=[0.1, 0.01], total_steps=9)
    (row,) = fit(Late(), [late(scheduler=cycle)], DATA, settings=settings())
    assert row["lr/wait.delay"] == pytest.approx(row["lr"] / 10)


@pytest.mark.untyped
def test_a_training_that_began_with_one_rate_ends_with_it(settings: Make, tmp_path: Path) -> None:
    def train(run: Run | None = None, stop_at: int = 0) -> Any:
        network = Late()
        calls = []

        def objective(module: Any, batch: Any) -> Tensor:
            calls.append(1)
            if len(calls) == stop_at:
                os.kill(os.getpid(), signal.SIGINT)
            return lateness(module, batch)

        fit(network, [late(objective=objective, epochs=4)], DATA, settings=settings(), run=run)
        return network.wait.delay.tolist()

    # a release without scales
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optimizers, "_rate_scales", lambda network, state: {})
        without = train()
        run = Run.create(tmp_path / "old", "late", settings())
        with pytest.raises(KeyboardInterrupt):
            train(run, stop_at=2)

    assert train(run) == without
    assert train() != without

    run = Run.create(tmp_path / "new", "late", settings())
    with pytest.raises(KeyboardInterrupt):
        train(run, stop_at=2)
    assert train(run) == train()
