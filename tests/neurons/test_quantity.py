"""Quantities as numbers, tensors or parameters, which survive what is done to modules."""

import copy
import math

import pytest
import torch
from safetensors.torch import load, save

from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid import Exponential, Gain, HybridUnit, Threshold
from spikebridge.neurons import (
    IF,
    LIF,
    PLIF,
    AdaptiveLIF,
    CubaLIF,
    Integrator,
    Izhikevich,
    Quantity,
    Sequential,
    Stateful,
)


def test_a_number_a_tensor_and_a_learned_quantity_have_their_places():
    layer = LIF(0.02, dt=0.001, v_threshold=torch.tensor([1.0, 2.0]), r=torch.ones(2), learn=("v_threshold",))
    assert layer.tau == 0.02
    assert [name for name, _ in layer.named_parameters()] == ["v_threshold"]
    assert [name for name, _ in layer.named_buffers()] == ["r"]
    assert list(layer.state_dict()) == ["v_threshold", "r", "tau", "v_reset", "v_leak"]


def test_a_positive_learned_quantity_is_its_logarithm():
    layer = LIF(torch.tensor([1.0, math.e]), dt=0.1, learn="tau")
    assert layer.log_tau.tolist() == pytest.approx([0.0, 1.0])
    assert layer.tau.tolist() == pytest.approx([1.0, math.e])


def test_a_learned_tau_stays_above_zero_whatever_the_optimizer_does():
    layer = PLIF(0.02, dt=0.001)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1e3)

    for sign in (1, -1):
        optimizer.zero_grad()
        (sign * layer.tau).backward()
        optimizer.step()
        assert layer.tau > 0


def test_a_value_given_is_copied():
    given = torch.ones(2)
    layer = LIF(dt=0.001, v_threshold=given, r=given, learn="r")
    given.zero_()

    assert layer.v_threshold.tolist() == [1, 1]
    assert layer.r.tolist() == [1, 1]


def test_setting_a_quantity_checks_it_and_keeps_its_place():
    layer = LIF(dt=0.001)
    layer.v_threshold = 2

    assert layer.v_threshold == 2.0

    layer.v_threshold = torch.tensor([1.0, 3.0])
    assert [name for name, _ in layer.named_buffers()] == ["v_threshold"]

    layer.v_threshold = 0.5
    assert (layer.v_threshold, list(layer.buffers())) == (0.5, [])
    with pytest.raises(ConfigError, match="tau > 0 s, but got 0"):
        layer.tau = 0.0

    assert layer.tau == 0.02


def test_setting_a_learned_quantity_writes_into_its_parameter():
    layer = LIF(torch.tensor([0.02, 0.02]), dt=0.001, learn=("tau", "v_threshold"))
    tau = layer.log_tau
    threshold = layer.v_threshold
    layer.tau = 0.01
    layer.v_threshold = 3.0

    assert layer.log_tau is tau
    assert layer.v_threshold is threshold
    assert layer.tau.tolist() == pytest.approx([0.01, 0.01])
    assert threshold.item() == 3.0

    with pytest.raises(ShapeError, match=r"learns tau of shape \(2,\), but got \(3,\); make a new layer"):
        layer.tau = torch.ones(3)


def test_a_parameter_may_be_replaced_by_a_parameter():
    layer = LIF(dt=0.001, learn="v_threshold")
    new = torch.nn.Parameter(torch.tensor(2.0))
    layer.v_threshold = new
    assert next(layer.parameters()) is new


def test_layers_of_one_class_do_not_share_their_quantities():
    one = LIF(0.01, dt=0.001)
    two = LIF(0.02, dt=0.001)
    one.v_threshold = 5.0
    assert (one.tau, two.tau, two.v_threshold) == (0.01, 0.02, 1.0)


def test_to_moves_tensors_and_leaves_numbers():
    layer = PLIF(0.02, dt=0.001, v_threshold=torch.ones(3)).to(torch.float64)
    assert (layer.tau.dtype, layer.v_threshold.dtype, layer.r) == (torch.float64, torch.float64, 1.0)
    assert layer.to("meta").tau.device.type == "meta"


