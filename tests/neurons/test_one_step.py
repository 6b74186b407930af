"""One step without checks gives what `forward` gives on one step, to the bit: outputs, states and gradients."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikebridge.hybrid import Gain, Gate
from spikebridge.neurons import LIF, Effect, Integrator, Sequential, Stateful
from spikebridge.neurons.base import RowEffects
from spikebridge.neurons.sequential import advance_layer
from spikebridge.neurons.state import tensors_of

BATCH = 3
STEPS = 4


def assert_equal_steps(layer: Stateful, x: Tensor, effects: RowEffects | None = None) -> None:
    """Runs a signal step by step both ways, with effects in every step but the first."""
    found = []
    for short in (True, False):
        leaf = x.clone().requires_grad_()
        layer.zero_grad()
        state = layer.initial_state(x[0])
        outputs = []

        for t, x_t in enumerate(leaf.unbind(0)):
            now = effects if effects and t else {}
            if short:
                y_t, state = advance_layer(layer, x_t, state, now)
            else:
                timed = {n: [Effect(row.unsqueeze(0), by) for row, by in acts] for n, acts in now.items()}
                y, state = layer(x_t.unsqueeze(0), state, **timed)
                y_t = y[0]

            outputs.append(y_t)

        loss = torch.stack(outputs).square().sum() + sum(t.sum() for t in tensors_of(state) if t.is_floating_point())
        loss.backward()
        grads = [leaf.grad, *(p.grad for p in layer.parameters())]
        found.append((outputs, tensors_of(state), [g for g in grads if g is not None], type(state)))

    (outputs, states, grads, kind), (right, right_states, right_grads, right_kind) = found
    assert kind is right_kind
    assert all(torch.equal(a, b) for a, b in zip(outputs + states, right + right_states, strict=True))

    for a, b in zip(grads, right_grads, strict=True):
        torch.testing.assert_close(a, b)


def test_every_layer_steps_as_it_runs(case):
    layer = case.build().double()
    x = case.signal(STEPS, BATCH, 5)
    assert_equal_steps(layer, x)


def test_every_quantity_can_be_modulated_in_a_step(case):
    layer = case.build().double()
    x = case.signal(STEPS, BATCH, 5)

    for path in layer.modulable_paths():
        if getattr(type(layer), path, None) is None:
            continue
        for by, shape in (("multiply", (BATCH, 5)), ("replace", (BATCH, 1))):
            assert_equal_steps(layer, x, {path: [(torch.rand(shape).double() + 0.5, by)]})


def picture_layers() -> Sequential:
    torch.manual_seed(0)
    return Sequential(
        conv=nn.Conv2d(2, 4, 3),
        lif=LIF(0.01, dt=0.004, v_threshold=0.1),
        pool=nn.MaxPool2d(2),
        gate=Gate(),
        flat=nn.Flatten(),
        fc=nn.Linear(36, 5),
        gain=Gain(2.0, learn="gain"),
        inner=Sequential(out=Integrator(0.01, dt=0.004)),
    )


EFFECTS: list[RowEffects] = [
    {},
    {"lif.v_threshold": [(torch.rand(BATCH, 4), "add"), (torch.rand(BATCH, 4, 1, 1), "multiply")]},
    {"gate.gate": [(torch.rand(BATCH, 4), "replace")], "inner.out.tau": [(torch.rand(BATCH, 1) + 0.1, "multiply")]},
    {"fc.weight": [(torch.rand(BATCH, 5, 36), "multiply")], "gain.gain": [(torch.rand(BATCH, 5), "add")]},
]


@pytest.mark.parametrize("effects", EFFECTS, ids=lambda effects: " ".join(effects) or "none")
def test_layers_in_a_row_step_as_they_run(effects: RowEffects) -> None:
    assert_equal_steps(picture_layers(), torch.rand(STEPS, BATCH, 2, 8, 8), effects)


def test_a_hook_sees_every_step() -> None:
    layers = picture_layers()
    seen = []
    layers.lif.register_forward_hook(lambda module, args, y: seen.append(module))
    assert_equal_steps(layers, torch.rand(STEPS, BATCH, 2, 8, 8))

    assert len(seen) == 2 * (1 + STEPS)  # and the empty signal that makes the initial state


def test_a_layer_with_a_forward_of_its_own_runs_it() -> None:
    class Doubled(LIF):
        def forward(self, x: Tensor, state: Any = None, **modulation: Any) -> tuple[Tensor, Any]:
            y, state = super().forward(x, state, **modulation)
            return 2 * y, state

    assert_equal_steps(Doubled(0.01, dt=0.004), 3 * torch.rand(STEPS, BATCH, 2))


def test_a_row_of_layers_with_a_forward_of_its_own_runs_it() -> None:
    class Doubled(Sequential):
        def forward(self, x: Tensor, state: Any = None, **modulation: Any) -> tuple[Tensor, Any]:
            y, state = super().forward(x, state, **modulation)
            return 2 * y, state

    assert_equal_steps(Doubled(fc=nn.Linear(2, 3), lif=LIF(0.01, dt=0.004)), 3 * torch.rand(STEPS, BATCH, 2))


def test_arguments_that_are_kept_follow_a_quantity_that_is_set() -> None:
    layer = LIF(0.01, dt=0.004)
    x = torch.rand(STEPS, BATCH, 5)
    assert_equal_steps(layer, x)
    layer.tau = 0.02
    assert_equal_steps(layer, x)
    layer.dt = 0.002
    layer.reset = "subtract"
    assert_equal_steps(layer, x)

    twin = LIF(0.02, dt=0.002, reset="subtract")
    assert torch.equal(layer(x)[0], twin(x)[0])
