"""NIR: what is written is what its equations say, read back it is the same, and the rest is refused by name."""

import math
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikebridge.deploy import from_nir, to_nir
from spikebridge.deploy.nir.graph import read_graph
from spikebridge.deploy.nir.nodes import SumPool2d
from spikebridge.deploy.nir.writer import write_nir
from spikebridge.deploy.runtime.nir_interpreter import NirRunner
from spikebridge.errors import ConfigError, DataError, ExportError
from spikebridge.hybrid import Gate
from spikebridge.neurons import (
    IF,
    LIF,
    PLIF,
    AdaptiveLIF,
    CubaLIF,
    Integrator,
    Memoryless,
    Recurrent,
    Sequential,
    Stateful,
)

DT = 1e-3


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def drive(*shape: int, steps: int = 20) -> Tensor:
    return torch.rand(steps, 3, *shape, generator=torch.Generator().manual_seed(4))


class Skip(Stateful):
    """A spiking branch beside a straight one, added up in a forward of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.straight = nn.Linear(4, 3)
        self.spiking = Sequential(fc=nn.Linear(4, 5), lif=LIF(dt=DT, v_threshold=0.3), out=nn.Linear(5, 3))

    def initial_state(self, x_t: Tensor) -> Any:
        return self.spiking.initial_state(x_t)

    def step(self, x_t: Tensor, state: Any, **modulation: Any) -> tuple[Tensor, Any]:
        y, state = self.spiking.step(x_t, state)
        return self.straight(x_t) + y, state


def normed() -> Sequential:
    """Convolutions with batch norms that have seen data, pooled both ways, flattened."""
    norm = nn.BatchNorm2d(4)
    nn.init.uniform_(norm.running_mean, -0.1, 0.1)
    nn.init.uniform_(norm.running_var, 0.5, 1.5)
    nn.init.uniform_(norm.weight, 0.5, 1.5)

    return Sequential(
        conv=nn.Conv2d(2, 4, (3, 5), (2, 1), (1, 2), bias=False),
        norm=norm,
        lif1=LIF(tau=torch.rand(4, 1, 1) * 0.02 + 0.005, dt=DT, v_threshold=0.2),
        pool=nn.AvgPool2d(2, padding=1),
        depth=nn.Conv2d(4, 4, 3, padding="same", dilation=2, groups=2),
        lif2=PLIF(dt=DT, v_threshold=0.05, reset="subtract"),
        sums=SumPool2d((2, 2), (2, 2)),
        flat=nn.Flatten(),
        fc=nn.Linear(8, 3),
        lif3=IF(v_threshold=0.4, refractory=2 * DT, dt=DT),
    )


def in_line() -> Sequential:
    return Sequential(
        conv=nn.Conv1d(2, 4, 3, 2, 1), lif=LIF(dt=DT, v_threshold=0.2), flat=nn.Flatten(), fc=nn.Linear(12, 2)
    )


def looped() -> Sequential:
    inner = Sequential(fc=nn.Linear(5, 5), cuba=CubaLIF(dt=DT, v_threshold=0.5))
    return Sequential(
        fc=nn.Linear(4, 5),
        near=Recurrent(LIF(dt=DT, v_threshold=0.5), nn.Linear(5, 5)),
        far=Recurrent(inner, nn.Linear(5, 5, bias=False)),
        out=Integrator(dt=DT),
    )


PARTS = {
    "skip": (Skip, (4,)),
    "normed": (normed, (2, 8, 6)),
    "in line": (in_line, (2, 6)),
    "looped": (looped, (4,)),
    "memoryless": (
        lambda: Sequential(Memoryless(r=2.0), nn.Linear(4, 3), IF(v_threshold=0.3, dt=DT, v_leak=0.2)),
        (4,),
    ),
    "factors": (lambda: Sequential(LIF(dt=DT, v_leak=0.1), Gate(torch.rand(4)), Integrator(math.inf, dt=DT)), (4,)),
    "bare": (lambda: LIF(tau=torch.rand(4) * 0.02 + 0.001, dt=DT, r=0.7, v_reset=-0.2), (4,)),
}


@pytest.mark.parametrize("name", PARTS)
def test_read_back_a_part_is_the_same_whole_and_in_steps(name: str) -> None:
    make, shape = PARTS[name]
    part = make().eval()
    x = drive(*shape)

    with torch.no_grad():
        y = part(x)[0]
        again = from_nir(to_nir(part, x).content())

        assert y.abs().sum() > 0
        # folded norms and sums of steps add up in another order
        assert (
            torch.equal(again(x)[0], y) if name not in ("normed", "skip") else torch.allclose(again(x)[0], y, atol=1e-6)
        )

        state = again.initial_state(x[0])
        stepped = []
        for x_t in x:
            y_t, state = again.step(x_t, state)
            stepped.append(y_t)

        torch.testing.assert_close(torch.stack(stepped), again(x)[0])


@pytest.mark.parametrize("name", PARTS)
def test_without_torch_a_graph_gives_the_same(name: str) -> None:
    make, shape = PARTS[name]
    part = make().eval()
    x = drive(*shape)
    runner = NirRunner(read_graph(to_nir(part, x).content()))
    state = None
    stepped = []

    for x_t in x.numpy():
        y_t, state = runner.step(x_t, state)
        stepped.append(y_t)

    with torch.no_grad():
        np.testing.assert_allclose(np.stack(stepped), part(x)[0].numpy(), atol=1e-5)


def rates(node: Any, i: float, v: float) -> float:
    """NIR's `tau dv/dt = (v_leak - v) + r I`."""
    return (float(node.v_leak[0]) - v + float(node.r[0]) * i) / float(node.tau[0])


