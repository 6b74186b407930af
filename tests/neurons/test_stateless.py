"""Plain modules over time, and with weights that come from elsewhere."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError
from spikebridge.neurons import Effect
from spikebridge.neurons.stateless import modulated, over_time, per_sample

T = 5
B = 3


class Scaled(nn.Module):
    """A module of two inputs, the second by name."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        return self.fc(x) * scale


class Taking(Scaled):
    """The same, which takes a held scale as one row."""

    takes_held = ("scale",)

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        self.seen = len(scale)
        return super().forward(x, scale.repeat(len(x) // max(1, len(scale)), 1))


def test_a_held_row_is_given_once_to_a_module_that_takes_it():
    taking = Taking()
    x = torch.randn(T, B, 4)
    row = torch.randn(B, 2)
    held = over_time(taking, x, scale=row.expand(T, B, 2))

    assert taking.seen == B

    torch.testing.assert_close(held, over_time(taking, x, scale=row.repeat(T, 1, 1)))
    assert taking.seen == T * B

    over_time(taking, x=x[:1].expand(T, B, 4), scale=row.expand(T, B, 2))
    assert taking.seen == B
    assert over_time(taking, x[:0], scale=row.expand(0, B, 2)).shape == (0, B, 2)


def test_a_module_of_held_rows_alone_gives_all_steps():
    class Doubled(nn.Module):
        takes_held = ("x",)

        def forward(self, x: Tensor) -> Tensor:
            return 2 * x

    row = torch.randn(B, 2)
    assert torch.equal(over_time(Doubled(), x=row.expand(T, B, 2)), (2 * row).expand(T, B, 2))


def test_time_is_folded_into_the_batch():
    module = nn.Linear(4, 2)
    x = torch.randn(T, B, 4)
    assert torch.equal(over_time(module, x), module(x.reshape(T * B, 4)).reshape(T, B, 2))


def test_several_signals_come_in_order_or_by_name():
    module = Scaled()
    x = torch.randn(T, B, 4)
    scale = torch.randn(T, B, 2)
    expected = module.fc(x) * scale
    torch.testing.assert_close(over_time(module, x, scale), expected)
    torch.testing.assert_close(over_time(module, x, scale=scale), expected)
    torch.testing.assert_close(over_time(module, x=x, scale=scale), expected)


@pytest.mark.parametrize(
    "module",
    [nn.BatchNorm1d(4), nn.BatchNorm1d(4, momentum=None), nn.Dropout(), nn.LayerNorm(4), nn.Linear(4, 2)],
    ids=lambda m: type(m).__name__,
)
@pytest.mark.parametrize("shape", [(0, B, 4), (T, 0, 4)])
def test_an_empty_signal_leaves_no_trace(module, shape):
    before = copy.deepcopy(module.state_dict())
    y = over_time(module, torch.zeros(shape))

    assert y.shape[:2] == shape[:2]
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_signals_of_unequal_time_are_refused():
    with pytest.raises(ShapeError, match=r"equal T and B, but got \(5, 3, 4\), \(3, 5, 2\)"):
        over_time(Scaled(), torch.zeros(5, 3, 4), torch.zeros(3, 5, 2))


def test_a_module_needs_a_signal():
    with pytest.raises(ShapeError, match="Linear was given no signal"):
        over_time(nn.Linear(1, 1))


# each form of a weight (M, N), and what it comes to at step t and sample b
FORMS = {
    "a number": (lambda w, s: 0.5, lambda w, s, t, b: torch.full_like(w, 0.5)),
    "one for all": (lambda w, s: s[0, 0], lambda w, s, t, b: s[0, 0]),
    "a sample": (lambda w, s: s[0], lambda w, s, t, b: s[0, b]),
    "a step and sample": (lambda w, s: s, lambda w, s, t, b: s[t, b]),
    "a step": (lambda w, s: s[:, :1], lambda w, s, t, b: s[t, 0]),
    "added": (lambda w, s: Effect(s, "add"), lambda w, s, t, b: w + s[t, b]),
    "multiplied": (lambda w, s: Effect(s, "multiply"), lambda w, s, t, b: w * s[t, b]),
    "replacing": (lambda w, s: Effect(s, "replace"), lambda w, s, t, b: s[t, b]),
    "constant": (lambda w, s: Effect(s[:1], "multiply"), lambda w, s, t, b: w * s[0, b]),
    "a row": (lambda w, s: Effect(s[..., 0]), lambda w, s, t, b: w * s[t, b, :, :1]),
    "two effects": (
        lambda w, s: [Effect(s, "add"), Effect(s[:1], "multiply")],
        lambda w, s, t, b: (w + s[t, b]) * s[0, b],
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_linear_layer_with_weights_from_elsewhere(form):
    argument, at = FORMS[form]
    module = nn.Linear(4, 2).double()
    x = torch.randn(T, B, 4, dtype=torch.float64)
    results = []

    for by_hand in (False, True):
        signal = torch.linspace(-1, 1, T * B * 8, dtype=torch.float64).reshape(T, B, 2, 4).requires_grad_()
        module.zero_grad()
        w = module.weight

        if by_hand:
            y = torch.stack(
                [torch.stack([F.linear(x[t, b], at(w, signal, t, b), module.bias) for b in range(B)]) for t in range(T)]
            )
        else:
            y = modulated(module, {"weight": argument(w, signal)}, x)

        y.square().sum().backward()
        results.append((y, signal.grad, w.grad, module.bias.grad.clone()))

    for got, expected in zip(*results, strict=True):
        assert (got is None) == (expected is None)
        if got is not None:
            torch.testing.assert_close(got, expected)


def test_a_convolution_with_a_weight_and_a_bias_a_sample():
    module = nn.Conv2d(2, 3, 3, padding=1).double()
    x = torch.randn(T, B, 2, 5, 5, dtype=torch.float64)
    weights = torch.randn(B, 3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    biases = torch.randn(T, B, 3, dtype=torch.float64, requires_grad=True)
    gradients = []

    for by_hand in (False, True):
        if by_hand:
            rows = [
                [F.conv2d(x[t, b : b + 1], weights[b], biases[t, b], padding=1)[0] for b in range(B)] for t in range(T)
            ]
            y = torch.stack([torch.stack(row) for row in rows])
        else:
            y = modulated(module, {"weight": weights, "bias": Effect(biases, "replace")}, x)

        gradients.append((y, *torch.autograd.grad(y.square().sum(), (weights, biases))))

    for got, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(got, expected)


def test_connections_can_be_cut_per_sample():
    module = nn.Linear(3, 2, bias=False)
    x = torch.ones(1, 2, 3)
    module.weight.data = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
    mask = torch.tensor([[[1.0, 0, 1], [0, 1, 0]], [[0, 1, 0], [1, 1, 1]]]).unsqueeze(0)

    assert modulated(module, {"weight": Effect(mask)}, x)[0].tolist() == [[5, 16], [2, 56]]


def test_a_part_with_several_inputs_can_be_modulated():
    module = Scaled()
    x = torch.randn(T, B, 4)
    scale = torch.randn(T, B, 2)
    biases = torch.randn(T, B, 2)
    expected = (F.linear(x, module.fc.weight) + biases) * scale
    torch.testing.assert_close(modulated(module, {"fc.bias": biases}, x, scale=scale), expected)
    torch.testing.assert_close(modulated(module, {"fc.bias": biases}, scale=scale, x=x), expected)
    torch.testing.assert_close(
        modulated(module, {"fc.bias": biases[0]}, x, scale), (F.linear(x, module.fc.weight) + biases[0]) * scale
    )


def test_the_module_is_never_written_to():
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).eval()
    x = torch.randn(T, B, 4)
    before = copy.deepcopy(module.state_dict())
    plain = module(x.flatten(0, 1)).unflatten(0, (T, B))
    modulated(module, {"0.weight": torch.randn(T, B, 4, 4), "1.bias": torch.randn(B, 4)}, x)

    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert torch.equal(over_time(module, x), plain)


def test_batch_normalisation_keeps_its_statistics_in_eval_mode():
    module = nn.BatchNorm1d(4).eval()
    x = torch.randn(T, B, 4)
    module.running_mean.fill_(2.0)
    shift = torch.randn(B, 4)
    expected = (x - 2.0) / torch.sqrt(torch.tensor(1 + 1e-5)) + shift
    torch.testing.assert_close(modulated(module, {"bias": shift}, x), expected)


def test_batch_normalisation_in_training_is_refused_under_modulated_weights():
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    with pytest.raises(ConfigError, match=r"BatchNorm1d at '1' cannot be trained under modulated weights.*eval mode"):
        modulated(module, {"0.bias": torch.zeros(4)}, torch.zeros(T, B, 4))


@pytest.mark.parametrize("modulation", [{}, {"weight": None}])
def test_no_modulation_is_the_plain_module(modulation):
    module = nn.Linear(4, 2)
    x = torch.randn(T, B, 4)
    assert torch.equal(modulated(module, modulation, x), over_time(module, x))


@pytest.mark.parametrize(("num_steps", "batch"), [(0, B), (T, 0)])
def test_an_empty_signal_has_the_shape_of_the_output(num_steps, batch):
    module = nn.Linear(4, 2)
    x = torch.zeros(num_steps, batch, 4)
    for weight in (torch.zeros(num_steps, batch, 2, 4), Effect(torch.ones(num_steps, batch, 2)), torch.zeros(2, 4)):
        assert modulated(module, {"weight": weight}, x).shape == (num_steps, batch, 2)


def test_cost_does_not_grow_with_the_square_of_time():
    """The backward pass keeps the same for every step, however many there are."""
    module = nn.Linear(4, 4)
    kept = {}

    for num_steps in (8, 32):
        x = torch.randn(num_steps, B, 4)
        weights = torch.randn(num_steps, B, 4, 4, requires_grad=True)
        sizes = []

        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: (s.append(t.numel()), t)[1], lambda t: t):
            modulated(module, {"weight": weights}, x).sum().backward()
        kept[num_steps] = sum(sizes)

    assert kept[32] == 4 * kept[8]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(3, 4), r"shape \(2, 4\) cannot be modulated by a value of shape \(1, 1, 3, 4\).*\(B, \*W\)"),
        (torch.zeros(4, 2, 4), r"by a value of shape \(1, 4, 2, 4\) over .* and 3 samples"),
        (torch.zeros(4, 3, 2, 4), "has 4 steps in time, but the signal has 5"),
        (torch.zeros(1, 5, 3, 2, 4), r"value of shape \(1, 5, 3, 2, 4\)"),
        (torch.zeros(()), r"value of shape \(\)"),
        (Effect(torch.zeros(4, 3, 2, 4)), "has 4 steps in time, but the signal has 5"),
        (Effect(torch.zeros(5, 3, 2, 4, 1)), "has more axes than what it modulates"),
        (Effect(torch.zeros(5, 3, 4)), r"shape \(1, 3, 4\) \(T, B, \*M\) does not fit a quantity of shape \(2, 4\)"),
        (Effect(torch.zeros(5, 3, 4), "replace"), r"by a value of shape \(1, 3, 4\)"),
        (torch.zeros(2, 4, dtype=torch.float64), "torch.float32 on cpu is modulated by torch.float64 on cpu"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(value, message):
    with pytest.raises(ShapeError, match=message):
        modulated(nn.Linear(4, 2), {"weight": value}, torch.zeros(T, B, 4))


def test_a_parameter_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"Linear has no parameter 'wight'; did you mean 'weight'.*bias"):
        modulated(nn.Linear(4, 2), {"wight": torch.zeros(2, 4)}, torch.zeros(T, B, 4))


def test_a_value_is_a_number_a_tensor_or_an_effect():
    with pytest.raises(ConfigError, match="a number, a tensor or an Effect, but got 'heavy'"):
        modulated(nn.Linear(4, 2), {"weight": "heavy"}, torch.zeros(T, B, 4))


@pytest.mark.parametrize(
    ("shape", "expected"), [((2, 4), (1, B, 2, 4)), ((B, 2, 4), (1, B, 2, 4)), ((T, B, 2, 4), (T, B, 2, 4))]
)
def test_a_parameter_a_sample_has_time_and_batch_in_front(shape, expected):
    assert per_sample(torch.zeros(2, 4), torch.ones(shape), T, B).shape == expected


def test_a_compiled_module_has_symbols_for_steps_and_samples_alone(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--jaxtyping-packages", default=None):
        pytest.skip("the checks of annotations are traced, too")

    seen: list[torch.Size] = []

    def backend(graph: Any, inputs: list[Any]) -> Any:
        values = [node.meta.get("example_value") for node in graph.graph.nodes if node.op == "placeholder"]
        seen.extend(x.shape for x in values if isinstance(x, Tensor) and x.ndim == 5)
        return graph.forward

    layer = nn.Conv2d(2, 4, 3)
    compiled = torch.compile(lambda x: over_time(layer, x), backend=backend, dynamic=True, fullgraph=True)
    for steps, batch in ((4, 3), (6, 5)):
        x = torch.rand(steps, batch, 2, 8, 8)
        torch.testing.assert_close(compiled(x), over_time(layer, x))

    assert [type(size) is int or size.node.maybe_as_int() is not None for size in seen[0]] == [
        False,
        False,
        True,
        True,
        True,
    ]
