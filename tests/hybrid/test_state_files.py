"""States go through files: safetensors, and torch.load that loads no code."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fresh_process import run_fresh
from modules import DT, LAYERS, UNITS, WIDTH
from spikebridge.errors import ConfigError, DataError
from spikebridge.hybrid import (
    Bernoulli,
    Exponential,
    HybridNetwork,
    HybridUnit,
    Mean,
    Modulation,
    Sum,
    Transmission,
    Tumbling,
    every,
    ticks,
)
from spikebridge.neurons import (
    IF,
    LIF,
    Integrator,
    LIFState,
    Sequential,
    Stateful,
    load_state,
    save_state,
)
from spikebridge.neurons.state import form_of


class Inner(NamedTuple):
    v: Tensor


class OwnState(NamedTuple):
    """A state of one's own, with another one inside."""

    inner: Inner
    line: list[Tensor]
    note: str
    last: Tensor | None = None


class Own(Stateful):
    def initial_state(self, x_t: Tensor) -> OwnState:
        return OwnState(Inner(torch.zeros_like(x_t)), [x_t.new_zeros(x_t.shape)], "quiet")

    def step(self, x_t: Tensor, state: OwnState) -> tuple[Tensor, OwnState]:
        v = state.inner.v + x_t + state.line[0]
        return v, OwnState(Inner(v), [x_t], "active", None)


class InText(Own):
    def initial_state(self, x_t: "Tensor") -> "OwnState":
        return super().initial_state(x_t)


def network() -> HybridNetwork:
    """A loop with all that a stream may hold: windows, kernels, draws, queues, held values, masks of modulation."""
    return HybridNetwork(
        dt=DT,
        inputs={"x": every(DT)},
        parts={"eye": nn.Linear(WIDTH, 4), "ear": Sequential(lif=LIF(refractory=0.003)), "out": IF()},
        links=[
            Transmission("x", "eye", HybridUnit(None, Exponential(0.01)), delay=ticks(2)),
            Transmission("eye", "ear", HybridUnit(None, None, None, Bernoulli())),
            Transmission("ear", "out", HybridUnit(Tumbling(3), Mean())),
            Modulation("out", "ear.lif.v_threshold", HybridUnit(None, Sum()), delay=ticks(1), by="add"),
        ],
        outputs=["out", "ear"],
    ).eval()


MODULES: dict[str, Any] = {
    **LAYERS,
    **UNITS,
    "row": lambda: Sequential(fc=nn.Linear(WIDTH, 5), lif=LIF(dt=DT), inner=Sequential(out=Integrator(dt=DT))),
    "own": Own,
    "in text": InText,
    # in training, draws would not go on from the state
    "bernoulli": lambda: UNITS["bernoulli"]().eval(),
    "network": network,
}


