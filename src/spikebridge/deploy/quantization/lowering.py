"""From a quantised network to its integer model, alone (`integer_model`) or inside a bundle (`add_integers`)."""

import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikebridge.deploy.bundle.additions import add_files, inputs_of_same, signals_file
from spikebridge.deploy.bundle.bundle import Bundle
from spikebridge.deploy.bundle.export import clock_record
from spikebridge.deploy.bundle.manifest import IntegersRecord, StageRecord, WakeRecord
from spikebridge.deploy.bundle.stages import array_forms, stage_record
from spikebridge.deploy.integer.bundle import check_fit
from spikebridge.deploy.integer.file import NUMBERS, RECORDS, integer_files
from spikebridge.deploy.integer.model import IntegerModel, to_integers
from spikebridge.deploy.integer.program import OperationRecord, ProgramRecord
from spikebridge.deploy.integer.records import (
    IntegerInputRecord,
    IntegerLinkRecord,
    IntegerPartRecord,
    IntegerRecord,
    QParamsRecord,
)
from spikebridge.deploy.integer.units import IntegerUnitRecord
from spikebridge.deploy.quantization.layers import IntegerOp
from spikebridge.deploy.quantization.network import program_input_of, programs_of, quantized_units_of
from spikebridge.deploy.quantization.program import FLAGS, QuantProgram
from spikebridge.deploy.quantization.units import QuantizedUnit
from spikebridge.errors import ExportError
from spikebridge.hybrid import HybridNetwork, Modulation, Transmission, Wake
from spikebridge.hybrid.network.link import AWAKE, Route, trigger_of
from spikebridge.hybrid.network.shape_inference import infer_shapes
from spikebridge.hybrid.network.wake import WakeState

_FOLDER = "integers"
_TRIGGER_GRID = QParamsRecord(1.0, 0, 1)  # any serves a signal of which only the ticks count


def integer_model(network: HybridNetwork, inputs: Mapping[str, Tensor]) -> IntegerModel:
    """The integer model of a quantised network: the same bits, in numpy.

    Args:
        network: the result of `quantize`, trained further or not.
        inputs: signals that show its shapes, `(T, B, *N)` each; T may be 0.

    Raises:
        ExportError: the network is not quantised.

    Example:
        >>> from spikebridge.deploy.quantization.network import quantize
        >>> from spikebridge.neurons import IF
        >>> signal = {"signal": torch.ones(3, 1, 1)}
        >>> model = integer_model(quantize(IF(v_threshold=2.0), signal), signal)
        >>> model.run({"signal": np.ones((3, 1, 1), int)})["network"].flatten().tolist()
        [0, 1, 0]
    """
    with torch.no_grad():
        return _ModelWriter(network.eval(), inputs).model()


class _LinkSource(NamedTuple):
    """The signals that a link reads in the integer model, and the integers of its context."""

    name: str
    context: str | None = None
    context_grid: QParamsRecord | None = None
    trigger: str | None = None


