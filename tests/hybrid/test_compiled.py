"""Compiled ticks: equal to the network; to the bit in whole, steps and cuts; refused where a graph would be wrong."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, DataError, ShapeError, StateError
from spikebridge.hybrid import (
    Bernoulli,
    HybridNetwork,
    HybridUnit,
    Mean,
    Modulation,
    Transmission,
    Tumbling,
    every,
    ticks,
)
from spikebridge.hybrid.network import compiled
from spikebridge.neurons import LIF, Sequential
from spikebridge.ops import reference
from spikebridge.ops.checks import checks

pytestmark = pytest.mark.untyped

TICKS = 8
BATCH = 3


def loop(unit: HybridUnit | None = None, ann: nn.Module | None = None) -> HybridNetwork:
    """Neurons whose thresholds an ANN sets in the next tick, windows of two ticks, and a slow input."""
    torch.manual_seed(0)
    return HybridNetwork(
        dt=0.001,
        inputs={"x": every(0.001), "slow": every(0.002, phase=0.001)},
        parts={
            "snn": Sequential(fc=nn.Linear(4, 5), lif=LIF(0.01, v_threshold=0.4)),
            "ann": ann or nn.Linear(5, 5),
            "rate": nn.Identity(),
            "both": nn.Bilinear(5, 2, 2),
        },
        links=[
            Transmission("x", "snn"),
            Transmission("snn", "ann", unit),
            Transmission("snn", "rate", HybridUnit(Tumbling(2), Mean())),
            Transmission("ann", "both", held=True),
            Transmission("slow", "both"),
            Modulation("ann", "snn.lif.v_threshold", HybridUnit(None, None, nn.Softplus()), delay=ticks(1)),
        ],
        outputs=["snn", "ann", "rate", "both"],
    ).eval()


def inputs(number: int = TICKS) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "x": torch.rand(number, BATCH, 4, generator=generator) * 2,
        "slow": torch.rand(number // 2, BATCH, 2, generator=generator),
    }


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """The graph as PyTorch traces it, forwards and backwards, but run operation by operation."""
    from functorch.compile import aot_function, nop

    return aot_function(function, fw_compiler=nop, bw_compiler=nop)  # type: ignore[no-any-return]


@pytest.fixture
def traced_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the generation of code."""
    monkeypatch.setattr(compiled, "_compile", traced)