@pytest.mark.parametrize("way", ["safetensors", "torch"])
@pytest.mark.parametrize("name", MODULES)
def test_a_stream_continues_from_a_file(name: str, way: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = MODULES[name]()
    x = torch.rand(10, 2, WIDTH) * 2
    path = tmp_path / "state"

    def run(x: Tensor, state: Any = None) -> Any:
        y, state = module({"x": x} if isinstance(module, HybridNetwork) else x, state)
        return [*y.values()] if isinstance(y, dict) else [y], state

    _, state = run(x[:4])
    if way == "torch":
        torch.save(state, path)
        loaded = torch.load(path, weights_only=True)
    else:
        save_state(path, state)
        loaded = load_state(path)

    assert type(loaded) is type(state)
    assert form_of(loaded) == form_of(state)

    wanted, end = run(x[4:], state)
    given, other_end = run(x[4:], loaded)

    assert all(torch.equal(a, b) for a, b in zip(given, wanted, strict=True))
    assert form_of(other_end) == form_of(end)


@pytest.mark.untyped
def test_a_fresh_process_loads_a_state(tmp_path: Path) -> None:
    _, state = network()({"x": torch.rand(4, 2, WIDTH)})
    torch.save(state, tmp_path / "a.pt")
    save_state(tmp_path / "a.safetensors", state)

    words = (
        "import sys, torch, spikebridge.hybrid\n"
        "from spikebridge.neurons import load_state\n"
        "print(torch.load(sys.argv[1], weights_only=True).ticks, load_state(sys.argv[2]).ticks)"
    )

    paths = [str(tmp_path / "a.pt"), str(tmp_path / "a.safetensors")]
    assert run_fresh(words, *paths) == "4 4\n"


def test_numbers_texts_and_nothing_go_through_a_file(tmp_path: Path) -> None:
    state = {"a": (1, 2.5, True, None, "text"), "b": [float("inf"), {"c": torch.zeros(2, 0, 3, dtype=torch.bfloat16)}]}
    save_state(tmp_path / "state", state)
    loaded = load_state(tmp_path / "state")

    assert loaded["a"] == state["a"]
    assert [type(value) for value in loaded["a"]] == [int, float, bool, type(None), str]
    assert loaded["b"][0] == float("inf")
    assert form_of(loaded) == form_of(state)

    save_state(tmp_path / "state", torch.tensor([1, 2]))
    assert load_state(tmp_path / "state").tolist() == [1, 2]

    save_state(tmp_path / "state", None)
    assert load_state(tmp_path / "state") is None


def test_a_state_is_saved_without_its_gradient_and_loaded_on_a_device(tmp_path: Path) -> None:
    shared = torch.ones(2, 3, requires_grad=True) * 2
    save_state(tmp_path / "state", LIFState(shared, shared[:, :1]))
    loaded = load_state(tmp_path / "state", device="cpu")
    assert (loaded.v.requires_grad, loaded.v.device.type, loaded.wait.tolist()) == (False, "cpu", [[2.0], [2.0]])


class Unknown(NamedTuple):
    """A state that no annotation names."""

    v: Tensor


def test_what_could_not_be_loaded_is_not_saved(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with pytest.raises(ConfigError, match=r"Unknown cannot be loaded again: name it in the annotation .*initial_state"):
        save_state(path, (Unknown(torch.zeros(1)),))

    with pytest.raises(ConfigError, match=r"made of tensors, numbers .*, but a.b is a set"):
        save_state(path, {"a": {"b": set()}})

    assert not path.exists()


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "holds no state of version 1: write it with save_state"),
        ({"format": "spikebridge state", "version": "2", "state": "{}"}, "holds no state of version 1"),
        ({"format": "spikebridge state", "version": "1", "state": "{"}, "is damaged"),
        ({"format": "spikebridge state", "version": "1", "state": "[" * 10_000}, "is damaged: maximum recursion"),
        ({"format": "spikebridge state", "version": "1", "state": "{}"}, "is damaged: unknown entry"),
        ({"format": "spikebridge state", "version": "1", "state": '{"tensor": "b"}'}, "is damaged: 'b'"),
    ],
)
def test_a_file_that_is_no_state_is_refused(metadata: Any, message: str, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "state", metadata)
    with pytest.raises(DataError, match=message):
        load_state(tmp_path / "state")


def test_a_file_makes_only_types_that_torch_may_load(tmp_path: Path) -> None:
    for name, module in (("Popen", "subprocess"), ("LIF", "spikebridge.neurons.lif"), ("Unknown", __name__)):
        plan = json.dumps({"type": name, "module": module, "fields": {"v": {"tensor": "a"}}})
        metadata = {"format": "spikebridge state", "version": "1", "state": plan}
        save_file({"a": torch.zeros(1)}, tmp_path / "state", metadata)

        with pytest.raises(DataError, match=f"the state holds a {name} of {module}, which is not known here: import"):
            load_state(tmp_path / "state")


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no state at"):
        load_state(tmp_path / "state")

    (tmp_path / "state").write_bytes(b"no state")
    with pytest.raises(DataError, match="is damaged"):
        load_state(tmp_path / "state")
