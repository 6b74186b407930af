"""Shapes are inferred by sending empty signals through the graph once; a user may also give them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid import (
    Bernoulli,
    HybridNetwork,
    HybridUnit,
    Mean,
    NetworkState,
    Since,
    Sum,
    Transmission,
    Tumbling,
    every,
    ticks,
)
from spikebridge.neurons import LIF, Integrator, Sequential
from spikebridge.neurons.state import tensors_of


class Join(nn.Module):
    """Two signals side by side, then a layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, back: Tensor) -> Tensor:
        return self.layer(torch.cat([x, back], dim=1))


class Plus(nn.Module):
    """A layer of one signal, and another added to it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, back: Tensor) -> Tensor:
        return self.layer(x) + back


def network(parts: dict[str, nn.Module], *links: Transmission, **inputs: float) -> HybridNetwork:
    clocks = {name: every(period) for name, period in (inputs or {"x": 1.0}).items()}
    return HybridNetwork(dt=1.0, inputs=clocks, parts=parts, links=links, outputs=list(parts))


def assert_streams(net: HybridNetwork, inputs: dict[str, Tensor], ticks: int) -> dict[str, Tensor]:
    """Whole and step are near; returns the whole."""
    net.eval()
    whole, _ = net(inputs, ticks=ticks)
    state = net.initial_state({name: x[:0] for name, x in inputs.items()})
    steps: dict[str, list[Tensor]] = {}

    for tick in range(ticks):
        now = {n: inputs[n][c.count(tick)] for n, c in net.inputs.items() if c.between(tick, tick + 1)}
        outputs, state = net.step(now, state)
        for name, y in outputs.items():
            steps.setdefault(name, []).append(y.unsqueeze(0) if len(y) else y)

    torch.testing.assert_close({name: torch.cat(values) for name, values in steps.items()}, whole, rtol=1e-4, atol=1e-5)
    return whole


def test_convolutions_and_pools_and_norms_need_no_shape() -> None:
    torch.manual_seed(0)
    eye = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.Flatten(), nn.LazyLinear(10))
    ear = Sequential(conv=nn.Conv1d(2, 3, 3), lif=LIF(4.0, dt=1.0), flat=nn.Flatten(), out=nn.Linear(18, 5))
    links = [Transmission("frames", "eye"), Transmission("events", "ear")]
    net = network({"eye": eye, "ear": ear}, *links, frames=4.0, events=1.0)
    outputs = assert_streams(net, {"frames": torch.rand(3, 2, 1, 12, 12), "events": torch.rand(9, 2, 2, 8)}, 9)

    assert outputs["eye"].shape == (3, 2, 10)
    assert outputs["ear"].shape == (9, 2, 5)


def test_what_comes_back_beside_a_signal_is_found_from_the_layer_that_takes_both() -> None:
    parts = {"a": Join(nn.Linear(2 + 3, 4)), "b": Sequential(fc=nn.Linear(4, 3), lif=LIF(3.0, dt=1.0))}
    net = network(parts, Transmission("x", "a"), Transmission("b", "a", delay=ticks(2)), Transmission("a", "b"))
    outputs = assert_streams(net, {"x": torch.rand(7, 2, 2)}, 7)
    assert outputs["b"].shape == (7, 2, 3)


def test_channels_that_come_back_are_found_too() -> None:
    layer = nn.Conv2d(1 + 2, 2, 3, padding=1)
    net = network({"a": Join(layer)}, Transmission("x", "a"), Transmission("a", "a", delay=ticks(1)))
    outputs = assert_streams(net, {"x": torch.rand(4, 2, 1, 5, 6)}, 4)
    assert outputs["a"].shape == (4, 2, 2, 5, 6)


def test_what_is_added_comes_back_as_what_it_is_added_to() -> None:
    # no layer tells 2 x 3: it shows when any shape that can be added has gone round once
    layer = nn.Sequential(nn.Linear(4, 6), nn.Unflatten(1, (2, 3)))
    net = network({"a": Plus(layer)}, Transmission("x", "a"), Transmission("a", "a", delay=ticks(1)))
    assert assert_streams(net, {"x": torch.rand(4, 1, 4)}, 4)["a"].shape == (4, 1, 2, 3)


def test_three_parts_that_all_hear_each_other() -> None:
    parts: dict[str, nn.Module] = {}
    widths = {"a": 2, "b": 3, "c": 4}
    for name, width in widths.items():
        parts[name] = ThreeEars(1, [widths[other] for other in widths if other != name], width)

    links = [Transmission("x", name) for name in widths]
    links += [Transmission(s, t, delay=ticks(1), into=f"from_{s}") for t in widths for s in widths if s != t]
    outputs = assert_streams(network(parts, *links), {"x": torch.rand(5, 2, 1)}, 5)

    assert {name: y.shape[2] for name, y in outputs.items()} == widths


class ThreeEars(nn.Module):
    """A part that hears an input and two others."""

    def __init__(self, own: int, others: list[int], width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(n, width) for n in (own, *others))

    def forward(
        self, x: Tensor, from_a: Tensor | None = None, from_b: Tensor | None = None, from_c: Tensor | None = None
    ) -> Tensor:
        heard = [y for y in (from_a, from_b, from_c) if y is not None]
        return sum(layer(y) for layer, y in zip(self.layers, (x, *heard), strict=True)).tanh()


def test_a_unit_in_a_loop_gives_its_shape() -> None:
    back = HybridUnit(Tumbling(3), Mean(), nn.Linear(5, 7))
    net = network(
        {"slow": Join(nn.Linear(2 + 7, 3)), "fast": Plus(nn.Linear(4, 5))},
        Transmission("frames", "slow"),
        Transmission("fast", "slow", back, held=True, delay=ticks(1)),
        Transmission("events", "fast"),
        Transmission("slow", "fast", HybridUnit(None, None, nn.Linear(3, 5)), held=True),
        frames=3.0,
        events=1.0,
    )

    outputs = assert_streams(net, {"frames": torch.rand(3, 2, 2), "events": torch.rand(9, 2, 4)}, 9)
    assert outputs["slow"].shape == (3, 2, 3)


class Bare(nn.Module):
    """Takes three numbers beside a signal and gives three, which no layer tells."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(2 + 3, 3))

    def forward(self, x: Tensor, back: Tensor) -> Tensor:
        return (torch.cat([x, back], dim=1) @ self.weight).tanh()


