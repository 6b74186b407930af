"""The task loop: what it scores, that it keeps old tasks, exact sub-networks, and that a kill changes nothing."""

import copy
import io
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from research.modulation.consolidation import Metaplasticity, SynapticIntelligence
from spikebridge.data import GroupedPermutations, TaskSamples
from spikebridge.data.images.digits import load_digits
from spikebridge.errors import ConfigError, DataError, ShapeError
from spikebridge.training import (
    EWC,
    Consolidation,
    ContinualMethod,
    ContinualSettings,
    Fisher,
    Run,
    Subnetwork,
    Task,
    fit_tasks,
)
from spikebridge.training.continual.task import ContinualResult, accuracy
from spikebridge.training.continual.xdg import RandomGates
from spikebridge.training.progress import ProgressLines

pytestmark = pytest.mark.untyped

SIZES = (24, 18)
NUM_TASKS = 4
SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
ADAM = partial(torch.optim.Adam, lr=0.01)
QUIET = ContinualSettings(epochs=2, batch_size=50, quiet=True)
LONG = ContinualSettings(epochs=10, batch_size=25, quiet=True)


class Branch(nn.Module):
    """Two hidden layers whose neurons can be gated."""

    def __init__(self, sizes: tuple[int, int] = SIZES, seed: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.fc1 = nn.Linear(64, sizes[0])
            self.fc2 = nn.Linear(*sizes)
            self.fc3 = nn.Linear(sizes[1], 10)

        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, gates: tuple[Tensor, Tensor] | None = None) -> Tensor:
        first, second = (1.0, 1.0) if gates is None else gates
        hidden = torch.relu(self.fc1(self.dropout(x))) * first
        return self.fc3(torch.relu(self.fc2(hidden)) * second)


def extract(network: nn.Module, subnetwork: Subnetwork) -> nn.Module:
    """The open neurons of a branch as a branch of their own."""
    whole = dict(network.named_parameters())
    parts = {name: subnetwork.gather(name, parameter.detach()) for name, parameter in whole.items()}
    small = Branch((len(parts["fc1.bias"]), len(parts["fc2.bias"])))

    with torch.no_grad():
        small.load_state_dict(parts)

    return small


def gated(task: int, execution: str = "full") -> Subnetwork:
    one, two = RandomGates(SIZES, share=0.5, seed=1)(task)
    indices = {"fc1.weight": (one,), "fc1.bias": (one,), "fc2.weight": (two, one), "fc2.bias": (two,)}
    indices["fc3.weight"] = (None, two)
    subnetwork = Subnetwork({"gates": (one.float(), two.float())}, indices)

    return (
        subnetwork
        if execution == "full"
        else Subnetwork(subnetwork.quantities, indices, extract=partial(extract, subnetwork=subnetwork))
    )


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    digits = load_digits()
    train = digits.train.select(torch.arange(230))
    test = digits.test.select(torch.arange(100))
    orders = GroupedPermutations(64, NUM_TASKS, group_size=2, generator=torch.Generator().manual_seed(0))

    return [Task(orders.samples(k, *train), orders.samples(k, *test)) for k in range(NUM_TASKS)]


def learnt(
    tasks: list[Task], consolidation: Consolidation | None = None, **changes: Any
) -> tuple[ContinualResult, Branch]:
    branch = Branch()
    usual: dict[str, Any] = {"optimizer": SGD, "consolidation": consolidation or Consolidation()}
    how = {name: changes.pop(name, QUIET if name == "settings" else None) for name in ("settings", "progress")}
    return fit_tasks(branch, tasks, ContinualMethod(**{**usual, **changes}), **how), branch


def test_the_matrix_has_a_row_for_the_untrained_network_and_one_a_task(tasks: list[Task]) -> None:
    result, branch = learnt(tasks, settings=LONG)
    R = result.accuracies

    assert R.shape == (NUM_TASKS + 1, NUM_TASKS)
    assert R[0].tolist() == [accuracy(Branch(), task.test) for task in tasks]
    assert R[-1].tolist() == [accuracy(branch, task.test) for task in tasks]
    assert bool((R.diagonal(-1) > 0.5).all())
    assert bool((R[0] < 0.3).all())
    assert [row["accuracies"] for row in result.rows] == R[1:].tolist()
    assert [row["task"] for row in result.rows] == [1, 2, 3, 4]
    assert len(result.seconds) == NUM_TASKS


