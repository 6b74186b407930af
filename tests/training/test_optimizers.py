"""Several optimizers and losses in one phase, and gradients of one's own, on numbers worked by hand."""

import math
import os
import signal
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.training import Batches, Phase, Run, Settings, TimeSlices, evaluate, fit
from spikebridge.training.run.checkpoint import load_checkpoint, save_checkpoint

Make = Callable[..., Any]
SGD = torch.optim.SGD
TWO = {"actor": partial(SGD, lr=0.25), "critic": partial(SGD, lr=0.125)}


class Pair(nn.Module):
    """Two numbers of one weight each, and a trunk before both."""

    def __init__(self) -> None:
        super().__init__()
        for name, weight in (("trunk", 1.0), ("actor", 0.0), ("critic", 0.0)):
            layer = nn.Linear(1, 1, bias=False)
            nn.init.constant_(layer.weight, weight)
            self.add_module(name, layer)

    @property
    def weights(self) -> list[float]:
        return [parameter.item() for parameter in self.parameters()]


def errors(module: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    h = module.trunk(batch["x"])
    return {name: (getattr(module, name)(h) - batch["y"]).square().mean() for name in ("actor", "critic")}


def total(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    losses = errors(module, batch)
    return losses["actor"] + losses["critic"]


@pytest.fixture
def both(phase: Make) -> Make:
    return partial(phase, train=("actor", "critic"), objective=total, optimizer=TWO)


def test_each_optimizer_steps_with_its_own_rate_which_the_rows_name(data: Batches, both: Make, settings: Make) -> None:
    pair = Pair()
    halved = {"critic": partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5)}
    rows = fit(pair, [both(epochs=2, scheduler=halved)], data, settings=settings())

    # errors of 8: halved twice; times 3/4, then times 7/8
    assert pair.weights == [1.0, 6.0, 8 - 8 * 0.75 * 0.875]
    assert [[row[name] for name in ("lr", "lr/actor", "lr/critic")] for row in rows] == [
        [0.25, 0.25, 0.125],
        [0.25, 0.25, 0.0625],
    ]


def test_the_norm_is_that_of_the_whole_gradient(data: Batches, both: Make, settings: Make) -> None:
    pair = Pair()
    fit(pair, [both(clip=math.sqrt(32))], data, settings=settings())
    assert pair.weights == pytest.approx([1.0, 1.0, 0.5])  # two gradients of -16 became -4


def test_one_schedule_is_made_for_each_optimizer(data: Batches, both: Make, settings: Make) -> None:
    halved = partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5)
    rows = fit(Pair(), [both(epochs=2, scheduler=halved)], data, settings=settings())
    assert [rows[1][name] for name in ("lr/actor", "lr/critic")] == [0.125, 0.0625]


def test_each_loss_trains_the_parameters_of_its_optimizer_alone(data: Batches, phase: Make, settings: Make) -> None:
    rates = TWO | {"trunk": partial(SGD, lr=0.5)}

    def objective(module: Any, batch: dict[str, Tensor]) -> Any:
        losses = errors(module, batch)
        return losses | {"trunk": 3 * module.trunk.weight.sum()}, {"zero": 0}

    pair = Pair()
    several = phase(train=("",), objective=objective, optimizer=rates)
    (row,) = fit(pair, [several], data, settings=settings(), validate=partial(evaluate, objective=errors, data=data))

    assert pair.weights == [-0.5, 4.0, 2.0]
    losses = [row[name] for name in ("loss", "loss/actor", "loss/critic", "loss/trunk", "zero")]
    assert losses == [131.0, 64.0, 64.0, 3.0, 0.0]
    assert row["validation/loss"] == row["validation/loss/actor"] + row["validation/loss/critic"]


