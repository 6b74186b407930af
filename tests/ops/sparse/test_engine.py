"""Live stepping by events gives the numbers of the network that was prepared, and refuses what it cannot hold.

Numbers are exact: inputs, weights and quantities are multiples of 1/4, decays are 1/2 or 1, so sums do not depend on
their order and every comparison is to the bit.
"""

import math
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from modules import EXACT_NEURONS, HALF, quarters
from spikebridge.errors import ConfigError, DataError, ShapeError
from spikebridge.neurons import (
    IF,
    LIF,
    PLIF,
    AdaptiveLIF,
    CubaLIF,
    Integrator,
    Izhikevich,
    Memoryless,
    Recurrent,
    Sequential,
)
from spikebridge.neurons.state import tensors_of
from spikebridge.ops import reference
from spikebridge.ops.checks import checks
from spikebridge.ops.sparse.engine import EventDriven
from spikebridge.ops.sparse.native import functions
from tests.ops.sparse.shares import dense_above

pytestmark = pytest.mark.untyped

PATHS = [
    pytest.param(True, marks=pytest.mark.skipif(not functions(), reason="the native library is not built")),
    False,
]
both_paths = pytest.mark.parametrize("native", PATHS, ids=lambda native: "native" if native else "torch")


def exact(*shape: int, seed: int, share: float = 1.0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Multiples of 1/4 from -1 to 1, a share of them not zero."""
    generator = torch.Generator().manual_seed(seed)
    values = quarters(generator, *shape).to(dtype)
    return values * (torch.rand(shape, generator=generator) < share)


def with_exact_weights(network: Sequential, seed: int = 0, dtype: torch.dtype = torch.float64) -> Sequential:
    """The network in evaluation mode, its weights and biases multiples of 1/4."""
    network = network.to(dtype).eval()
    for index, module in enumerate(network.modules()):
        if isinstance(module, nn.Linear | nn.Conv2d):
            for k, parameter in enumerate(module.parameters()):
                parameter.data = exact(*parameter.shape, seed=seed + 10 * index + k, dtype=dtype)

    return network


def agree(network: Sequential, live: EventDriven, x: Tensor) -> Tensor:
    """Steps both, holds outputs and states against each other to the bit, and gives the outputs."""
    state = None
    expected_state = network.initial_state(x[0])
    outputs = []

    for x_t in x.unbind(0):
        with reference(), torch.no_grad():
            expected, expected_state = network.step(x_t, expected_state)
        y, state = live.step(x_t, state)

        assert torch.equal(y, expected)

        pairs = list(zip(tensors_of(state), tensors_of(expected_state), strict=True))
        assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in pairs)

        outputs.append(y)

    return torch.stack(outputs)


def convolutional(**settings: Any) -> Sequential:
    """A small network of every kind of layer."""
    return Sequential(
        c1=nn.Conv2d(2, 5, 3, **settings),
        l1=LIF(HALF, dt=1.0, v_threshold=0.75),
        pool=nn.MaxPool2d(2),
        c2=nn.Conv2d(5, 18, 3, padding=1),
        l2=LIF(HALF, dt=1.0, v_threshold=1.5, reset="subtract"),
        mean=nn.AvgPool2d(2),
        flat=nn.Flatten(),
        fc=nn.LazyLinear(7),
        out=Integrator(HALF, dt=1.0),
    )


@both_paths
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("max_share", [None, 0.0, 1.0])
@pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
def test_a_convolutional_network_gives_its_own_numbers(
    native: bool, dtype: torch.dtype, max_share: float | None, share: float
) -> None:
    network = convolutional()
    network.to(dtype)(torch.zeros(1, 1, 2, 13, 11, dtype=dtype))
    with dense_above(max_share):
        live = EventDriven(with_exact_weights(network, dtype=dtype), native)
        y = agree(network, live, exact(6, 1, 2, 13, 11, seed=1, share=share, dtype=dtype))

    assert y.any()


@pytest.mark.skipif(not functions(), reason="the native library is not built")
@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("share", [0.05, 1.0])
def test_every_set_of_instructions(dtype: torch.dtype, share: float) -> None:
    for max_share in (None, 0.0, 1.0):
        network = convolutional()
        network.to(dtype)(torch.zeros(1, 1, 2, 13, 11, dtype=dtype))
        with dense_above(max_share):
            live = EventDriven(with_exact_weights(network, dtype=dtype), True)
            assert agree(network, live, exact(6, 1, 2, 13, 11, seed=1, share=share, dtype=dtype)).any()


@both_paths
@pytest.mark.parametrize("name", EXACT_NEURONS)
def test_every_neuron_gives_its_own_numbers(native: bool, name: str) -> None:
    network = Sequential(
        c=nn.Conv2d(1, 3, 3),
        first=EXACT_NEURONS[name](),
        flat=nn.Flatten(),
        fc=nn.Linear(60, 9),
        last=EXACT_NEURONS[name](),
    )
    live = EventDriven(with_exact_weights(network), native)
    y = agree(network, live, exact(8, 1, 1, 6, 7, seed=3, share=0.4))

    assert y.any()


@both_paths
@pytest.mark.parametrize("name", EXACT_NEURONS)
def test_a_layer_of_neurons_alone_in_any_shape(native: bool, name: str) -> None:
    for shape in [(), (1,), (70,), (3, 5), (2, 3, 4), (2, 1, 3, 2)]:
        layer = EXACT_NEURONS[name]().double()
        agree(Sequential(layer), EventDriven(Sequential(layer), native), exact(4, 1, *shape, seed=5))


@both_paths
def test_quantities_may_be_one_a_neuron_or_one_a_channel(native: bool) -> None:
    per_channel = torch.tensor([0.25, 0.75, 1.5], dtype=torch.float64).reshape(3, 1, 1)
    per_neuron = exact(3, 4, 4, seed=2).abs() + 0.25
    network = Sequential(
        c=nn.Conv2d(2, 3, 3),
        lif=LIF(torch.full((), HALF, dtype=torch.float64), dt=1.0, v_threshold=per_channel, v_reset=-per_neuron),
        sums=CubaLIF(float("inf"), HALF, dt=1.0, r=per_neuron, v_leak=per_channel, learn=("r",)),
        jumps=AdaptiveLIF(HALF, HALF, dt=1.0, jump=per_neuron, v_threshold=0.5, reset="subtract"),
    )

    live = EventDriven(with_exact_weights(network), native)
    # the decay is a tensor here, and exp(-log 2) in float64 is 1/2 to the bit
    agree(network, live, exact(7, 1, 2, 6, 6, seed=4, share=0.5))


sizes = st.integers(1, 3)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Conv2d, tuple[int, int, int]]:
    """A convolution of any setting, and an input that it takes."""
    groups = draw(st.integers(1, 3))
    kernel = (draw(sizes), draw(sizes))
    dilation = (draw(sizes), draw(sizes))
    padding: Any = draw(st.sampled_from([(0, 0), (1, 0), (2, 3), "same", "valid"]))
    stride = (1, 1) if padding == "same" else (draw(sizes), draw(sizes))
    channels = groups * draw(sizes)
    out = groups * draw(st.sampled_from([1, 2, 5, 16, 19]))
    least = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = (least[0] + draw(st.integers(0, 6)), least[1] + draw(st.integers(0, 9)))
    settings = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups}

    return nn.Conv2d(channels, out, kernel, bias=draw(st.booleans()), **settings), (channels, *size)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@both_paths
@settings(max_examples=60, deadline=None)
@given(
    convolutions(),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.sampled_from([None, 0.0, 1.0]),
    st.booleans(),
    st.integers(0, 9),
)
def test_convolutions_of_any_setting(
    native: bool,
    case: tuple[nn.Conv2d, tuple[int, int, int]],
    share: float,
    max_share: float | None,
    last: bool,
    seed: int,
) -> None:
    convolution, shape = case
    network = with_exact_weights(Sequential(convolution, LIF(HALF, dt=1.0, v_threshold=0.5)), seed)
    x = exact(2, 1, *shape, seed=seed, share=share)
    if last:
        x = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (2, 1))

    with dense_above(max_share):
        agree(network, EventDriven(network, native), x)


@st.composite
def pools(draw: st.DrawFn) -> nn.Module:
    """A pool of any setting, for inputs of at least 7 by 7."""
    kernel = (draw(sizes), draw(sizes))
    pad = (draw(st.integers(0, kernel[0] // 2)), draw(st.integers(0, kernel[1] // 2)))
    shared = {"stride": (draw(sizes), draw(sizes)), "padding": pad, "ceil_mode": draw(st.booleans())}
    if draw(st.booleans()):
        return nn.MaxPool2d(kernel, dilation=draw(sizes), **shared)

    divisor = draw(st.sampled_from([None, 2]))
    return nn.AvgPool2d(kernel, count_include_pad=draw(st.booleans()), divisor_override=divisor, **shared)


@both_paths
@settings(max_examples=60, deadline=None)
@given(
    pool=pools(),
    fed=st.sampled_from(["spikes", "values", "dense"]),
    share=st.sampled_from([0.05, 0.3, 1.0]),
    seed=st.integers(0, 9),
)
def test_pools_of_any_setting(native: bool, pool: nn.Module, fed: str, share: float, seed: int) -> None:
    before = {"spikes": Memoryless(v_threshold=0.25), "values": nn.Identity(), "dense": Integrator(HALF, dt=1.0)}[fed]
    network = Sequential(before, pool, IF(v_threshold=0.25)).eval()
    x = exact(3, 1, 3, 7, 9, seed=seed, share=share)
    live = EventDriven(network, native)
    state = None
    expected_state = network.initial_state(x[0])

    for x_t in x:
        expected, expected_state = network.step(x_t, expected_state)
        y, state = live.step(x_t, state)

        # a mean over 3 or 6 is not exact, but the order of its sum is that of PyTorch
        assert torch.equal(y, expected)

        torch.testing.assert_close(tensors_of(state), tensors_of(expected_state), rtol=1e-12, atol=1e-12)


@both_paths
@pytest.mark.parametrize("last", ["Flatten", "Conv2d", "MaxPool2d", "LIF"])
def test_a_network_may_end_with_any_layer(native: bool, last: str) -> None:
    layers = [nn.Conv2d(2, 3, 3), LIF(HALF, dt=1.0), nn.MaxPool2d(2), nn.Conv2d(3, 4, 2), nn.Flatten(), IF()]
    names = [type(layer).__name__ for layer in layers]
    network = with_exact_weights(Sequential(*layers[: names.index(last) + 1]))
    agree(network, EventDriven(network, native), exact(5, 1, 2, 8, 10, seed=8, share=0.4))


@both_paths
def test_a_flattened_image_keeps_its_order_for_every_layer_that_follows(native: bool) -> None:
    per_neuron = exact(24, seed=1).abs() + 0.25
    network = Sequential(
        first=Memoryless(v_threshold=0.25),
        flat=nn.Flatten(),
        lif=LIF(HALF, dt=1.0, v_threshold=per_neuron),
        again=nn.Flatten(),
        fc=nn.Linear(24, 5),
    )

    agree(network, EventDriven(with_exact_weights(network), native), exact(5, 1, 2, 3, 4, seed=2))


@both_paths
def test_inner_rows_and_absent_layers_change_nothing(native: bool) -> None:
    network = Sequential(
        body=Sequential(c=nn.Conv2d(1, 2, 2), lif=LIF(HALF, dt=1.0), none=nn.Identity()),
        plain=nn.Sequential(nn.MaxPool2d(2), nn.Sequential(nn.Flatten(), nn.Dropout())),
        head=Sequential(fc=nn.Linear(12, 3), inner=Sequential(cuba=CubaLIF(HALF, HALF, dt=1.0))),
    )

    live = EventDriven(with_exact_weights(network), native)
    y = agree(network, live, exact(6, 1, 1, 5, 7, seed=6, share=0.5))

    assert y.any()


@both_paths
def test_a_layer_may_stand_in_two_places(native: bool) -> None:
    fire = IF(v_threshold=1.5)
    network = with_exact_weights(Sequential(nn.Linear(6, 5), fire, nn.Linear(5, 4), fire))
    agree(network, EventDriven(network, native), exact(8, 1, 6, seed=3, share=0.5))


@both_paths
def test_a_stream_may_go_over_to_the_network_and_back(native: bool) -> None:
    network = convolutional()
    network(torch.zeros(1, 1, 2, 13, 11))
    live = EventDriven(with_exact_weights(network), native)
    x = exact(9, 1, 2, 13, 11, seed=7, share=0.3)
    whole = agree(network, live, x)
    state: Any = None
    outputs = []

    for t, x_t in enumerate(x):
        if t % 3 == 1:
            with torch.no_grad():
                y, state = network.step(x_t, state)
        else:
            y, state = live.step(x_t, state)

        outputs.append(y)

    assert torch.equal(torch.stack(outputs), whole)


@both_paths
def test_two_streams_never_mix(native: bool) -> None:
    network = convolutional()
    network(torch.zeros(1, 1, 2, 13, 11))
    live = EventDriven(with_exact_weights(network), native)
    a, b = (exact(6, 1, 2, 13, 11, seed=seed, share=0.5) for seed in (1, 2))
    alone = [agree(network, live, x) for x in (a, b)]
    states: list[Any] = [None, None]

    for t in range(6):
        for k, x in enumerate((a, b)):
            y, states[k] = live.step(x[t], states[k])
            assert torch.equal(y, alone[k][t])


@both_paths
def test_a_step_writes_to_nothing_that_it_was_given(native: bool) -> None:
    network = Sequential(fc=nn.Linear(6, 5), lif=LIF(HALF, dt=1.0), sums=Integrator(HALF, dt=1.0))
    live = EventDriven(with_exact_weights(network), native)
    x = exact(2, 1, 6, seed=1)
    y, state = live.step(x[0])
    kept = [t.clone() for t in (x, y, *tensors_of(state))]
    again = [live.step(x[1], state) for _ in range(2)]

    assert torch.equal(again[0][0], again[1][0])
    assert all(torch.equal(a, b) for a, b in zip(kept, (x, y, *tensors_of(state)), strict=True))

    # an output has memory of its own, also where it is a membrane
    y += 1
    assert torch.equal(tensors_of(state)[-1], kept[-1])


@both_paths
def test_one_prepared_network_takes_steps_of_several_shapes(native: bool) -> None:
    network = with_exact_weights(Sequential(c=nn.Conv2d(1, 2, 3), lif=LIF(HALF, dt=1.0)))
    live = EventDriven(network, native)
    for shape in [(3, 3), (6, 4), (3, 3)]:
        agree(network, live, exact(3, 1, 1, *shape, seed=1))


@both_paths
def test_real_numbers_are_met_up_to_rounding(native: bool) -> None:
    torch.manual_seed(0)
    network = Sequential(
        c1=nn.Conv2d(1, 8, 3), l1=LIF(0.01, dt=0.001, v_threshold=0.3), flat=nn.Flatten(), fc=nn.Linear(288, 4),
        out=Integrator(0.01, dt=0.001),
    ).eval()  # fmt: skip

    live = EventDriven(network, native)
    x = torch.rand(20, 1, 1, 8, 8)
    with torch.no_grad():
        expected, _ = network(x)

    state = None
    outputs = []
    for x_t in x:
        y, state = live.step(x_t, state)
        outputs.append(y)

    torch.testing.assert_close(torch.stack(outputs), expected)


@both_paths
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused_and_leaves_no_trace(native: bool, bad: float) -> None:
    network = with_exact_weights(Sequential(c=nn.Conv2d(1, 2, 2, bias=False), lif=LIF(HALF, dt=1.0), p=nn.MaxPool2d(2)))
    live = EventDriven(network, native)
    x = exact(1, 1, 1, 5, 5, seed=1)[0]
    _, state = live.step(x)
    broken = x.clone()
    broken[0, 0, 2, 2] = bad

    # the native step checks as it goes; in PyTorch a stream that continues is checked only on demand
    with nullcontext() if native else checks("always"), pytest.raises(DataError, match=r"LIF.* met NaN or infinity"):
        live.step(broken, state)

    agree(network, live, exact(3, 1, 1, 5, 5, seed=1))


def test_the_default_is_the_native_library_where_it_is_there() -> None:
    live = EventDriven(Sequential(IF()))
    assert bool(live.functions) == bool(functions())
    if not functions():
        with pytest.raises(ConfigError, match="native library is not there"):
            EventDriven(Sequential(IF()), native=True)


@both_paths
def test_the_reference_is_the_network_itself(native: bool) -> None:
    network = with_exact_weights(Sequential(fc=nn.Linear(4, 3), lif=LIF(HALF, dt=1.0)))
    live = EventDriven(network, native)
    x = exact(2, 1, 4, seed=1)
    y, state = live.step(x[0])

    with reference():
        y, state = live.step(x[1], state)

    assert not y.requires_grad
    assert torch.equal(y, agree(network, live, x)[1])


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.ReLU(), "only neurons, Conv2d, Linear"),
        (nn.Dropout(), "use .eval()"),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"), "padding is 'circular'"),
        (nn.MaxPool2d(2, return_indices=True), "returns indices"),
        (nn.Flatten(2), "from axis 2 to -1"),
        (Izhikevich(dt=0.001), "not the scheme"),
        (Recurrent(LIF(dt=0.001), nn.Linear(1, 1)), "not the scheme"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), "only neurons"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_a_layer_that_cannot_be_held_is_refused_with_its_path_and_reason(layer: nn.Module, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"'body.odd' is a .*{type(layer).__name__}.*{reason}"):
        EventDriven(Sequential(body=Sequential(first=nn.Identity(), odd=layer)))


def test_a_neuron_with_a_step_or_a_surrogate_of_its_own_is_refused() -> None:
    class Slow(LIF):
        def step(self, x_t: Tensor, state: Any, **modulation: Any) -> tuple[Tensor, Any]:
            return super().step(x_t / 2, state, **modulation)

    with pytest.raises(ConfigError, match="'0' is a Slow"):
        EventDriven(Sequential(Slow(dt=0.001)))

    class Noisy(type(LIF(dt=0.001).surrogate)):  # type: ignore[misc]
        def __call__(self, x: Tensor) -> Tensor:
            return (x > 0.5).to(x.dtype)

    with pytest.raises(ConfigError, match="surrogate makes spikes in a way of its own"):
        EventDriven(Sequential(LIF(dt=0.001, surrogate=Noisy())))


def test_hooks_and_other_containers_are_refused() -> None:
    fc = nn.Linear(2, 2)
    fc.register_forward_hook(lambda module, given, y: y + 1)
    with pytest.raises(ConfigError, match="'fc' has forward hooks"):
        EventDriven(Sequential(fc=fc))

    with pytest.raises(
        ConfigError, match=r"takes a spikebridge.neurons.Sequential, but got a torch.nn.modules.linear.Linear"
    ):
        EventDriven(nn.Linear(2, 2))


@both_paths
@pytest.mark.parametrize("where", ["", "body", "body.fc", "body.lif"])
@pytest.mark.parametrize("kind", ["register_forward_hook", "register_forward_pre_hook"])
def test_hooks_that_come_later_are_noticed(native: bool, where: str, kind: str) -> None:
    network = Sequential(body=Sequential(fc=nn.Linear(2, 2), lif=LIF(HALF, dt=1.0)))
    live = EventDriven(network, native)
    x = torch.ones(1, 2)
    _, state = live.step(x)
    hook = getattr(network.get_submodule(where), kind)(lambda *_: None)

    for before in (None, state):
        with pytest.raises(ConfigError, match=r"has forward hooks, .*; remove them, or step it itself"):
            live.step(x, before)

    hook.remove()
    live.step(x, state)


@both_paths
def test_more_than_one_sample_a_gradient_or_a_foreign_state_is_refused(native: bool) -> None:
    network = Sequential(fc=nn.Linear(4, 3), lif=LIF(HALF, dt=1.0))
    live = EventDriven(network, native)
    x = torch.zeros(1, 4)
    _, state = live.step(x)

    with pytest.raises(ShapeError, match=r"one sample \(1, \*N\), but got shape \(2, 4\)"):
        live.step(torch.zeros(2, 4), state)

    with pytest.raises(ConfigError, match="no gradients"):
        live.step(x.clone().requires_grad_(), state)

    with pytest.raises(ShapeError, match=r"(LIF|'lif' \(LIF\)) got a state"):
        live.step(x, Sequential(fc=nn.Linear(4, 5), lif=LIF(HALF, dt=1.0)).initial_state(x))

    for other in (LIF(HALF, dt=1.0, refractory=2.0), CubaLIF(HALF, HALF, dt=1.0)) if native else ():
        with pytest.raises(ShapeError, match=r"'lif' \(LIF\) got a state .*, but its own is LIFState\(\(1, 3\) in"):
            live.step(x, Sequential(fc=nn.Linear(4, 3), lif=other).initial_state(x))

    with pytest.raises(ShapeError, match="holds nothing for 'lif'"):
        live.step(x, Sequential(LIF(HALF, dt=1.0)).initial_state(x))


@both_paths
def test_a_network_that_has_changed_is_noticed(native: bool) -> None:
    def build() -> Sequential:
        return Sequential(fc=nn.Linear(4, 3), lif=LIF(HALF, dt=1.0, v_threshold=1.0), plif=PLIF(0.02, dt=0.001))

    def train(network: Sequential) -> None:
        torch.optim.SGD(network.parameters(), 0.1).step()

    def load(network: Sequential) -> None:
        network.load_state_dict(build().state_dict())

    def replace(network: Sequential) -> None:
        network.fc.weight = nn.Parameter(torch.zeros(3, 4))

    def turn(network: Sequential) -> None:
        network.lif.v_threshold = 2.0

    def slow_down(network: Sequential) -> None:
        network.lif.dt = 2.0

    def reset_softly(network: Sequential) -> None:
        network.lif.reset = "subtract"

    def replace_a_layer(network: Sequential) -> None:
        network.fc = nn.Linear(4, 3)

    for change in (train, load, replace, turn, slow_down, reset_softly, replace_a_layer):
        network = build()
        live = EventDriven(network, native)
        x = torch.ones(1, 4)
        _, state = live.step(x)

        for parameter in network.parameters():
            parameter.grad = torch.ones_like(parameter)

        change(network)
        with pytest.raises(ConfigError, match="prepare it again"):
            live.step(x, state)

        EventDriven(network, native).step(x, state)