def test_an_accuracy_needs_samples() -> None:
    with pytest.raises(DataError, match="at least one sample, but there is none"):
        accuracy(nn.Identity(), TaskSamples(torch.eye(2)[:0], torch.zeros(0, dtype=torch.int64)))


def test_tests_may_be_left_out_between_chosen_numbers_of_tasks(tasks: list[Task]) -> None:
    whole = learnt(tasks)[0].accuracies
    result, _ = learnt(tasks, settings=replace(QUIET, test_all_after=(2,)))
    R = result.accuracies
    tested = ~R.isnan()
    expected = torch.tensor([[j in (k - 1, k) or k == 2 for j in range(NUM_TASKS)] for k in range(NUM_TASKS + 1)])

    assert torch.equal(tested, expected)
    assert torch.equal(R[tested], whole[tested])


def test_consolidation_keeps_old_tasks(tasks: list[Task]) -> None:
    sequential = learnt(tasks, settings=LONG)[0].accuracies[-1].mean()
    for method in (EWC(100.0), SynapticIntelligence(1.0)):
        assert float(learnt(tasks, method, settings=LONG)[0].accuracies[-1].mean()) > float(sequential) + 0.15


@pytest.mark.parametrize("strength", [1e-2, 1e2, 1e6])
def test_proximal_ewc_is_stable_at_any_strength(tasks: list[Task], strength: float) -> None:
    result, branch = learnt(tasks[:3], EWC(strength), settings=LONG)
    assert all(bool(parameter.isfinite().all()) for parameter in branch.parameters())
    if strength >= 1e2:
        assert float(result.accuracies[1, 0]) > 0.5
        assert float(result.accuracies[-1, 0]) > float(result.accuracies[1, 0]) - 0.1


def test_the_strength_of_synaptic_intelligence_changes_the_result(tasks: list[Task]) -> None:
    ends = [
        torch.cat([p.detach().flatten() for p in learnt(tasks[:2], method)[1].parameters()])
        for method in (None, SynapticIntelligence(0.0), SynapticIntelligence(0.1), SynapticIntelligence(10.0))
    ]

    # no strength is sequential training, any other one is not
    torch.testing.assert_close(ends[1], ends[0])
    assert all(not torch.allclose(a, b, atol=1e-3) for a, b in [(ends[0], ends[2]), (ends[2], ends[3])])


METHODS: dict[str, Callable[[], Consolidation]] = {
    "none": Consolidation,
    "ewc": lambda: EWC(50.0, fisher=Fisher(num_samples=60)),
    "ewc of predicted labels": lambda: EWC(50.0, fisher=Fisher("predicted", num_samples=60)),
    "si": lambda: SynapticIntelligence(1.0),
    "metaplasticity": lambda: Metaplasticity(1.0),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_cut_sub_network_learns_what_the_gated_network_learns(tasks: list[Task], name: str) -> None:
    results = {}
    for execution in ("full", "extracted"):
        method = METHODS[name]()
        subnetworks = partial(gated, execution=execution)
        results[execution] = learnt(tasks[:3], method, subnetworks=subnetworks, optimizer=ADAM), method

    (full, branch), method = results["full"]
    (small, other), other_method = results["extracted"]

    assert full.accuracies.sub(small.accuracies).abs().max() <= 0.02
    for (key, one), two in zip(branch.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=2e-4, msg=key)

    for kind, tensors in method.buffers.items():
        for key, tensor in tensors.items():
            torch.testing.assert_close(tensor, other_method.buffers[kind][key], rtol=2e-2, atol=1e-3)

    torch.testing.assert_close(
        method.penalty(dict(branch.named_parameters())),
        other_method.penalty(dict(branch.named_parameters())),
        rtol=2e-2,
        atol=1e-4,
    )


@pytest.mark.parametrize("execution", ["full", "extracted"])
def test_weights_closed_in_a_task_are_the_same_before_and_after(tasks: list[Task], execution: str) -> None:
    moments: list[dict[str, Tensor]] = [copy.deepcopy(Branch().state_dict())]

    def remember(module: nn.Module, num_learnt: int) -> dict[str, float]:
        moments.append(copy.deepcopy(module.state_dict()))
        return {"norm": 1.0}

    decaying = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)
    subnetworks = partial(gated, execution=execution)
    result, branch = learnt(tasks, EWC(10.0), optimizer=decaying, subnetworks=subnetworks, measure=remember)

    for task in range(NUM_TASKS):
        for name, mask in gated(task).masks(dict(branch.named_parameters())).items():
            before = moments[task][name]
            after = moments[task + 1][name]
            assert after[~mask].equal(before[~mask])
            assert not after[mask].equal(before[mask])

    assert result.rows[0]["measured/norm"] == 1.0


