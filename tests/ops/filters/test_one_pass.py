"""Sums in one pass beside the loop over their steps: values to the bit, and gradients."""

from functools import partial

import pytest
import torch
from torch import Tensor

from spikebridge.errors import ConfigError
from spikebridge.hybrid.unit.kernel import (
    AlphaCarry,
    Exponential,
    ExponentialCarry,
    MeanCarry,
    alpha_step,
    exponential_step,
    mean_step,
)
from spikebridge.ops import without_native
from spikebridge.ops.filters.leaky_sum import one_pass_alphas, one_pass_last, one_pass_means, one_pass_sums
from spikebridge.ops.selection import runs_in_one_pass
from spikebridge.ops.sequence import native

pytestmark = pytest.mark.untyped

needs_library = pytest.mark.skipif(not native.available(), reason=f"no native steps: {native.why_not()}")
SHAPES = {
    "one number": (1, 1, 1),
    "odd": (7, 3, 5),
    "images": (5, 2, 3, 4, 9),
    "many chunks": (3, 2, 1037),
    "larger than caches": (40, 3, 9001),
}
FORMS = ["sum", "mean", "alpha"]
every_form = pytest.mark.parametrize("form", FORMS)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def fast(
    form: str, x: Tensor, start: list[Tensor] | list[None], number: Tensor | float, resets: bytes | None = None
) -> tuple[Tensor, ...]:
    if form == "sum":
        return one_pass_sums(x, start[0], number, resets)
    if form == "mean":
        return one_pass_means(x, start[0], 2.0, resets)
    return one_pass_alphas(x, start[0], start[1], number, number, resets)


def looped(
    form: str, x: Tensor, start: list[Tensor] | list[None], number: Tensor | float, resets: bytes | None = None
) -> tuple[Tensor, ...]:
    if form == "sum":
        step = partial(exponential_step, decay=number)
        carry = ExponentialCarry(start[0])
    elif form == "mean":
        step = mean_step
        carry = MeanCarry(start[0], torch.tensor(2.0))
    else:
        step = partial(alpha_step, decay=number, rise=number)
        carry = AlphaCarry(*start)

    values = []
    for x_t, reset in zip(x.unbind(0), resets or bytes(len(x)), strict=True):
        if reset:
            carry = type(carry)(*[torch.zeros_like(m) for m in carry])
        h_t, carry = step(x_t, carry)
        values.append(h_t)

    return torch.stack(values), *(carry[:1] if form == "mean" else carry)


def start_of(x: Tensor) -> list[Tensor]:
    return [random(*x.shape[1:], seed=seed).requires_grad_() for seed in (1, 2)]


def assert_same(
    form: str,
    x: Tensor,
    signal: Tensor,
    number: Tensor | float,
    weighted: bool = True,
    resets: bytes | None = None,
) -> None:
    """Values to the bit, and gradients, for a view `x` of a signal that wants them."""
    start = start_of(x)
    wanted = [signal, *start[: 2 if form == "alpha" else 1]]
    ours, theirs = (run(form, x, start, number, resets) for run in (fast, looped))

    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))

    gradients = []
    for values in (ours, theirs):
        weights = [random(*v.shape, seed=9) if weighted else torch.ones(()) for v in values]
        total = sum((v * w).sum() for v, w in zip(values, weights, strict=True))
        gradients.append(torch.autograd.grad(total, wanted, retain_graph=True, materialize_grads=True))

    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@needs_library
@every_form
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.usefixtures("instructions")
def test_every_form_gives_the_bits_of_its_loop_and_its_gradients(form: str, shape: tuple[int, ...]) -> None:
    x = random(*shape).requires_grad_()
    assert_same(form, x, x, 0.75)
    assert_same(form, x, x, random(*shape[2:], seed=3).sigmoid())


PATTERNS = {
    "none": bytes(9),
    "the first step": bytes([1, *[0] * 8]),
    "the last step": bytes([*[0] * 8, 1]),
    "all": bytes([1] * 9),
    "some": bytes([0, 0, 1, 0, 0, 0, 1, 1, 0]),
}


