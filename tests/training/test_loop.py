"""The loop, followed by hand: w starts at 0, x = 1, y = 8, loss (w - 8)^2, learning rate 1/4: the error halves."""

import io
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from spikebridge.errors import ConfigError, DataError, ShapeError
from spikebridge.hybrid import HybridNetwork, Transmission, every
from spikebridge.training import (
    Batches,
    BestWeights,
    Phase,
    Progress,
    Run,
    Settings,
    StackSamples,
    TimeSlices,
    evaluate,
    fit,
)
from spikebridge.training.progress import ProgressBars, ProgressLines, choose_progress

Make = Callable[..., Any]


def test_the_error_halves_with_every_step(line: nn.Linear, data: Batches, phase: Make, settings: Make) -> None:
    rows = fit(line, [phase(epochs=2)], data, settings=settings(batch_size=2))
    assert line.weight.item() == 7.5  # 4 steps: 4, 6, 7, 7.5
    assert [(row["epoch"], row["step"], row["loss"]) for row in rows] == [(1, 2, 40.0), (2, 4, 2.5)]


def test_the_gradient_is_clipped_to_its_norm(line: nn.Linear, data: Batches, phase: Make, settings: Make) -> None:
    fit(line, [phase(clip=2.0)], data, settings=settings())
    assert line.weight.item() == pytest.approx(0.5)  # the gradient -16 became -2


def test_the_scheduler_steps_once_an_epoch(line: nn.Linear, data: Batches, phase: Make, settings: Make) -> None:
    decay = partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5)
    rows = fit(line, [phase(epochs=3, scheduler=decay)], data, settings=settings(batch_size=1))
    assert [row["lr"] for row in rows] == [0.25, 0.125, 0.0625]


def test_the_scheduler_may_step_with_every_step(line: nn.Linear, data: Batches, phase: Make, settings: Make) -> None:
    decay = partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5)
    every_step = phase(epochs=2, scheduler=decay, scheduler_interval="step")
    rows = fit(line, [every_step], data, settings=settings(batch_size=2, log_every=1))

    assert [row["lr"] for row in rows if row["kind"] == "epoch"] == [0.0625, 0.015625]
    # errors: 8, then times 1 - 2 lr each: 1/2, 3/4, 7/8
    assert [row["loss"] for row in rows if row["kind"] == "step"] == [64.0, 16.0, 9.0, 6.890625]


def test_a_scheduler_watches_a_number_of_the_row(line: nn.Linear, data: Batches, phase: Make, settings: Make) -> None:
    plateau = partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=0, factor=0.5)
    watching = partial(phase, epochs=4, scheduler=plateau)
    levels = iter([3.0, 2.0, 2.0, 2.0])

    rows = fit(
        line,
        [watching(scheduler_metric="validation/level")],
        data,
        settings=settings(),
        validate=lambda module: {"level": next(levels)},
    )

    assert [row["lr"] for row in rows] == [0.25, 0.25, 0.25, 0.125]
    with pytest.raises(ConfigError, match="the schedule of phase 'line' watches 'los', which no row has: did you mean"):
        fit(line, [watching(scheduler_metric="los")], data, settings=settings())

    with pytest.raises(ConfigError, match="ReduceLROnPlateau watches epochs"):
        fit(line, [watching(scheduler_interval="step")], data, settings=settings())