def test_a_layer_can_be_made_without_memory():
    with torch.device("meta"):
        layer = PLIF(0.02, dt=0.001, v_threshold=torch.ones(3))

    y, _ = layer(torch.zeros(2, 4, 3, device="meta"))

    assert y.shape == (2, 4, 3)
    assert layer.to_empty(device="cpu").log_tau.device.type == "cpu"


def test_functional_call_replaces_a_quantity():
    layer = PLIF(0.02, dt=0.001, learn="v_threshold")
    x = torch.rand(10, 2, 3)
    values = {"log_tau": torch.tensor(math.log(0.005)), "v_threshold": torch.tensor(0.7)}
    got, _ = torch.func.functional_call(layer, values, (x,))
    torch.testing.assert_close(got, PLIF(0.005, dt=0.001, v_threshold=0.7)(x)[0])

    assert layer.tau.item() == pytest.approx(0.02)


def test_weights_go_through_safetensors():
    layer = LIF(0.03, dt=0.001, v_threshold=torch.tensor([1.0, 2.0]), learn=("tau",))
    twin = LIF(0.01, dt=0.001, v_threshold=torch.zeros(2), learn=("tau",))
    twin.load_state_dict(load(save(layer.state_dict())))

    assert torch.equal(twin.tau, layer.tau)
    assert torch.equal(twin.v_threshold, layer.v_threshold)


def every_number() -> Sequential:
    """Layers whose quantities are all given as numbers, of which few are exact in float32."""
    return Sequential(
        lif=LIF(tau=0.03, dt=0.001, v_threshold=0.7, v_reset=-0.1, v_leak=0.05, r=1.3),
        cuba=CubaLIF(tau=0.03, tau_syn=0.007, dt=0.001),
        adaptive=AdaptiveLIF(tau=0.03, tau_adaptation=0.3, jump=0.1, dt=0.001),
        cell=Izhikevich(a=0.1, d=2.0, dt=0.001),
        gain=Gain(0.3),
        out=Integrator(tau=0.05, dt=0.001),
        fire=IF(v_threshold=1.1),
    )


def other_numbers() -> Sequential:
    """The same layers with other numbers."""
    return Sequential(
        lif=LIF(dt=0.001),
        cuba=CubaLIF(dt=0.001),
        adaptive=AdaptiveLIF(dt=0.001),
        cell=Izhikevich(dt=0.001),
        gain=Gain(),
        out=Integrator(dt=0.001),
        fire=IF(),
    )


