"""Callbacks, by hand: w starts at 0, x = 1, y = 8, loss (w - 8)^2, learning rate 1/4: the error halves every step."""

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from spikebridge.errors import ConfigError, DataError
from spikebridge.training import AveragedWeights, Batches, BestWeights, EarlyStopping, Run, Training, fit
from spikebridge.training import Callback as CallbackBase
from spikebridge.training.progress import ProgressLines
from spikebridge.training.run.weights import read_weights

Make = Callable[..., Any]


class Recorder(CallbackBase):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_fit_start(self, training: Training) -> None:
        self.seen.append(("start", len(training.rows)))

    def on_step_end(self, training: Training, values: Mapping[str, float]) -> None:
        self.seen.append((training.phase, training.epoch, training.step, values["loss"]))

    def on_epoch_end(self, training: Training, row: Mapping[str, Any]) -> None:
        self.seen.append((row["epoch"], row["loss"], training.rows[-1] is row))

    def on_fit_end(self, training: Training) -> None:
        self.seen.append(("end", training.finished))


class Scripted:
    """A validation whose accuracy follows a script, one value an epoch, counted by the weight of the line."""

    def __init__(self, *values: float) -> None:
        self.values = values
        self.calls = 0

    def __call__(self, module: nn.Module) -> dict[str, float]:
        self.calls += 1
        # a resumed training calls a new object: the number of halvings tells the epoch
        halvings = round(torch.log2(8 / (8 - module.weight.double())).item())
        return {"accuracy": self.values[halvings - 1]}


def test_the_four_methods_are_called_in_order(line: nn.Linear, data: Batches, phase: Make, settings: Make) -> None:
    recorder = Recorder()
    fit(line, [phase()], data, settings=settings(batch_size=2), callbacks=[recorder])

    assert recorder.seen == [
        ("start", 0),
        ("line", 1, 1, 64.0),
        ("line", 1, 2, 16.0),
        (1, 40.0, True),
        ("end", True),
    ]


def test_the_end_is_called_after_an_error_too(line: nn.Linear, phase: Make, settings: Make) -> None:
    recorder = Recorder()
    data = Batches({"x": torch.full((1, 1), float("nan")), "y": torch.ones(1, 1)}, batch={"x": 0, "y": 0})
    with pytest.raises(DataError):
        fit(line, [phase()], data, settings=settings(), callbacks=[recorder])

    assert recorder.seen == [("start", 0), ("end", False)]


def test_a_callback_ends_the_phase_after_the_step_and_the_next_phase_follows(
    line: nn.Linear, data: Batches, phase: Make, settings: Make
) -> None:
    class OneStep(CallbackBase):
        def on_step_end(self, training: Training, values: Mapping[str, float]) -> None:
            if training.phase == "first":
                training.end_phase("one step is enough")

    rows = fit(
        line,
        [phase(name="first", epochs=5), phase(name="second", epochs=1)],
        data,
        settings=settings(batch_size=2),
        callbacks=[OneStep()],
    )

    # the row of the ended epoch is the mean over the samples that it saw
    assert [(row["phase"], row["step"], row["loss"]) for row in rows] == [("first", 1, 64.0), ("second", 3, 10.0)]


def test_a_phase_ends_when_its_metric_has_not_improved(
    line: nn.Linear, data: Batches, phase: Make, settings: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    validate = Scripted(0.5, 0.7, 0.7, 0.6, 0.9)
    stop = EarlyStopping("validation/accuracy", "max", patience=2)
    rows = fit(
        line,
        [phase(epochs=5)],
        data,
        settings=settings(),
        validate=validate,
        callbacks=[stop],
        progress=ProgressLines(),
    )

    assert [row["validation/accuracy"] for row in rows] == [0.5, 0.7, 0.7, 0.6]
    assert "line ends: validation/accuracy has not improved on 0.7 of epoch 2 for 2 epochs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mode", "min_delta", "values", "num_epochs"),
    [
        ("min", 0.0, (3.0, 2.0, 1.0, 1.0, 0.5), 4),
        ("max", 0.2, (0.5, 0.6, 0.65, 0.9, 0.9), 2),
        ("min", 0.0, (float("nan"), 3.0, 2.0, 1.0, 0.0), 1),
        ("max", 0.0, (float("-inf"), 1.0, 2.0, 3.0, 4.0), 5),
    ],
)
def test_an_improvement_exceeds_the_least_difference(
    line: nn.Linear,
    data: Batches,
    phase: Make,
    settings: Make,
    mode: Any,
    min_delta: float,
    values: tuple[float, ...],
    num_epochs: int,
) -> None:
    stop = EarlyStopping("validation/accuracy", mode, patience=1, min_delta=min_delta)
    rows = fit(line, [phase(epochs=5)], data, settings=settings(), validate=Scripted(*values), callbacks=[stop])
    assert len(rows) == num_epochs


