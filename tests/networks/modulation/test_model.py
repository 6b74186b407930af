"""The branch: opened and closed, cut to its open neurons, and as a graph."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from research.modulation.consolidation import Metaplasticity, SynapticIntelligence
from spikebridge.data import TaskSamples
from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid import KWinners, ThresholdModulation
from spikebridge.networks.modulation import Backbone, Branch, BranchSettings, Gating
from spikebridge.networks.modulation.model.branch import extract_subnetwork, open_indices, per_sample_logits
from spikebridge.networks.modulation.model.network import hybrid_modulation_network
from spikebridge.training import (
    EWC,
    Consolidation,
    ContinualMethod,
    ContinualSettings,
    Fisher,
    Subnetwork,
    Task,
    fit_tasks,
)

KINDS = {
    "default": BranchSettings(num_steps=4),
    "no leak": BranchSettings(num_steps=4, leak=1.0),
    "ann": BranchSettings(neuron="ann"),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def branch(kind: str = "default", seed: int = 0, hidden: tuple[int, int] = (12, 10)) -> Branch:
    network = Branch(6, hidden, num_classes=3, settings=KINDS[kind])
    return network.initialise(torch.Generator().manual_seed(seed), gain=2.0)


def gates(seed: int = 0, hidden: tuple[int, int] = (12, 10)) -> list[Tensor]:
    draw = torch.Generator().manual_seed(100 + seed)
    return [torch.randperm(size, generator=draw) < 5 for size in hidden]


def images(number: int = 20, seed: int = 0) -> Tensor:
    return torch.rand(1, number, 6, generator=torch.Generator().manual_seed(seed))


def open_with(network: Branch, chosen: list[Tensor]) -> dict[str, Any]:
    return network.modulation([gate.float() for gate in chosen])


@every_kind
def test_all_open_equals_the_plain_branch_bit_by_bit(kind: str) -> None:
    network = branch(kind)
    x = images()
    assert torch.equal(network(x, **network.modulation([torch.ones(12), torch.ones(10)])), network(x))


@pytest.mark.parametrize("kind", ["default", "no leak"])
def test_high_thresholds_close_as_gates_do(kind: str) -> None:
    network = branch(kind)
    x = images()
    chosen = gates()
    high = network.modulation([gate.float() for gate in chosen], by=ThresholdModulation(1e6))

    assert torch.equal(network(x, **high), network(x, **open_with(network, chosen)))


@every_kind
def test_the_cut_branch_gives_the_same_outputs_and_gradients(kind: str) -> None:
    whole = branch(kind).double()
    x = images().double()
    chosen = gates()
    modulation = whole.modulation([gate.double() for gate in chosen])
    part = extract_subnetwork(whole, chosen)
    masked = whole(x, **modulation)
    small = part(x)

    assert torch.allclose(masked, small, atol=1e-12)

    labels = torch.arange(20) % 3
    for logits in (masked, small):
        torch.nn.functional.cross_entropy(logits, labels).backward()

    subnetwork = Subnetwork(indices=open_indices(whole, chosen))
    own = dict(whole.named_parameters())
    for name, parameter in part.named_parameters():
        assert own[name].grad is not None
        assert torch.allclose(subnetwork.gather(name, own[name].grad), parameter.grad, atol=1e-12), name


METHODS = {
    "sgd": (partial(torch.optim.SGD, lr=0.2, momentum=0.9, weight_decay=0.01), Consolidation),
    "adamw": (partial(torch.optim.AdamW, lr=0.01), Consolidation),
    "ewc": (
        partial(torch.optim.SGD, lr=0.2, momentum=0.9),
        partial(EWC, 10.0, fisher=Fisher("all", num_samples=10)),
    ),
    "si": (partial(torch.optim.SGD, lr=0.2), partial(SynapticIntelligence, 1.0)),
    "meta": (partial(torch.optim.SGD, lr=0.2), partial(Metaplasticity, 1.0)),
}


@pytest.mark.parametrize("method", METHODS)
def test_cut_and_full_execution_learn_the_same_and_closed_weights_stay(method: str) -> None:
    optimizer, keep = METHODS[method]
    x = images(16)[0].double()
    labels = torch.arange(16) % 3
    tasks = [Task(s, s) for s in (TaskSamples(x, labels), TaskSamples(x.flip(1), labels))]
    chosen = [gates(0), gates(1)]
    ends = []

    for cut in (False, True):
        network = branch().double()
        before = {name: value.detach().clone() for name, value in network.named_parameters()}
        subnetworks = [
            Subnetwork(
                network.modulation([gate.double() for gate in some]),
                open_indices(network, some),
                (lambda whole, some=some: extract_subnetwork(whole, some)) if cut else None,
            )
            for some in chosen
        ]

        fit_tasks(
            network,
            tasks,
            ContinualMethod(
                optimizer=optimizer,
                consolidation=keep(),
                subnetworks=subnetworks.__getitem__,
                forward=lambda module, x, quantities: module(x.unsqueeze(0), **quantities),
            ),
            settings=ContinualSettings(epochs=3, batch_size=8, quiet=True),
        )

        ends.append({name: value.detach().clone() for name, value in network.named_parameters()})
        masks = [subnetwork.masks(dict(network.named_parameters())) for subnetwork in subnetworks]
        for name, value in before.items():
            closed = ~(masks[0][name] | masks[1][name])
            assert torch.equal(ends[-1][name][closed], value[closed]), name
            assert not torch.equal(ends[-1][name], value), name

    for name, value in ends[0].items():
        assert torch.allclose(value, ends[1][name], atol=1e-9), name


def test_samples_with_own_gates_are_answered_as_with_masks() -> None:
    network = branch()
    x = images(8)
    for rows in ([gates(k % 2) for k in range(8)], [gates(k) for k in range(8)]):
        own = [torch.stack(layer) for layer in zip(*rows, strict=True)]
        masked = network(x, **network.modulation([layer.float() for layer in own]))
        assert torch.allclose(per_sample_logits(network, x, own), masked, atol=1e-6)


def test_an_image_is_a_constant_signal() -> None:
    network = branch()
    x = images(4)
    assert torch.allclose(network(x), network(x.expand(4, 4, 6)), atol=1e-6)


def test_initial_weights_are_scaled_by_open_neurons_and_else_the_same() -> None:
    wide = Branch(6, (100, 100))
    narrow = Branch(6, (100, 100))
    wide.initialise(torch.Generator().manual_seed(0))
    narrow.initialise(torch.Generator().manual_seed(0), fan_in=(25.0, 4.0))

    assert torch.equal(wide.inlet.weight, narrow.inlet.weight)
    # sqrt(100 / 25) and sqrt(100 / 4)
    assert torch.allclose(2 * wide.body.fc2.weight, narrow.body.fc2.weight)
    assert torch.allclose(5 * wide.body.fc3.weight, narrow.body.fc3.weight)
    assert float(narrow.body.fc3.weight.detach().abs().max()) <= 0.7 / 2


def test_the_graph_answers_as_branch_and_gating_do() -> None:
    gating = Gating(Backbone(6, (12, 10)).initialise(torch.Generator().manual_seed(5)), [KWinners(0.4), KWinners(0.4)])
    gating.backbone.fit_mean(images(30))
    network = branch()
    x = images(7)
    graph = hybrid_modulation_network(network, gating).eval()
    own = gating.gates(gating.preactivations(x), num_samples=1)
    expected = network(x, **network.modulation([gate.float() for gate in own]))

    assert torch.allclose(graph({"pictures": x}, ticks=4)[0]["answer"][0], expected, atol=1e-6)

    # one after the other, as a stream: each image sets its own gates
    stream = torch.cat([x[:, :3], x[:, 3:6]])
    answers = graph({"pictures": stream}, ticks=8)[0]["answer"]

    assert answers.shape == (2, 3, 3)
    assert torch.allclose(answers[0], expected[:3], atol=1e-6)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Branch(6, (12,)), ConfigError, "2 hidden layers"),
        (lambda: BranchSettings(leak=0.0), ConfigError, "share of a membrane"),
        (lambda: branch()(torch.zeros(1, 2, 5)), ShapeError, r"\(T, B, 6\)"),
        (lambda: extract_subnetwork(branch(), [torch.ones(12).bool()]), ShapeError, "gates of"),
        (
            lambda: extract_subnetwork(branch(), [torch.ones(12).bool(), torch.zeros(10).bool()]),
            ShapeError,
            "whole layer",
        ),
    ],
)
def test_values_out_of_range_are_refused(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
