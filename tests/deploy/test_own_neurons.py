"""Neurons, kernels and discretizers of a user, in fake integers, integers and C, by one array form each."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from compiled_c import COMPILER, same
from torch import Tensor, nn

from spikebridge.deploy import IntegerModel, QConfig, QConfigMapping, integer_model, quantize
from spikebridge.deploy.bundle.stages import array_forms
from spikebridge.deploy.c.export import write_c
from spikebridge.deploy.stages.discretizers import DiscretizerForm
from spikebridge.deploy.stages.kernels import KernelForm
from spikebridge.deploy.stages.neurons import NeuronForm
from spikebridge.errors import ConfigError, DataError, ExportError
from spikebridge.hybrid import (
    Discretizer,
    HybridNetwork,
    HybridUnit,
    Kernel,
    Modulation,
    SpikingLayer,
    Transmission,
    Tumbling,
    every,
)
from spikebridge.neurons import LIF, Recurrent, Sequential
from spikebridge.neurons.neuron import Neuron
from spikebridge.neurons.quantity import Quantity
from spikebridge.neurons.surrogate import ARCTAN

pytestmark = pytest.mark.untyped
DT = 0.001


class V(NamedTuple):
    v: Tensor


def zeros(a: Any, x: Any) -> tuple[Any]:
    return (a.xp.zeros_like(x),)


def leaky_step(x_t: Tensor, state: V, *, decay: Any, r: Any, v_threshold: Any) -> tuple[Tensor, V]:
    v = state.v * decay + r * x_t
    spikes = ARCTAN(v - v_threshold)
    return spikes, V(v * (1 - spikes))


def leaky_arrays(a: Any, x: Any, state: Any) -> Any:
    v = a.bound(a.leak(state[0], a["decay"]) + a.charge(x))
    spikes = a.fire(v, a["v_threshold"])
    return spikes, (a.reset(v, spikes, 0),)


class Leaky(Neuron):
    """The neuron `LIF`, once more."""

    tau = Quantity(positive=True)
    r = Quantity()
    v_threshold = Quantity()
    step_function = staticmethod(leaky_step)
    array_form = NeuronForm(zeros, leaky_arrays)

    def __init__(self, tau: Any = 0.01, *, r: Any = 1.0, v_threshold: Any = 0.4, dt: float | None = None) -> None:
        super().__init__(dt, (), tau=tau, r=r, v_threshold=v_threshold)

    def initial_state(self, x_t: Tensor) -> V:
        return V(torch.zeros_like(x_t))


def quadratic_step(x_t: Tensor, state: V, *, decay: Any, v_critical: Any, v_threshold: Any) -> tuple[Tensor, V]:
    v = state.v + (1 - decay) * state.v * (state.v - v_critical) + x_t
    spikes = ARCTAN(v - v_threshold)
    return spikes, V(v * (1 - spikes))


def quadratic_arrays(a: Any, x: Any, state: Any) -> Any:
    (v,) = state
    drift = a.product(v, v - a["v_critical"])
    v = a.bound(v + drift - a.leak(drift, a["decay"]) + x)
    spikes = a.fire(v, a["v_threshold"])
    return spikes, (a.reset(v, spikes, 0),)


class Quadratic(Neuron):
    """A neuron with a product of two states."""

    tau = Quantity(positive=True)
    v_critical = Quantity()
    v_threshold = Quantity()
    step_function = staticmethod(quadratic_step)
    array_form = NeuronForm(zeros, quadratic_arrays)

    def __init__(self, tau: Any = 0.01, *, v_threshold: Any = 0.8, dt: float | None = None) -> None:
        super().__init__(dt, (), tau=tau, v_critical=0.5, v_threshold=v_threshold)

    def initial_state(self, x_t: Tensor) -> V:
        return V(torch.zeros_like(x_t))


def graded_step(x_t: Tensor, state: V, *, decay: Any, v_floor: Any) -> tuple[Tensor, V]:
    v = torch.maximum(state.v * decay + x_t, torch.as_tensor(v_floor))
    return v, V(v)


def graded_arrays(a: Any, x: Any, state: Any) -> Any:
    v = a.bound(a.xp.maximum(a.leak(state[0], a["decay"]) + x, a["v_floor"]))
    return v, (v,)


class Graded(Neuron):
    """Membranes above a floor, without spikes."""

    tau = Quantity(positive=True)
    v_floor = Quantity()
    step_function = staticmethod(graded_step)
    array_form = NeuronForm(zeros, graded_arrays, spikes=False)

    def __init__(self, tau: Any = 0.01, *, v_floor: Any = -0.2, dt: float | None = None) -> None:
        super().__init__(dt, (), tau=tau, v_floor=v_floor)

    def initial_state(self, x_t: Tensor) -> V:
        return V(torch.zeros_like(x_t))


def network_of(neuron: Neuron, is_modulated: bool = False) -> HybridNetwork:
    torch.manual_seed(0)
    modulation = Modulation("slow", "snn.own.v_threshold", HybridUnit(None, None, nn.Sigmoid()), by="multiply")
    plain = Transmission("slow", "sink")

    return HybridNetwork(
        dt=DT,
        inputs={"x": every(DT), "slow": every(4 * DT)},
        parts={"snn": Sequential(fc=nn.Linear(3, 4), own=neuron), "sink": nn.Linear(1, 1)},
        links=[Transmission("x", "snn"), plain, *([modulation] if is_modulated else [])],
        outputs=["snn", "sink"],
    ).eval()


def inputs_of(network: HybridNetwork, seed: int) -> dict[str, Tensor]:
    make = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(32, 2, 3, generator=make)
    return {"x": x, "slow": torch.randn(8, 2, 1, generator=make)}


def assert_same_bits(quantized: HybridNetwork, folder: Path) -> IntegerModel:
    """The integer model, and its C, give the bits of the quantised network on inputs that it was not calibrated on."""
    model = integer_model(quantized, inputs_of(quantized, 0))
    inputs = inputs_of(quantized, 1)
    entered = model.quantize({name: x.numpy() for name, x in inputs.items()})
    outputs = model.dequantize(model.run(entered))

    for name, y in quantized(inputs)[0].items():
        assert y.any()
        np.testing.assert_array_equal(outputs[name], y.detach().numpy())

    if COMPILER is not None:
        assert same(write_c(model, entered, 32, folder, "own")) > 0

    return model


@pytest.mark.parametrize(
    ("neuron", "is_modulated"),
    [
        (Leaky(torch.tensor([0.002, 0.005, 0.01, 0.02]), r=torch.tensor([0.5, 1.0, 2.0, 1.0])), True),
        (Quadratic(), True),
        (Graded(), False),
    ],
    ids=["leaky", "quadratic", "graded"],
)
def test_a_neuron_of_a_user_gives_the_same_bits(neuron: Neuron, is_modulated: bool, tmp_path: Path) -> None:
    network = network_of(neuron, is_modulated)
    quantized = quantize(network, inputs_of(network, 0))
    quantized(inputs_of(network, 0))[0]["snn"].sum().backward()
    weight = next(p for name, p in quantized.named_parameters() if name.endswith("fc.layer.weight"))

    assert weight.grad is not None
    assert bool(weight.grad.any())
    assert_same_bits(quantized, tmp_path / "own")


def test_a_neuron_written_once_more_is_the_one_of_the_package() -> None:
    own = network_of(Leaky(0.01))
    package = network_of(LIF(0.01, v_threshold=0.4))
    spikes = [quantize(network, inputs_of(network, 0))(inputs_of(network, 1))[0]["snn"] for network in (own, package)]

    assert bool(spikes[0].any())
    assert torch.equal(spikes[0], spikes[1])


def test_feedback_of_a_neuron_of_a_user_gives_the_same_bits(tmp_path: Path) -> None:
    network = network_of(Recurrent(Leaky(), nn.Linear(4, 4)))
    assert_same_bits(quantize(network, inputs_of(network, 0)), tmp_path / "own")


def test_a_model_with_a_neuron_of_a_user_needs_its_form(tmp_path: Path) -> None:
    network = network_of(Quadratic())
    model = integer_model(quantize(network, inputs_of(network, 0)), inputs_of(network, 0))
    model.save(tmp_path / "model")

    with pytest.raises(DataError, match=r"there is no neuron 'Quadratic' here; .* stages={name: form}"):
        IntegerModel.open(tmp_path / "model")

    entered = model.quantize({name: x.numpy() for name, x in inputs_of(network, 1).items()})
    read = IntegerModel.open(tmp_path / "model", array_forms([Quadratic]))
    np.testing.assert_array_equal(read.run(entered)["snn"], model.run(entered)["snn"])


class Forgets(Leaky):
    """A neuron whose array form lacks the leak."""

    array_form = NeuronForm(zeros, lambda a, x, state: not_leaky(a, x, state))


def not_leaky(a: Any, x: Any, state: Any) -> Any:
    v = a.bound(state[0] + a.charge(x))
    spikes = a.fire(v, a["v_threshold"])
    return spikes, (a.reset(v, spikes, 0),)


class Formless(Leaky):
    """A neuron without an array form of its own: that of its parent has the parent's step."""