def test_integrating_the_written_equation_gives_our_membranes() -> None:
    layer = Integrator(tau=0.004, dt=DT, r=0.6, v_leak=0.3)
    x = torch.tensor([1.0, -0.5, 2.0]).reshape(3, 1, 1)
    node = to_nir(layer, x).graph.nodes["neuron"]

    assert isinstance(node, nir.LI)
    assert float(node.r[0]) == pytest.approx(0.6 / (1 - math.exp(-DT / 0.004)))

    v = 0.3
    number = 1000

    for value, wanted in zip(x.flatten().tolist(), layer(x)[0].flatten().tolist(), strict=True):
        for _ in range(number):  # Heun's method, the input held
            slope = rates(node, value, v)
            v += DT / number * (slope + rates(node, value, v + DT / number * slope)) / 2
        assert v == pytest.approx(wanted, abs=1e-6)


def test_for_readers_that_step_by_euler_one_step_of_theirs_is_one_of_ours() -> None:
    layer = Integrator(tau=0.002, dt=DT, r=0.6, v_leak=0.3)
    x = torch.tensor([1.0, -0.5, 2.0]).reshape(3, 1, 1)
    node = to_nir(layer, x, integration="euler").graph.nodes["neuron"]
    v = 0.3

    for value, wanted in zip(x.flatten().tolist(), layer(x)[0].flatten().tolist(), strict=True):
        v += DT * rates(node, value, v)
        assert v == pytest.approx(wanted, abs=1e-6)

    written = to_nir(layer, x, integration="euler")
    assert torch.allclose(from_nir(written.graph)(x)[0], layer(x)[0])


def test_synapse_and_membrane_are_integrated_one_after_the_other() -> None:
    layer = CubaLIF(tau=0.004, tau_syn=0.002, dt=DT, r=0.5, v_threshold=9.0)
    node = to_nir(layer, torch.ones(2, 1, 1)).graph.nodes["neuron"]
    i = v = 0.0

    for x, steps in ((1.0, 1), (0.5, 2)):
        # each exactly over one step: what is left of it, and what its drive adds
        i = i * math.exp(-DT / 0.002) + (1 - math.exp(-DT / 0.002)) * float(node.w_in[0]) * x
        v = v * math.exp(-DT / 0.004) + (1 - math.exp(-DT / 0.004)) * float(node.r[0]) * i
        state = layer(torch.tensor([1.0, 0.5]).reshape(2, 1, 1)[:steps])[1]

        assert (float(state.i), float(state.v)) == pytest.approx((i, v), abs=1e-6)


def test_a_reset_by_subtraction_stands_in_the_metadata_and_in_words() -> None:
    written = to_nir(Sequential(lif=LIF(dt=DT, reset="subtract", refractory=3 * DT)), drive(2))
    assert written.graph.nodes["lif"].metadata == {"reset": "subtract", "refractory_steps": 3}
    assert [note.partition(";")[0] for note in written.notes] == [
        "lif: reset is by subtraction of the threshold",
        "lif: refractory for 3 steps",
    ]