def test_each_phase_is_watched_on_its_own(line: nn.Linear, data: Batches, phase: Make, settings: Make) -> None:
    phases = [phase(name="a", epochs=3), phase(name="b", epochs=3)]
    stop = EarlyStopping("validation/accuracy", "max", patience=1)
    rows = fit(line, phases, data, settings=settings(), validate=Scripted(9, 1, 2, 3, 2), callbacks=[stop])
    assert [row["phase"] for row in rows] == ["a", "a", "b", "b", "b"]


def test_the_network_ends_with_the_best_weights(
    line: nn.Linear, data: Batches, phase: Make, settings: Make, tmp_path: Path
) -> None:
    best = BestWeights("validation/accuracy", "max")
    run = Run.create(tmp_path, "line", settings())
    for folder in (None, run):
        nn.init.zeros_(line.weight)
        fit(
            line,
            [phase(epochs=4)],
            data,
            settings=settings(),
            run=folder,
            validate=Scripted(0.5, 0.9, 0.8, 0.9),
            callbacks=[best],
        )

        assert (best.value, best.epoch, line.weight.item()) == (0.9, 2, 6.0)

    assert read_weights(tmp_path / "best.safetensors")["weight"].item() == 6.0


def test_the_last_weights_can_be_kept(line: nn.Linear, data: Batches, phase: Make, settings: Make) -> None:
    best = BestWeights("loss", "max", restore=False)
    fit(line, [phase(epochs=3)], data, settings=settings(), callbacks=[best])
    assert (best.epoch, line.weight.item()) == (1, 7.0)


@pytest.mark.parametrize("stopped_after", [1, 2, 3, 4])
def test_a_stopped_training_resumes_with_the_state_of_its_callbacks(
    data: Batches, phase: Make, settings: Make, error: Make, tmp_path: Path, stopped_after: int
) -> None:
    def train(run: Run, kill_at: int = 0) -> tuple[Any, Any, float | None]:
        module = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(module.weight)
        calls = []

        def objective(module: nn.Module, batch: Any) -> Any:
            calls.append(1)
            if len(calls) == kill_at:
                os.kill(os.getpid(), signal.SIGINT)
            return error(module, batch)

        best = BestWeights("validation/accuracy", "max")
        rows = fit(
            module,
            [phase(epochs=9, objective=objective)],
            data,
            settings=settings(),
            run=run,
            validate=Scripted(0.5, 0.9, 0.8, 0.85, 0.7, 1.0),
            callbacks=[EarlyStopping("validation/accuracy", "max", patience=3), best],
        )

        return rows, module.weight.item(), best.value

    whole = train(Run.create(tmp_path / "whole", "line", settings()))
    assert (len(whole[0]), *whole[1:]) == (5, 6.0, 0.9)

    run = Run.create(tmp_path / "stopped", "line", settings())
    with pytest.raises(KeyboardInterrupt):
        train(run, stopped_after)

    assert train(run) == whole
    assert train(run) == whole  # a finished one is only restored


