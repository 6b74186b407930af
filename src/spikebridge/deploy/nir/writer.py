"""Writing a spiking part as a NIR graph, which is checked by reading it back.

NIR (J. E. Pedersen et al., Nature Communications 15:8122, 2024) is read by neuromorphic chips and the field's
libraries. `quantities.py` has the relation of membranes to its continuous time; `r_nir = r / (1 - decay)`.
"""

import copy
from collections import Counter
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import spikebridge
from spikebridge.axes import Signal
from spikebridge.data.io.atomic import write_bytes
from spikebridge.deploy.nir.file import nir_library
from spikebridge.deploy.nir.nodes import NORMS, Membrane, fold_norm, node_of
from spikebridge.deploy.nir.quantities import Integration
from spikebridge.deploy.nir.reader import from_nir
from spikebridge.deploy.nir.tracer import Value, Visit, trace
from spikebridge.errors import ExportError
from spikebridge.neurons import Stateful
from spikebridge.neurons.dt import bind_dt, dt_of
from spikebridge.neurons.stateless import over_time


@dataclass(frozen=True)
class _Written:
    """A `nir.NIRGraph`, and notes on metadata for which NIR has no field."""

    graph: Any
    notes: tuple[str, ...]

    def content(self) -> bytes:
        file = BytesIO()
        nir_library().write(file, self.graph)
        return file.getvalue()


def to_nir(part: nn.Module, x: Signal, *, dt: float | None = None, integration: Integration = "exact") -> _Written:
    """A part as a NIR graph.

    Args:
        part: a part with one input; it is written as it is in eval mode.
        x: an input to check the graph on, `(T, B, *N)`: read back, it has to give the same.
        dt: step of its clock [s]; None takes that of its neurons.
        integration: how the reader steps. "exact" is the solution of NIR's equations over a step; "euler" gives time
            constants with which a reader that steps by Euler (snnTorch, SpikingJelly, Norse) has the same membranes.

    Returns:
        The graph, and notes on what it holds beyond NIR.

    Raises:
        ExportError: NIR cannot hold the part; the message names the layer and the reason.

    Example:
        >>> from spikebridge.neurons import LIF
        >>> written = to_nir(LIF(tau=0.02, dt=0.001), torch.ones(3, 1, 2))
        >>> {name: type(node).__name__ for name, node in written.graph.nodes.items()}
        {'input': 'Input', 'neuron': 'LIF', 'output': 'Output'}
        >>> round(float(written.graph.nodes["neuron"].r[0] * (1 - torch.tensor(-0.05).exp())), 4)
        1.0
    """
    nir = nir_library()
    step = dt_of(part) if dt is None else dt
    if step is None:
        raise ExportError(f"{type(part).__name__} has no neuron with a time step; give dt= [s]")

    part = copy.deepcopy(part).eval()
    bind_dt(type(part).__name__, part, step)
    probe = x.new_zeros((1, 2, *x.shape[2:]))
    visits, output = trace(part, probe)
    graph = _Nodes()
    graph.add_all(visits, output, Membrane(step, integration))
    sources, output = graph.resolved(output)
    with torch.no_grad():
        y = _run(part, x)

    nodes = {
        "input": nir.Input(input_type={"input": np.array(probe.shape[2:])}),
        **graph.nodes,
        "output": nir.Output(output_type={"output": np.array(y.shape[2:])}),
    }
    edges = [(a, b) for b, names in {**sources, "output": output}.items() for a in names]
    metadata = {"dt": step, "integration": integration, "writer": f"spikebridge {spikebridge.__version__}"}

    # nir's own check of types misjudges grouped convolutions and kernels that are not square; ours reads every edge
    written = _Written(nir.NIRGraph(nodes, edges, metadata=metadata, type_check=False), tuple(graph.notes))
    _check_read_back(part, written, x, y)

    return written


def write_nir(
    path: Path | str, part: nn.Module, x: Signal, *, dt: float | None = None, integration: Integration = "exact"
) -> _Written:
    """Writes a part as a NIR file, whole or not at all; see `to_nir`."""
    written = to_nir(part, x, dt=dt, integration=integration)
    write_bytes(Path(path), written.content())
    return written


@dataclass
class _Nodes:
    """The nodes of a graph, and the nodes that lead to each."""

    nodes: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, Value] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    folded: dict[str, str] = field(default_factory=dict)  # normalisations, and the nodes that they are part of

    def add_all(self, visits: list[Visit], output: Value, membrane: Membrane) -> None:
        num_targets = Counter(name for visit in visits for name in visit.sources) + Counter(output)
        for visit in visits:
            if "/" in visit.name or visit.name in ("input", "output"):
                raise ExportError(f"a node of NIR cannot be called {visit.name!r}; rename the layer")
            if isinstance(visit.module, NORMS):
                self._fold(visit, num_targets)
            else:
                self._add(visit, membrane)

    def resolved(self, output: Value) -> tuple[dict[str, Value], Value]:
        """The sources of each node and of the output, with folded layers replaced."""
        # only now, since feedback names nodes that come later
        sources = {name: self._unfolded(value) for name, value in self.sources.items()}
        output = self._unfolded(output)
        for name, value in {**sources, "output": output}.items():
            if len(set(value)) < len(value):
                raise ExportError(
                    f"{name!r} has {value[0]!r} as input twice; NIR allows one edge between two nodes, insert a "
                    "Gain(2.0)"
                )

        return sources, output

    def _unfolded(self, value: Value) -> Value:
        return tuple(self.folded.get(name, name) for name in value)

    def _fold(self, visit: Visit, num_targets: Counter[str]) -> None:
        before = self._unfolded(visit.sources)
        if len(before) != 1 or before[0] not in self.nodes or num_targets[visit.sources[0]] != 1:
            raise ExportError(f"the batch norm {visit.name!r} is not alone behind one layer to fold it into")
        self.nodes[before[0]] = fold_norm(visit, self.nodes[before[0]])
        self.folded[visit.name] = before[0]

    def _add(self, visit: Visit, membrane: Membrane) -> None:
        layer = node_of(visit, membrane)
        sources = self._unfolded(visit.sources)
        if layer.before is not None:
            factor = f"{visit.name}.r"
            self.nodes[factor] = layer.before
            self.sources[factor] = sources
            sources = (factor,)

        self.nodes[visit.name] = layer.node
        self.sources[visit.name] = sources
        self.notes += layer.notes


def _run(part: nn.Module, x: Tensor) -> Tensor:
    return part(x)[0] if isinstance(part, Stateful) else over_time(part, x)


def _check_read_back(part: nn.Module, written: _Written, x: Tensor, y: Tensor) -> None:
    if not y.numel():
        return

    with torch.no_grad():
        again = _run(from_nir(written.graph), x)

    largest = float((again - y).abs().max())
    share = float((again != y).float().mean())
    is_spikes = bool(((y == 0) | (y == 1)).all())

    # near a threshold the last bit of a sum decides on a spike
    if (share > 0.01) if is_spikes else (largest > 1e-3 * max(1.0, float(y.abs().max()))):
        raise ExportError(
            f"{type(part).__name__} read back from NIR differs by {largest:g} ({share:.2%} of its values): its forward "
            "does more than its layers and sums say"
        )
