"""Export of a hybrid network as a bundle: all files are written, or none.

| element | file |
|---|---|
| plain part | ONNX |
| spiking part | NIR, or an ONNX step where NIR has no node |
| kernel, discretizer of a unit | numbers; an ONNX function where it has no array form |
| nonlinearity of a unit | ONNX |
| spiking layer of a unit | NIR |
| module outside the graph, such as the prior of a tracker | numbers, for a program that knows the module |
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias, get_args

import torch
from safetensors.torch import save
from torch import Tensor, nn

from spikebridge.data.io.atomic import atomic_folder, check_new, write_bytes, write_text
from spikebridge.deploy.bundle.bundle import MANIFEST, Bundle, file_name
from spikebridge.deploy.bundle.consistency import is_spikes
from spikebridge.deploy.bundle.manifest import (
    ClockRecord,
    Dtype,
    FileRecord,
    InputRecord,
    LinkRecord,
    Manifest,
    PartRecord,
    SampleRecord,
    Side,
    SignalRecord,
    StageRecord,
    StartRecord,
    UnitRecord,
    WakeRecord,
    write_manifest,
)
from spikebridge.deploy.bundle.stages import (
    FUNCTION,
    DiscretizerFunction,
    KernelFunction,
    check_function,
    is_storable,
    stage_record,
)
from spikebridge.deploy.bundle.start import checked_start, link_tensors, part_tensors
from spikebridge.deploy.bundle.trace import Sample, check_float32, check_stream, record_active_trace
from spikebridge.deploy.nir.graph import read_graph
from spikebridge.deploy.nir.writer import to_nir
from spikebridge.deploy.onnx.writer import OnnxSignature, leak_function, write_onnx, write_onnx_step
from spikebridge.errors import ConfigError, ExportError, did_you_mean
from spikebridge.hybrid import Clock, HybridNetwork, HybridUnit, Modulation, Transmission, Wake, every
from spikebridge.hybrid.clock import count_ticks
from spikebridge.hybrid.network.link import Route, beside, wake_of
from spikebridge.hybrid.network.network import NetworkState
from spikebridge.hybrid.unit.discretizer import SpikingLayer
from spikebridge.neurons import Stateful
from spikebridge.neurons.dt import dt_of, unbound_layer
from spikebridge.neurons.state import to

Progress: TypeAlias = Callable[[str], None]
_SIGNAL = "signal"
_LEFT_OUT = "left_out.safetensors"
_START = "start.safetensors"


def clock_record(clock: Clock) -> ClockRecord:
    """The record of a clock."""
    return ClockRecord(clock.period, clock.phase)


def export(
    network: HybridNetwork | HybridUnit,
    inputs: Mapping[str, Tensor],
    path: Path | str,
    *,
    ticks: int | None = None,
    state: NetworkState | None = None,
    card: Mapping[str, Any] | None = None,
    progress: Progress = lambda line: None,
) -> Bundle:
    """Writes a network as a bundle.

    Args:
        network: the trained network, which is left as it is. A single hybrid unit becomes a network of one link.
        inputs: a small input on which every layer spikes and every unit acts, `(T, B, *N)` each.
        path: the folder to make.
        ticks: base ticks of the input; None takes the largest number for which every input has exactly its samples.
        state: the state of a stream, as a call of the network returns it, that the first tick of the bundle continues;
            of one sample, for any number of them, or of as many as the input has. None is the initial state.
        card: information for readers: data, figures, seed, versions.
        progress: called with the name of each file.

    Returns:
        The bundle, opened.

    Raises:
        ExportError: the folder is there already, or the bundle cannot hold something; the message names it and why.
        ConfigError: inputs without names, or without a sample.
        StateError: a state of another network or stream.
    """
    target = Path(path)
    check_new(target, ExportError)
    check_stream(inputs)
    if isinstance(network, HybridUnit):
        network = _network_of_unit(network)
        inputs = {_SIGNAL: next(iter(inputs.values()))}

    if not isinstance(network, HybridNetwork):
        raise ExportError(f"a bundle holds a HybridNetwork, but got a {type(network).__name__}")

    with atomic_folder(target) as draft:
        exported = copy.deepcopy(network).to("cpu").eval()
        writer = _BundleWriter(draft, progress, exported, _sample(exported, inputs, ticks, state), state)
        write_text(draft / MANIFEST, write_manifest(writer.manifest(dict(card or {}))))
        # every check of a reader, before the folder gets its name
        Bundle.open(draft)

    return Bundle.open(target)


def _network_of_unit(unit: HybridUnit) -> HybridNetwork:
    """A unit between an input and an output; where its kernel has no step, a base step is one second."""
    dt = dt_of(unit)
    path = unbound_layer(unit)
    if dt is None and path is not None:
        raise ExportError(f"{path!r} of the unit depends on dt, the step of its clock [s], and has none; give it dt=")

    # a copy, since a network binds the step of its units
    step = dt or 1.0
    links = [Transmission(_SIGNAL, "output", copy.deepcopy(unit), name="unit")]
    parts = {"output": nn.Identity()}

    return HybridNetwork(dt=step, inputs={_SIGNAL: every(step)}, parts=parts, links=links, outputs=["output"])


def _sample(
    network: HybridNetwork, inputs: Mapping[str, Tensor], ticks: int | None, state: NetworkState | None
) -> Sample:
    check_float32(network, "a bundle holds float32")
    signals = {name: x.detach().cpu() for name, x in inputs.items()}
    start = None if state is None else checked_start(network, state, signals)
    trace = record_active_trace(network, signals, ticks, start)
    first = 0 if start is None else start.ticks
    counts = {name: len(signals[name]) for name in network.inputs}

    return Sample(signals, trace, count_ticks(network.inputs, counts, first, ticks, network.dt))


@dataclass
class _BundleWriter:
    """Writes the files of a bundle, from a network in eval mode and its signals on the sample."""

    folder: Path
    progress: Progress
    network: HybridNetwork
    sample: Sample
    start: NetworkState | None = None
    files: dict[str, FileRecord] = field(default_factory=dict)
    records: dict[str, PartRecord] = field(default_factory=dict)  # of the parts written so far

    def manifest(self, card: dict[str, Any]) -> Manifest:
        """Writes all files, and gives the manifest."""
        network = self.network
        sample = self.sample
        for name in network.parts:
            self.records[name] = self._part(name)

        links = tuple(self._link(route) for route in network.routes)
        signals = {"inputs": sample.inputs, "parts": sample.recorded.parts, "links": sample.recorded.links}
        tensors = {f"{kind}.{name}": x for kind, named in signals.items() for name, x in named.items()}
        sample_file = self._save_tensors("sample/sample.safetensors", tensors)
        # a program that knows such a module, as a tracker its prior, reads its numbers
        left_out = [name for name, m in network.named_children() if name not in ("parts", "units") and _has_numbers(m)]
        numbers = {f"{n}.{key}": x for n in left_out for key, x in network.get_submodule(n).state_dict().items()}

        return Manifest(
            dt=network.dt,
            inputs={name: self._input(name) for name in network.inputs},
            parts=self.records,
            links=links,
            order=tuple(part for group in network.plan.groups for part in group.parts),
            outputs=network.outputs,
            sample=SampleRecord(sample_file, sample.ticks, next(iter(sample.inputs.values())).shape[1]),
            files=self.files,
            left_out=tuple(left_out),
            card=card,
            left_out_numbers=self._save_tensors(_LEFT_OUT, numbers) if numbers else None,
            start=None if self.start is None else self._start(to(self.start, device="cpu")),
        )

    def _start(self, state: NetworkState) -> StartRecord:
        tensors: dict[str, Tensor] = {}
        for name, record in self.records.items():
            graph = read_graph((self.folder / record.file).read_bytes()) if record.format == "nir" else None
            tensors |= part_tensors(name, self.network.parts[name], state.parts[name], graph)

        for route in self.network.routes:
            clock = self.network.clock_of(route.link.part)
            # a part with a wake takes the newest value at any later waking
            is_late = route.sets and route.link.part in self.network.plan.wakes
            number = 0 if is_late else clock.count(state.ticks)
            last = clock.phase + (number - 1) * clock.period if number else -1
            tensors |= link_tensors(route, state.links[route.name], last, state.ticks)

        return StartRecord(state.ticks, state.like.shape[0], self._save_tensors(_START, tensors))

    def _save(self, name: str, content: bytes, note: str = "") -> str:
        # some file systems do not tell upper from lower case
        if name.lower() in {other.lower() for other in self.files}:
            raise ExportError(f"two files of the bundle would be called {name!r}; rename a part or a link")

        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        write_bytes(path, content)
        self.files[name] = FileRecord.of(content)
        self.progress(f"{name}{note}")

        return name

    def _save_tensors(self, name: str, tensors: dict[str, Tensor]) -> str:
        return self._save(name, save({key: tensor.detach().contiguous().clone() for key, tensor in tensors.items()}))

    def _input(self, name: str) -> InputRecord:
        x = self.sample.inputs[name]
        if x.dtype not in (torch.float32, torch.bool):
            raise ExportError(
                f"input {name!r} of the sample is {x.dtype}; a bundle takes float32, and flags for triggers"
            )
        clock = clock_record(self.network.inputs[name])
        return InputRecord(clock, tuple(x.shape[2:]), "bool" if x.dtype == torch.bool else "float32")

    def _part(self, name: str) -> PartRecord:
        part = self.network.parts[name]
        if isinstance(part, Stateful):
            return self._stateful_part(name, part)

        content = self._as_onnx(name, write_onnx)
        file = self._save(f"ann/{file_name(name)}.onnx", content)

        return self._part_record(name, "ann", format="onnx", file=file)

    def _stateful_part(self, name: str, part: Stateful) -> PartRecord:
        stem = f"snn/{file_name(name)}"
        try:
            content, notes = self._nir(name, part)
        except ExportError as reason:
            step, state = self._as_onnx(name, write_onnx_step)
            note = f"an ONNX step, not NIR: {reason}"
            file = self._save(f"{stem}.onnx", step, f": {note}")
            initial = self._save_tensors(f"{stem}.state.safetensors", {f"state.{key}": t for key, t in state.items()})

            wake = self.network.plan.wakes.get(name)
            leak = None
            if wake is not None and wake_of(wake).state == "leak":
                function, values = leak_function(part, self._signature(name))
                leak = self._save(f"{stem}.leak.onnx", write_onnx(function, values, name=f"the leak of part {name!r}"))

            return self._part_record(name, "snn", format="onnx", file=file, initial=initial, leak=leak, notes=(note,))

        return self._part_record(name, "snn", format="nir", file=self._save(f"{stem}.nir", content), notes=notes)

    def _nir(self, name: str, part: Stateful) -> tuple[bytes, tuple[str, ...]]:
        routes = self.network.incoming[name]
        transmissions = [route for route in routes if isinstance(route.link, Transmission)]
        if len(transmissions) != 1:
            raise ExportError(f"{len(transmissions)} links bring a signal to it, and a NIR graph here has one input")
        if self._keys(name):
            raise ExportError("it gives several tensors by name, and a NIR graph here has one output")

        dt = self.network.clock_of(name).period * self.network.dt
        written = to_nir(part, self.sample.carried(transmissions[0]), dt=dt)
        graph = read_graph(written.graph)

        for route in routes:
            if route.acts_on_a_parameter and isinstance(route.link, Modulation):
                raise ExportError(f"{route.link.target} changes while the network runs, and weights of NIR do not")
            if isinstance(route.link, Modulation):
                path = ".".join(_node_of_path(route.link.path))
                if path not in graph.quantities:
                    known = did_you_mean(path, graph.quantities)
                    raise ExportError(f"NIR has no quantity {path!r} to modulate; {known}")

        for path in self._state_paths(name):
            if path not in graph.states:
                raise ExportError(f"NIR has no state {path!r} to set or to read")

        if self.start is not None:
            # raises for a state that cannot be given to the nodes
            try:
                part_tensors(name, part, self.start.parts[name], graph)
            except ConfigError as reason:
                raise ExportError(f"NIR has no place for the state that it begins at: {reason}") from None

        return written.content(), written.notes

    def _as_onnx(self, name: str, write: Callable[..., Any]) -> Any:
        try:
            return write(self.network.parts[name], self._signature(name), name=f"part {name!r}")
        except ExportError as reason:
            for route in self.network.incoming[name]:
                if route.acts_on_a_parameter:
                    raise ExportError(
                        f"the link {route.name!r} modulates {route.link.target}, weights that change while the network "
                        f"runs; ONNX has a form of nn.Linear for them, but of few other layers: {reason}"
                    ) from None
            raise

    def _signature(self, part: str) -> OnnxSignature:
        """The inputs and outputs of a part by their names in its ONNX file."""
        routes = [route for route in self.network.incoming[part] if not route.sets and not route.num_flags]
        # as Python calls a function: arguments by position come first, and effects last
        routes.sort(key=lambda route: (bool(route.path), route.into is not None))

        return OnnxSignature(
            signals={route.name: self.sample.carried(route)[0] for route in routes},
            into={route.name: route.into for route in routes if route.into is not None},
            effects={route.name: (route.path, route.by) for route in routes if route.path},
            outputs=self._keys(part),
            states={path: name for name, path in self._state_paths(part).items()},
        )

    def _keys(self, part: str) -> list[str]:
        """The keys of the outputs of a part that gives several."""
        prefix = f"{part}."
        return [name.removeprefix(prefix) for name in self.network.plan.given(part) if name.startswith(prefix)]

    def _state_paths(self, part: str) -> dict[str, str]:
        """The paths of the states of a part that links set or read, by layer and field."""
        ports = self.network.plan.ports.get(part)
        paths = () if ports is None else (*(route.path for route in ports.sets), *ports.reads.values())

        return {".".join(_node_of_path(path)): path for path in paths}

    def _part_record(self, name: str, side: Side, **fields: Any) -> PartRecord:
        # the sample shows what a part gives
        ports = self.network.plan.ports.get(name)
        given = {signal: self._signal(signal, side) for signal in self.network.plan.given(name)}
        states = {signal: replace(self._signal(signal, "ann"), state=True) for signal in (ports.reads if ports else ())}
        first = next(iter(given.values()))

        return PartRecord(
            side=side,
            clock=clock_record(self.network.clock_of(name)),
            shape=first.shape,
            spikes=first.spikes,
            dtype=first.dtype,
            signals={**(given if name not in given else {}), **states},
            **fields,
        )

    def _signal(self, name: str, side: Side) -> SignalRecord:
        y = self.sample.signal(name)
        return SignalRecord(tuple(y.shape[2:]), _dtype_name(y, f"part {name!r}"), side == "snn" and is_spikes(y))

    def _link(self, route: Route) -> LinkRecord:
        link = route.link
        unit = self.network.unit_of(route)
        tensors: dict[str, Tensor] = {}
        record = None if unit is None else self._unit(route, unit, tensors)
        carried = self.sample.carried(route)
        shape = tuple(carried.shape[2:])
        before = self._before(route, shape)
        initial = before if isinstance(before, float) else None
        if isinstance(before, Tensor):
            tensors["initial"] = before.float().expand(shape)

        numbers = self._save_tensors(f"units/{file_name(route.name)}.safetensors", tensors) if tensors else None
        effect: dict[str, Any] = {"kind": "transmission"}
        if route.path:
            node, quantity = _node_of_path(route.path)
            kind = "initialisation" if route.sets else "modulation"
            effect = {"kind": kind, "node": node, "quantity": quantity, "by": route.by}
        elif isinstance(link, Wake):
            effect = {"kind": "wake", "wake": WakeRecord(link.asleep, link.state, route.num_flags, link.replay)}

        return LinkRecord(
            **effect,
            name=route.name,
            source=link.source,
            target=link.part,
            shape=shape,
            dtype=_dtype_name(carried, f"link {route.name!r}"),
            emits=clock_record(route.clock),
            held=link.held,
            delay=route.delay,
            into=route.into,
            context=beside(link),
            initial=initial,
            unit=record,
            numbers=numbers,
            once=link.once,
            mask=link.mask is not None,
        )

    def _before(self, route: Route, shape: tuple[int, ...]) -> float | Tensor:
        """The value of a link before the first one: of a modulation one without effect, for an ONNX step."""
        link = route.link
        if isinstance(link, Transmission):
            return link.initial if isinstance(link.initial, Tensor) else float(link.initial)
        if not isinstance(link, Modulation) or link.by != "replace":
            return float(isinstance(link, Modulation) and link.by == "multiply")

        value = torch.as_tensor(_quantity_at(self.network.parts[link.part], link.path)).detach()
        earlier = [other for other in self.network.incoming[link.part] if other.path == link.path]
        fits = earlier[0] is route and (value.numel() == 1 or value.shape == shape)
        is_late = route.clock.phase + route.delay > self.network.clock_of(link.part).phase
        if not fits and is_late and self.records[link.part].format == "onnx":
            raise ExportError(
                f"the link {route.name!r} replaces {link.target}, which other links modulate or whose shape "
                f"{tuple(value.shape)} is not {shape}, from a tick after the first of its part on, and an ONNX step "
                "has no value to read until then; list it before the others, give it a unit of that shape, or "
                "by='multiply'"
            )

        if not fits:
            return 0.0
        # a tensor: a time constant may be infinite, which a manifest does not hold
        return value if value.shape == shape else torch.full(shape, float(value))

    def _unit(self, route: Route, unit: HybridUnit, tensors: dict[str, Tensor]) -> UnitRecord:
        stages: dict[str, Any] = {}
        for stage in ("window", "kernel", "discretizer"):
            module = getattr(unit, stage)
            if isinstance(module, SpikingLayer):
                stages["fires"] = self._spiking_layer(route, unit, module)
            elif module is not None and stage != "window" and not is_storable(module):
                stages |= self._function(route, unit, stage)
            elif module is not None:
                stages[stage], numbers = stage_record(module, f"the {stage} of link {route.name!r}")
                tensors |= {f"{stage}.{name}": value for name, value in numbers.items()}

        if unit.nonlinearity is not None and not isinstance(unit.nonlinearity, nn.Identity):
            signals = {"value": self._after(route, unit, "kernel").flatten(0, 1)[0]}
            if (other := beside(route.link)) is not None:
                signals["context"] = self.sample.signal(other)[0]
            content = write_onnx(unit.nonlinearity, signals, name=f"the nonlinearity of link {route.name!r}")
            stages["nonlinearity"] = self._save(f"ann/{file_name(route.name)}.unit.onnx", content)

        return UnitRecord(**stages)

    def _function(self, route: Route, unit: HybridUnit, stage: str) -> dict[str, Any]:
        # a stage without an array form is a function of one window
        where = f"the {stage} of link {route.name!r}"
        values = self._after(route, unit, "window" if stage == "kernel" else "nonlinearity")
        check_function(unit, stage, values, where)
        module: Any = getattr(unit, stage)

        if stage == "kernel":
            function: nn.Module = KernelFunction(module)
            record = StageRecord(FUNCTION, {"keep": False})
        else:
            function = DiscretizerFunction(module, unit.window_length)
            record = StageRecord(FUNCTION, {"kind": module.kind})

        content = write_onnx(function, {"value": values[0].movedim(0, 1)}, name=where)
        file = self._save(f"ann/{file_name(route.name)}.{stage}.onnx", content)

        return {stage: record, f"{stage}_function": file}

    def _spiking_layer(self, route: Route, unit: HybridUnit, discretizer: SpikingLayer) -> str:
        try:
            x = self._after(route, unit, "nonlinearity").flatten(0, 1)
            written = to_nir(discretizer.layer, x, dt=route.clock.period * self.network.dt)
        except ExportError as reason:
            raise ExportError(f"the spiking layer of link {route.name!r}: {reason}") from None

        return self._save(f"units/{file_name(route.name)}.nir", written.content())

    def _after(self, route: Route, unit: HybridUnit, stage: str) -> Tensor:
        """The values of a unit after a stage on the sample, `(K, M, B, *N)`."""
        x = self.sample.signal(route.link.source)
        starts = torch.zeros(len(x), dtype=torch.bool) if route.trigger is not None else None
        context = None
        if (other := beside(route.link)) is not None:
            is_framed = unit.window is not None and unit.form == "framed"
            number = len(unit.window.frame(x, None)[0]) if is_framed and unit.window is not None else len(x)
            # any value serves: only the shapes are used
            context = self.sample.signal(other)[:1]
            context = context.expand(number, *context.shape[1:])

        with torch.no_grad():
            stages, _ = unit.stages(x, None, starts=starts, context=context)

        values: Tensor = getattr(stages, stage)
        if not len(values):
            raise ExportError(f"the unit of link {route.name!r} closes no window on the sample; give a longer one")

        return values


def _dtype_name(values: Tensor, who: str) -> Any:
    """The name of a signal's dtype in records; raises an `ExportError` for one that they do not have."""
    name = str(values.dtype).removeprefix("torch.")
    if name not in get_args(Dtype):
        raise ExportError(f"{who} gives {name}; a bundle holds {', '.join(get_args(Dtype))}")

    return name


def _node_of_path(path: str) -> tuple[str, str]:
    """The node of a NIR graph, and its quantity, that a path in a part leads to."""
    node, _, quantity = path.rpartition(".")
    return node or "neuron", quantity


def _quantity_at(part: nn.Module, path: str) -> Any:
    """The quantity of a layer, or the parameter of a plain module, at a path in a part."""
    layer, _, name = path.rpartition(".")
    return getattr(part.get_submodule(layer), name)


def _has_numbers(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None or next(module.buffers(), None) is not None