class _ModelWriter:
    """Collects the records and integers of a quantised network."""

    def __init__(self, network: HybridNetwork, inputs: Mapping[str, Tensor]) -> None:
        self.network = network
        self.programs = programs_of(network)
        self.units = quantized_units_of(network)
        if not self.programs and not self.units:
            raise ExportError("the network is not quantised; quantize(network, inputs) makes a copy that is")

        self.state = network.initial_state(inputs)
        self.specs = infer_shapes(network, {name: x[:0] for name, x in inputs.items()}).links
        self.numbers: dict[str, NDArray[Any]] = {}
        self.inputs: dict[str, IntegerInputRecord] = {}

    def model(self) -> IntegerModel:
        network = self.network
        routes = [r for r in network.routes if r.link.part in self.programs or r.name in self.units]
        links = tuple(self._link(route) for route in routes)
        parts = {name: self._part(name, program) for name, program in self.programs.items()}

        record = IntegerRecord(
            dt=network.dt,
            inputs=self.inputs,
            parts=parts,
            links=links,
            order=tuple(name for group in network.plan.groups for name in group.parts if name in self.programs),
            outputs=tuple(name for name in network.outputs if self._is_inside(name)),
            left_out=tuple(name for name in network.parts if name not in self.programs),
        )

        return IntegerModel(record, self.numbers, array_forms(self._own_stages()))

    def _own_stages(self) -> set[Any]:
        stages: list[Any] = []
        for unit in self.units.values():
            stages.append(unit.quant_kernel and unit.quant_kernel.kernel)
            stages.append(unit.quant_discretizer and unit.quant_discretizer.inner)
        for program in self.programs.values():
            stages += [layer.layer for layer in program.layers.values()]

        return {type(stage) for stage in stages if "array_form" in vars(type(stage))}

    def _part(self, name: str, program: QuantProgram) -> IntegerPartRecord:
        clock = clock_record(self.network.clock_of(name))
        record = self._program(f"parts/{name}/", program)
        state = self.state.parts[name]
        # before its first tick awake a part gives zeros
        shape = tuple(state.outputs[name].shape[1:]) if isinstance(state, WakeState) else ()
        return IntegerPartRecord(clock, record, float(program.out.scale), program.gives_flags, shape)

    def _link(self, route: Route) -> IntegerLinkRecord:
        link = route.link
        unit = self.units.get(route.name)
        is_inside = link.part in self.programs
        takes = self._source_grid(route)
        source = self._link_source(route, takes)
        self._keep_initial(route, is_inside)

        node, _, quantity = link.path.rpartition(".") if isinstance(link, Modulation) else ("", "", "")
        wake = WakeRecord(link.asleep, link.state, route.num_flags, link.replay) if isinstance(link, Wake) else None
        gives = self._value_grid(route, takes)
        is_argument = is_inside and isinstance(link, Transmission)

        return IntegerLinkRecord(
            name=route.name,
            kind="wake" if wake else "modulation" if isinstance(link, Modulation) else "transmission",
            source=source.name,
            target=link.part if is_inside else None,
            emits=clock_record(route.clock),
            held=link.held,
            takes=takes,
            gives=gives,
            takes_beside=source.context_grid,
            delay=route.delay,
            argument=program_input_of(self.network, route) if is_argument else None,
            node=self.programs[link.part].layer_at(node) if quantity and is_inside else None,
            quantity=quantity or None,
            by=link.by if isinstance(link, Modulation) else "multiply",
            context=source.context,
            trigger=source.trigger,
            unit=None if unit is None else self._unit(f"links/{route.name}", unit),
            wake=wake,
            threshold=_flag_threshold(gives) if wake else 1,
            shape=tuple(self.specs[route.name].shape) if wake else (),
        )

    def _link_source(self, route: Route, takes: QParamsRecord) -> _LinkSource:
        """The signals that a link reads; those that the model does not compute become its inputs."""
        link = route.link
        unit = self.units.get(route.name)
        # else the values of a unit that stays real enter
        reads_source = unit is not None or link.unit is None
        is_outside = reads_source and not self._is_inside(link.source)
        if route.skips is not None and is_outside:
            raise ExportError(
                f"the link {route.name!r} reads {link.source!r}, which stays real and gives no value while it is "
                "asleep; quantise that part, too, or wake it with asleep='hold'"
            )

        if route.num_flags and takes is FLAGS and is_outside:
            # real flags become 0 and 1 as they enter, whatever the scale of their signal elsewhere
            return _LinkSource(self._enter(route.name, self.network.clock_of(link.source), takes, link.source))

        if not reads_source:
            return _LinkSource(self._enter(route.name, route.clock, takes))
        if unit is None:
            return _LinkSource(self._source(link.source, takes))

        source = self._source(link.source, takes)
        state = self.state.links[route.name]
        context = context_grid = None
        if link.context is not None and unit.program is not None:
            context_grid = unit.program.input_quantizer(unit.program.inputs[1]).qparams
            context = self._source(link.context, context_grid)
            if state.context is not None:
                zeros = np.zeros(tuple(state.context.shape[1:]), np.int64)
                self.numbers[f"links/{route.name}/link/context"] = zeros

        name = trigger_of(link)
        trigger = None if name is None else self._trigger(name, is_mask=state.triggered is not None)

        return _LinkSource(source, context, context_grid, trigger)

    def _keep_initial(self, route: Route, is_inside: bool) -> None:
        held = self.state.links[route.name].held
        if not route.has_initial or held is None or not isinstance(route.link, Transmission):
            return

        initial = np.zeros(tuple(held.shape[1:]), np.int64)
        if is_inside:
            initial = to_integers(route.name, held[0].numpy(), self._target_grid(route))
        self.numbers[f"links/{route.name}/link/initial"] = initial

    def _source_grid(self, route: Route) -> QParamsRecord:
        unit = self.units.get(route.name)
        if unit is not None:
            if unit.quant_kernel is not None:
                return unit.quant_kernel.input_quantizer.qparams
            if unit.program is not None:
                return unit.program.input_quantizer("#0").qparams
            if unit.quant_discretizer is not None:
                return unit.quant_discretizer.input_quantizer.qparams

        return self._target_grid(route)

    def _value_grid(self, route: Route, takes: QParamsRecord) -> QParamsRecord:
        if route.link.part in self.programs:
            return self._target_grid(route)

        unit = self.units.get(route.name)
        out = None if unit is None else unit.out
        return takes if out is None else out.qparams

    def _target_grid(self, route: Route) -> QParamsRecord:
        """Scale and range that the target reads."""
        link = route.link
        if route.num_flags:
            return self._flag_grid(route)
        program = self.programs.get(link.part)
        if program is None:
            raise ExportError(f"the link {route.name!r} passes on a signal that is not quantised")

        if not isinstance(link, Modulation):
            return program.input_quantizer(program_input_of(self.network, route)).qparams

        node, _, quantity = link.path.rpartition(".")
        incoming = self.network.incoming[link.part]
        on_quantity = [r for r in incoming if isinstance(r.link, Modulation) and r.link.path == link.path]
        return program.layers[program.layer_at(node)].effects[quantity][on_quantity.index(route)].qparams

    def _flag_grid(self, route: Route) -> QParamsRecord:
        """Scale and range of the values of a wake: those of its source, or 1 for a real value of 1/2 or more."""
        unit = self.units.get(route.name)
        program = self.programs.get(route.link.source)
        if unit is not None and unit.out is not None:
            return unit.out.qparams

        is_real = program is None or (unit is None and route.link.unit is not None)
        return FLAGS if program is None or is_real else program.out.qparams

    def _is_inside(self, signal: str) -> bool:
        """True for a signal that the model computes: of a part, or the flags of one."""
        return signal.removesuffix(".awake") in self.programs

    def _source(self, name: str, qparams: QParamsRecord) -> str:
        return name if self._is_inside(name) else self._enter(name, self.network.clock_of(name), qparams)

    def _enter(self, name: str, clock: Any, qparams: QParamsRecord | None, signal: str | None = None) -> str:
        record = self.inputs.get(name)
        # a trigger that is read as a signal, too, has the integers of the signal
        if record is None or (record.grid in (None, _TRIGGER_GRID) and qparams is not None):
            self.inputs[name] = IntegerInputRecord(clock_record(clock), qparams, signal)

        return name

    def _trigger(self, name: str, is_mask: bool) -> str:
        if self._is_inside(name) or name in self.inputs:
            return name
        return self._enter(name, self.network.clock_of(name), None if is_mask else _TRIGGER_GRID)

    def _unit(self, prefix: str, unit: QuantizedUnit) -> IntegerUnitRecord:
        kernel = discretizer = program = None
        if unit.quant_kernel is not None:
            kernel = self._stage(f"{prefix}/kernel", unit.quant_kernel.record())

        if unit.program is not None:
            program = self._program(f"{prefix}/nonlinearity:", unit.program)

        if unit.quant_discretizer is not None:
            discretizer = self._stage(f"{prefix}/discretizer", unit.quant_discretizer.record())

        window = None if unit.window is None else stage_record(unit.window, "the window of a unit")[0]
        return IntegerUnitRecord(window, kernel, program, discretizer)

    def _stage(self, prefix: str, record: IntegerOp) -> StageRecord:
        self._keep(prefix, record.numbers)
        return StageRecord(record.operation, record.settings)

    def _program(self, prefix: str, program: QuantProgram) -> ProgramRecord:
        operations = []
        for step, record in program.records():
            self._keep(f"{prefix}{step.name}", record.numbers)
            operations.append(OperationRecord(step.name, record.operation, step.sources, record.settings))

        return ProgramRecord(program.inputs, tuple(operations), program.output)

    def _keep(self, prefix: str, numbers: Mapping[str, Tensor]) -> None:
        for name, q in numbers.items():
            # a shift has 6 bits; a multiplier, threshold or decay has 28 at most
            kind = torch.int8 if "shift" in name else torch.int32 if q.dtype == torch.int64 else q.dtype
            self.numbers[f"{prefix}/{name}"] = q.detach().to(kind).numpy().copy()