@pytest.mark.parametrize(
    ("neuron", "plan", "words"),
    [
        (Forgets(0.001), QConfig(), "'snn.own': the array form of Forgets gives other outputs than its step function"),
        (Quadratic(), QConfig(membranes=24), "a product of two states needs membranes of at most 18 bits"),
        (Formless(), QConfig(), "'snn.own' is a Formless, which has no integer form; known are .* NeuronForm"),
    ],
)
def test_a_neuron_whose_form_cannot_be_meant_is_refused(neuron: Neuron, plan: QConfig, words: str) -> None:
    network = network_of(neuron)
    with pytest.raises(ExportError, match=words):
        quantize(network, inputs_of(network, 0), QConfigMapping((plan,)))(inputs_of(network, 0))


def test_a_spiking_layer_of_a_unit_takes_the_package_s_neurons() -> None:
    network = HybridNetwork(
        dt=DT,
        inputs={"x": every(DT)},
        parts={"y": nn.Identity()},
        links=[Transmission("x", "y", HybridUnit(discretizer=SpikingLayer(Leaky())))],
        outputs=["y"],
    )
    with pytest.raises(ExportError, match="fires by a Leaky; only a layer of the package's neurons can be"):
        quantize(network, {"x": torch.rand(8, 1, 3)})


