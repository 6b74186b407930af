"""From a quantised network to its integer model, alone (`integer_model`) or inside a bundle (`add_integers`)."""

import dataclasses
import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from spikebridge.data.io.atomic import write_bytes, write_text
from spikebridge.data.io.safe_open import read_bytes
from spikebridge.deploy.bundle.bundle import MANIFEST, Bundle
from spikebridge.deploy.bundle.export import clock_record
from spikebridge.deploy.bundle.manifest import FileRecord, IntegersRecord, StageRecord, write_manifest
from spikebridge.deploy.bundle.stages import array_forms, stage_record
from spikebridge.deploy.bundle.trace import ReferenceTrace, record_trace
from spikebridge.deploy.integer.bundle import check_fit
from spikebridge.deploy.integer.file import NUMBERS, RECORDS
from spikebridge.deploy.integer.model import IntegerModel
from spikebridge.deploy.integer.program import OperationRecord, ProgramRecord
from spikebridge.deploy.integer.records import (
    IntegerInputRecord,
    IntegerLinkRecord,
    IntegerPartRecord,
    IntegerRecord,
    QParamsRecord,
)
from spikebridge.deploy.integer.units import IntegerUnitRecord
from spikebridge.deploy.quantization.network import program_input_of, program_of
from spikebridge.deploy.quantization.program import QuantProgram
from spikebridge.deploy.quantization.quantizer import QParams
from spikebridge.deploy.quantization.units import QuantizedUnit
from spikebridge.errors import ExportError
from spikebridge.hybrid import HybridNetwork, Modulation, Transmission
from spikebridge.hybrid.network.link import Route, trigger_of