@pytest.fixture
def untraced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the trace as well: what is left are the functions that are traced."""
    monkeypatch.setattr(compiled, "_compile", lambda function: function)


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, y in one.items():
        torch.testing.assert_close(y, other[name], rtol=1e-6, atol=1e-6, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize(("block", "how"), [(1, "untraced"), (3, "untraced"), (50, "untraced"), (4, "traced_only")])
def test_outputs_states_and_gradients_are_those_of_the_network(
    block: int, how: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(how)
    found = []

    for run in (lambda network: network.compiled(block), lambda network: network):
        network = loop()
        given = {name: x.requires_grad_() for name, x in inputs().items()}
        outputs, state = run(network)(given)
        more, state = network(inputs(), state)  # a state serves both
        sum(y.square().sum() for y in [*outputs.values(), *more.values()]).backward()
        grads = {f"grad of {name}": x.grad for name, x in {**given, **dict(network.named_parameters())}.items()}
        found.append({**outputs, **{f"{name} after": y for name, y in more.items()}, **grads})

    assert all(found[1][f"grad of {name}"].abs().sum() > 0 for name in ("x", "slow", "parts.ann.weight"))

    assert_equal(*found)


@pytest.mark.usefixtures("untraced")
def test_whole_and_steps_and_cuts_are_equal_to_the_bit() -> None:
    network = loop().compiled()
    given = inputs()

    with torch.no_grad():
        whole, _ = network(given)
        state = None
        steps = {name: [] for name in whole}

        for tick in range(TICKS):
            now = (
                {"x": given["x"][tick]}
                | ({"slow": given["slow"][:0]} if tick == 0 else {})
                | ({"slow": given["slow"][tick // 2]} if tick % 2 else {})
            )

            outputs, state = network.step(now, state)
            for name, y in outputs.items():
                steps[name].append(y.unsqueeze(0) if len(y) else y)

        first, state = network({"x": given["x"][:5], "slow": given["slow"][:2]}, ticks=5)
        second, _ = network({"x": given["x"][5:], "slow": given["slow"][2:]}, state)

    for name, y in whole.items():
        assert torch.equal(torch.cat(steps[name]), y), name
        assert torch.equal(torch.cat([first[name], second[name]]), y), name


@pytest.mark.usefixtures("untraced")
def test_a_graph_serves_trained_parameters_and_not_other_numbers() -> None:
    network = loop()
    given = inputs()
    fast = network.compiled(block=3)

    with torch.no_grad():
        fast(given)
        number = len(fast._graphs)
        network.parts["ann"].weight.mul_(1.5)
        assert_equal(fast(given)[0], network(given)[0])

        assert len(fast._graphs) == number

        network.parts["snn"].lif.tau = 0.002
        assert_equal(fast(given)[0], network(given)[0])

        assert len(fast._graphs) > number

    assert_equal(fast(given)[0], network(given)[0])  # with gradients
    half = {name: x[:, :2] for name, x in given.items()}
    assert_equal(fast(half)[0], network(half)[0])  # of another batch
    double = {name: x.double() for name, x in given.items()}
    assert_equal(deepcopy(network).double().compiled()(double)[0], deepcopy(network).double()(double)[0])


@pytest.mark.usefixtures("untraced")
def test_a_compiled_network_checks_what_the_network_checks() -> None:
    network = loop()
    given = inputs()
    fast = network.compiled(block=2)
    _, state = fast(given)

    with pytest.raises(ShapeError, match="'x'"):
        fast({"x": given["x"][:, :2], "slow": given["slow"]}, state)

    with pytest.raises(ShapeError, match="samples"):
        fast({"x": given["x"], "slow": given["slow"][:2]}, state, ticks=TICKS)

    with pytest.raises(DataError, match="'slow'"):
        fast({"x": given["x"], "slow": given["slow"] / 0})

    with pytest.raises(StateError):
        fast(given, (state, state))

    with pytest.raises(ConfigError, match="block"):
        network.compiled(block=0)


@pytest.mark.parametrize("mode", [reference, partial(checks, "always")])
def test_inside_reference_and_checks_the_network_itself_runs(mode: Any) -> None:
    network = loop()
    fast = network.compiled()
    with mode():
        assert_equal(fast(inputs())[0], network(inputs())[0])

    assert not fast._graphs


def hooked() -> HybridNetwork:
    network = loop()
    network.parts["ann"].register_forward_hook(lambda *_: None)
    return network


class Reading(nn.Module):
    """A module that decides by a number, which a graph cannot."""

    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.detach().sum()) > 0 else -x


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: loop(HybridUnit(None, None, nn.Sigmoid(), Bernoulli())), "'snn_to_ann' draws random numbers"),
        (lambda: loop(ann=nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5))).train(), "BatchNorm1d at .* use eval"),
        (hooked, "Linear at 'parts.ann' has a hook"),
        (lambda: loop(ann=Reading()), "cannot be compiled"),
        (lambda: loop().bfloat16(), "bfloat16"),
    ],
)
@pytest.mark.usefixtures("traced_only")
def test_what_a_graph_would_get_wrong_is_refused(build: Callable[[], HybridNetwork], message: str) -> None:
    network = build()
    given = {name: x.to(next(network.parameters()).dtype) for name, x in inputs().items()}
    with pytest.raises(ConfigError, match=message):
        network.compiled()(given)


def test_generated_code_equals_the_network() -> None:
    torch.manual_seed(0)
    network = HybridNetwork(
        dt=0.001,
        inputs={"x": every(0.001)},
        parts={"snn": LIF(0.01, v_threshold=0.4), "ann": nn.Linear(4, 4)},
        links=[
            Transmission("x", "snn"),
            Transmission("snn", "ann"),
            Modulation("ann", "snn.v_threshold", by="add", delay=ticks(1)),
        ],
        outputs=["snn", "ann"],
    )

    x = inputs(3)["x"]
    with torch.no_grad():
        outputs, _ = network.compiled(block=2)({"x": x})
        assert_equal(outputs, network({"x": x})[0])
