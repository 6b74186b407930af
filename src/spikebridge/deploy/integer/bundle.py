"""The integer model of a bundle, run without torch.

`integer_runner` steps the whole network: quantised parts in integers, the others by onnxruntime. Signals between parts
are floats, each a multiple of its scale, so that every part reads exactly the integers of the model. Where everything
is quantised, numpy and safetensors are enough.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.data.io.closed_folder import inside
from spikebridge.deploy.bundle.bundle import Bundle
from spikebridge.deploy.bundle.manifest import LinkRecord, Manifest
from spikebridge.deploy.integer.model import IntegerModel, to_integers
from spikebridge.deploy.integer.records import IntegerLinkRecord
from spikebridge.deploy.runtime.links import fitting
from spikebridge.deploy.runtime.nir_interpreter import Effects
from spikebridge.deploy.runtime.parts import PartRunner
from spikebridge.deploy.runtime.runner import Runner, RunnerState, SignalHook
from spikebridge.deploy.runtime.units import UnitRunnerState
from spikebridge.deploy.stages.kernels import Forms
from spikebridge.errors import DataError

Values: TypeAlias = NDArray[Any]
Signals: TypeAlias = dict[str, dict[str, Values]]  # "parts" and "links", by name, `(K, B, *M)`


def integers_of(bundle: Bundle, stages: Forms = None) -> IntegerModel:
    """The integer model in a bundle; raises a `DataError` if there is none, or one of another network."""
    record = bundle.manifest.integers
    if record is None:
        raise DataError(
            f"{bundle.path} has no integer model; `spikebridge quantize RUN --bundle {bundle.path}` adds one"
        )

    model = IntegerModel.open(inside(bundle.path, record.folder), stages)
    check_fit(bundle, model)

    return model


def check_fit(bundle: Bundle, model: IntegerModel) -> None:
    """Raises a `DataError` if parts, links or clocks of an integer model are not those of the bundle."""
    manifest = bundle.manifest
    record = model.record
    links = {link.name: link for link in manifest.links}
    signals = {**manifest.inputs, **manifest.signals, **links}
    clocks = {name: part.clock for name, part in manifest.parts.items()}

    unknown = [name for name in record.inputs if name not in signals]
    unknown += [name for name, part in record.parts.items() if clocks.get(name) != part.clock]
    unknown += [link.name for link in record.links if not _is_same_link(link, links.get(link.name))]

    if unknown:
        raise DataError(f"{bundle.path}: the integer model is of another network: {unknown[0]!r} is not in the bundle")


def integer_runner(
    bundle: Bundle, stages: Mapping[str, Any] | None = None, parts: Mapping[str, PartRunner] | None = None
) -> Runner:
    """The network of a bundle with its quantised parts and units in integers.

    Args:
        bundle: an opened bundle with an integer model.
        stages: forms of user-defined stages by record name.
        parts: that run elsewhere, for example on a chip.

    Raises:
        DataError: there is no integer model, or a file is damaged.
    """
    model = integers_of(bundle, stages)
    runners = {name: _IntegerPart(model, name) for name in model.parts} | dict(parts or {})
    units = {link.name: _IntegerUnit(model, link) for link in model.record.links if link.unit is not None}

    return _IntegerRunner(bundle, runners, units, stages)


def integer_signals(
    bundle: Bundle, inputs: Mapping[str, Values], quantized: Signals, ticks: int, stages: Forms = None
) -> Signals:
    """The signals of parts and units of the integer model on a bundle's sample, as real values.

    Where the model begins in the middle of the network, it reads the signals of the quantised network.
    """
    model = integers_of(bundle, stages)
    recorded = model.run_recorded(integer_inputs(model, inputs, quantized, f"{bundle.path}"), ticks)
    with_unit = {link.name for link in model.record.links if link.unit is not None}
    values = {f"links.{name}": y for name, y in recorded["links"].items() if name in with_unit}
    links = {name.removeprefix("links."): y for name, y in model.dequantize(values).items()}

    return {"parts": dict(model.dequantize(recorded["parts"])), "links": dict(links)}


def integer_inputs(
    model: IntegerModel, inputs: Mapping[str, Values], quantized: Signals, where: str
) -> dict[str, Values]:
    """The integers that enter a model: inputs of the network, and signals of its quantised parts and links."""
    signals = {**quantized["links"], **quantized["parts"], **inputs}
    taken = {name: record.signal or name for name, record in model.record.inputs.items()}
    missing = [signal for signal in taken.values() if signal not in signals]
    if missing:
        raise DataError(f"{where}: the sample of the integer model has no values of {missing[0]!r}")

    return model.quantize({name: signals[signal] for name, signal in taken.items()})


def sample_signals(manifest: Manifest, numbers: Mapping[str, Values]) -> Signals:
    """The signals of parts and links in a sample, in the manifest's order."""
    names = {"parts": tuple(manifest.signals), "links": tuple(link.name for link in manifest.links)}
    return {
        kind: {name: numbers[f"{kind}.{name}"] for name in of_kind if f"{kind}.{name}" in numbers}
        for kind, of_kind in names.items()
    }