def test_a_schedule_that_is_over_before_the_phase_is_named(
    line: nn.Linear, data: Batches, phase: Make, settings: Make
) -> None:
    cycle = partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=3)
    with pytest.raises(
        ConfigError, match=r"the schedule of phase 'line' ended before the phase .* once a step, 2 epoch"
    ):
        fit(line, [phase(epochs=2, scheduler=cycle, scheduler_interval="step")], data, settings=settings(batch_size=2))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_accumulated_batches_make_the_step_of_one_large_batch(phase: Make, settings: Make, size: int) -> None:
    # 7 samples: the last group and the last batch are shorter, and every sample counts the same
    torch.manual_seed(0)
    data = Batches({"x": torch.randn(7, 1), "y": torch.randn(7, 1)}, batch={"x": 0, "y": 0})

    def trained(batch_size: int, accumulate: int) -> tuple[Any, Tensor]:
        module = nn.Linear(1, 1)
        for parameter in module.parameters():
            nn.init.zeros_(parameter)

        rows = fit(
            module,
            [phase(epochs=2, accumulate=accumulate, clip=0.5)],
            data,
            settings=settings(batch_size=batch_size),
        )
        return rows, module.weight.detach()

    rows, weight = trained(size, 2)
    large_rows, large_weight = trained(2 * size, 1)
    torch.testing.assert_close(weight, large_weight)

    assert [row["step"] for row in rows] == [row["step"] for row in large_rows]
    assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in large_rows])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accumulate": 0}, "accumulate should be at least 1 batch, but is 0"),
        ({"accumulate": 1.5}, "accumulate should be at least 1 batch, but is 1.5"),
        ({"epochs": 1.5}, "an integer of at least 1 epoch, but got 1.5"),  # would never end
        ({"scheduler_interval": "batch"}, "should be 'epoch' or 'step', but is 'batch'"),
        ({"accumulate": 2, "slices": TimeSlices({"x": 1})}, "every slice makes a step, so accumulate must be 1"),
    ],
)
def test_phases_that_cannot_be_meant_are_refused(phase: Make, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        phase(**changes)


SCHEDULES: dict[str, Callable[..., Any]] = {
    "one cycle": partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=20),
    "cosine": partial(torch.optim.lr_scheduler.CosineAnnealingWarmRestarts, T_0=2),
    "lambda": partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=lambda step: 0.9**step),
    "plateau": partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=0),
    "warm-up, then decay": lambda optimizer: torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=2),
            torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5),
        ],
        milestones=[2],
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_resumes_with_the_same_bits(
    data: Batches, phase: Make, settings: Make, error: Make, tmp_path: Path, name: str
) -> None:
    def train(run: Run, kill_at: int = 0) -> tuple[Any, float]:
        module = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(module.weight)
        calls = []

        def objective(module: nn.Module, batch: Any) -> Tensor:
            calls.append(1)
            if len(calls) == kill_at:
                os.kill(os.getpid(), signal.SIGINT)
            return error(module, batch)

        interval = "epoch" if name == "plateau" else "step"
        schedule = phase(
            epochs=4,
            objective=objective,
            scheduler=SCHEDULES[name],
            scheduler_interval=interval,
            optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9),
            accumulate=2,
        )

        return fit(module, [schedule], data, settings=settings(batch_size=1), run=run), module.weight.item()

    whole = train(Run.create(tmp_path / "whole", "line", settings()))
    run = Run.create(tmp_path / "stopped", "line", settings())
    with pytest.raises(KeyboardInterrupt):
        train(run, kill_at=6)

    assert train(run) == whole


def test_an_uneven_last_batch_counts_by_its_samples(line: nn.Linear, phase: Make, settings: Make) -> None:
    data = Batches({"x": torch.ones(3, 1), "y": torch.full((3, 1), 8.0)}, batch={"x": 0, "y": 0})
    (row,) = fit(line, [phase()], data, settings=settings(batch_size=2))
    assert row["loss"] == pytest.approx((2 * 64 + 16) / 3)


def test_metrics_of_the_objective_and_of_the_validation_go_into_the_row(
    line: nn.Linear, data: Batches, phase: Make, settings: Make, error: Make
) -> None:
    def objective(module: nn.Module, batch: Any) -> Any:
        loss = error(module, batch)
        return loss, {"root": loss.sqrt(), "one": 1}

    def validate(module: nn.Module) -> dict[str, Any]:
        assert not module.training
        return {"weight": module.weight.sum()}

    (row,) = fit(line, [phase(objective=objective)], data, settings=settings(), validate=validate)
    assert {name: row[name] for name in ("root", "one", "validation/weight")} == {
        "root": 8.0,
        "one": 1.0,
        "validation/weight": 4.0,
    }