def _flag_threshold(grid: QParamsRecord) -> int:
    """The least integer of a grid whose value is that of a flag that is set."""
    near = math.floor(AWAKE / grid.scale) - 1
    # in float32, as the quantised network compares
    return next(q for q in itertools.count(near) if np.float32(q * grid.scale) >= AWAKE)


def add_integers(bundle: Bundle, network: HybridNetwork, quantized: HybridNetwork) -> Bundle:
    """Writes the integer model of a network into its bundle, whole or not at all.

    Args:
        bundle: the opened bundle of the network.
        network: the trained network.
        quantized: the result of `quantize(network, ...)`, trained further or not.

    Returns:
        The bundle, opened again.

    Raises:
        ExportError: the bundle is of another network or other weights, or has an integer model.
    """
    manifest = bundle.manifest
    if manifest.integers is not None:
        raise ExportError(f"{bundle.path} has an integer model already; export the network again for another one")
    if manifest.start is not None:
        raise ExportError(
            f"{bundle.path} begins at a state, and an integer model at its own; export the network without state="
        )

    inputs = inputs_of_same(bundle, network)
    model = integer_model(quantized, inputs)
    check_fit(bundle, model)
    contents = integer_files(model.record, model.numbers)
    contents |= {"sample.safetensors": signals_file(quantized, inputs, manifest.sample.ticks)}
    record = IntegersRecord(_FOLDER, (RECORDS, NUMBERS), f"{_FOLDER}/sample.safetensors")
    return add_files(bundle, _FOLDER, contents, integers=record)