def unguessable(**link: Any) -> HybridNetwork:
    """A loop of such a part."""
    return network({"a": Bare()}, Transmission("x", "a"), Transmission("a", "a", delay=ticks(1), **link))


def test_a_shape_that_cannot_be_found_may_be_given() -> None:
    x = torch.rand(4, 2, 2)
    with pytest.raises(
        ConfigError, match=r"through the link 'a' -> 'a' could not be found \(last tried: .*initial=torch"
    ):
        unguessable()({"x": x})

    given = unguessable(initial=torch.ones(3))
    assert assert_streams(given, {"x": x}, 4)["a"].shape == (4, 2, 3)
    with pytest.raises(ShapeError, match=r"initial values of shapes \{'a_to_a': \(9,\)\}: .*cannot be multiplied"):
        unguessable(initial=torch.zeros(9))({"x": x})

    wide = Transmission("a", "a", delay=ticks(1), initial=torch.zeros(1))
    with pytest.raises(ShapeError, match=r"has an initial value of shape \(1,\), but carries values of shape \(3,\)"):
        network({"a": Plus(nn.Linear(2, 3))}, Transmission("x", "a"), wide)({"x": x})


def test_initial_values_are_numbers_or_tensors_of_the_shape() -> None:
    x = torch.zeros(3, 2, 2)
    for initial, expected in ((0.5, [0.5, 0.5]), (torch.tensor([1.0, 2.0]), [1.0, 2.0]), (torch.tensor(3.0), [3, 3])):
        net = network({"a": nn.Identity()}, Transmission("x", "a", delay=ticks(2), initial=initial))
        assert net({"x": x})[0]["a"][:, 1].tolist() == [expected, expected, [0, 0]]

    net = network({"a": nn.Identity()}, Transmission("x", "a", delay=ticks(2), initial=torch.zeros(5)))
    with pytest.raises(ShapeError, match=r"initial value of shape \(5,\), but carries values of shape \(2,\)"):
        net({"x": x})