def test_a_phase_trains_what_it_names_and_brings_its_own_data(data: Batches, phase: Make, settings: Make) -> None:
    network = nn.ModuleDict({"a": nn.Linear(1, 1, bias=False), "b": nn.Linear(1, 1, bias=False)})
    for part in network.values():
        nn.init.zeros_(part.weight)

    other = Batches({"x": torch.ones(1, 1), "y": torch.full((1, 1), 4.0)}, batch={"x": 0, "y": 0})

    def both(module: Any, batch: Any) -> Tensor:
        return (module["a"](batch["x"]) + module["b"](batch["x"]) - batch["y"]).square().mean()

    phases = [phase(name="a", train=("a",), objective=both), phase(name="b", train=("b",), objective=both, data=other)]
    rows = fit(network, phases, data, settings=settings())

    assert (network["a"].weight.item(), network["b"].weight.item()) == (4.0, 0.0)
    assert [row["phase"] for row in rows] == ["a", "b"]
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_frozen_batch_normalisation_keeps_its_statistics(phase: Make, settings: Make, error: Make) -> None:
    network = nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 1))
    data = Batches({"x": torch.randn(4, 1) + 5, "y": torch.ones(4, 1)}, batch={"x": 0, "y": 0})
    fit(network, [phase(train=("1",))], data, settings=settings())

    assert network[0].running_mean.item() == 0.0

    fit(network, [phase(train=("0",))], data, settings=settings())
    assert network[0].running_mean.item() != 0.0


def test_a_training_leaves_the_generators_as_they_were_and_depends_on_its_seed_alone(
    phase: Make, settings: Make, data: Batches
) -> None:
    draws = True
    before = torch.empty(0)
    after = torch.empty(0)

    def trained(seed: int) -> float:
        network = nn.Sequential(nn.Dropout(0.5), nn.Linear(1, 1, bias=False))
        nn.init.zeros_(network[1].weight)
        nonlocal before, after
        before = torch.get_rng_state()
        steps = phase(epochs=3, optimizer=partial(torch.optim.SGD, lr=0.1))
        fit(network, [steps], data, settings=settings(seed=seed, batch_size=1), validate=validate)
        after = torch.get_rng_state()

        return network[1].weight.item()

    def validate(module: nn.Module) -> dict[str, float]:
        return {"noise": torch.rand(1).item()} if draws else {}

    first = trained(seed=0)
    assert torch.equal(before, after)

    draws = False
    assert trained(seed=0) == first
    assert trained(seed=1) != first


def test_a_loss_that_is_not_finite_stops_before_the_step(line: nn.Linear, phase: Make, settings: Make) -> None:
    data = Batches({"x": torch.tensor([[float("nan")]]), "y": torch.ones(1, 1)}, batch={"x": 0, "y": 0})
    with pytest.raises(
        DataError, match=r"the loss is nan in phase 'line', epoch 1, step 1: .*lower learning rate, clip"
    ):
        fit(line, [phase()], data, settings=settings())

    assert line.weight.item() == 0.0