def test_restricted_gradients_are_those_of_the_plain_loss_of_the_group(data: Batches, settings: Make) -> None:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(1, 3), nn.Tanh())
    network = nn.ModuleDict({"trunk": trunk, "actor": nn.Linear(3, 1), "critic": nn.Linear(3, 1)})
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    batch = data.select(torch.arange(4))

    def losses(module: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        h = module["trunk"](batch["x"])
        actor = module["actor"](h).square().mean()
        return {"actor": actor * module["critic"](h).mean(), "critic": (module["critic"](h) - 1).square().mean()}

    expected = {}
    for name, loss in losses(network, batch).items():
        group = [(path, p) for path, p in network.named_parameters() if (path[:5] == "actor") == (name == "actor")]
        gradients = torch.autograd.grad(loss, [p for _, p in group], retain_graph=True)
        expected |= {path: gradient for (path, _), gradient in zip(group, gradients, strict=True)}

    def trained(accumulate: int) -> None:
        shared = {"actor": partial(SGD, lr=1.0), "critic": partial(SGD, lr=1.0), "trunk": partial(SGD, lr=1.0)}

        def objective(module: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            found = losses(module, batch)
            return found | {"trunk": found["critic"]}

        network.load_state_dict(before)
        several = Phase("all", ("",), objective, 1, shared, accumulate=accumulate)
        fit(network, [several], data, settings=settings(batch_size=4 // accumulate))
        for path, parameter in network.named_parameters():
            torch.testing.assert_close(before[path] - parameter.detach(), expected[path])

    trained(accumulate=1)
    trained(accumulate=4)


def hebb(module: Any, batch: dict[str, Tensor], activity: Any) -> None:
    """Adds the mean product of inputs and targets to the gradient of the actor, and replaces that of the critic."""
    module.actor.weight.grad += (batch["x"] * batch["y"]).mean()
    module.critic.weight.grad = activity


@pytest.mark.parametrize("size", [1, 2, 4])
def test_gradients_of_ones_own_come_beside_those_of_the_loss(
    data: Batches, phase: Make, settings: Make, size: int
) -> None:
    kept = torch.full((1, 1), -2.0)

    def objective(module: Any, batch: dict[str, Tensor]) -> Any:
        return errors(module, batch)["actor"], {}, kept

    pair = Pair()
    names = ("actor", "critic")
    own = phase(train=names, objective=objective, gradients=hebb, accumulate=4 // size, clip=5.0)
    fit(pair, [own], data, settings=settings(batch_size=size))

    # -16 + 8 and -2, of norm sqrt(68), clipped to 5, times 1/4
    scale = 5 / math.sqrt(68) / 4
    assert pair.weights == pytest.approx([1.0, 8 * scale, 2 * scale])
    assert kept.item() == -2.0


def test_every_slice_is_a_step_of_each_optimizer_with_the_rule(both: Make, settings: Make) -> None:
    data = Batches({"x": torch.ones(2, 4, 1), "y": torch.full((4, 1), 8.0)}, batch={"x": 1, "y": 0})

    def objective(module: nn.Module, piece: dict[str, Tensor], state: Any) -> Any:
        return (errors(module, piece), {}, torch.full((1, 1), -2.0)), state

    pair = Pair()
    cut = both(objective=objective, slices=TimeSlices({"x": 1}), gradients=hebb)
    (row,) = fit(pair, [cut], data, settings=settings())

    # the actor has -16 + 8, then -12 + 8, times 1/4; the critic -2 twice, times 1/8
    assert pair.weights == [1.0, 3.0, 0.5]
    assert row["loss/actor"] == (64 + 36) / 2


def test_a_local_rule_needs_no_loss_of_parameters(data: Batches, both: Make, settings: Make) -> None:
    def objective(module: nn.Module, batch: dict[str, Tensor]) -> Any:
        return batch["y"].mean(), {}, torch.full((1, 1), -1.0)

    pair = Pair()
    (row,) = fit(pair, [both(objective=objective, gradients=hebb)], data, settings=settings())
    assert pair.weights == [1.0, -2.0, 0.125]
    assert row["loss"] == 8.0


def test_several_optimizers_losses_and_rules_resume_with_the_same_bits(
    data: Batches, phase: Make, settings: Make, tmp_path: Path
) -> None:
    several = TWO | {"actor": partial(torch.optim.Adam, lr=0.1), "critic": partial(SGD, lr=0.01, momentum=0.9)}
    cycle = partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=20)

    def train(run: Run, kill_at: int = 0) -> tuple[Any, list[float]]:
        pair = Pair()
        calls = []

        def objective(module: nn.Module, batch: Any) -> Any:
            calls.append(1)
            if len(calls) == kill_at:
                os.kill(os.getpid(), signal.SIGINT)
            return errors(module, batch), {}, torch.rand(1, 1)

        two = phase(
            train=("actor", "critic"),
            epochs=4,
            objective=objective,
            optimizer=several,
            scheduler={"critic": cycle},
            scheduler_interval="step",
            accumulate=2,
            gradients=hebb,
        )
        return fit(pair, [two], data, settings=settings(batch_size=1), run=run), pair.weights

    whole = train(Run.create(tmp_path / "whole", "pair", settings()))
    run = Run.create(tmp_path / "stopped", "pair", settings())
    with pytest.raises(KeyboardInterrupt):
        train(run, kill_at=6)

    assert train(run) == whole


def test_a_checkpoint_from_before_several_optimizers_resumes(
    line: nn.Linear, data: Batches, phase: Make, settings: Make, tmp_path: Path
) -> None:
    run = Run.create(tmp_path, "line", settings())
    rows = fit(line, [phase()], data, settings=settings(), run=run)
    saved = load_checkpoint(run.checkpoint)
    assert saved is not None
    del saved["identity"]["optimizers"]
    save_checkpoint(run.checkpoint, saved["position"]["step"], saved)

    assert fit(line, [phase()], data, settings=settings(), run=run) == rows
    with pytest.raises(ConfigError, match=r"of another training: optimizers was None and is .*weight"):
        fit(line, [phase(optimizer={"weight": TWO["actor"]})], data, settings=settings(), run=run)


def losses(*names: str) -> Callable[..., Any]:
    return lambda module, batch: {name: module.actor.weight.sum() for name in names}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"optimizer": {"actor": TWO["actor"]}},
            "'critic.weight' belongs to none of its optimizers, but",
        ),
        ({"optimizer": TWO | {"": TWO["actor"]}}, "'actor.weight' belongs to 'actor' and '' of its optimizers, but"),
        ({"optimizer": TWO | {"trunk": TWO["actor"]}}, "nothing of its optimizer 'trunk': name it in train, too"),
        ({"optimizer": TWO | {"crtic": TWO["actor"]}}, "nothing is called 'crtic' in Pair: did you mean 'critic'"),
        ({"optimizer": {1: TWO["actor"]}}, r"names its optimizers by words, but got \[1\]"),
        ({"objective": lambda module, batch: {1: module.actor.weight.sum()}}, "gave losses called 1, but"),
        ({"optimizer": {}}, "optimizer as a function, .*but got the dict"),
        ({"optimizer": TWO | {"critic": 0.1}}, "optimizer as a function, .*but got 0.1"),
        ({"optimizer": TWO | {"critic": lambda p: p}}, "has one Optimizer, but a list was made"),
        (
            {"scheduler": {"citic": lambda o: o}},
            "names 'citic', which is no optimizer: did you mean 'critic'",
        ),
        ({"scheduler": {"actor": None}}, "scheduler as a function, but got None"),
        ({"optimizer": TWO["actor"], "scheduler": {"actor": lambda o: o}}, "no optimizer: it has only one"),
        (
            {"objective": losses("actor", "critc")},
            "losses called actor, critc, but the optimizers .* actor, critic",
        ),
        ({"objective": losses("actor"), "optimizer": TWO["actor"]}, "are called nothing: there is one"),
        (
            {"objective": losses("actor", "critic")},
            "the loss 'critic' of .* on nothing that its optimizer trains",
        ),
        ({"objective": lambda module, batch: {"actor": 1.0}}, "one for each optimizer by name, .* but gave float"),
        ({"objective": lambda m, b: (errors(m, b), {"loss/actor": 1})}, "a metric called 'loss/actor'"),
        ({"gradients": "hebb"}, "gradients as a function, but got 'hebb'"),
    ],
)
def test_optimizers_and_losses_that_do_not_fit_are_one_line(
    both: Make, data: Batches, settings: Make, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        fit(Pair(), [both(**changes)], data, settings=settings())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "where"),
    [({}, {"strategy": "fsdp"}), ({"gradients": hebb, "optimizer": TWO["actor"]}, {"precision": "16-mixed"})],
)
def test_ways_of_training_without_whole_gradients_are_refused(
    both: Make, data: Batches, changes: Mapping[str, Any], where: Any
) -> None:
    with pytest.raises(ConfigError, match=r"phase 'line' has .* its own, which .*: ('bf16-mixed'|strategy='ddp')"):
        fit(Pair(), [both(**changes)], data, settings=Settings(quiet=True, **where))