def test_a_class_without_a_form_is_no_stage() -> None:
    with pytest.raises(ConfigError, match="LIF needs a class attribute array_form, a KernelForm, DiscretizerForm or N"):
        array_forms([LIF])


class Value(NamedTuple):
    value: Tensor


def peak_step(x_t: Tensor, carry: Value, *, decay: Any) -> tuple[Tensor, Value]:
    value = torch.maximum(carry.value * decay, x_t)
    return value, Value(value)


def peak_arrays(a: Any, x: Any, carry: Any) -> Any:
    value = a.bound(a.xp.maximum(a.leak(carry[0], a["decay"]), a.rescale(x, "in.")))
    return a.rescale(value), (value,)


class Peak(Kernel):
    tau = Quantity(positive=True)
    step_function = staticmethod(peak_step)
    array_form = KernelForm(("tau", "dt", "keep"), zeros, peak_arrays, leaks=True)

    def __init__(self, tau: float, keep: bool = False, dt: float | None = None) -> None:
        super().__init__(keep, dt, (), tau=tau)

    def initial_state(self, x_t: Tensor) -> Value:
        return Value(torch.zeros_like(x_t))

    def arguments(self, quantities: dict[str, Any], x_t: Tensor) -> dict[str, Any]:
        return {"decay": np.exp(-DT / float(quantities["tau"]))}


def hysteresis(a: Any, values: Any, length: int, on: Any) -> Any:
    spikes = []
    for h in values:
        spikes.append(a.fire(h, a.xp.where(on, a["v_off"], a["v_on"])))
        on = spikes[-1] > 0

    return spikes, on


class Hysteresis(Discretizer):
    array_form = DiscretizerForm(
        hysteresis,
        ("v_on", "v_off"),
        levels=lambda settings, length: (0, 1),
        thresholds=("v_on", "v_off"),
        stateful=True,
        start=lambda a, h: a.xp.zeros_like(h) > 0,
    )

    def __init__(self) -> None:
        super().__init__()
        self.v_on = 0.9
        self.v_off = 0.6

    def forward(self, h: Tensor, length: int, state: Any = None) -> tuple[Tensor, Any]:
        spikes = []
        for h_t in h.flatten(0, 1):
            on = torch.zeros_like(h_t) > 0 if state is None else state
            spikes.append(ARCTAN(h_t - torch.where(on, self.v_off, self.v_on)))
            state = spikes[-1] > 0

        return (torch.stack(spikes).reshape(h.shape) if spikes else torch.empty_like(h)), state


@pytest.mark.parametrize("keep", [True, False])
def test_stages_of_a_user_give_the_same_bits_in_c(keep: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = HybridNetwork(
        dt=DT,
        inputs={"x": every(DT), "slow": every(4 * DT)},
        parts={"y": nn.Linear(3, 2), "sink": nn.Linear(1, 1)},
        links=[
            Transmission("x", "y", HybridUnit(Tumbling(4), Peak(0.004, keep), None, Hysteresis())),
            Transmission("slow", "sink"),
        ],
        outputs=["y", "sink"],
    ).eval()
    assert_same_bits(quantize(network, inputs_of(network, 0)), tmp_path / "own")