def test_a_learned_initial_value_gets_gradients() -> None:
    start = nn.Parameter(torch.tensor([1.0, 2.0]))
    net = network({"a": nn.Identity()}, Transmission("x", "a", delay=ticks(2), initial=start))
    net({"x": torch.zeros(3, 2, 2)})[0]["a"].sum().backward()
    assert start.grad.tolist() == [4, 4]


def noisy_loop() -> HybridNetwork:
    back = HybridUnit(None, None, nn.Linear(3, 3), Bernoulli())
    parts = {"a": Join(nn.Sequential(nn.Linear(2 + 3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)))}
    return network(parts, Transmission("x", "a"), Transmission("a", "a", back, delay=ticks(1)))


def test_looking_for_shapes_leaves_no_trace() -> None:
    torch.manual_seed(0)
    net = noisy_loop().train()
    x = torch.rand(4, 5, 2)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.initial_state({"x": x})

    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(module.training for module in net.modules())

    after = []
    for fresh in (noisy_loop(), net, net):
        fresh.train().load_state_dict(before)
        torch.manual_seed(1)
        y, _ = fresh({"x": x})
        after.append((y["a"].detach(), torch.rand(())))

    # the first network looked for shapes, the others knew them
    for y, drawn in after[1:]:
        assert torch.equal(y, after[0][0])
        assert torch.equal(drawn, after[0][1])


def test_an_initial_state_is_whole_and_gives_what_none_gives() -> None:
    ear = Sequential(lif=LIF(3.0, dt=1.0, v_leak=0.2, learn="v_leak"), out=Integrator(2.0, dt=1.0))
    unit = HybridUnit(Since("frames"), Sum(), nn.Identity(), Bernoulli())
    net = network(
        {"ear": ear, "eye": Plus(nn.Identity())},
        Transmission("events", "ear", unit),
        Transmission("frames", "eye"),
        Transmission("ear", "eye", HybridUnit(Tumbling(2), Mean()), held=True, delay=ticks(3)),
        frames=3.0,
        events=1.0,
    )

    net.eval()
    inputs = {"frames": torch.rand(3, 2, 2), "events": torch.rand(9, 2, 2)}
    state = net.initial_state(inputs)

    assert isinstance(state, NetworkState)
    assert [layer.v.shape for layer in state.parts["ear"].layers] == [(2, 2), (2, 2)]
    assert state.links["events_to_ear"].unit.kernel is not None
    assert all(tensor.shape[0] == 2 for tensor in tensors_of(state))

    whole, _ = net(inputs)
    again, _ = net(inputs, state)
    torch.testing.assert_close(again, whole, rtol=0, atol=0)
    again["ear"].sum().backward()

    assert ear.lif.v_leak.grad.abs().sum() > 0


def test_a_network_that_has_grown_says_that_it_must_begin_anew() -> None:
    head = nn.Sequential(nn.Linear(2, 3))
    net = network({"a": head, "b": nn.Identity()}, Transmission("x", "a"), Transmission("a", "b", delay=ticks(1)))
    x = torch.rand(3, 1, 2)
    net({"x": x})
    head[0] = nn.Linear(2, 4)

    with pytest.raises(ShapeError, match=r"carried \(1, 3\), but now \(1, 4\); begin again with network.initial_state"):
        net({"x": x})

    net.initial_state({"x": x})
    assert net({"x": x})[0]["b"].shape == (3, 1, 4)