def test_shapes_resets_and_pools_are_all_in_the_file(tmp_path: Path) -> None:
    x = drive(2, 8, 6)
    write_nir(tmp_path / "a.nir", normed().eval(), x)
    graph = nir.read(tmp_path / "a.nir", type_check=False)

    assert graph.nodes["input"].input_type["input"].tolist() == [2, 8, 6]
    assert tuple(graph.nodes["conv"].input_shape) == (8, 6)
    assert graph.nodes["lif1"].v_reset.shape == (4, 4, 6)
    assert isinstance(graph.nodes["pool"], nir.AvgPool2d)
    assert graph.nodes["pool"].padding.tolist() == [1, 1]
    assert isinstance(graph.nodes["sums"], nir.SumPool2d)
    assert graph.metadata["dt"] == DT
    assert [path.name for path in tmp_path.iterdir()] == ["a.nir"]


class Between(Stateful):
    """Layers with something between them that is neither wiring nor sum."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.lif = LIF(dt=DT)
        self.what = what
        self.bias = nn.Parameter(torch.ones(4))

    def initial_state(self, x_t: Tensor) -> Any:
        return self.lif.initial_state(x_t)

    def step(self, x_t: Tensor, state: Any, **modulation: Any) -> tuple[Tensor, Any]:
        i = self.fc(x_t)
        i = {"tanh": i.tanh(), "add": i + self.bias, "twice": i + i, "of its own": self.bias.expand_as(i)}[self.what]
        return self.lif.step(i, state)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (lambda: Sequential(fc=nn.Linear(4, 4), act=nn.ReLU(), lif=LIF(dt=DT)), "'act' is a ReLU"),
        (lambda: Sequential(lif=AdaptiveLIF(dt=DT)), "'lif' is a AdaptiveLIF"),
        (lambda: Sequential(norm=nn.BatchNorm1d(4), lif=LIF(dt=DT)), "'norm' is not alone behind one layer"),
        (lambda: Between("tanh"), "computes 'tanh' between its layers"),
        (lambda: Between("add"), "computes 'add'"),
        (lambda: Between("of its own"), "uses a tensor of its own|computes 'expand_as'"),
        (lambda: Between("twice"), "'lif' has 'fc' as input twice"),
        (lambda: Sequential(a=LIF(torch.tensor([1.0, math.inf, 1.0, 1.0]), dt=DT)), "with and without end"),
        (lambda: Sequential(fc=nn.Linear(4, 2), fire=IF()), "no neuron with a time step"),
        (lambda: Sequential(**{"a/b": LIF(dt=DT)}), "cannot be called 'a/b'"),
    ],
)
def test_what_nir_cannot_hold_is_refused_by_name(part: Any, words: str) -> None:
    with pytest.raises(ExportError, match=words):
        to_nir(part(), drive(4))


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (lambda: Sequential(nn.AvgPool2d(2, ceil_mode=True), LIF(dt=DT)), "ceil_mode"),
        (lambda: Sequential(nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), LIF(dt=DT)), "circular"),
        (lambda: Sequential(nn.Linear(4, 4), LIF(dt=DT)), "takes one axis"),
        (lambda: Sequential(nn.MaxPool2d(2), LIF(dt=DT)), "MaxPool2d"),
    ],
)
def test_layers_of_images_that_nir_cannot_hold_are_refused(part: Any, words: str) -> None:
    with pytest.raises(ExportError, match=words):
        to_nir(part(), drive(2, 4, 4))


def graph_of(*nodes: Any, edges: list[tuple[str, str]] | None = None, inputs: int = 4, **metadata: Any) -> nir.NIRGraph:
    names = ["input", *(f"n{i}" for i in range(len(nodes))), "output"]
    all_nodes = [nir.Input(np.array([inputs])), *nodes, nir.Output(np.array([inputs]))]
    wires = list(pairwise(names)) if edges is None else edges
    return nir.NIRGraph(
        dict(zip(names, all_nodes, strict=True)), wires, metadata={"dt": DT, **metadata}, type_check=False
    )


def affine(rows: int = 4, columns: int = 4) -> nir.Affine:
    return nir.Affine(np.ones((rows, columns), np.float32), np.zeros(rows, np.float32))


def lif(number: int = 4, **changed: Any) -> nir.LIF:
    one = {"tau": 0.02, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0} | changed
    return nir.LIF(**{name: np.full(number, value) for name, value in one.items()})


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (lambda: graph_of(affine(4, 5)), r"'n0' \(Affine\) needs \(5,\), but gets a sample of shape \(4,\)"),
        (lambda: graph_of(affine(), lif(3)), r"'n1' \(LIF\) needs \(3,\)"),
        (lambda: graph_of(lif(tau=-1.0)), "time constants above 0 s"),
        (lambda: graph_of(lif(r=math.nan)), "r is not finite"),
        (lambda: graph_of(lif(), edges=[("input", "n0"), ("n0", "lost"), ("n0", "output")]), "no node 'lost'"),
        (lambda: graph_of(lif(), edges=[("input", "output")]), "nothing in the NIR graph leads to 'n0'"),
        (lambda: graph_of(nir.Delay(np.array([0.001, -0.002, 0.001, 0.001]))), "delays are 0 to"),
        (lambda: graph_of(lif(), reset="?"), None),
    ],
)
def test_graphs_that_cannot_run_are_refused_in_one_line(graph: Any, words: str | None) -> None:
    if words is None:
        assert from_nir(graph())(torch.ones(1, 1, 4))[0].shape == (1, 1, 4)
        return

    with pytest.raises(DataError, match=words) as caught:
        from_nir(graph())

    assert "\n" not in str(caught.value)


def test_a_reset_that_does_not_exist_is_refused() -> None:
    node = lif()
    node.metadata = {"reset": "sideways"}
    with pytest.raises(DataError, match=r"'n0'.*sideways"):
        from_nir(graph_of(node))


def test_a_file_that_does_not_name_its_step_needs_one() -> None:
    graph = graph_of(lif())
    graph.metadata = {}
    with pytest.raises(ConfigError, match="give dt="):
        from_nir(graph)

    with pytest.raises(DataError, match="shorter than the Euler step"):
        from_nir(graph, dt=0.1, integration="euler")


def content(change: Any = None) -> bytes:
    file = BytesIO()
    nir.write(file, graph_of(affine(), lif()))
    if change is not None:
        with h5py.File(file, "r+") as h5:
            change(h5)

    return file.getvalue()


def unknown_node(h5: h5py.File, kind: str = "Wormhole") -> None:
    del h5["node/nodes/n0/type"]
    h5["node/nodes/n0"].create_dataset("type", data=kind, dtype=h5py.string_dtype())


def link_outside(h5: h5py.File) -> None:
    del h5["node/nodes/n0/weight"]
    h5["node/nodes/n0/weight"] = h5py.ExternalLink("/etc/passwd", "/weight")


def huge_array(h5: h5py.File) -> None:
    del h5["node/nodes/n0/weight"]
    h5["node/nodes/n0"].create_dataset("weight", shape=(1 << 20, 1 << 20), dtype="f4", chunks=(1024, 1024))


def raw_outside(h5: h5py.File) -> None:
    del h5["node/nodes/n0/weight"]
    h5["node/nodes/n0"].create_dataset("weight", (4, 4), "f4", external=[("/etc/passwd", 0, 64)])


def without_weight(h5: h5py.File) -> None:
    del h5["node/nodes/n0/weight"]


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (lambda: content(unknown_node), "the node 'n0' is a 'Wormhole', which is not known"),
        (lambda: content(lambda h5: unknown_node(h5, "ReLU")), "the node 'n0' is a 'ReLU', which is not known"),
        (lambda: content(link_outside), "weight is a link to elsewhere"),
        (lambda: content(huge_array), "declares .* bytes in a file of"),
        (lambda: content(raw_outside), "keeps its values in another file"),
        (lambda: content(without_weight), "cannot be read"),
        (lambda: content()[:500], "cannot be read"),
        (lambda: b"no hdf5", "cannot be read"),
    ],
)
def test_damaged_and_hostile_files_are_refused_in_one_line(file: Any, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        from_nir(file())
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_modulated_is_named_by_node_and_quantity() -> None:
    part = from_nir(to_nir(Sequential(fc=nn.Linear(4, 4), lif=LIF(dt=DT)), drive(4)).graph)
    assert "lif.v_threshold" in part.modulable_paths()
    with torch.no_grad():
        assert part(drive(4), **{"lif.v_threshold": torch.tensor(1e-3)})[0].sum() > part(drive(4))[0].sum()

    with pytest.raises(ConfigError, match=r"no quantity 'lif\.threshold'; did you mean"):
        part(drive(4), **{"lif.threshold": torch.tensor(0.1)})
