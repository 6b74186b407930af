"""Writing a spiking part as a NIR graph, proved by reading it back.

NIR (J. E. Pedersen et al., Nature Communications 15:8122, 2024) is what neuromorphic chips and the field's libraries
read. How membranes are put in its continuous time stands in `quantities.py`; `r_nir = r / (1 - decay)`.
"""

import copy
from collections import Counter
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

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
    """A part in NIR.

    Attributes:
        graph: a `nir.NIRGraph`.
        notes: in words, what stands in the metadata because NIR has no field for it.
    """

    graph: Any
    notes: tuple[str, ...]

    def content(self) -> bytes:
        """The bytes of a NIR file."""
        file = BytesIO()
        nir_library().write(file, self.graph)
        return file.getvalue()


def to_nir(part: nn.Module, x: Signal, *, dt: float | None = None, integration: Integration = "exact") -> _Written:
    """A part as a NIR graph.

    Args:
        part: with one input; what is written is how it is in eval mode.
        x: an input to prove the graph on, `(T, B, *N)`: read back, it has to give the same.
        dt: step of its clock [s]; None takes that of its neurons.
        integration: how the reader steps. "exact" is the solution of NIR's equations over a step; "euler" gives time
            constants with which a reader that steps by Euler (snnTorch, SpikingJelly, Norse) has the same membranes.

    Returns:
        The graph, and what it holds beyond NIR.

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
    nodes, sources, notes, output = _nodes(visits, output, Membrane(step, integration))
    _refuse_twice({**sources, "output": output})
    nodes = {"input": nir.Input(input_type={"input": _shape(probe)}), **nodes}

    with torch.no_grad():
        y = _run(part, x)

    nodes["output"] = nir.Output(output_type={"output": _shape(y)})
    edges = [(a, b) for b, several in sources.items() for a in several] + [(a, "output") for a in output]
    metadata = {"dt": step, "integration": integration, "writer": f"spikebridge {spikebridge.__version__}"}

    # nir's own check of types misjudges grouped convolutions and kernels that are not square; ours reads every edge
    written = _Written(nir.NIRGraph(nodes, edges, metadata=metadata, type_check=False), tuple(notes))
    _prove(part, written, x, y)

    return written


def write_nir(
    path: Path | str, part: nn.Module, x: Signal, *, dt: float | None = None, integration: Integration = "exact"
) -> _Written:
    """Writes a part as a NIR file, whole or not at all; see `to_nir`."""
    written = to_nir(part, x, dt=dt, integration=integration)
    write_bytes(Path(path), written.content())
    return written


def _nodes(
    visits: list[Visit], output: Value, membrane: Membrane
) -> tuple[dict[str, Any], dict[str, Value], list[str], Value]:
    nodes: dict[str, Any] = {}
    sources: dict[str, Value] = {}
    notes: list[str] = []
    folded: dict[str, str] = {}
    num_targets = Counter(name for visit in visits for name in visit.sources) + Counter(output)

    def real(value: Value) -> Value:
        return tuple(folded.get(name, name) for name in value)

    for visit in visits:
        if "/" in visit.name or visit.name in ("input", "output"):
            raise ExportError(f"a node of NIR cannot be called {visit.name!r}; rename the layer")

        if isinstance(visit.module, NORMS):
            before = real(visit.sources)
            if len(before) != 1 or before[0] not in nodes or num_targets[visit.sources[0]] != 1:
                raise ExportError(f"the batch norm {visit.name!r} is not alone behind one layer to fold it into")
            nodes[before[0]] = fold_norm(visit, nodes[before[0]])
            folded[visit.name] = before[0]
            continue

        made = node_of(visit, membrane)
        sources[visit.name] = real(visit.sources)
        if made.before is not None:
            nodes[f"{visit.name}.r"], sources[f"{visit.name}.r"] = made.before, sources[visit.name]
            sources[visit.name] = (f"{visit.name}.r",)

        nodes[visit.name] = made.node
        notes += made.notes

    # feedback names nodes that come later
    return nodes, {name: real(value) for name, value in sources.items()}, notes, real(output)


def _refuse_twice(sources: dict[str, Value]) -> None:
    for name, value in sources.items():
        if len(set(value)) < len(value):
            raise ExportError(
                f"{name!r} has {value[0]!r} as input twice; NIR allows one edge between two nodes, insert a Gain(2.0)"
            )


def _shape(x: Tensor) -> Any:
    import numpy as np

    return np.array(x.shape[2:])


def _run(part: nn.Module, x: Tensor) -> Tensor:
    return part(x)[0] if isinstance(part, Stateful) else over_time(part, x)


def _prove(part: nn.Module, written: _Written, x: Tensor, y: Tensor) -> None:
    """Raises where the graph, read back, says something else than the part."""
    with torch.no_grad():
        again = _run(from_nir(written.graph), x)

    largest = float((again - y).abs().max()) if y.numel() else 0.0
    share = float((again != y).float().mean()) if y.numel() else 0.0
    scale = max(1.0, float(y.abs().max()) if y.numel() else 0.0)
    spikes = bool(((y == 0) | (y == 1)).all())

    if (share > 0.01) if spikes else (largest > 1e-3 * scale):
        raise ExportError(
            f"{type(part).__name__} read back from NIR differs by {largest:g} ({share:.2%} of its values): its forward "
            "does more than its layers and sums say"
        )