# where a reset is does not depend on how rows are cut, so rows larger than caches need one pattern
RESETS = {f"{name}, {columns}": (PATTERNS[name], columns) for columns in (5, 1037) for name in PATTERNS}
RESETS["some, larger than caches"] = (PATTERNS["some"], 70001)


@needs_library
@every_form
@pytest.mark.parametrize(("resets", "columns"), RESETS.values(), ids=RESETS)
@pytest.mark.usefixtures("instructions")
def test_a_reset_forgets_the_steps_before_it(form: str, resets: bytes, columns: int) -> None:
    x = random(9, 2, columns).requires_grad_()
    assert_same(form, x, x, 0.75, resets=resets)
    assert_same(form, x, x, random(columns, seed=3).sigmoid(), resets=resets)
    signal = random(27, 1, columns).requires_grad_()
    assert_same(form, signal.unflatten(0, (3, 9))[:, :, 0].transpose(0, 1), signal, 0.75, resets=resets)


@needs_library
@every_form
def test_what_begins_again_forgets_what_is_not_finite(form: str) -> None:
    x = random(9, 2, 40)
    x[2, 1, 3] = float("inf")
    values = fast(form, x, start_of(x), 0.75, PATTERNS["some"])

    assert all(torch.equal(a, b) for a, b in zip(values, looped(form, x, start_of(x), 0.75, PATTERNS["some"])))  # noqa: B905
    assert all(v[6:].isfinite().all() for v in values[:1]) and all(v.isfinite().all() for v in values[1:])


@needs_library
@pytest.mark.parametrize(("resets", "columns"), RESETS.values(), ids=RESETS)
def test_a_decay_is_trained_where_sums_begin_again(resets: bytes, columns: int) -> None:
    x = random(9, 2, columns).requires_grad_()
    decay = random(columns, seed=3).sigmoid().requires_grad_()
    start = random(2, columns, seed=1).requires_grad_()
    weights = random(9, 2, columns, seed=4)
    ours, theirs = (
        torch.autograd.grad((found[0] * weights).sum() + found[1].sum(), (x, start, decay), materialize_grads=True)
        for found in (run("sum", x, [start], decay, resets) for run in (fast, looped))
    )

    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@needs_library
@every_form
def test_nothing_before_the_first_step_is_zeros(form: str) -> None:
    x = random(6, 2, 40).requires_grad_()
    zeros = [torch.zeros(2, 40), torch.zeros(2, 40)]
    none = [None, None]
    ours = fast(form, x, none, 0.5)
    theirs = fast(form, x, zeros, 0.5)

    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))

    a, b = (torch.autograd.grad(sum(v.sum() for v in values), x)[0] for values in (ours, theirs))
    assert torch.equal(a, b)


@needs_library
@pytest.mark.parametrize("form", ["sum", "mean"])
def test_memory_before_the_first_step_may_be_spread_over_neurons(form: str) -> None:
    x = random(6, 2, 4000)
    start = [random(2, 1, seed=1).requires_grad_()]
    ours, theirs = (run(form, x, start, 0.5) for run in (fast, looped))

    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))

    a, b = (torch.autograd.grad(values[0].mean(), start[0])[0] for values in (ours, theirs))
    torch.testing.assert_close(a, b)


