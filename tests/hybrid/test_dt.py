"""One `dt`: the network's base step is written once; layers and delays get theirs from it."""

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import modules
from modules import parallel
from spikebridge.analysis import count_cost
from spikebridge.deploy import export, quantize, to_nir
from spikebridge.deploy.bundle.rebuild import rebuild
from spikebridge.errors import ConfigError, ExportError
from spikebridge.hybrid import (
    Alpha,
    Exponential,
    Gaussian,
    Hold,
    HybridNetwork,
    HybridUnit,
    Kernel,
    Mean,
    SpikingLayer,
    Transmission,
    Tumbling,
    every,
    ticks,
)
from spikebridge.neurons import (
    IF,
    LIF,
    PLIF,
    Integrator,
    Izhikevich,
    Memoryless,
    Recurrent,
    Sequential,
)

# its membrane reaches this threshold soon
NEURONS = modules.NEURONS | {"Izhikevich": partial(Izhikevich, v_threshold=-60.0)}
KERNELS: dict[str, Callable[..., Kernel]] = {
    "Exponential": lambda **dt: Exponential(0.01, keep=True, **dt),
    "Exponential, learned": lambda **dt: Exponential(0.01, keep=True, learn="tau", **dt),
    "Alpha": lambda **dt: Alpha(0.01, keep=True, **dt),
    "Gaussian": lambda **dt: Gaussian(0.004, 0.002, keep=True, **dt),
    "Gaussian, learned": lambda **dt: Gaussian(0.004, 0.002, keep=True, learn=("delay", "sigma"), **dt),
}


def network(part: nn.Module, unit: HybridUnit | None = None, dt: float = 0.002, **link: Any) -> HybridNetwork:
    return parallel({"p": part}, unit, dt, **link)


