"""Compiled and exported networks: time is one operator, with the numbers and gradients of the layer itself."""

import math
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from fresh_process import run_fresh
from spikebridge.neurons import LIF, AdaptiveLIF, Arctan, CubaLIF, Integrator, Memoryless, Sequential, Surrogate
from spikebridge.ops import reference, without_native
from spikebridge.ops.selection import is_exportable
from spikebridge.ops.sequence.custom_op import sequence
from spikebridge.ops.sequence.spec import NeuronParams

pytestmark = pytest.mark.untyped

LEARNED = ("tau", "v_threshold", "v_reset", "v_leak", "r")
LAYERS = {
    "LIF": lambda: LIF(0.01, dt=0.004, learn=LEARNED),
    "LIF, soft": lambda: LIF(0.01, dt=0.004, reset="subtract", learn=LEARNED),
    "LIF, detached": lambda: LIF(0.01, dt=0.004, detach_reset=True, surrogate=Arctan(2.0)),
    "Memoryless": lambda: Memoryless(),
    "CubaLIF": lambda: CubaLIF(0.01, 0.004, dt=0.004, learn=(*LEARNED, "tau_syn")),
    "AdaptiveLIF": lambda: AdaptiveLIF(0.01, 0.03, dt=0.004, learn=(*LEARNED, "tau_adaptation", "jump")),
    "Integrator": lambda: Integrator(0.01, dt=0.004, learn=("tau", "v_leak", "r")),
}
OPERATOR = torch.ops.spikebridge.sequence.default
ARCTAN = ("spikebridge.neurons.surrogate.Arctan", 1.0, "zero", False)


class Outputs(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


@pytest.fixture(autouse=True)
def _forget() -> None:
    torch._dynamo.reset()


def train(run: Any, layer: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Tensor | None]]:
    layer.zero_grad()
    x = x.detach().requires_grad_()
    y, state = run(x)
    ((y * torch.linspace(0.5, 1.5, y.numel()).reshape(y.shape)).sum() + state[0].square().sum()).backward()

    return y.detach(), {"x": x.grad, **{n: p.grad for n, p in layer.named_parameters()}}