def test_the_network_ends_with_the_mean_of_its_last_weights(
    line: nn.Linear, data: Batches, phase: Make, settings: Make
) -> None:
    mean = AveragedWeights(start=3)
    rows = fit(line, [phase(epochs=4)], data, settings=settings(), callbacks=[mean])

    assert (mean.num_averaged, line.weight.item()) == (2, 7.25)  # of 4, 6, 7, 7.5

    nn.init.zeros_(line.weight)
    assert fit(line, [phase(epochs=4)], data, settings=settings()) == rows  # trained as without it


def test_a_mean_of_no_step_leaves_the_weights(line: nn.Linear, data: Batches, phase: Make, settings: Make) -> None:
    mean = AveragedWeights(start=9)
    fit(line, [phase(epochs=2)], data, settings=settings(), callbacks=[mean])
    assert (mean.num_averaged, line.weight.item()) == (0, 6.0)


class Normalised(nn.Module):
    """A line on a normalised input, with a buffer that has no mean: how often it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(1)
        self.line = nn.Linear(1, 1).bfloat16()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.line(self.norm(x).bfloat16()).float()


@pytest.mark.parametrize("stopped_at", [2, 5])
def test_a_mean_of_weights_resumes_to_the_bit(
    phase: Make, settings: Make, error: Make, tmp_path: Path, stopped_at: int
) -> None:
    data = Batches({"x": torch.arange(6.0)[:, None], "y": torch.ones(6, 1)}, batch={"x": 0, "y": 0})

    def train(run: Run, kill_at: int = 0) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        module = Normalised()
        calls = []

        def objective(module: nn.Module, batch: Any) -> Any:
            calls.append(1)
            if len(calls) == kill_at:
                os.kill(os.getpid(), signal.SIGINT)
            return error(module, batch)

        mean = AveragedWeights(start=4)
        phases = [phase(epochs=3, objective=objective)]
        fit(module, phases, data, settings=settings(batch_size=2), run=run, callbacks=[mean])

        assert mean.num_averaged == 6
        return dict(module.state_dict())

    whole = train(Run.create(tmp_path / "whole", "line", settings()))
    assert whole["line.weight"].dtype is torch.bfloat16
    assert whole["norm.num_batches_tracked"].item() == 9

    run = Run.create(tmp_path / "stopped", "line", settings())
    with pytest.raises(KeyboardInterrupt):
        train(run, stopped_at)

    for _ in range(2):  # a finished one is only restored
        resumed = train(run)
        assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_a_training_resumes_only_with_the_same_stateful_callbacks(
    line: nn.Linear, data: Batches, phase: Make, settings: Make, tmp_path: Path
) -> None:
    run = Run.create(tmp_path, "line", settings())
    fit(line, [phase()], data, settings=settings(), run=run, callbacks=[BestWeights("loss", "min"), Recorder()])
    fit(line, [phase()], data, settings=settings(), run=run, callbacks=[BestWeights("loss", "min")])

    with pytest.raises(ConfigError, match=r"callbacks was .*BestWeights.* and is None now"):
        fit(line, [phase()], data, settings=settings(), run=run)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EarlyStopping("loss", "less", patience=1), "mode should be 'min' .* but is 'less'"),  # type: ignore[arg-type]
        (lambda: EarlyStopping("loss", "min", patience=0), "patience should be at least 1 epoch, but is 0"),
        (lambda: EarlyStopping("loss", "min", patience=1, min_delta=-1), "min_delta should be 0 or more, but is -1"),
        (lambda: EarlyStopping("los", "min", patience=1), "watches 'los', which no row has: did you mean 'loss'"),
        (lambda: BestWeights("validation/accuracy", "max"), "BestWeights watches 'validation/accuracy', which no row"),
        (lambda: BestWeights("phase", "max"), "BestWeights watches 'phase', which no row"),
        (lambda: AveragedWeights(start=0), "start is the number of a step, from 1, but is 0"),
        (lambda: BestWeights, "got the class BestWeights: call it"),
        (lambda: print, "a callback needs on_fit_start, .* derive it from spikebridge.training.Callback"),
    ],
)
def test_callbacks_that_cannot_be_meant_are_refused(
    line: nn.Linear, data: Batches, phase: Make, settings: Make, make: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        fit(line, [phase()], data, settings=settings(), callbacks=[make()])