def test_a_gradient_that_is_not_finite_stops_before_the_step(
    line: nn.Linear, data: Batches, phase: Make, settings: Make
) -> None:
    def objective(module: Any, batch: Any) -> Tensor:
        return module.weight.abs().sqrt().sum()

    with pytest.raises(DataError, match="the loss is finite but its gradient is not, in phase 'line'"):
        fit(line, [phase(objective=objective)], data, settings=settings())

    assert line.weight.item() == 0.0


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda module, batch: module(batch["x"]), r"must give one number, .* but gave \(4, 1\)"),
        (lambda module, batch: 3.0, "but gave float"),
        (lambda module, batch: torch.zeros(()), "depends on nothing that the phase trains"),
        (lambda module, batch: (module.weight.sum(), {"loss": 1}), "a metric called 'loss'"),
        (lambda module, batch: (module.weight.sum(), {"epoch": 1}), "a metric called 'epoch'"),
        (lambda module, batch: (module.weight.sum(), {"a": torch.ones(2)}), r"'a' .* but is a tensor \(2,\)"),
        (lambda module, batch: (module.weight.sum(), {"a": "high"}), "'a' .* must be one number, but is 'high'"),
    ],
)
def test_an_objective_that_gives_no_loss_is_refused(
    line: nn.Linear, data: Batches, phase: Make, settings: Make, result: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        fit(line, [phase(objective=result)], data, settings=settings())


@pytest.mark.parametrize("changes", [{}, {"accumulate": 2}, {"slices": TimeSlices({"x": 1})}])
def test_metrics_of_some_steps_alone_are_refused(
    line: nn.Linear, data: Batches, phase: Make, settings: Make, error: Make, changes: dict[str, Any]
) -> None:
    numbers = iter(range(9))

    def objective(module: nn.Module, batch: dict[str, Tensor], *state: Any) -> Any:
        result = error(module, batch), {f"metric {next(numbers)}": 1.0}
        return (result, None) if state else result

    with pytest.raises(ConfigError, match=r"gave loss, metric 1, but loss, metric 0 before; give the same at every"):
        fit(line, [phase(objective=objective, **changes)], data, settings=settings(batch_size=2))


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        (None, "validate must give numbers by name, .* but gave None"),
        ({"a": torch.ones(2)}, r"the metric 'a' of validate must be one number, but is a tensor \(2,\)"),
    ],
)
def test_a_validation_without_numbers_is_refused(
    line: nn.Linear, data: Batches, phase: Make, settings: Make, measured: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        fit(line, [phase()], data, settings=settings(), validate=lambda module: measured)


def test_callbacks_stand_in_a_list(line: nn.Linear, data: Batches, phase: Make, settings: Make) -> None:
    with pytest.raises(ConfigError, match="callbacks is a list of callbacks, but got a BestWeights"):
        fit(line, [phase()], data, settings=settings(), callbacks=BestWeights("loss", "min"))


def test_batches_to_evaluate_on_have_a_size(line: nn.Linear, data: Batches, error: Make) -> None:
    with pytest.raises(ConfigError, match="batch_size should be at least 1, but is 0"):
        evaluate(line, error, data, batch_size=0)


def test_a_name_misspelt_in_the_last_phase_is_found_before_the_first_begins(
    line: nn.Linear, data: Batches, phase: Make, settings: Make
) -> None:
    with pytest.raises(ConfigError, match="did you mean 'weight'"):
        fit(line, [phase(), phase(name="late", train=("weigth",))], data, settings=settings())
    assert line.weight.item() == 0.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"devices": 0}, "devices should be at least 1"),
        ({"seed": -1}, "seed should be at least 0, but is -1"),
        ({"batch_size": 2.5}, "batch_size should be an integer, but is 2.5"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: Make, changes: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(**changes)


def test_a_number_of_processes_that_was_not_started_is_refused(
    line: nn.Linear, data: Batches, phase: Make, settings: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match="4 processes were started, but devices=1"):
        fit(line, [phase()], data, settings=settings())


def test_a_torchrun_that_restarts_with_old_addresses_is_warned_of(
    line: nn.Linear,
    data: Batches,
    phase: Make,
    settings: Make,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "1")
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "False")
    fit(line, [phase()], data, settings=settings())

    assert caplog.text == ""

    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    fit(line, [phase()], data, settings=settings())

    assert "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1" in caplog.text


@pytest.mark.parametrize("where", [{"accelerator": "cuda"}, {"accelerator": "cpu", "strategy": "fsdp"}])
def test_a_device_that_is_not_there_is_refused(line: nn.Linear, data: Batches, phase: Make, where: Any) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match=r"^this machine cannot train with [^\n]*: [^\n]*$") as refused:
        fit(line, [phase()], data, settings=Settings(**where, quiet=True))

    assert all(f"{name}='{value}'" in str(refused.value) for name, value in where.items())
    assert "Settings" not in str(refused.value)


