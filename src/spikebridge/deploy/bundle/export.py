"""Export of a hybrid network as a bundle: all files are written, or none.

| what | file |
|---|---|
| plain part | ONNX |
| spiking part | NIR, or an ONNX step where NIR has no node |
| kernel, discretizer of a unit | numbers; an ONNX function where the package has no form of it |
| nonlinearity of a unit | ONNX |
| spiking layer of a unit | NIR |
| module beside the graph, such as the prior of a tracker | numbers, for a program that knows the module |
"""

import copy
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors.torch import save
from torch import Tensor, nn

from spikebridge.data.io.atomic import atomic_folder, write_bytes, write_text
from spikebridge.deploy.bundle.bundle import MANIFEST, Bundle, file_name
from spikebridge.deploy.bundle.manifest import (
    ClockRecord,
    FileRecord,
    InputRecord,
    LinkRecord,
    Manifest,
    PartRecord,
    SampleRecord,
    Setting,
    StageRecord,
    UnitRecord,
    write_manifest,
)
from spikebridge.deploy.bundle.stages import (
    FUNCTION,
    DiscretizerFunction,
    KernelFunction,
    check_function,
    is_known,
    stage_record,
)
from spikebridge.deploy.bundle.trace import Sample, check_stream, record_active_trace, spikes_only
from spikebridge.deploy.nir.graph import read_graph
from spikebridge.deploy.nir.writer import to_nir
from spikebridge.deploy.onnx.writer import write_onnx, write_onnx_step
from spikebridge.errors import ExportError, did_you_mean
from spikebridge.hybrid import Clock, HybridNetwork, HybridUnit, Kernel, Modulation, Transmission, every
from spikebridge.hybrid.network.link import Route
from spikebridge.hybrid.unit.discretizer import SpikingLayer
from spikebridge.neurons import Stateful
from spikebridge.neurons.dt import dt_of, unbound_layer

Progress: TypeAlias = Callable[[str], None]


@dataclass
class _BundleWriter:
    """Files of a bundle on their way.

    Attributes:
        folder: where they are written.
        progress: gets the name of each file.
        files: what there is so far.
    """

    folder: Path
    progress: Progress
    files: dict[str, FileRecord] = field(default_factory=dict)

    def save(self, name: str, content: bytes, note: str = "") -> str:
        """Writes a file and gives its name."""
        if name.lower() in {other.lower() for other in self.files}:
            raise ExportError(f"two files of the bundle would be called {name!r}; rename a part or a link")

        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        write_bytes(path, content)
        self.files[name] = FileRecord(len(content), hashlib.sha256(content).hexdigest())
        self.progress(f"{name}{note}")

        return name

    def save_tensors(self, name: str, tensors: dict[str, Tensor]) -> str:
        """Writes tensors by name."""
        return self.save(name, save({key: tensor.detach().contiguous().clone() for key, tensor in tensors.items()}))


def clock_record(clock: Clock) -> ClockRecord:
    """A clock in the manifest's words."""
    return ClockRecord(clock.period, clock.phase)


_SIGNAL = "signal"
_LEFT_OUT = "left_out.safetensors"


