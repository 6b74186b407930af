"""Signals and states that cannot be meant: what was expected, what came, what to do."""

import pytest
import torch

from spikebridge.errors import DataError, ShapeError
from spikebridge.neurons import LIF, PLIF, LIFState, Memoryless, Sequential, scan


def test_whole_numbers_are_refused(neuron):
    with pytest.raises(ShapeError, match=rf"{neuron.kind.__name__} needs a floating signal.*int64; use x.float\(\)"):
        neuron.build()(torch.ones(4, 2, 3, dtype=torch.int64))


@pytest.mark.parametrize("shape", [(), (5,)])
def test_a_signal_has_time_and_batch(case, shape):
    name = case.kind.__name__
    with pytest.raises(ShapeError, match=rf"{name} needs a signal \(T, B, \*N\), but got shape"):
        case.build()(torch.ones(shape))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_a_number_is_refused(neuron, value):
    x = neuron.signal(6, 4, 3)
    x[2, 1, 0] = value
    with pytest.raises(DataError, match=rf"{neuron.kind.__name__} met NaN or infinity .*\(1 of 12 membranes\)"):
        neuron.build().double()(x)


def test_nan_inside_a_row_of_layers_is_refused():
    layer = Sequential(fc=torch.nn.Linear(3, 2), lif=LIF(dt=0.001))
    layer[0].weight.data.fill_(float("nan"))
    with pytest.raises(DataError, match=r"LIF met NaN or infinity in .* \(8 of 8 membranes\); check the data"):
        layer(torch.zeros(5, 4, 3))


def test_parameters_and_signal_have_one_dtype():
    with pytest.raises(ShapeError, match=r"PLIF has tau in torch.float32 on cpu, .* torch.float64 on cpu; .*\.to\(\)"):
        PLIF(dt=0.001)(torch.zeros(4, 2, 3, dtype=torch.float64))
    with pytest.raises(ShapeError, match=r"LIF has r in torch.float64 on cpu, but its input is torch.float32"):
        LIF(dt=0.001, r=torch.ones(3, dtype=torch.float64))(torch.zeros(4, 2, 3))


def test_parameters_and_signal_are_on_one_device():
    with pytest.raises(ShapeError, match=r"tau in torch.float32 on cpu, but its input is torch.float32 on meta"):
        PLIF(dt=0.001)(torch.zeros(4, 2, 3, device="meta"))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4,), r"v_threshold of shape \(4,\), which does not broadcast against \(3,\), the \(\*N\) of its input"),
        ((2, 3), r"v_threshold of shape \(2, 3\), which does not broadcast against \(3,\)"),
        ((5, 2, 3), r"v_threshold of shape \(5, 2, 3\), which"),
    ],
)
def test_what_a_layer_keeps_is_a_value_a_neuron(shape, message):
    # also where time and batch happen to fit: a stored quantity knows nothing of them
    with pytest.raises(ShapeError, match=message):
        LIF(dt=0.001, v_threshold=torch.ones(shape))(torch.zeros(5, 2, 3))


def test_a_rest_that_does_not_fit_is_refused_before_it_spreads():
    with pytest.raises(ShapeError, match=r"v_leak of shape \(5, 1, 3\)"):
        LIF(dt=0.001, v_leak=torch.ones(5, 1, 3))(torch.zeros(5, 2, 3))


@pytest.mark.parametrize("batch", [1, 3])
def test_a_state_of_another_batch_is_refused(neuron, batch):
    layer = neuron.build()
    _, state = layer.float()(neuron.signal(2, batch, 3).float())
    with pytest.raises(
        ShapeError, match=rf"got a state whose v is a tensor \({batch}, 3\), not a tensor \(2, 3\), as its signal"
    ):
        layer(torch.zeros(4, 2, 3), state)


def test_a_state_in_another_dtype_is_refused():
    layer = LIF(dt=0.001)
    state = layer.initial_state(torch.zeros(2, 3))
    with pytest.raises(
        ShapeError, match=r"LIF got a state whose v is torch.float32 on cpu, .* torch.float64 .*neurons.to\(\)"
    ):
        layer(torch.zeros(4, 2, 3, dtype=torch.float64), state)


def test_the_refractory_counter_may_stay_whole():
    layer = LIF(dt=0.001, refractory=0.001)
    state = LIFState(torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.int64))
    assert layer(torch.zeros(4, 2, 3), state)[1].wait.dtype == torch.int64


def test_a_state_of_a_row_of_layers_has_one_for_each():
    one = Sequential(Memoryless())
    two = Sequential(Memoryless(), Memoryless())
    _, state = one(torch.zeros(1, 2, 3))

    with pytest.raises(ShapeError, match="got a state of 1 layers, but has 2"):
        two(torch.zeros(1, 2, 3), state)


def test_scan_refuses_a_signal_without_batch():
    with pytest.raises(ShapeError, match="Memoryless needs a signal"):
        scan(Memoryless(), torch.zeros(3))


def test_mixed_precision_keeps_membranes_in_full():
    layer = Sequential(fc=torch.nn.Linear(3, 4), lif=PLIF(dt=0.001, v_threshold=torch.full((4,), 0.1)))
    x = torch.randn(5, 2, 3)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, state = layer(x)
        assert layer[0](x).dtype == torch.bfloat16
        _, first = layer(x[:0])
        again, _ = layer(x, first, **{"lif.v_threshold": torch.full((2, 4), 0.1, dtype=torch.bfloat16)})

    assert state.layers[1].v.dtype == first.layers[1].v.dtype == torch.float32
    assert y.dtype == again.dtype == torch.bfloat16

    y.sum().backward()
    assert layer[1].log_tau.grad is not None