def numbers_of(module: torch.nn.Module) -> dict[str, float]:
    return {name: value.item() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("way", ["dict", "safetensors", "file", "assign"])
def test_numbers_are_loaded_to_the_bit(way, tmp_path):
    layer = every_number()
    twin = other_numbers()
    state = layer.state_dict()
    if way == "safetensors":
        state = load(save(state))

    if way == "file":
        torch.save(state, tmp_path / "weights.pt")
        state = torch.load(tmp_path / "weights.pt", weights_only=True)

    twin.load_state_dict(state, assign=way == "assign")
    assert numbers_of(twin) == numbers_of(layer)
    assert (twin[0].tau, twin[3].a, twin[2].jump, twin[6].tau) == (0.03, 0.1, 0.1, math.inf)

    x = torch.rand(20, 2, 3)
    assert torch.equal(twin(x)[0], layer(x)[0])


def test_units_save_their_numbers():
    make = lambda tau, v: HybridUnit(None, Exponential(tau, dt=0.001), None, Threshold(v))  # noqa: E731
    unit = make(0.03, 0.7)
    twin = make(0.02, 1.0)
    twin.load_state_dict(load(save(unit.state_dict())))

    assert (twin.kernel.tau, twin.discretizer.v_threshold) == (0.03, 0.7)


def test_numbers_are_no_buffers_and_no_parameters():
    layer = every_number()
    assert not [*layer.parameters(), *layer.buffers()]
    assert layer.half().to("meta")[0].tau == 0.03


def test_a_file_without_numbers_leaves_those_that_a_layer_was_built_with():
    layer = Sequential(fc=torch.nn.Linear(3, 2), lif=LIF(tau=0.03, dt=0.001, learn="v_threshold"))
    old = {name: value for name, value in layer.state_dict().items() if value.dtype != torch.float64}

    assert list(old) == ["fc.weight", "fc.bias", "lif.v_threshold"]

    layer.load_state_dict(old)
    assert layer[1].tau == 0.03
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "lif.v_threshold"'):
        layer.load_state_dict({name: value for name, value in old.items() if name != "lif.v_threshold"})


@pytest.mark.parametrize("with_metadata", [True, False])
def test_a_number_that_a_new_file_lacks_is_missing(with_metadata):
    layer = every_number()
    state = layer.state_dict() if with_metadata else dict(layer.state_dict())
    del state["lif.tau"]

    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "lif.tau"'):
        layer.load_state_dict(state)

    assert layer.load_state_dict(state, strict=False).missing_keys == ["lif.tau"]


def test_a_number_of_another_kind_is_refused():
    state = LIF(dt=0.001).state_dict()
    with pytest.raises(RuntimeError, match=r"size mismatch for tau: \(3,\) there and one number here"):
        LIF(dt=0.001).load_state_dict({**state, "tau": torch.ones(3)})

    with pytest.raises(RuntimeError, match="tau: LIF needs tau > 0 s, but got -1"):
        LIF(dt=0.001).load_state_dict({**state, "tau": torch.tensor(-1.0)})

    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "jump"'):
        LIF(dt=0.001).load_state_dict({**state, "jump": torch.tensor(0.2)})

    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "log_tau"'):
        PLIF(dt=0.001).load_state_dict(state)


def test_weights_can_be_assigned():
    layer, twin = (LIF(0.03, dt=0.001, v_threshold=v, learn=("tau", "v_threshold")) for v in (1.0, 2.0))
    layer.load_state_dict(twin.state_dict(), assign=True)
    assert layer.v_threshold.item() == 2.0
    assert [name for name, _ in layer.named_parameters()] == ["log_tau", "v_threshold"]


def test_a_deep_copy_has_quantities_of_its_own():
    layer = PLIF(0.02, dt=0.001, v_threshold=torch.ones(2), r=3.0)
    twin = copy.deepcopy(layer)
    twin.tau = 0.5
    twin.v_threshold = torch.zeros(2)
    twin.r = 1.0

    assert (layer.tau.item(), layer.v_threshold.tolist(), layer.r) == (pytest.approx(0.02), [1, 1], 3.0)


def test_a_learned_quantity_follows_the_default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        layer = PLIF(0.02, dt=0.001)
    finally:
        torch.set_default_dtype(torch.float32)

    assert layer.tau.dtype == torch.float64


def test_one_name_may_be_learned_without_brackets():
    assert [n for n, _ in LIF(dt=0.001, learn="v_threshold").named_parameters()] == ["v_threshold"]
    assert [n for n, _ in PLIF(dt=0.001, learn="v_threshold").named_parameters()] == ["log_tau", "v_threshold"]


def test_an_if_neuron_without_leak_can_start_anywhere_and_learn_that():
    layer = IF(v_leak=0.25, learn="v_leak")
    y, _ = layer(torch.full((2, 1, 1), 0.5))

    assert y.flatten().tolist() == [0, 1]

    y.sum().backward()
    assert layer.v_leak.grad.abs() > 0


def test_a_new_layer_declares_what_can_be_modulated():
    class Base(Stateful):
        gain = Quantity()

    class Derived(Base):
        tau = Quantity(positive=True)

    class Fixed(Derived):
        gain = 2.0

    assert Base().modulable_paths() == ["gain"]
    assert Derived().modulable_paths() == ["gain", "tau"]

    layer = Derived()
    with pytest.raises(AttributeError, match="has no attribute 'gain'"):
        _ = layer.gain

    layer.gain = 2
    assert layer.gain == 2.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tau": -0.01}, r"LIF needs tau > 0 s, but got -0.01; did you mean 0.01\? \(tau=inf is a neuron without"),
        ({"tau": 0.0}, r"LIF needs tau > 0 s, but got 0 \(tau=inf"),
        ({"tau": math.nan}, "LIF needs a number for tau, but got NaN"),
        ({"tau": torch.tensor([0.01, -0.02])}, r"tau > 0 s, but got -0.02; did you mean 0.02\?"),
        ({"tau": torch.tensor([0.01, math.nan])}, "a number for tau, but got NaN"),
        ({"tau": math.inf, "learn": "tau"}, "cannot learn tau from inf: start it at a finite value"),
        ({"v_threshold": math.nan}, "LIF needs a number for v_threshold, but got NaN"),
        ({"v_threshold": torch.tensor(1)}, r"v_threshold as floating numbers, but got torch.int64; use .float\(\)"),
        ({"v_threshold": torch.ones(2).requires_grad_()}, "requires a gradient; to train it, name it in learn="),
        ({"dt": 0.0}, "LIF needs dt > 0 s, the step of its clock, but got 0.0"),
        ({"dt": -0.001}, "LIF needs dt > 0 s"),
        ({"dt": math.nan}, "LIF needs dt > 0 s"),
        ({"dt": math.inf}, "LIF needs dt > 0 s"),
        ({"learn": ("tua",)}, "LIF cannot learn 'tua'; did you mean 'tau'.*v_threshold"),
        ({"reset": "value"}, "LIF needs reset='zero', 'subtract' or 'none', but got 'value'"),
        ({"reset": "soft"}, "LIF needs reset='zero', 'subtract' or 'none'; 'soft' is now 'subtract'"),
        ({"reset": "hard"}, "'hard' is now 'zero'"),
        ({"refractory": -1.0}, "LIF needs a refractory time >= 0 s, but got -1.0"),
        ({"refractory": math.nan}, "LIF needs a refractory time >= 0 s"),
        ({"refractory": 0.0005}, "refractory time of 0.0005 s, at most half a step of 0.001 s"),
    ],
)  # fmt: skip
def test_an_impossible_setting_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        LIF(**{"dt": 0.001, **settings})