def export(
    network: HybridNetwork | HybridUnit,
    inputs: Mapping[str, Tensor],
    path: Path | str,
    *,
    ticks: int | None = None,
    card: Mapping[str, Any] | None = None,
    progress: Progress = lambda line: None,
) -> Bundle:
    """Writes a network as a bundle.

    Args:
        network: the trained one; it is left as it is. A hybrid unit alone becomes a network of one link.
        inputs: a small input on which every layer spikes and every unit acts, `(T, B, *N)` each.
        path: the folder to make.
        ticks: base ticks of the input; None means the most for which every input has exactly the samples given.
        card: what a reader should know: data, figures, seed, versions.
        progress: gets the name of each file.

    Returns:
        The bundle, opened.

    Raises:
        ExportError: the folder is there already, or the bundle cannot hold something; the message names it and why.
        ConfigError: inputs that are not given by name, or hold no sample.
    """
    target = Path(path)
    if target.exists():
        raise ExportError(f"{target} is there already; name another folder or remove it first")

    check_stream(inputs)
    if isinstance(network, HybridUnit):
        network = _around(network)
        inputs = {_SIGNAL: next(iter(inputs.values()))}

    if not isinstance(network, HybridNetwork):
        raise ExportError(f"a bundle holds a HybridNetwork, but got a {type(network).__name__}")

    with atomic_folder(target) as draft:
        own = copy.deepcopy(network).to("cpu").eval()
        sample = _sample(own, inputs, ticks)
        text = write_manifest(_write(_BundleWriter(draft, progress), own, sample, dict(card or {})))
        write_text(draft / MANIFEST, text)
        Bundle.open(draft)

    return Bundle.open(target)


def _around(unit: HybridUnit) -> HybridNetwork:
    """A unit between an input and an output; its step is that of its kernel, else it counts in seconds."""
    dt = dt_of(unit)
    if dt is None and (path := unbound_layer(unit)) is not None:
        raise ExportError(f"{path!r} of the unit depends on dt, the step of its clock [s], and has none; give it dt=")

    dt = dt or 1.0  # a copy, since a network binds its step
    unit = copy.deepcopy(unit)
    links = [Transmission(_SIGNAL, "output", unit, name="unit")]
    parts = {"output": nn.Identity()}

    return HybridNetwork(dt=dt, inputs={_SIGNAL: every(dt)}, parts=parts, links=links, outputs=["output"])


def _sample(network: HybridNetwork, inputs: Mapping[str, Tensor], ticks: int | None) -> Sample:
    for name, value in (*network.named_parameters(), *network.named_buffers()):
        if value.is_floating_point() and value.dtype != torch.float32:
            raise ExportError(f"{name!r} is {value.dtype}; a bundle holds float32, so call network.float() first")

    given = {name: x.detach().cpu() for name, x in inputs.items()}
    recorded = record_active_trace(network, given, ticks)
    if ticks is None:
        ticks = min(clock.phase + len(given[name]) * clock.period for name, clock in network.inputs.items())

    return Sample(given, recorded, ticks)


def _write(writer: _BundleWriter, network: HybridNetwork, sample: Sample, card: dict[str, Any]) -> Manifest:
    parts = {name: _write_part(writer, network, name, sample) for name in network.parts}
    links = tuple(_write_link(writer, network, route, sample) for route in network.routes)
    signals = {"inputs": sample.inputs, "parts": sample.recorded.parts, "links": sample.recorded.links}
    tensors = {f"{kind}.{name}": x for kind, known in signals.items() for name, x in known.items()}
    file = writer.save_tensors("sample/sample.safetensors", tensors)
    left_out = [n for n, m in network.named_children() if n not in ("parts", "units") and _holds_numbers(m)]
    numbers = {f"{n}.{key}": x for n in left_out for key, x in network.get_submodule(n).state_dict().items()}

    return Manifest(
        dt=network.dt,
        inputs={name: _input(network, name, sample) for name in network.inputs},
        parts=parts,
        links=links,
        order=tuple(part for group in network.plan.groups for part in group.parts),
        outputs=network.outputs,
        sample=SampleRecord(file, sample.ticks, next(iter(sample.inputs.values())).shape[1]),
        files=writer.files,
        left_out=tuple(left_out),
        card=card,
        left_out_numbers=writer.save_tensors(_LEFT_OUT, numbers) if numbers else None,
    )


def _input(network: HybridNetwork, name: str, sample: Sample) -> InputRecord:
    x = sample.inputs[name]
    if x.dtype not in (torch.float32, torch.bool):
        raise ExportError(f"input {name!r} of the sample is {x.dtype}; a bundle takes float32, and flags for triggers")
    kind = "bool" if x.dtype == torch.bool else "float32"
    return InputRecord(clock_record(network.inputs[name]), tuple(x.shape[2:]), kind)  # type: ignore[arg-type]


