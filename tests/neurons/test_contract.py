"""The contract of all layers with a state, tested on every one of them."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

import spikebridge.neurons as neurons
from spikebridge.neurons import Neuron, Stateful, detach, select, to
from spikebridge.neurons.state import tensors_of
from spikebridge.ops.precision import HALF, state_dtype

N = (3,)
MEMORIES = (
    neurons.Memory,
    neurons.DiagonalStateSpace,
)  # their number of features is fixed: tests/neurons/test_memory.py


def equal(left: Any, right: Any) -> bool:
    """True if two states are the same to the bit."""
    if isinstance(left, Tensor):
        return torch.equal(left, right)
    if isinstance(left, tuple):
        return type(left) is type(right) and all(equal(a, b) for a, b in zip(left, right, strict=True))

    return left == right


def test_no_class_with_a_state_is_left_out(cases):
    public = {getattr(neurons, name) for name in neurons.__all__}
    stateful = {c for c in public if isinstance(c, type) and issubclass(c, Stateful)} - {
        Stateful,
        Neuron,
        neurons.FiringNeuron,
        *MEMORIES,
    }

    assert stateful == {case.kind for case in cases}


def test_the_signal_makes_the_layer_fire_now_and_then(case):
    y, _ = case.build().double()(case.signal(30, 4, *N))
    assert y.unique().numel() > 1
    assert y.std() > 0.01


@pytest.mark.parametrize("cut", [0, 1, 7, 11, 12])
def test_two_halves_make_the_whole(case, cut):
    layer = case.build().double()
    x = case.signal(12, 4, *N)
    whole, last = layer(x)
    first, state = layer(x[:cut])
    second, state = layer(x[cut:], state)

    assert torch.equal(torch.cat([first, second]), whole)
    assert equal(state, last)


def test_steps_make_the_whole(case):
    layer = case.build().double()
    x = case.signal(12, 4, *N)
    whole, last = layer(x)
    state = layer.initial_state(x[0])
    steps = []

    for x_t in x:
        y_t, state = layer.step(x_t, state)
        steps.append(y_t)

    assert torch.equal(torch.stack(steps), whole)
    assert equal(state, last)


def test_halves_and_the_whole_have_the_same_gradients(case):
    layer = case.build().double()
    gradients = []

    for cuts in ([12], [5, 7]):
        x = case.signal(12, 4, *N).requires_grad_()
        outputs = []
        state = None

        for part in x.split(cuts):
            y, state = layer(part, state)
            outputs.append(y)

        torch.cat(outputs).square().sum().backward()
        gradients.append(x.grad)

    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-12, atol=1e-12)


def test_a_state_is_no_attribute(case):
    layer = case.build().double()
    x = case.signal(12, 4, *N)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    first, _ = layer(x)
    layer(case.signal(5, 2, *N, seed=1))
    second, _ = layer(x)

    assert torch.equal(first, second)
    assert before.keys() == layer.state_dict().keys()
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())

    for module in layer.modules():
        assert not [name for name, value in vars(module).items() if isinstance(value, Tensor)]


def test_neither_input_nor_state_is_written_to(case):
    layer = case.build().double()
    x = case.signal(6, 4, *N)
    _, state = layer(case.signal(6, 4, *N, seed=1))
    x_before = x.clone()
    state_before = copy.deepcopy(detach(state))
    layer(x, state)

    assert torch.equal(x, x_before)
    assert equal(detach(state), state_before)


def test_an_empty_signal_gives_no_steps_and_the_initial_state(case):
    layer = case.build().double()
    x = case.signal(4, 5, *N)
    y, state = layer(x[:0])

    assert y.shape == (0, 5, *N)
    assert y.dtype == x.dtype
    assert equal(state, layer.initial_state(x[0]))

    later = layer(x)[1]
    assert equal(layer(x[:0], later)[1], later)


@pytest.mark.parametrize(("num_steps", "batch"), [(1, 4), (6, 1), (1, 1), (6, 0)])
def test_one_step_and_one_sample_work(case, num_steps, batch):
    y, state = case.build().double()(case.signal(num_steps, batch, *N))
    assert y.shape == (num_steps, batch, *N)
    assert all(len(t) == batch for t in tensors_of(state))


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (2, 3, 2), (2, 1, 3, 2)])
def test_neurons_may_stand_in_any_number_of_axes(case, shape):
    layer = case.build().double()
    x = case.signal(6, 2, *shape)
    y, state = layer(x)

    assert y.shape == x.shape

    flat, _ = layer(x.reshape(6, 2, -1))
    assert torch.equal(y.reshape(6, 2, -1), flat)
    assert all(t.shape[0] == 2 for t in tensors_of(state))


def test_a_sample_never_depends_on_its_batch_mates(case):
    layer = case.build().double()
    x = case.signal(12, 4, *N)
    together, state = layer(x)
    alone, state_alone = layer(x[:, 2:3])

    assert torch.equal(together[:, 2:3], alone)
    assert equal(select(state, [2]), state_alone)

    other = x.clone()
    other[:, [0, 1, 3]] = case.signal(12, 3, *N, seed=1)

    assert torch.equal(layer(other)[0][:, 2], together[:, 2])


def test_the_future_never_changes_the_past(case):
    layer = case.build().double()
    x = case.signal(12, 4, *N)
    later = x.clone()
    later[7:] = case.signal(5, 4, *N, seed=1)

    assert torch.equal(layer(x)[0][:7], layer(later)[0][:7])
    assert not torch.equal(layer(x)[0][7:], layer(later)[0][7:])


def test_selected_samples_go_on_as_in_the_batch(case):
    layer = case.build().double()
    x = case.signal(12, 4, *N)
    _, state = layer(x[:6])
    y, _ = layer(x[6:], state)
    chosen, _ = layer(x[6:, [3, 1]], select(state, [3, 1]))

    assert torch.equal(chosen, y[:, [3, 1]])


def test_gradients_reach_the_input_and_the_first_state(case):
    layer = case.build().double()
    x = case.signal(12, 4, *N).requires_grad_()
    first = neurons.state.map_tensors(lambda t: t.requires_grad_(t.is_floating_point()), layer.initial_state(x[0]))
    layer(x, first)[0].sum().backward()

    assert x.grad.abs().sum() > 0

    leaves = [t.grad.abs().sum() for t in tensors_of(first) if t.grad is not None]
    assert leaves
    assert max(leaves) > 0 if case.remembers else max(leaves) == 0


def test_gradients_reach_what_is_learned(case):
    learned = [name for name in case.quantities if name != "v_reset"]
    layer = case.build(learn=learned).double()
    layer(case.signal(40, 4, *N))[0].square().sum().backward()

    assert dict(layer.named_parameters())
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_a_detached_state_stops_gradients(case):
    layer = case.build().double()
    x = case.signal(12, 4, *N).requires_grad_()
    _, state = layer(x[:6])
    layer(x[6:], detach(state))[0].sum().backward()

    assert x.grad[:6].abs().sum() == 0
    assert x.grad[6:].abs().sum() > 0


def test_a_state_can_change_its_dtype(case):
    layer = case.build()
    x = case.signal(12, 4, *N)
    _, state = layer.float()(x[:6].float())
    y, state = layer.double()(x[6:], to(state, dtype=torch.float64))

    assert y.dtype == torch.float64
    assert all(t.dtype == torch.float64 for t in tensors_of(state) if t.is_floating_point())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_outputs_have_the_dtype_of_the_input_and_states_at_least_float32(case, dtype):
    layer = case.build().to(dtype)
    x = case.signal(5, 2, *N, dtype=torch.float32).to(dtype)
    y, state = layer(x)

    assert y.dtype == dtype
    for made in (state, layer.initial_state(x[0]), layer(x[:0])[1]):
        assert all(t.dtype == state_dtype(dtype) for t in tensors_of(made) if t.is_floating_point())


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("mixed", [False, True])
def test_half_precision_is_float32_rounded_at_the_end(neuron, dtype, mixed):
    layer = neuron.build(learn=list(neuron.quantities))
    x = neuron.signal(40, 4, *N, dtype=torch.float32).to(dtype)
    expected, last = layer.to(dtype).float()(x.float())
    layer.to(torch.float32 if mixed else dtype)

    with torch.autocast("cpu", dtype=dtype, enabled=mixed):
        y, state = layer(x)

    assert torch.equal(y, expected.to(dtype))
    assert equal(state, last)


@pytest.mark.parametrize("dtype", HALF)
def test_sequences_steps_and_cuts_agree_in_half_precision(case, dtype):
    layer = case.build().to(dtype)
    x = case.signal(40, 4, *N, dtype=torch.float32).to(dtype)
    whole, last = layer(x)

    for cuts in ([1] * 40, [7, 0, 33]):
        pieces = []
        state = None
        for part in x.split(cuts):
            y, state = layer(part, state)
            pieces.append(y)

        assert torch.equal(torch.cat(pieces), whole)
        assert equal(state, last)


def test_memory_layout_does_not_matter(case):
    layer = case.build().double()
    x = case.signal(12, 4, 3, 2)
    strided = x.permute(1, 3, 0, 2).contiguous().permute(2, 0, 3, 1)

    assert not strided.is_contiguous()
    assert torch.equal(layer(strided)[0], layer(x)[0])

    everywhere_equal = x[:, :, :1].expand(12, 4, 3, 2)
    assert torch.equal(layer(everywhere_equal)[0], layer(everywhere_equal.contiguous())[0])


def test_a_copy_gives_the_same_and_is_its_own(case):
    learned = list(case.quantities)
    layer = case.build(learn=learned).double()
    x = case.signal(30, 4, *N)
    y, _ = layer(x)
    twin = copy.deepcopy(layer)

    assert torch.equal(twin(x)[0], y)
    for parameter in twin.parameters():
        parameter.data.mul_(1.1).add_(0.1)

    assert torch.equal(layer(x)[0], y)
    assert not torch.equal(twin(x)[0], y)


def test_weights_come_back_from_a_state_dict(case):
    learned = list(case.quantities)
    layer = case.build(learn=learned).double()
    for parameter in layer.parameters():
        parameter.data.mul_(1.1).add_(0.1)

    twin = case.build(learn=learned).double()
    x = case.signal(30, 4, *N)

    assert not torch.equal(twin(x)[0], layer(x)[0])

    twin.load_state_dict(layer.state_dict())
    assert torch.equal(twin(x)[0], layer(x)[0])


def test_no_modulation_is_the_plain_layer(case):
    layer = case.build().double()
    x = case.signal(12, 4, *N)
    absent = dict.fromkeys(layer.modulable_paths())

    assert absent
    assert torch.equal(layer(x, None, **absent)[0], layer(x)[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # those of the compiler
def test_layers_compile_in_one_piece(cases, request):
    if request.config.getoption("--jaxtyping-packages"):
        pytest.skip("executed type checks are not what is compiled")

    (case,) = [case for case in cases if case.name == "Recurrent of Sequential"]
    layer = case.build(learn=("tau", "v_threshold"))
    x = case.signal(3, 2, *N, dtype=torch.float32)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)

    assert torch.equal(compiled(x)[0], layer(x)[0])


def test_the_printed_layer_tells_its_numbers(case):
    text = repr(case.build(learn=list(case.quantities)))
    for name, value in case.quantities.items():
        assert f"{name}={value:g}" in text