def nodes(program: torch.export.ExportedProgram) -> list[Any]:
    return [node.target for node in program.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize("name", LAYERS)
def test_a_compiled_layer_gives_its_numbers_and_gradients(name: str, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--jaxtyping-packages"):
        pytest.skip("executed type checks are not what is compiled")

    layer = LAYERS[name]()
    x = torch.randn(9, 2, 5) * 0.6 + 0.4
    spikes, gradients = train(layer, layer, x)
    compiled, found = train(torch.compile(layer, backend="aot_eager", fullgraph=True), layer, x)

    assert torch.equal(spikes, compiled)
    for key, expected in gradients.items():
        assert (expected is None) == (found[key] is None)
        if expected is not None:
            torch.testing.assert_close(found[key], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("without", [False, True], ids=["native", "pytorch"])
@pytest.mark.parametrize("lies", ["channels last", "transposed", "every second", "spread"])
def test_results_lie_as_a_compiler_was_told(lies: str, without: bool) -> None:
    x = {
        "channels last": torch.randn(9, 2, 4, 5, 3).permute(0, 1, 4, 2, 3),
        "transposed": torch.randn(9, 5, 2).transpose(1, 2),
        "every second": torch.randn(9, 2, 10)[..., ::2],
        "spread": torch.randn(1, 2, 5).expand(9, 2, 5),
    }[lies]

    decay = [torch.tensor(0.5), *[None] * (len(NeuronParams._fields) - 1)]
    memories = [torch.zeros(x.shape[1:]) for _ in range(3)]
    inputs = (x, *memories, *decay, [math.nan, 1.0, 0.0, 0.0, 1.0, 0.5, 0.5, 0.1], *ARCTAN)

    with without_native() if without else nullcontext():
        results = OPERATOR(*inputs)

    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        told = OPERATOR(*[mode.from_tensor(t) if isinstance(t, Tensor) else t for t in inputs])

    for one, other in zip(results, told, strict=True):
        assert one.shape == other.shape and one.stride() == other.stride()


def test_a_compiled_network_of_pictures_channels_last_trains(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--jaxtyping-packages"):
        pytest.skip("executed type checks are not what is compiled")

    network = Sequential(
        *(nn.Conv2d(2, 8, 3, padding=1), LIF(0.01, dt=0.004), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(8 * 9, 4), LIF(0.01, dt=0.004, v_threshold=0.2)),
    ).to(memory_format=torch.channels_last)

    x = torch.rand(5, 2, 2, 6, 6)
    y, _ = network(x)
    y.sum().backward()
    expected = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    compiled, _ = torch.compile(network, backend="aot_eager")(x)
    compiled.sum().backward()

    assert torch.equal(compiled, y)
    for parameter, grad in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, grad, rtol=1e-4, atol=1e-4)


def test_importing_loads_no_compiler() -> None:
    program = "import sys, spikebridge.neurons, spikebridge.hybrid; print('torch._dynamo' in sys.modules)"
    assert run_fresh(program) == "False\n"


def test_time_is_not_unrolled() -> None:
    network = Outputs(Sequential(nn.Linear(5, 4), LIF(0.01, dt=0.004), nn.Linear(4, 2), Integrator(0.01, dt=0.004)))
    counts = [len(nodes(torch.export.export(network, (torch.randn(t, 2, 5),)))) for t in (3, 60)]
    assert counts[0] == counts[1]


def test_an_exported_network_gives_its_numbers() -> None:
    network = Outputs(Sequential(nn.Linear(5, 4), LIF(0.01, dt=0.004), nn.Linear(4, 2)))
    x = torch.randn(9, 2, 5)
    program = torch.export.export(network, (x,))

    assert nodes(program).count(OPERATOR) == 1
    assert torch.equal(program.module()(x), network(x))


@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_network_takes_any_number_of_steps_and_samples(
    strict: bool, request: pytest.FixtureRequest
) -> None:
    if strict and request.config.getoption("--jaxtyping-packages"):
        pytest.skip("executed type checks are not what is exported")

    network = Outputs(Sequential(nn.Linear(5, 4), LIF(0.01, dt=0.004), nn.Linear(4, 2), Integrator(0.01, dt=0.004)))
    axes = {0: torch.export.Dim("T", min=2), 1: torch.export.Dim("B", min=1)}
    program = torch.export.export(network, (torch.randn(9, 2, 5),), dynamic_shapes={"x": axes}, strict=strict)

    for shape in ((17, 3, 5), (2, 1, 5)):
        x = torch.randn(shape)
        assert torch.equal(program.module()(x), network(x))


def test_the_reference_is_exported_step_by_step() -> None:
    x = torch.randn(9, 2, 5)
    with reference():
        program = torch.export.export(Outputs(LIF(0.01, dt=0.004)), (x,))

    assert OPERATOR not in nodes(program)
    assert torch.equal(program.module()(x), LIF(0.01, dt=0.004)(x)[0])


def test_a_surrogate_that_cannot_be_spelt_takes_the_loop() -> None:
    class Steep(Surrogate):
        def derivative(self, x: Tensor) -> Tensor:
            return torch.full_like(x, 3.0)

    layer = LIF(0.01, dt=0.004, surrogate=Steep())
    x = torch.randn(4, 2, 5)

    assert not is_exportable(Steep())
    assert OPERATOR not in nodes(torch.export.export(Outputs(layer), (x,)))


# both PyTorch's own, when it loads its checks and in them
@pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated", "ignore:The .grad attribute of a Tensor that is not"
)
@pytest.mark.parametrize("with_memories", [False, True])
def test_the_operator_is_sound(with_memories: bool) -> None:
    x = torch.randn(6, 2, 3, requires_grad=True)
    memories = [torch.rand(2, 3, requires_grad=True) if needed else None for needed in (True, with_memories, False)]
    decay = torch.full((3,), 0.5, requires_grad=True)
    tensors = [decay, *[None] * (len(NeuronParams._fields) - 1)]
    numbers = [float("nan"), 1.0, 0.0, 0.0, 1.0, 0.5, 0.0, 0.0]
    torch.library.opcheck(sequence, (x, *memories, *tensors, numbers, *ARCTAN))