# ---- resuming ----


@dataclass(frozen=True)
class Config:
    seed: int = 0


class KilledError(Exception):
    """Stands for the end of the process."""


def dying(at: int, how: Callable[[], None]) -> Callable[..., Tensor]:
    """A forward in training mode that dies at one of its calls."""
    calls = 0

    def forward(module: nn.Module, x: Tensor, quantities: Any) -> Tensor:
        nonlocal calls
        calls += module.training
        if calls == at and module.training:
            how()

        return module(x, **quantities)

    return forward


def killed() -> None:
    raise KilledError


def numbers(result: ContinualResult, branch: nn.Module, run: Run) -> dict[str, Any]:
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in run.metrics.rows()]
    return {"R": result.accuracies.tolist(), "rows": rows, "weights": [p.tolist() for p in branch.parameters()]}


def attempt(
    tasks: list[Task], path: Path, method: Consolidation, forward: Callable[..., Tensor] | None = None, **changes: Any
) -> dict[str, Any]:
    run = Run.create(path, "tasks", Config(), resume=True)
    branch = Branch(dropout=0.2)
    settings = changes.pop("settings", ContinualSettings(epochs=2, batch_size=100, checkpoint_every=2, quiet=True))

    usual: dict[str, Any] = {
        "optimizer": ADAM,
        "consolidation": method,
        "scheduler": partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5),
        **({} if forward is None else {"forward": forward}),
    }

    result = fit_tasks(branch, tasks, ContinualMethod(**{**usual, **changes}), settings=settings, run=run)
    return numbers(result, branch, run)


@pytest.mark.parametrize(
    ("execution", "name"),
    [
        ("plain", "ewc"),
        ("plain", "metaplasticity"),
        ("full", "ewc of predicted labels"),
        ("extracted", "none"),
        ("extracted", "ewc"),
        ("extracted", "si"),
    ],
)
def test_a_learning_killed_at_any_step_ends_with_the_same_bits(
    tasks: list[Task], tmp_path: Path, name: str, execution: str
) -> None:
    subnetworks = None if execution == "plain" else partial(gated, execution=execution)
    tasks = tasks[:2]
    whole = attempt(tasks, tmp_path / "whole", METHODS[name](), subnetworks=subnetworks)

    # 12 steps, a checkpoint after every second one and after each task: killed in the first task and in the second
    for at in (4, 5):
        with pytest.raises(KilledError):
            attempt(tasks, tmp_path / "killed", METHODS[name](), dying(at, killed), subnetworks=subnetworks)

    assert attempt(tasks, tmp_path / "killed", METHODS[name](), subnetworks=subnetworks) == whole


def test_ctrl_c_writes_a_checkpoint_and_the_learning_goes_on_from_there(
    tasks: list[Task], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = ContinualSettings(epochs=2, batch_size=100, quiet=True)
    whole = attempt(tasks[:2], tmp_path / "whole", EWC(10.0), settings=settings)
    stop = dying(8, lambda: signal.raise_signal(signal.SIGINT))

    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt, match="stopped at step 8; its checkpoint"):
        attempt(tasks[:2], tmp_path / "stopped", EWC(10.0), stop, settings=settings)

    assert "stopping after this step" in caplog.text
    assert [file.name for file in (tmp_path / "stopped/checkpoint").iterdir()][-1].startswith("step-0000000")
    assert attempt(tasks[:2], tmp_path / "stopped", EWC(10.0), settings=settings) == whole