def integer_model(network: HybridNetwork, inputs: Mapping[str, Tensor]) -> IntegerModel:
    """The integer model of a quantised network: the same bits, in numpy.

    Args:
        network: of `quantize`, trained further or not.
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
        return _Writer(network.eval(), inputs).model()


class _Writer:
    def __init__(self, network: HybridNetwork, inputs: Mapping[str, Tensor]) -> None:
        self.network = network
        self.programs = {n: p for n, part in network.parts.items() if (p := program_of(part)) is not None}
        self.units = {n: unit for n, unit in network.units.items() if isinstance(unit, QuantizedUnit)}
        if not self.programs and not self.units:
            raise ExportError("the network is not quantised; quantize(network, inputs) makes a copy that is")

        self.state = network.initial_state(inputs)
        self.numbers: dict[str, NDArray[Any]] = {}
        self.inputs: dict[str, IntegerInputRecord] = {}

    def model(self) -> IntegerModel:
        network = self.network
        links = [
            self._link(route, inside)
            for route in network.routes
            if (inside := route.link.part in self.programs) or route.name in self.units
        ]

        parts = {
            name: IntegerPartRecord(
                clock_record(network.clock_of(name)), self._program(f"parts/{name}", program), float(program.out.scale)
            )
            for name, program in self.programs.items()
        }

        record = IntegerRecord(
            dt=network.dt,
            inputs=self.inputs,
            parts=parts,
            links=tuple(links),
            order=tuple(p for group in network.plan.groups for p in group.parts if p in self.programs),
            outputs=tuple(name for name in network.outputs if name in self.programs),
            left_out=tuple(name for name in network.parts if name not in self.programs),
        )

        inner: list[Any] = [unit.quant_kernel and unit.quant_kernel.kernel for unit in self.units.values()]
        inner += [unit.quant_discretizer and unit.quant_discretizer.inner for unit in self.units.values()]
        own = {type(stage) for stage in inner if "array_form" in vars(type(stage))}

        return IntegerModel(record, self.numbers, array_forms(own))

    def _link(self, route: Route, inside: bool) -> IntegerLinkRecord:
        link = route.link
        unit = self.units.get(route.name)
        outer = route.link.unit is not None and unit is None  # a unit that stays real: what it gives comes in
        qparams = self._grid_in(route)
        source = self._enter(route.name, route.clock, qparams) if outer else self._source(link.source, qparams)
        held = self.state.links[route.name]
        prefix = f"links/{route.name}/link"

        if route.has_initial and held.held is not None and isinstance(link, Transmission):
            self.numbers[f"{prefix}/initial"] = (
                _entered(held.held[0], self._grid_out(route))
                if inside
                else (np.zeros(tuple(held.held.shape[1:]), np.int64))
            )

        gives = self._grid_out(route) if inside else unit.out.qparams if unit is not None and unit.out else qparams
        context = beside = trigger = None

        if unit is not None:
            if link.context is not None and unit.program is not None:
                beside = unit.program.input_quantizer(unit.program.inputs[1]).qparams
                context = self._source(link.context, beside)
                if held.context is not None:
                    self.numbers[f"{prefix}/context"] = np.zeros(tuple(held.context.shape[1:]), np.int64)

            name = trigger_of(link)
            trigger = None if name is None else self._trigger(name, masked=held.triggered is not None)

        node, _, quantity = link.path.rpartition(".") if isinstance(link, Modulation) else ("", "", "")
        return IntegerLinkRecord(
            name=route.name,
            kind="modulation" if isinstance(link, Modulation) else "transmission",
            source=source,
            target=link.part if inside else None,
            emits=clock_record(route.clock),
            held=link.held,
            takes=QParamsRecord(*qparams),
            gives=QParamsRecord(*gives),
            takes_beside=None if beside is None else QParamsRecord(*beside),
            delay=route.delay,
            argument=program_input_of(self.network, route) if inside and isinstance(link, Transmission) else None,
            node=self.programs[link.part].layer_at(node) if quantity and inside else None,
            quantity=quantity or None,
            by=link.by if isinstance(link, Modulation) else "multiply",
            context=context,
            trigger=trigger,
            unit=None if unit is None else self._unit(f"links/{route.name}", unit),
        )

    def _grid_in(self, route: Route) -> QParams:
        """The grid of what the link's unit takes, or of what the link brings where it has none."""
        unit = self.units.get(route.name)
        if unit is not None:
            if unit.quant_kernel is not None:
                return unit.quant_kernel.input_quantizer.qparams
            if unit.program is not None:
                return unit.program.input_quantizer("#0").qparams
            if unit.quant_discretizer is not None:
                return unit.quant_discretizer.input_quantizer.qparams

        return self._grid_out(route)

    def _grid_out(self, route: Route) -> QParams:
        """The grid of what the target reads."""
        program = self.programs.get(route.link.part)
        link = route.link
        if program is None:
            raise ExportError(f"the link {route.name!r} passes on what is not quantised")

        if isinstance(link, Modulation):
            node, _, quantity = link.path.rpartition(".")
            mates = [
                r
                for r in self.network.incoming[link.part]
                if isinstance(r.link, Modulation) and r.link.path == link.path
            ]
            return program.layers[program.layer_at(node)].effects[quantity][mates.index(route)].qparams

        return program.input_quantizer(program_input_of(self.network, route)).qparams

    def _source(self, name: str, qparams: QParams) -> str:
        return name if name in self.programs else self._enter(name, self.network.clock_of(name), qparams)

    def _enter(self, name: str, clock: Any, qparams: QParams | None) -> str:
        known = self.inputs.get(name)
        if known is None or (known.grid is None and qparams is not None):
            record = None if qparams is None else QParamsRecord(*qparams)
            self.inputs[name] = IntegerInputRecord(clock_record(clock), record)

        return name

    def _trigger(self, name: str, masked: bool) -> str:
        if name in self.programs or name in self.inputs:
            return name
        qparams = None if masked else QParams(1.0, 0, 1)  # only when it comes counts
        return self._enter(name, self.network.clock_of(name), qparams)

    def _unit(self, prefix: str, unit: QuantizedUnit) -> IntegerUnitRecord:
        kernel = discretizer = program = None
        if unit.quant_kernel is not None:
            kernel = self._stage(f"{prefix}/kernel", unit.quant_kernel.record())

        if unit.program is not None:
            program = self._program(f"{prefix}/nonlinearity:", unit.program, glue="")

        if unit.quant_discretizer is not None:
            discretizer = self._stage(f"{prefix}/discretizer", unit.quant_discretizer.record())

        window = None if unit.window is None else stage_record(unit.window, "the window of a unit")[0]
        return IntegerUnitRecord(window, kernel, program, discretizer)

    def _stage(self, prefix: str, record: Any) -> StageRecord:
        self._keep(prefix, record.numbers)
        return StageRecord(record.operation, record.settings)

    def _program(self, prefix: str, program: QuantProgram, glue: str = "/") -> ProgramRecord:
        operations = []
        for step, written in program.records():
            self._keep(f"{prefix}{glue}{step.name}", written.numbers)
            operations.append(OperationRecord(step.name, written.operation, step.sources, written.settings))

        return ProgramRecord(program.inputs, tuple(operations), program.output)

    def _keep(self, prefix: str, numbers: Mapping[str, Tensor]) -> None:
        for name, q in numbers.items():
            # a shift has 6 bits, a multiplier, threshold or decay 28 at most
            kind = torch.int8 if "shift" in name else torch.int32 if q.dtype == torch.int64 else q.dtype
            self.numbers[f"{prefix}/{name}"] = q.detach().to(kind).numpy().copy()