def _write_part(writer: _BundleWriter, network: HybridNetwork, name: str, sample: Sample) -> PartRecord:
    """Writes a part.

    Args:
        writer: the bundle that is being written.
        network: in eval mode.
        name: of the part.
        sample: what it gave.

    Raises:
        ExportError: no format holds the part; the message names it and the reason.
    """
    part = network.parts[name]
    routes = network.incoming[name]
    for route in routes:
        if route.acts_on_a_parameter and isinstance(route.link, Modulation):
            raise ExportError(
                f"the link {route.name!r} modulates {route.link.target}, weights that change while the network runs; "
                "neither NIR nor ONNX has a place for them"
            )

    if isinstance(part, Stateful):
        return _stateful(writer, network, name, part, sample)

    signals, into = _arguments(routes, sample)
    content = write_onnx(part, signals, into, name=f"part {name!r}")

    return _record(network, name, sample, "onnx", writer.save(f"ann/{file_name(name)}.onnx", content), side="ann")


def _node_of_path(path: str) -> tuple[str, str]:
    """The node of a NIR graph, and the quantity, that a path in a part leads to.

    Example:
        >>> _node_of_path("lif1.v_threshold"), _node_of_path("tau")
        (('lif1', 'v_threshold'), ('neuron', 'tau'))
    """
    node, _, quantity = path.rpartition(".")
    return node or "neuron", quantity


def _stateful(writer: _BundleWriter, network: HybridNetwork, name: str, part: Stateful, sample: Sample) -> PartRecord:
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
        file = writer.save(f"snn/{file_name(name)}.onnx", step, f": {note}")
        tensors = {f"state.{i}": t for i, t in enumerate(state)}
        initial = writer.save_tensors(f"snn/{file_name(name)}.state.safetensors", tensors)

        return _record(network, name, sample, "onnx", file, initial=initial, notes=(note,))

    return _record(network, name, sample, "nir", writer.save(f"snn/{file_name(name)}.nir", content), notes=notes)


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
            path = ".".join(_node_of_path(route.link.path))
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
    y = sample.signal(name)
    clock = clock_record(network.clock_of(name))
    spikes = side == "snn" and spikes_only(y)
    return PartRecord(side, form, file, clock, tuple(y.shape[2:]), spikes, initial, notes)  # type: ignore[arg-type]


def _holds_numbers(module: nn.Module) -> bool:
    """Whether a module has parameters or buffers."""
    return next(module.parameters(), None) is not None or next(module.buffers(), None) is not None


def _write_link(writer: _BundleWriter, network: HybridNetwork, route: Route, sample: Sample) -> LinkRecord:
    """Writes a link with its unit.

    Args:
        writer: the bundle that is being written.
        network: in eval mode.
        route: the link.
        sample: what it carried.

    Raises:
        ExportError: a stage of the unit that no bundle holds; the message names the link and the stage.
    """
    link = route.link
    unit = network.unit_of(route)
    tensors: dict[str, Tensor] = {}
    record = None if unit is None else _unit(writer, network, route, unit, sample, tensors)
    shape = tuple(sample.carried(route).shape[2:])
    initial: float | None = 0.0

    if isinstance(link, Transmission) and isinstance(link.initial, Tensor):
        initial, tensors["initial"] = None, link.initial.float().expand(shape)
    elif isinstance(link, Transmission):
        initial = float(link.initial)

    numbers = writer.save_tensors(f"units/{file_name(route.name)}.safetensors", tensors) if tensors else None
    acts: dict[str, Any] = {}
    if isinstance(link, Modulation):
        node, quantity = _node_of_path(link.path)
        acts = {"kind": "modulation", "node": node, "quantity": quantity, "by": link.by}

    return LinkRecord(
        **{"kind": "transmission", **acts},
        name=route.name,
        source=link.source,
        target=link.part,
        shape=shape,
        emits=clock_record(route.clock),
        held=link.held,
        delay=route.delay,
        into=route.into,
        context=link.context,
        initial=initial,
        unit=record,
        numbers=numbers,
    )