def test_a_checkpoint_of_another_learning_is_refused(tasks: list[Task], tmp_path: Path) -> None:
    attempt(tasks[:2], tmp_path / "run", EWC(10.0))
    with pytest.raises(ConfigError, match="consolidation was 'EWC' and is 'SynapticIntelligence' now"):
        attempt(tasks[:2], tmp_path / "run", SynapticIntelligence(10.0))

    with pytest.raises(ConfigError, match="of another training: epochs was 2 and is 3 now"):
        attempt(tasks[:2], tmp_path / "run", EWC(10.0), settings=ContinualSettings(epochs=3, batch_size=100))


# ---- the rest ----


def test_tasks_need_samples_and_networks_parameters(tasks: list[Task]) -> None:
    digits = load_digits().test
    none = GroupedPermutations(64, 1, generator=torch.Generator()).samples(0, digits.images[:0], digits.labels[:0])
    with pytest.raises(ConfigError, match="task 2 of 2 has no sample to be scored on"):
        learnt([tasks[0], Task(tasks[1].train, none)])

    with pytest.raises(ConfigError, match="this Identity has no parameter to train"):
        fit_tasks(nn.Identity(), tasks, ContinualMethod(optimizer=SGD))


def test_the_result_is_a_function_of_the_arguments_and_leaves_no_trace(tasks: list[Task]) -> None:
    state = torch.get_rng_state()
    one, branch = learnt(tasks[:1])

    assert torch.get_rng_state().equal(state)
    assert branch.training

    torch.rand(3)
    other, again = learnt(tasks[:1])

    assert one.accuracies.equal(other.accuracies)
    assert branch.fc2.weight.equal(again.fc2.weight)
    assert not learnt(tasks[:1], settings=ContinualSettings(seed=1, quiet=True))[1].fc2.weight.equal(again.fc2.weight)


def test_a_task_is_a_line_of_progress(tasks: list[Task]) -> None:
    stream = io.StringIO()
    learnt(tasks[:2], progress=ProgressLines(stream))
    first, second = stream.getvalue().splitlines()

    assert first.startswith("task 1/2  loss ")
    assert "just learnt 0." in second
    assert "learnt so far 0." in second


def test_a_loss_that_is_not_finite_is_named(tasks: list[Task]) -> None:
    with pytest.raises(DataError, match="the loss is nan in task 1, epoch 1, step 1: the training has diverged"):
        learnt(tasks, forward=lambda module, x, quantities: module(x) * float("nan"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ContinualSettings(epochs=0), "epochs should be at least 1, but is 0"),
        (lambda: fit_tasks(Branch(), [], ContinualMethod(optimizer=SGD)), "continual learning needs at least one task"),
        (
            lambda: Subnetwork(indices={"fc9": ()}).masks(dict(Branch().named_parameters())),
            "indices of 'fc9', but no such",
        ),
        (
            lambda: Subnetwork().write_back(nn.ParameterDict({"fc9": torch.ones(1)}), Branch()),
            "the sub-network has 'fc9'",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_places_that_do_not_fit_are_refused() -> None:
    parameters = {"b": torch.zeros(3)}
    with pytest.raises(ShapeError, match="'b' has 3 indices along axis 0, but a mask of 2"):
        Subnetwork(indices={"b": (torch.tensor([True, False]),)}).masks(parameters)

    with pytest.raises(ShapeError, match=r"'b' has shape \(3,\), but indices along 2 axes"):
        Subnetwork(indices={"b": (None, None)}).masks(parameters)

    with pytest.raises(ShapeError, match=r"open part of 'b' has the shape \(2,\), but got \(3,\)"):
        Subnetwork(indices={"b": (torch.tensor([0, 2]),)}).scatter("b", torch.zeros(3), torch.zeros(3))


def test_parts_are_taken_and_put_back_along_every_axis() -> None:
    whole = torch.arange(24.0).reshape(2, 3, 4)
    subnetwork = Subnetwork(indices={"w": (None, torch.tensor([2, 0]), torch.tensor([False, True, True, False]))})
    part = subnetwork.gather("w", whole)

    assert part.equal(whole[:, [2, 0]][:, :, [1, 2]])

    changed = whole.clone()
    subnetwork.scatter("w", changed, -part)
    mask = subnetwork.masks({"w": whole})["w"]

    assert changed.equal(torch.where(mask, -whole, whole))
    assert subnetwork.gather("v", part) is not part