class Leak(nn.Module):
    """v = w (v + x): the gradient of the last v with respect to w shows how far back it went."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        v = torch.zeros_like(x[0]) if state is None else state
        for x_t in x:
            v = self.w * (v + x_t)
        return v, v


@pytest.mark.parametrize(("length", "last_gradient"), [(4, 10.0), (9, 10.0), (2, 7.0), (1, 4.0)])
def test_gradients_do_not_cross_slices_and_one_slice_is_plain_back_propagation(
    phase: Make, settings: Make, length: int, last_gradient: float
) -> None:
    # w = 1 and x = 1 give v = 1, 2, 3, 4; dv/dw over the last k steps is the sum of (v + x) before each: 4, 3, 2, 1
    gradients = []

    def objective(module: Any, piece: Any, state: Any) -> Any:
        v, state = module(piece["x"], state)
        module.w.register_hook(lambda gradient: gradients.append(gradient.item()))
        return v.mean(), state

    leak = Leak()
    data = Batches({"x": torch.ones(4, 2)}, batch={"x": 1})
    still = partial(torch.optim.SGD, lr=0.0)
    (row,) = fit(
        leak, [phase(objective=objective, slices=TimeSlices({"x": length}), optimizer=still)], data, settings=settings()
    )

    assert gradients[-1] == last_gradient

    ends = [min(end, 4) for end in range(length, 4 + length, length)]
    assert row["loss"] == pytest.approx(sum(ends) / len(ends))


def test_every_slice_makes_a_step(phase: Make, settings: Make) -> None:
    def objective(module: Any, piece: Any, state: Any) -> Any:
        v, state = module(piece["x"], state)
        return (v.mean(), {"v": v.mean()}), state

    leak = Leak()
    data = Batches({"x": torch.ones(2, 1)}, batch={"x": 1})
    steps = partial(torch.optim.SGD, lr=0.5)
    fit(leak, [phase(objective=objective, slices=TimeSlices({"x": 1}), optimizer=steps)], data, settings=settings())

    # first slice: v = 1, gradient 1, w = 1/2; second: v = 1/2 (1 + 1) = 1, gradient 2, w = -1/2
    assert leak.w.item() == -0.5


def test_slices_need_an_objective_with_state_and_a_time_step(phase: Make, settings: Make, error: Make) -> None:
    leak = Leak()
    data = Batches({"x": torch.ones(2, 1)}, batch={"x": 1})
    slices = TimeSlices({"x": 1})

    with pytest.raises(ConfigError, match=r"must give \(loss, state\)"):
        fit(leak, [phase(objective=lambda module, piece, state: module.w, slices=slices)], data, settings=settings())

    empty = Batches({"x": torch.ones(0, 1)}, batch={"x": 1})
    with pytest.raises(ConfigError, match="the batch has no time step"):
        fit(leak, [phase(slices=slices)], empty, settings=settings())


def test_rows_are_in_the_run_and_a_finished_training_is_not_repeated(
    line: nn.Linear, data: Batches, phase: Make, settings: Make, tmp_path: Path
) -> None:
    run = Run.create(tmp_path, "line", settings())
    rows = fit(line, [phase(epochs=2)], data, settings=settings(log_every=1), run=run)

    assert [row["kind"] for row in rows] == ["step", "epoch", "step", "epoch"]
    assert run.metrics.rows() == rows
    assert run.environment()["device"] == "cpu"

    fresh = nn.Linear(1, 1, bias=False)
    again = Run.create(tmp_path, "line", settings(), resume=True)

    assert fit(fresh, [phase(epochs=2)], data, settings=settings(log_every=1), run=again) == rows
    assert torch.equal(fresh.weight, line.weight)


def test_the_checkpoint_of_another_training_or_network_is_refused(
    line: nn.Linear, data: Batches, phase: Make, settings: Make, tmp_path: Path
) -> None:
    run = Run.create(tmp_path, "line", settings())
    fit(line, [phase()], data, settings=settings(), run=run)
    with pytest.raises(ConfigError, match="of another training: seed was 0 and is 1 now"):
        fit(line, [phase()], data, settings=settings(seed=1), run=run)

    with pytest.raises(ConfigError, match="of another training: phases was"):
        fit(line, [phase(name="other")], data, settings=settings(), run=run)

    with pytest.raises(ConfigError, match=r"of another network: 'weight' has the shape \(1, 1\), but \(1, 2\)"):
        fit(nn.Linear(2, 1, bias=False), [phase()], data, settings=settings(), run=run)


def test_ctrl_c_writes_a_checkpoint_and_the_resumed_training_is_the_same(
    data: Batches, phase: Make, settings: Make, tmp_path: Path, error: Make
) -> None:
    def make() -> nn.Module:
        network = nn.Sequential(nn.Dropout(0.5), nn.Linear(1, 1))
        for parameter in network.parameters():
            nn.init.zeros_(parameter)
        return network

    calls = []

    def interrupted(module: nn.Module, batch: Any) -> Tensor:
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return error(module, batch)

    adam = partial(torch.optim.Adam, lr=0.1)
    whole = make()
    rows = fit(whole, [phase(epochs=2, optimizer=adam)], data, settings=settings(batch_size=1))
    run = Run.create(tmp_path, "line", settings())
    handler = signal.getsignal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="stopped at step 3"):
        fit(
            make(),
            [phase(epochs=2, optimizer=adam, objective=interrupted)],
            data,
            settings=settings(batch_size=1),
            run=run,
        )

    assert signal.getsignal(signal.SIGINT) is handler
    assert [file.name for file in run.checkpoint.iterdir()] == ["step-00000003.safetensors"]

    resumed = make()
    assert fit(resumed, [phase(epochs=2, optimizer=adam)], data, settings=settings(batch_size=1), run=run) == rows
    assert torch.equal(resumed[1].weight, whole[1].weight)


def test_a_network_trained_in_float64_continues_in_float64(
    data: Batches, phase: Make, settings: Make, tmp_path: Path
) -> None:
    double = Batches({name: tensor.double() / 3 for name, tensor in data.tensors.items()}, data.batch)
    run = Run.create(tmp_path, "line", settings())
    first = nn.Linear(1, 1)
    again = nn.Linear(1, 1)
    fit(first, [phase()], double, settings=settings(precision="64-true"), run=run)
    fit(again, [phase()], double, settings=settings(precision="64-true"), run=run)

    assert again.weight.dtype == torch.float64
    assert torch.equal(again.weight, first.weight)


def test_bfloat16_trains(line: nn.Linear, data: Batches, phase: Make, settings: Make) -> None:
    fit(line, [phase()], data, settings=settings(precision="bf16-mixed"))
    assert line.weight.item() == 4.0


def test_progress_is_plain_lines_without_a_terminal_and_bars_on_one(
    line: nn.Linear, data: Batches, phase: Make, settings: Make
) -> None:
    stream = io.StringIO()
    fit(line, [phase()], data, settings=settings(), progress=ProgressLines(stream))

    assert stream.getvalue() == "line 1/1  lr 0.25  loss 64\n"

    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=100)

    assert isinstance(choose_progress(quiet=False, console=terminal), ProgressBars)
    assert isinstance(choose_progress(quiet=False, console=Console(file=io.StringIO())), ProgressLines)
    assert type(choose_progress(quiet=True, console=terminal)) is Progress

    fit(line, [phase()], data, settings=settings(), progress=ProgressBars(terminal))
    assert "line 1/1  lr 0.25  loss 16" in screen.getvalue()


def test_a_phase_is_frozen(phase: Make) -> None:
    made: Phase = phase()
    with pytest.raises(AttributeError):
        made.epochs = 3  # type: ignore[misc]


def test_a_notebook_shows_a_bar_and_the_epochs_in_one_place(
    line: nn.Linear, data: Batches, phase: Make, settings: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[str] = []
    handle = SimpleNamespace(update=pages.append)

    def display(page: str, display_id: bool) -> Any:
        pages.append(page)
        return handle

    cell = SimpleNamespace(kernel=object())
    notebook = SimpleNamespace(get_ipython=lambda: cell, display=SimpleNamespace(HTML=str, display=display))
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    assert type(choose_progress(quiet=True)) is Progress

    fit(line, [phase(name="a<b", epochs=3)], data, settings=settings(quiet=False))
    assert '<progress value="1" max="' in pages[1]
    assert "a&lt;b 1/3" in pages[1]
    assert all(f"a&lt;b {epoch}/3  lr" in pages[-1] for epoch in (1, 2, 3))
    assert "<progress" not in pages[-1]

    cell.kernel = None  # IPython in a terminal
    assert isinstance(choose_progress(quiet=False, console=None), ProgressLines | ProgressBars)


def sgd(lr: float) -> Callable[..., torch.optim.Optimizer]:
    return partial(torch.optim.SGD, lr=lr)


weight = nn.Parameter(torch.zeros(1))
PHASES: list[tuple[str, dict[str, Any], str]] = [
    ("a made optimizer", {"optimizer": torch.optim.SGD([weight], lr=0.1)}, "optimizer as a function, .*but got a SGD"),
    ("a name", {"optimizer": "adam"}, "optimizer as a function, .*'adam'"),
    ("a list of functions", {"optimizer": [sgd(0.1)]}, "optimizer as a function"),
    ("a list of optimizers", {"optimizer": lambda p: [sgd(0.1)(p)]}, "has one Optimizer, but a list was made"),
    ("no optimizer", {"optimizer": lambda p: None}, "has one Optimizer, but None was made"),
    ("an unknown setting", {"optimizer": partial(torch.optim.SGD, rate=0.1)}, "optimizer .* cannot be made:.*'rate'"),
    ("a rate below 0", {"optimizer": sgd(-1.0)}, "optimizer .* cannot be made: Invalid learning rate"),
    ("a number as schedule", {"scheduler": 0.9}, "scheduler as a function, but got 0.9"),
    ("a factor as schedule", {"scheduler": lambda o: 0.9}, "has one LRScheduler, but 0.9 was made"),
    ("a loss by name", {"objective": "mse"}, "objective as a function, but got 'mse'"),
    ("a number of steps as slices", {"slices": 5}, "slices as a function, but got 5"),
]


@pytest.mark.parametrize(("changes", "says"), [pytest.param(c, s, id=name) for name, c, s in PHASES])
def test_a_part_of_a_phase_of_another_kind_is_one_line(
    changes: dict[str, Any], says: str, line: nn.Linear, data: Batches, phase: Make, settings: Make
) -> None:
    with pytest.raises(ConfigError, match=f"phase 'line'.*{says}|{says}"):
        fit(line, [phase(**changes)], data, settings=settings())


def test_an_argument_of_another_kind_is_one_line(line: nn.Linear, data: Batches, phase: Make, settings: Make) -> None:
    for arguments, says in [
        ((line, phase(), data), "phases is a list, .* but got a Phase"),
        ((line, {"line": phase()}, data), "phases is a list, .* but got a dict"),
        ((line, ["line"], data), "phases is a list, .* but got the list .'line'."),
        (([line], [phase()], data), "fit needs its module as Module, but got the list"),
        ((nn.Linear, [phase()], data), "the class Linear"),
    ]:
        with pytest.raises(ConfigError, match=says):
            fit(*arguments, settings=settings())  # type: ignore[arg-type]

    for keywords, says in [
        ({"settings": {"seed": 1}}, "settings as Settings, but got the dict"),
        ({"run": "runs/a"}, "fit needs its run as .*Run . None, but got 'runs/a'"),
        ({"validate": 0.5}, "validate is a function.*0.5"),
    ]:
        with pytest.raises(ConfigError, match=says):
            fit(line, [phase()], data, **keywords)


def test_every_group_of_parameters_has_its_learning_rate_in_the_rows(
    data: Batches, phase: Make, settings: Make
) -> None:
    network = nn.Linear(1, 1)
    groups = lambda p: torch.optim.SGD([{"params": p[:1]}, {"params": p[1:], "lr": 0.125}], lr=0.25)  # noqa: E731
    halved = partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5)
    rows = fit(network, [phase(epochs=2, optimizer=groups, scheduler=halved)], data, settings=settings())
    assert [(row["lr"], row["lr/1"]) for row in rows] == [(0.25, 0.125), (0.125, 0.0625)]


class Frames(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": torch.ones(5, 3), "late": torch.ones(2, 3)}


def test_the_default_collate_is_named_where_shapes_do_not_fit(phase: Make, settings: Make) -> None:
    links = [Transmission("x", "part")]
    network = HybridNetwork(
        dt=0.001, inputs={"x": every(0.001)}, parts={"part": nn.Linear(4, 1)}, links=links, outputs=["part"]
    )

    def loss(module: nn.Module, batch: Any) -> Tensor:
        return module({"x": batch["x"]})[0]["part"].sum()

    loader = torch.utils.data.DataLoader(Frames(), batch_size=2)
    says = r"puts the batch first.*collate_fn=StackSamples\(\.\.\.\) of spikebridge\.training"
    with pytest.raises(ShapeError, match=says):
        fit(network, [phase(objective=loss)], loader, settings=settings())
    with pytest.raises(ShapeError, match=says):
        evaluate(network, loss, loader)

    stacked = torch.utils.data.DataLoader(Frames(), batch_size=2, collate_fn=StackSamples({"x": 1, "late": 1}))
    with pytest.raises(ShapeError) as refused:
        evaluate(network, loss, stacked)
    assert "collate_fn" not in str(refused.value)


def test_fit_leaves_weights_in_the_run_and_those_of_the_program_as_they_are(
    line: nn.Linear, data: Batches, phase: Make, settings: Make, tmp_path: Path
) -> None:
    run = Run.create(tmp_path / "run", "line", {})
    fit(line, [phase()], data, settings=settings(), run=run)
    kept = nn.Linear(1, 1, bias=False)
    run.load_weights(kept)
    assert torch.equal(kept.weight, line.weight)

    own = nn.Linear(1, 1, bias=False)
    run.save_weights(own)
    fit(line, [phase()], data, settings=settings(), run=run)
    run.load_weights(kept)
    assert torch.equal(kept.weight, own.weight)
