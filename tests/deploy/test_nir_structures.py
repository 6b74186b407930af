"""NIR files with the structures of other makers, against their equations in numpy, written out for each file.

Subgraphs, feedback by linear nodes of its own, convolutions with sums and a flatten, odd names, missing fields.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from spikebridge.deploy import from_nir
from spikebridge.deploy.nir.graph import read_graph
from spikebridge.deploy.runtime.nir_interpreter import NirRunner

pytestmark = pytest.mark.untyped
Array = NDArray[np.float64]
DT = 1e-4
STEPS = 30
BATCH = 2
GENERATOR = np.random.default_rng(0)


def positive(*shape: int, largest: float = 1.0) -> Array:
    return GENERATOR.uniform(0, largest, shape).astype(np.float32).astype(np.float64)


@dataclass
class Membranes:
    """Neurons that step by Euler: `v += dt / tau (v_leak - v + r x)`, or `v += dt r x` without tau; a spike resets."""

    r: Array
    v_threshold: Array
    tau: Array | None = None
    v_leak: Array | float = 0.0
    v_reset: Array | float = 0.0
    v: Any = field(default=None, init=False)

    def step(self, x: Array) -> Array:
        if self.v is None:
            self.v = np.zeros_like(x) + self.v_leak

        if self.tau is None:
            v = self.v + DT * self.r * x
        else:
            v = self.v + DT / self.tau * (self.v_leak - self.v + self.r * x)

        spikes = (v >= self.v_threshold).astype(np.float64)
        self.v = np.where(spikes > 0, self.v_reset, v)
        return spikes

    def node(self) -> Any:
        zeros = np.zeros_like(self.r)
        values = {"r": self.r, "v_threshold": self.v_threshold, "v_reset": zeros + self.v_reset}
        if self.tau is None:
            return nir.IF(**values)
        return nir.LIF(tau=self.tau, v_leak=zeros + self.v_leak, **values)


def leaky(size: int, threshold: float = 0.5, **values: float) -> Membranes:
    ones = np.ones(size)
    return Membranes(r=2 * ones, v_threshold=threshold * ones, tau=5e-4 * (1 + np.arange(size) / size), **values)


def convolved(x: Array, weight: Array, bias: Array) -> Array:
    """A convolution with a padding of one, place by place."""
    batch, _, height, width = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    y = np.zeros((batch, len(weight), height, width))
    for row in range(height):
        for column in range(width):
            patch = padded[:, :, row : row + 3, column : column + 3]
            y[:, :, row, column] = np.einsum("bcij,ocij->bo", patch, weight) + bias

    return y


@dataclass
class File:
    """A graph, the shape of its input, and one step of its equations."""

    nodes: dict[str, Any]
    edges: list[tuple[str, str]]
    shape: tuple[int, ...]
    step: Callable[[Array], Array]
    removed: tuple[str, ...] = ()  # fields that the file lacks

    def write(self, path: Path) -> Path:
        graph = nir.NIRGraph(self.nodes, self.edges, type_check=False)
        nir.write(path, graph)
        with h5py.File(path, "a") as h5:
            for name in self.removed:
                del h5[f"node/nodes/{name}"]

        return path


def ends(size: Any, output: int) -> tuple[Any, Any]:
    return nir.Input({"input": np.array(size)}), nir.Output({"output": np.array([output])})


def chain(*names: str) -> list[tuple[str, str]]:
    return list(pairwise(names))


def numbered() -> File:
    """Two layers whose nodes are numbers, as sequential models are written; membranes without a reset value."""
    first, second = positive(6, 4), positive(3, 6)
    one, two = leaky(6), leaky(3, 1.0)
    entry, exit_ = ends([4], 3)
    nodes = {
        "input": entry,
        "0": nir.Affine(first, np.full(6, 0.1)),
        "1": one.node(),
        "2": nir.Linear(second),
        "10": two.node(),
        "output": exit_,
    }

    return File(
        nodes,
        chain("input", "0", "1", "2", "10", "output"),
        (4,),
        lambda x: two.step(one.step(x @ first.T + 0.1) @ second.T),
        ("1/v_reset", "10/v_reset"),
    )


def resting() -> File:
    """Neurons that rest and start at a leak other than 0, and reset elsewhere; edges are written twice."""
    weight = positive(5, 4)
    neurons = leaky(5, 0.9, v_leak=0.3, v_reset=-0.2)
    entry, exit_ = ends([4], 5)
    edges = chain("in", "a layer of weights", "λ.0 lif", "out")

    return File(
        {"in": entry, "a layer of weights": nir.Linear(weight), "λ.0 lif": neurons.node(), "out": exit_},
        [*edges, *edges],
        (4,),
        lambda x: neurons.step(x @ weight.T),
    )


def images() -> File:
    """Convolutions with metadata of their maker, sums over places, a flatten over all axes."""
    first, second = positive(3, 2, 3, 3, largest=0.3), positive(2, 3, 3, 3, largest=0.3)
    bias = np.array([0.1, 0.0, 0.2])
    places = np.ones((3, 4, 4))
    integrate = Membranes(r=places / DT, v_threshold=2 * places)
    leak = leaky(8, 0.6)
    weight = positive(2, 8)
    last = leaky(2, 0.4)
    entry, exit_ = ends([2, 4, 4], 2)
    nodes = {
        "x": entry,
        "conv": nir.Conv2d((4, 4), first, 1, 1, 1, 1, bias, metadata={"maker": "another", "dt": 5.0}),
        "fire": integrate.node(),
        "sums": nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "again": nir.Conv2d((2, 2), second, (1, 1), "same", (1, 1), 1, np.zeros(2)),
        "flat": nir.Flatten({"input": np.array([2, 2, 2])}, 0, -1),
        "leak": leak.node(),
        "fc": nir.Linear(weight),
        "last": last.node(),
        "y": exit_,
    }

    def step(x: Array) -> Array:
        spikes = integrate.step(convolved(x, first, bias))
        sums = spikes.reshape(len(x), 3, 2, 2, 2, 2).sum((3, 5))
        flat = convolved(sums, second, np.zeros(2)).reshape(len(x), -1)
        return last.step(leak.step(flat) @ weight.T)

    return File(nodes, chain(*nodes), (2, 4, 4), step, ("fire/v_reset",))


@dataclass
class Loop:
    """A layer whose spikes come back one tick later through a matrix and a bias, which acts at the first tick, too."""

    weight: Array
    bias: Array
    neurons: Membranes
    spikes: Any = 0.0

    def step(self, x: Array) -> Array:
        back = np.zeros_like(x) + self.spikes
        self.spikes = self.neurons.step(x + back @ self.weight.T + self.bias)
        return self.spikes


def loop_of(size: int) -> Loop:
    return Loop(-positive(size, size, largest=0.4), np.full(size, 0.25), leaky(size, 0.7))


def recurrent() -> File:
    """Feedback by a linear node of its own, in the graph itself; a layer of currents and membranes behind it."""
    loop = loop_of(5)
    first, second = positive(5, 4), positive(3, 5)
    entry, exit_ = ends([4], 3)
    ones = np.ones(3)
    tau_syn, tau_mem = 3e-4 * ones, 6e-4 * ones
    state = {"i": 0.0, "v": 0.0}
    nodes = {
        "output": exit_,  # the order of nodes says nothing
        "w_rec": nir.Affine(loop.weight, loop.bias),
        "cuba": nir.CubaLIF(tau_syn, tau_mem, ones, 0 * ones, 0.3 * ones, 0 * ones, 2 * ones),
        "lif": loop.neurons.node(),
        "w_in": nir.Linear(first),
        "w_out": nir.Linear(second),
        "input": entry,
    }
    edges = [*chain("input", "w_in", "lif", "w_out", "cuba", "output"), ("lif", "w_rec"), ("w_rec", "lif")]

    def step(x: Array) -> Array:
        current = loop.step(x @ first.T) @ second.T
        state["i"] = state["i"] + DT / tau_syn * (2 * current - state["i"])
        v = state["v"] + DT / tau_mem * (state["i"] - state["v"])
        spikes: Array = (v >= 0.3).astype(np.float64)
        state["v"] = np.where(spikes > 0, 0, v)
        return spikes

    return File(nodes, edges, (4,), step, ("cuba/v_reset",))


def nested() -> File:
    """Feedback inside a subgraph inside a subgraph, with names that come again in each."""
    loop = loop_of(4)
    first, second = positive(4, 3), positive(2, 4)
    last = leaky(2, 0.4)
    inner_entry, inner_exit = ends([4], 4)
    inner = nir.NIRGraph(
        {
            "input": inner_entry,
            "lif": loop.neurons.node(),
            "w_rec": nir.Affine(loop.weight, loop.bias),
            "output": inner_exit,
        },
        [*chain("input", "lif", "output"), ("lif", "w_rec"), ("w_rec", "lif")],
        type_check=False,
    )
    middle_entry, middle_exit = ends([3], 4)
    middle = nir.NIRGraph(
        {"input": middle_entry, "fc": nir.Linear(first), "lif": inner, "output": middle_exit},
        chain("input", "fc", "lif", "output"),
        type_check=False,
    )
    entry, exit_ = ends([3], 2)
    nodes = {"input": entry, "rnn": middle, "fc": nir.Linear(second), "lif": last.node(), "output": exit_}

    return File(
        nodes,
        chain("input", "rnn", "fc", "lif", "output"),
        (3,),
        lambda x: last.step(loop.step(x @ first.T) @ second.T),
        ("lif/v_reset", "rnn/nodes/lif/nodes/lif/v_reset"),
    )


def branches() -> File:
    """Two layers side by side whose outputs add up, behind one that passes its input on, too."""
    first, second, third = positive(4, 4), positive(3, 4), positive(3, 4)
    one, two = leaky(4), leaky(3, 1.2)
    entry, exit_ = ends([4], 3)
    nodes = {
        "input": entry,
        "first": nir.Linear(first),
        "one": one.node(),
        "up": nir.Linear(second),
        "down": nir.Affine(third, np.full(3, 0.05)),
        "two": two.node(),
        "output": exit_,
    }
    edges = [*chain("input", "first", "one", "up", "two", "output"), ("input", "down"), ("down", "two")]

    def step(x: Array) -> Array:
        return two.step(one.step(x @ first.T) @ second.T + x @ third.T + 0.05)

    return File(nodes, edges, (4,), step)


@pytest.mark.parametrize("make", [numbered, resting, images, recurrent, nested, branches])
def test_a_file_with_the_structure_of_another_maker_has_the_spikes_of_its_equations(
    make: Callable[[], File], tmp_path: Path
) -> None:
    file = make()
    path = file.write(tmp_path / "theirs.nir")
    x = positive(STEPS, BATCH, *file.shape)
    expected = np.stack([file.step(x_t) for x_t in x])
    signal = x.astype(np.float32)

    assert 0.02 < expected.mean() < 0.98

    part = from_nir(path, dt=DT, integration="euler")
    np.testing.assert_array_equal(part(torch.from_numpy(signal))[0].detach().numpy(), expected)

    runner = NirRunner(read_graph(path, dt=DT, integration="euler"))
    state = None
    for x_t, y_t in zip(signal, expected, strict=True):
        y, state = runner.step(x_t, state)
        np.testing.assert_array_equal(y, y_t)