def test_a_refractory_time_needs_a_clock():
    with pytest.raises(ConfigError, match="IF depends on dt, the step of its clock"):
        IF(refractory=0.002)(torch.zeros(1, 1, 1))
    assert IF(refractory=0.002, dt=0.001).refractory == 2


@pytest.mark.parametrize("value", ["high", None, True, [1.0]])
def test_a_quantity_is_a_number_or_a_tensor(value):
    with pytest.raises(ConfigError, match="LIF needs v_threshold as a number or a tensor, but got"):
        LIF(dt=0.001, v_threshold=value)


def test_every_neuron_names_itself_in_its_errors(neuron):
    name = next(iter(neuron.quantities))
    with pytest.raises(ConfigError, match=f"{neuron.kind.__name__} needs a number for {name}, but got NaN"):
        neuron.build(**{name: math.nan})

    with pytest.raises(ConfigError, match=f"{neuron.kind.__name__} cannot learn 'nothing'"):
        neuron.build(learn=("nothing",))


def test_every_time_constant_is_above_zero(quantity):
    case, name = quantity
    if getattr(case.kind, name).positive:
        with pytest.raises(ConfigError, match=f"{name} > 0"):
            case.build(**{name: 0.0})
    else:
        assert case.build(**{name: 0.0}) is not None


def test_no_clock_is_made_up(neuron):
    if neuron.kind.__name__ not in ("IF", "Memoryless"):
        with pytest.raises(ConfigError, match=f"{neuron.kind.__name__} depends on dt"):
            neuron.kind()(torch.zeros(2, 1, 1))