def signal(steps: int = 20) -> Tensor:
    return torch.rand(steps, 2, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", NEURONS)
def test_a_neuron_without_dt_gets_the_step_of_its_network(kind: str) -> None:
    bound = NEURONS[kind]()
    given = NEURONS[kind](dt=0.002)
    net = network(bound)

    assert bound.dt == 0.002
    assert "dt=0.002" in repr(bound)
    assert torch.equal(net({"x": signal()})[0]["p"], given(signal())[0])


@pytest.mark.parametrize("kind", KERNELS)
def test_a_kernel_without_dt_gets_the_clock_of_its_source(kind: str) -> None:
    kernel = KERNELS[kind]()
    net = network(nn.Identity(), HybridUnit(None, kernel))
    assert kernel.dt == 0.002
    assert torch.equal(net({"x": signal()})[0]["p"], HybridUnit(None, KERNELS[kind](dt=0.002))(signal())[0])


def test_a_part_is_bound_to_its_own_clock_and_a_unit_to_its_source() -> None:
    slow = LIF()
    spiking = LIF()
    fast = Exponential(0.01, keep=True)

    HybridNetwork(
        dt=0.001,
        inputs={"x": every(0.002)},
        parts={"snn": spiking, "slow": slow},
        links=[
            Transmission("x", "snn", HybridUnit(Hold(2), fast)),
            Transmission("snn", "slow", HybridUnit(Tumbling(6), Mean(), None, SpikingLayer(leaky := LIF()))),
        ],
        outputs=["slow"],
    )

    assert (spiking.dt, fast.dt, slow.dt, leaky.dt) == pytest.approx((0.001, 0.001, 0.006, 0.006))


def test_layers_deep_in_a_part_are_bound() -> None:
    inner = LIF()
    recurrent = Recurrent(LIF(), nn.Linear(3, 3))
    network(Sequential(a=Sequential(fc=nn.Linear(3, 3), lif=inner), b=recurrent))
    assert (inner.dt, recurrent.layer.dt) == (0.002, 0.002)


def test_what_does_not_depend_on_dt_is_not_bound_and_serves_two_clocks() -> None:
    for layer in (IF(), Memoryless()):
        network(layer, dt=0.001)
        network(layer, dt=0.002)
        assert layer.dt is None


def test_a_dt_that_disagrees_is_refused_with_both() -> None:
    with pytest.raises(ConfigError, match=r"'p' runs every 0\.002 s, but its LIF at 'lif' has dt=0\.001 s; set"):
        network(Sequential(lif=LIF(dt=0.001)))

    with pytest.raises(ConfigError, match=r"the unit x_to_p.* runs every 0\.002 s, but its Alpha has dt=0\.001 s"):
        network(nn.Identity(), HybridUnit(None, Alpha(0.01, dt=0.001, keep=True)))

    with pytest.raises(ConfigError, match=r"'1' runs every 0\.002 s, but its LIF has dt=0\.001 s"):
        Sequential(nn.Linear(1, 1), LIF(dt=0.001), dt=0.002)


def test_a_layer_at_two_clocks_is_refused() -> None:
    layer = LIF()
    parts = {"a": layer, "b": layer}

    with pytest.raises(ConfigError, match=r"'b' runs every 0\.002 s, but its LIF has dt=0\.001 s.*two copies"):
        HybridNetwork(
            dt=0.001,
            inputs={"x": every(0.001), "y": every(0.002)},
            parts=parts,
            links=[Transmission("x", "a"), Transmission("y", "b")],
            outputs=["a"],
        )

    assert layer.dt is None  # a network that cannot be built binds nothing


def test_a_network_of_another_step_needs_a_copy_of_a_bound_part() -> None:
    layer = LIF()
    spare = copy.deepcopy(layer)
    network(layer, dt=0.001)

    with pytest.raises(ConfigError, match=r"runs every 0\.002 s, but its LIF has dt=0\.001 s"):
        network(layer, dt=0.002)

    network(spare, dt=0.002)

    assert (layer.dt, spare.dt) == (0.001, 0.002)


@pytest.mark.parametrize("kind", NEURONS)
def test_a_sequential_binds_its_step(kind: str) -> None:
    y, _ = Sequential(fc=nn.Identity(), neuron=NEURONS[kind](), dt=0.002)(signal())
    assert torch.equal(y, NEURONS[kind](dt=0.002)(signal())[0])


@pytest.mark.parametrize("dt", [0.0, -1.0, math.nan, math.inf, True, "1 ms", nn.Linear(1, 1)])
def test_a_step_is_seconds_above_zero(dt: Any) -> None:
    for kind in (LIF, Sequential, Integrator):
        with pytest.raises(ConfigError, match=f"{kind.__name__} needs dt > 0 s, the step of its clock, but got"):
            kind(dt=dt)


@pytest.mark.parametrize("kind", NEURONS)
def test_a_neuron_alone_without_dt_says_what_to_do_at_its_first_call(kind: str) -> None:
    layer = NEURONS[kind]()
    for call in (lambda: layer(signal()), lambda: layer(signal(0)), lambda: Sequential(layer)(signal())):
        with pytest.raises(ConfigError, match=rf"depends on dt, .*has none; give it, {type(layer).__name__}\(\.\.\., "):
            call()


@pytest.mark.parametrize("kind", KERNELS)
def test_a_kernel_alone_without_dt_says_what_to_do_at_its_first_call(kind: str) -> None:
    with pytest.raises(ConfigError, match=r"depends on dt, .*or put the layer into a Sequential"):
        HybridUnit(None, KERNELS[kind]())(signal())


def test_without_a_leak_a_neuron_alone_needs_no_dt() -> None:
    assert Integrator(tau=math.inf)(torch.ones(3, 1, 1))[0].flatten().tolist() == [1, 2, 3]


def test_copies_and_weights_follow() -> None:
    net = network(Sequential(fc=nn.Linear(3, 3), lif=PLIF()))
    twin = copy.deepcopy(net)

    assert twin.parts["p"].lif.dt == 0.002

    other = network(Sequential(fc=nn.Linear(3, 3), lif=PLIF(dt=0.002)))
    other.load_state_dict(net.state_dict())
    expected = net({"x": signal()})[0]["p"]

    assert torch.equal(twin({"x": signal()})[0]["p"], expected)
    assert torch.equal(other({"x": signal()})[0]["p"], expected)


def test_exports_take_the_bound_step(tmp_path: Any) -> None:
    def build(**dt: float) -> HybridNetwork:
        torch.manual_seed(0)
        part = Sequential(fc=nn.Linear(3, 3), lif=LIF(**dt))
        return network(part, HybridUnit(None, Exponential(0.01, keep=True, **dt)), delay=0.004).eval()

    inputs = {"x": signal()}
    bundle = export(build(), inputs, tmp_path / "bound")
    twin = export(build(dt=0.002), inputs, tmp_path / "given")

    assert bundle.manifest.links[0].delay == 2  # ticks
    assert torch.equal(rebuild(bundle)(inputs)[0]["p"], rebuild(twin)(inputs)[0]["p"])
    assert rebuild(bundle).routes[0].link.delay == ticks(2)


def test_nir_takes_the_step_given_and_leaves_the_part_as_it_is() -> None:
    part = Sequential(fc=nn.Linear(3, 3), lif=LIF())
    with pytest.raises(ExportError, match="give dt="):
        to_nir(part, signal())

    written = to_nir(part, signal(), dt=0.002)
    assert written.graph.metadata["dt"] == 0.002
    assert part.lif.dt is None  # type: ignore[union-attr]

    with pytest.raises(ConfigError, match=r"runs every 0\.002 s, but its LIF at 'lif' has dt=0\.001"):
        to_nir(Sequential(lif=LIF(dt=0.001)), signal(), dt=0.002)


def test_a_unit_alone_that_depends_on_an_unknown_step_is_not_exported(tmp_path: Any) -> None:
    unit = HybridUnit(Tumbling(2), Exponential(0.01))
    with pytest.raises(ExportError, match="'kernel' of the unit depends on dt"):
        export(unit, {"x": signal()}, tmp_path / "unit")

    with pytest.raises(ConfigError, match="'lif' depends on dt, the step of its clock, and has none; give dt="):
        quantize(Sequential(fc=nn.Linear(3, 3), lif=LIF()).eval(), {"signal": signal()})


def test_a_quantised_part_takes_the_step_given_and_leaves_the_part_as_it_is() -> None:
    part = Sequential(fc=nn.Linear(3, 3), lif=LIF()).eval()
    assert quantize(part, {"signal": signal()}, dt=0.002).dt == 0.002
    assert part.lif.dt is None  # type: ignore[union-attr]


def test_counting_takes_the_step_given_for_now() -> None:
    part = Sequential(fc=nn.Linear(3, 3), lif=LIF())
    cost = count_cost(part, signal(20), dt=0.002)

    assert cost.seconds == pytest.approx(0.04)
    assert part.lif.dt is None  # type: ignore[union-attr]
    assert count_cost(Sequential(fc=nn.Linear(3, 3), lif=LIF(), dt=0.002), signal(20)).seconds == pytest.approx(0.04)


@pytest.mark.parametrize("delay", [0.004, ticks(2)])
def test_a_delay_in_seconds_is_the_delay_in_ticks(delay: Any) -> None:
    # two ticks of 2 ms: two initial values, then the signal
    net = network(nn.Identity(), delay=delay, initial=7.0)
    y = net({"x": torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1)})[0]["p"]

    assert y.flatten().tolist() == [7, 7, 1]
    assert net.routes[0].delay == 2


def test_a_delay_that_the_base_step_does_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the delay of the link 'x' -> 'p' is 0\.003 s, which is 1\.5 base steps of"):
        network(nn.Identity(), delay=0.003)