def _entered(x: Tensor, qparams: QParams) -> NDArray[np.int64]:
    q = torch.floor(x.double() / qparams.scale + 0.5).clamp(qparams.low, qparams.high)
    return q.numpy().astype(np.int64)


FOLDER = "integers"
_SAMPLE = f"{FOLDER}/sample.safetensors"
_CLOSE = 1e-3  # of the largest value: another run of the same weights is nearer, another seed is not


def add_integers(bundle: Bundle, network: HybridNetwork, quantized: HybridNetwork) -> Bundle:
    """Writes the integer model of a network into its bundle, whole or not at all.

    Args:
        bundle: of the network, opened.
        network: the trained one.
        quantized: of `quantize(network, ...)`, trained further or not.

    Returns:
        The bundle, opened anew.

    Raises:
        ExportError: the bundle is of another network or other weights, or has an integer model.
    """
    if bundle.manifest.integers is not None:
        raise ExportError(f"{bundle.path} has an integer model already; export the network anew for another one")

    numbers = bundle.numbers(bundle.manifest.sample.file)
    ticks = bundle.manifest.sample.ticks
    if list(network.inputs) != list(bundle.manifest.inputs):
        raise ExportError(f"{bundle.path} is the bundle of another network: it takes {list(bundle.manifest.inputs)}")

    inputs = {name: torch.from_numpy(numbers[f"inputs.{name}"].copy()) for name in network.inputs}
    _check_same(bundle, record_trace(network.eval(), inputs, ticks))
    model = integer_model(quantized, inputs)
    check_fit(bundle, model)
    given = record_trace(quantized.eval(), inputs, ticks)
    tensors = {f"{kind}.{name}": x.contiguous() for kind, known in given._asdict().items() for name, x in known.items()}
    folder = bundle.path / FOLDER
    shutil.rmtree(folder, ignore_errors=True)  # left by a program that was stopped; no manifest tells of it

    try:
        model.save(folder)
        write_bytes(bundle.path / _SAMPLE, save(tensors))
        files = {name: _file(bundle.path / name) for name in (f"{FOLDER}/{RECORDS}", f"{FOLDER}/{NUMBERS}", _SAMPLE)}

        manifest = dataclasses.replace(
            bundle.manifest,
            files={**bundle.manifest.files, **files},
            integers=IntegersRecord(FOLDER, (RECORDS, NUMBERS), _SAMPLE),
        )

        write_text(bundle.path / MANIFEST, write_manifest(manifest))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise

    return Bundle.open(bundle.path)


def _check_same(bundle: Bundle, given: ReferenceTrace) -> None:
    known = bundle.numbers(bundle.manifest.sample.file)
    for name, y in given.parts.items():
        wanted = known.get(f"parts.{name}")
        if wanted is None or wanted.shape != tuple(y.shape):
            raise ExportError(f"{bundle.path} is the bundle of another network: it has no such part {name!r}")

        away = torch.from_numpy(wanted.copy()) - y
        # spikes may differ in a few places, where a sum lies on the threshold
        if float(away.abs().mean()) > _CLOSE * max(1.0, float(y.abs().max())):
            raise ExportError(
                f"{bundle.path} holds other weights than those that were quantised: its part {name!r} gives another "
                "signal on the sample; export and quantise the same run and network"
            )


def _file(path: Path) -> FileRecord:
    content = read_bytes(path, "a file of a bundle")
    return FileRecord(len(content), hashlib.sha256(content).hexdigest())