@needs_library
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("of", ["all", "a column", "a sample and a column", "a step of one"])
@pytest.mark.usefixtures("instructions")
def test_a_decay_is_trained(shape: tuple[int, ...], of: str) -> None:
    x = random(*shape).requires_grad_()
    kinds = {"all": (), "a column": shape[2:], "a sample and a column": shape[1:], "a step of one": (1, *shape[1:])}
    decay = random(*kinds[of], seed=3).sigmoid().requires_grad_()
    start = random(*shape[1:], seed=1).requires_grad_()
    y, last = one_pass_sums(x, start, decay)
    expected = looped("sum", x, [start], decay if of != "a step of one" else decay[0])

    assert torch.equal(y, expected[0]) and torch.equal(last, expected[1])

    weights = random(*shape, seed=4)
    wanted = (x, start, decay)
    ours, theirs = (torch.autograd.grad((v * weights).mean() + e.mean(), wanted) for v, e in ((y, last), expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


@needs_library
@every_form
@pytest.mark.parametrize("columns", [5, 70], ids=["copied", "where they lie"])
def test_windows_and_other_strides(form: str, columns: int) -> None:
    signal = random(21, 2, 2 * columns).requires_grad_()
    assert_same(form, signal.unflatten(0, (3, 7)).movedim(1, 0), signal, 0.5)
    assert_same(form, signal[..., ::2], signal, 0.5)
    assert_same(form, signal[:, :, :columns], signal, random(2, columns, seed=3).sigmoid())
    assert_same(form, signal[:1].expand(4, 2, 2 * columns), signal, 0.5)


@needs_library
@every_form
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_and_gradients_of_one_number(form: str, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    x = random(40, 4, 1000).requires_grad_()
    assert_same(form, x, x, 0.75, weighted=False)
    torch.set_num_threads(before)


@needs_library
@every_form
@pytest.mark.parametrize("which", [0, 1])
def test_gradients_of_the_values_alone_and_of_the_memory_alone(form: str, which: int) -> None:
    x = random(6, 2, 40).requires_grad_()
    start = start_of(x)
    a, b = (torch.autograd.grad(run(form, x, start, 0.5)[which].sum(), (x, start[0])) for run in (fast, looped))
    torch.testing.assert_close(a, b)


@needs_library
def test_the_memory_after_is_nobody_elses() -> None:
    x = random(4, 1, 3)
    start = torch.zeros(1, 3)
    y, last = one_pass_sums(x, start)
    last += 1

    assert torch.equal(y[-1], last - 1) and not start.any()


@needs_library
def test_what_does_not_run_in_one_pass() -> None:
    x = random(4, 2, 3)
    assert runs_in_one_pass(x, 0.5, torch.full((3,), 0.5))
    assert not runs_in_one_pass(x.double())
    assert not runs_in_one_pass(x, torch.rand(4, 1, 3)), "a number a step"
    assert not runs_in_one_pass(x, torch.rand(3).double()), "another dtype"
    assert not runs_in_one_pass(x.transpose(1, 2).contiguous().transpose(1, 2)), "axes in another order"

    with without_native():
        assert not runs_in_one_pass(x)


@needs_library
def test_second_derivatives_are_refused() -> None:
    x = random(4, 1, 3).requires_grad_()
    with pytest.raises(ConfigError, match="second derivative"):
        torch.autograd.grad(one_pass_sums(x, torch.zeros(1, 3))[0].sum(), x, create_graph=True)

    with pytest.raises(ConfigError, match="second derivative"):
        torch.autograd.grad(one_pass_last(x, torch.tensor(0.5)).sum(), x, create_graph=True)

    with pytest.raises(ConfigError, match="second derivative"):
        torch.autograd.grad(one_pass_last(x, torch.tensor(0.5), 1.0).sum(), x, create_graph=True)


@needs_library
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.usefixtures("instructions")
def test_a_last_sum_and_its_slope(shape: tuple[int, ...]) -> None:
    x = random(*shape).requires_grad_()
    decay = random(*shape[2:], seed=3).sigmoid().requires_grad_()
    last = one_pass_last(x, decay)
    expected = looped("sum", x, [torch.zeros(shape[1:])], decay)[1]

    assert torch.equal(last, expected) and torch.equal(one_pass_last(x.detach(), decay.detach()), expected)

    weights = random(*shape[1:], seed=4)
    ours, theirs = (torch.autograd.grad((v * weights).sum(), (x, decay)) for v in (last, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


LEARNED = ["all", "a column", "a sample and a column", "one for all columns"]


def log_tau_of(of: str, shape: tuple[int, ...]) -> Tensor:
    kinds = {"all": (), "a column": shape[2:], "a sample and a column": shape[1:], "one for all columns": (1,)}
    return random(*kinds[of], seed=3).requires_grad_()


@needs_library
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("of", LEARNED)
@pytest.mark.usefixtures("instructions")
def test_a_last_sum_with_a_learned_time_constant(shape: tuple[int, ...], of: str) -> None:
    x = random(*shape).requires_grad_()
    dt = 0.7
    log_tau = log_tau_of(of, shape)
    last = one_pass_last(x, log_tau, dt)
    expected = looped("sum", x, [torch.zeros(shape[1:])], torch.exp(-dt / log_tau.exp()))[1]

    assert torch.equal(last, expected) and torch.equal(one_pass_last(x.detach(), log_tau.detach(), dt), expected)

    weights = random(*shape[1:], seed=4)
    ours, theirs = (torch.autograd.grad((v * weights).mean(), (x, log_tau)) for v in (last, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)
    alone = torch.autograd.grad(one_pass_last(x.detach(), log_tau, dt).sum(), log_tau)

    assert alone[0].shape == log_tau.shape
    assert torch.autograd.grad(one_pass_last(x, log_tau.detach(), dt).sum(), x)[0].shape == x.shape


@needs_library
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("of", LEARNED)
@pytest.mark.usefixtures("instructions")
def test_all_sums_with_a_learned_time_constant(shape: tuple[int, ...], of: str) -> None:
    x = random(*shape).requires_grad_()
    dt = 0.7
    log_tau = log_tau_of(of, shape)
    start = random(*shape[1:], seed=1).requires_grad_()
    resets = bytes(t % 3 == 2 for t in range(shape[0]))
    ours = one_pass_sums(x, start, log_tau, resets, dt)
    theirs = looped("sum", x, [start], torch.exp(-dt / log_tau.exp()), resets)
    untrained = one_pass_sums(x.detach(), start.detach(), log_tau.detach(), resets, dt)

    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(ours, theirs, untrained, strict=True))

    weights = random(*shape, seed=4)
    wanted = (x, start, log_tau)
    grads = [
        torch.autograd.grad((y * weights).mean() + last.mean(), wanted, retain_graph=True, materialize_grads=True)
        for y, last in (ours, theirs, ours)
    ]

    torch.testing.assert_close(grads[0], grads[1], rtol=1e-3, atol=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(grads[0], grads[2], strict=True)), "a second time"


@needs_library
@pytest.mark.parametrize("tau", [torch.tensor(2.0), random(40, seed=3).exp()], ids=["one for all", "one a neuron"])
@pytest.mark.parametrize("kind", ["one window", "windows", "windows that run"])
def test_a_kernel_is_one_node_from_the_logarithm_of_its_time_constant(tau: Tensor, kind: str) -> None:
    signal = random(9, 2, 40).requires_grad_()
    x = signal.unflatten(0, (3, 3)).movedim(1, 0) if kind == "windows" else signal
    kernel = Exponential(tau, dt=0.7, learn="tau")
    resets = PATTERNS["some"] if kind == "windows that run" else None
    sums, carry = kernel.run(x, None, resets)

    assert sums.grad_fn.next_functions[1][0].variable is kernel.log_tau

    expected = looped("sum", x, [torch.zeros_like(x[0])], torch.exp(-0.7 / kernel.tau), resets)
    assert torch.equal(sums, expected[0]) and torch.equal(carry.total, expected[1])

    weights = random(*sums.shape, seed=4)
    ours, theirs = (torch.autograd.grad((v * weights).sum(), (signal, kernel.log_tau)) for v in (sums, expected[0]))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@needs_library
def test_last_values_of_windows_know_their_time_constant_at_once() -> None:
    signal = random(9, 2, 40).requires_grad_()
    windows = signal.unflatten(0, (3, 3)).movedim(1, 0)
    kernel = Exponential(random(40, seed=3).exp(), dt=0.7, learn="tau")
    found = [kernel.last(windows)]

    with without_native():
        found.append(kernel.last(windows))

    weights = random(3, 2, 40, seed=4)
    ours, theirs = (torch.autograd.grad((v * weights).sum(), (signal, kernel.log_tau)) for v in found)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)

    assert found[0].grad_fn.next_functions[1][0].variable is kernel.log_tau


@needs_library
def test_numbers_of_other_neurons_are_refused() -> None:
    with pytest.raises(RuntimeError):
        one_pass_sums(random(4, 2, 40), None, torch.rand(80))