def _unit(
    writer: _BundleWriter,
    network: HybridNetwork,
    route: Route,
    unit: HybridUnit,
    sample: Sample,
    tensors: dict[str, Tensor],
) -> UnitRecord:
    stages: dict[str, Any] = {}
    for stage in ("window", "kernel", "discretizer"):
        module = getattr(unit, stage)
        if isinstance(module, SpikingLayer):
            stages["fires"] = _fire(writer, network, route, unit, module, sample)
        elif module is not None and stage != "window" and not is_known(module):
            stages |= _function(writer, route, unit, sample, stage)
        elif module is not None:
            stages[stage], own = stage_record(module, f"the {stage} of link {route.name!r}")
            tensors |= {f"{stage}.{name}": value for name, value in own.items()}

    if unit.nonlinearity is not None and not isinstance(unit.nonlinearity, nn.Identity):
        signals = {"value": _after(route, unit, sample, "kernel").flatten(0, 1)[0]}
        if route.link.context is not None:
            signals["context"] = sample.signal(route.link.context)[0]
        content = write_onnx(unit.nonlinearity, signals, name=f"the nonlinearity of link {route.name!r}")
        stages["nonlinearity"] = writer.save(f"ann/{file_name(route.name)}.unit.onnx", content)

    return UnitRecord(**stages)


def _function(writer: _BundleWriter, route: Route, unit: HybridUnit, sample: Sample, stage: str) -> dict[str, Any]:
    """A stage that is not known by name, as a function of one window."""
    where = f"the {stage} of link {route.name!r}"
    values = _after(route, unit, sample, "window" if stage == "kernel" else "nonlinearity")
    check_function(unit, stage, values, where)
    settings: dict[str, Setting]
    function: nn.Module

    if isinstance(unit.kernel, Kernel) and stage == "kernel":
        function = KernelFunction(unit.kernel)
        settings = {"keep": False}
    else:
        discretizer: Any = unit.discretizer
        length = unit.window.length or 1 if unit.window is not None else 1
        function = DiscretizerFunction(discretizer, length)
        settings = {"kind": discretizer.kind}

    content = write_onnx(function, {"value": values[0].movedim(0, 1)}, name=where)
    file = writer.save(f"ann/{file_name(route.name)}.{stage}.onnx", content)

    return {stage: StageRecord(FUNCTION, settings), f"{stage}_function": file}


def _fire(
    writer: _BundleWriter, network: HybridNetwork, route: Route, unit: HybridUnit, fire: SpikingLayer, sample: Sample
) -> str:
    try:
        x = _after(route, unit, sample, "nonlinearity").flatten(0, 1)
        written = to_nir(fire.layer, x, dt=route.clock.period * network.dt)
    except ExportError as reason:
        raise ExportError(f"the layer of Fire in link {route.name!r}: {reason}") from None

    return writer.save(f"units/{file_name(route.name)}.nir", written.content())


def _after(route: Route, unit: HybridUnit, sample: Sample, stage: str) -> Tensor:
    """What a stage of a unit gives on the sample, `(K, M, B, *N)`."""
    x = sample.signal(route.link.source)
    starts = torch.zeros(len(x), dtype=torch.bool) if route.trigger is not None else None
    context = None
    if route.link.context is not None:
        number = len(unit.window.frame(x, None)[0]) if unit.window is not None and unit.form == "framed" else len(x)
        context = sample.signal(route.link.context)[:1]
        context = context.expand(number, *context.shape[1:])

    with torch.no_grad():
        stages, _ = unit.stages(x, None, starts=starts, context=context)

    values: Tensor = getattr(stages, stage)
    if not len(values):
        raise ExportError(f"the unit of link {route.name!r} closes no window on the sample; give a longer one")

    return values