class _IntegerRunner(Runner):
    def step(
        self, inputs: Mapping[str, Values], state: RunnerState, hook: SignalHook | None = None
    ) -> tuple[dict[str, Values], RunnerState]:
        with fitting("the integer model", "an input"):
            return super().step(inputs, state, hook)


class _IntegerPart:
    """A part of the integer model between real values."""

    def __init__(self, model: IntegerModel, name: str) -> None:
        self.program = model.parts[name]
        self.record = model.record.parts[name]
        links = model.record.incoming(name)
        self.transmissions = {link.name: link for link in links if link.kind == "transmission"}
        self.modulations = {(str(link.node), str(link.quantity)): link for link in links if link.kind == "modulation"}

    def leak(self, state: Any, steps: int) -> Any:
        return self.program.leak(state, steps)

    def step(self, reads: Mapping[str, Values], effects: Effects, state: Any) -> tuple[Values, Any]:
        inputs = {}
        for name, x in reads.items():
            link = self.transmissions[name]
            inputs[str(link.argument)] = to_integers(name, x, link.gives)

        integer_effects = {}
        for key, signals in effects.items():
            link = self.modulations[key]
            integer_effects[key] = [(to_integers(link.name, x, link.gives), by) for x, by in signals]

        y, state = self.program.step(inputs, integer_effects, state)
        return (y != 0 if self.record.flags else (y * self.record.scale).astype(np.float32)), state


class _IntegerUnit:
    def __init__(self, model: IntegerModel, link: IntegerLinkRecord) -> None:
        self.link = link
        self.unit = model.links[link.name].unit

    def push(
        self, x: Values, state: UnitRunnerState, starts: bool | NDArray[np.bool_] = False, context: Values | None = None
    ) -> tuple[list[Values], UnitRunnerState]:
        link = self.link
        if self.unit is None:
            raise DataError(f"the integer model has no unit for link {link.name!r}")

        if context is not None:
            context = None if link.takes_beside is None else to_integers(link.name, context, link.takes_beside)

        values, state = self.unit.push(to_integers(link.name, x, link.takes), state, starts, context)
        return [(q * link.gives.scale).astype(np.float32) for q in values], state


def _is_same_link(link: IntegerLinkRecord, other: LinkRecord | None) -> bool:
    if other is None or link.target not in (None, other.target):
        return False

    same = all(getattr(link, name) == getattr(other, name) for name in ("kind", "emits", "held", "delay"))
    # an argument by position has no name in the manifest
    same = same and (link.argument is None or other.into in (None, link.argument))

    # the values of a unit that stays real enter the model under the name of the link
    return same and link.source in (other.source, other.name)
