"""Parts as files of a bundle: plain ones as ONNX, spiking ones as NIR, and what NIR cannot hold as an ONNX step."""

from torch import Tensor, nn

from spikebridge.deploy.bundle import file_name
from spikebridge.deploy.bundle_draft import Draft, rhythm
from spikebridge.deploy.bundle_recording import Sample, spikes_only
from spikebridge.deploy.manifest import PartRecord
from spikebridge.deploy.nir_graph import read_graph
from spikebridge.deploy.nir_write import to_nir
from spikebridge.deploy.onnx_write import write_onnx, write_onnx_step
from spikebridge.errors import ExportError, did_you_mean
from spikebridge.hybrid import HybridNetwork, Modulation, Transmission
from spikebridge.hybrid.route import Route
from spikebridge.neurons import Stateful


def write_part(draft: Draft, network: HybridNetwork, name: str, sample: Sample) -> PartRecord:
    """Writes a part.

    Args:
        draft: the bundle on its way.
        network: in eval mode.
        name: of the part.
        sample: what it gave.

    Raises:
        ExportError: no format holds the part; the message names it and the reason.
    """
    part, routes = network.parts[name], network.incoming[name]
    for route in routes:
        if route.acts_on_a_parameter and isinstance(route.link, Modulation):
            raise ExportError(
                f"the link {route.name!r} modulates {route.link.target}, weights that change while the network runs; "
                "neither NIR nor ONNX has a place for them"
            )
    if isinstance(part, Stateful):
        return _stateful(draft, network, name, part, sample)
    signals, into = _arguments(routes, sample)
    content = write_onnx(part, signals, into, name=f"part {name!r}")
    return _record(network, name, sample, "onnx", draft.save(f"ann/{file_name(name)}.onnx", content), side="ann")


def node_of_path(path: str) -> tuple[str, str]:
    """The node of a NIR graph, and the quantity, that a path in a part leads to.

    Example:
        >>> node_of_path("lif1.v_threshold"), node_of_path("tau")
        (('lif1', 'v_threshold'), ('neuron', 'tau'))
    """
    node, _, quantity = path.rpartition(".")
    return node or "neuron", quantity


def _stateful(draft: Draft, network: HybridNetwork, name: str, part: Stateful, sample: Sample) -> PartRecord:
    routes = network.incoming[name]
    try:
        content, notes = _as_nir(network, name, part, routes, sample)
    except ExportError as reason:
        if any(isinstance(route.link, Modulation) for route in routes):
            raise ExportError(
                f"part {name!r} cannot be exported: {reason}; as an ONNX step it could not be modulated"
            ) from None
        signals, into = _arguments(routes, sample)
        step, state = write_onnx_step(part, signals, into, name=f"part {name!r}")
        note = f"an ONNX step, not NIR: {reason}"
        file = draft.save(f"snn/{file_name(name)}.onnx", step, f": {note}")
        tensors = {f"state.{i}": t for i, t in enumerate(state)}
        initial = draft.save_tensors(f"snn/{file_name(name)}.state.safetensors", tensors)
        return _record(network, name, sample, "onnx", file, initial=initial, notes=(note,))
    return _record(network, name, sample, "nir", draft.save(f"snn/{file_name(name)}.nir", content), notes=notes)


def _as_nir(
    network: HybridNetwork, name: str, part: Stateful, routes: list[Route], sample: Sample
) -> tuple[bytes, tuple[str, ...]]:
    transmissions = [route for route in routes if isinstance(route.link, Transmission)]
    if len(transmissions) != 1:
        raise ExportError(f"{len(transmissions)} links bring a signal to it, and a NIR graph here has one input")
    written = to_nir(part, sample.carried(transmissions[0]), dt=network.clock_of(name).period * network.dt)
    known = [f"{node.name}.{q}" for node in read_graph(written.graph).nodes for q in node.numbers]
    for route in routes:
        if isinstance(route.link, Modulation):
            path = ".".join(node_of_path(route.link.path))
            if path not in known:
                raise ExportError(f"NIR has no quantity {path!r} to modulate; {did_you_mean(path, known)}")
    return written.content(), written.notes


def _arguments(routes: list[Route], sample: Sample) -> tuple[dict[str, Tensor], dict[str, str]]:
    """An example of each argument by link, those by position first, and the names of the others."""
    links = [route for route in routes if isinstance(route.link, Transmission)]
    links.sort(key=lambda route: route.into is not None)
    return (
        {route.name: sample.carried(route)[0] for route in links},
        {route.name: route.into for route in links if route.into is not None},
    )


def _record(
    network: HybridNetwork,
    name: str,
    sample: Sample,
    form: str,
    file: str,
    *,
    side: str = "snn",
    initial: str | None = None,
    notes: tuple[str, ...] = (),
) -> PartRecord:
    y, clock = sample.signal(name), rhythm(network.clock_of(name))
    spikes = side == "snn" and spikes_only(y)
    return PartRecord(side, form, file, clock, tuple(y.shape[2:]), spikes, initial, notes)  # type: ignore[arg-type]


def holds_numbers(module: nn.Module) -> bool:
    """Whether a module has parameters or buffers."""
    return next(module.parameters(), None) is not None or next(module.buffers(), None) is not None
