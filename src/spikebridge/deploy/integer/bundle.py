"""The integer model of a bundle, run without torch.

`integer_runner` steps the whole network: what was quantised in integers, what stays real by onnxruntime. Between
parts it carries real values that lie on the grids of integers, so that each part takes exactly what it would.
Where everything was quantised, numpy and safetensors are all it needs.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.bundle.bundle import Bundle
from spikebridge.deploy.bundle.manifest import Manifest
from spikebridge.deploy.integer.model import IntegerModel, fitting, whole
from spikebridge.deploy.integer.records import IntegerLinkRecord
from spikebridge.deploy.runtime.nir_interpreter import Effects
from spikebridge.deploy.runtime.runner import Runner, RunnerState, SignalHook
from spikebridge.deploy.runtime.units import UnitRunnerState
from spikebridge.errors import DataError

Values: TypeAlias = NDArray[Any]
Signals: TypeAlias = dict[str, dict[str, Values]]  # "parts" and "links", by name, `(K, B, *M)`


def integers_of(bundle: Bundle, stages: Mapping[str, Any] | None = None) -> IntegerModel:
    """The integer model in a bundle.

    Args:
        bundle: an opened one.
        stages: forms of stages that the package does not know, by record name.

    Raises:
        DataError: there is none, it is damaged, or of another network.
    """
    known = bundle.manifest.integers
    if known is None:
        raise DataError(
            f"{bundle.path} has no integer model; `spikebridge quantize RUN --bundle {bundle.path}` adds one"
        )

    model = IntegerModel.open(bundle.path / known.folder, stages)
    check_fit(bundle, model)

    return model


def check_fit(bundle: Bundle, model: IntegerModel) -> None:
    """Refuses an integer model of another network than the bundle's.

    Raises:
        DataError: its parts, links or clocks are not those of the manifest.
    """
    manifest = bundle.manifest
    record = model.record
    links = {link.name: link for link in manifest.links}
    strange = [name for name in record.inputs if name not in {**manifest.inputs, **manifest.parts, **links}]
    strange += [name for name, part in record.parts.items() if _clock(manifest.parts.get(name)) != part.clock]
    strange += [link.name for link in record.links if not _same(link, links.get(link.name))]

    if strange:
        raise DataError(f"{bundle.path}: the integer model is of another network: {strange[0]!r} is not in the bundle")


def integer_runner(bundle: Bundle, stages: Mapping[str, Any] | None = None) -> Runner:
    """The network of a bundle with its parts and units in integers, as far as they were quantised.

    Args:
        bundle: with an integer model.
        stages: forms of stages that the package does not know, by record name.

    Raises:
        DataError: there is none, or a file is damaged.
    """
    model = integers_of(bundle, stages)
    units = {link.name: _IntegerUnit(model, link) for link in model.record.links if link.unit is not None}

    return _IntegerRunner(bundle, {name: _IntegerPart(model, name) for name in model.parts}, units, stages)


def integer_signals(
    bundle: Bundle,
    inputs: Mapping[str, Values],
    known: Signals,
    ticks: int,
    stages: Mapping[str, Any] | None = None,
) -> Signals:
    """What the parts and units of the integer model give on a bundle's sample, as real values.

    Args:
        bundle: with an integer model.
        inputs: of the sample.
        known: what the quantised network gave, which is read where the integer model begins in the middle of it.
        ticks: base ticks.
        stages: forms of stages that the package does not know, by record name.
    """
    model = integers_of(bundle, stages)
    recorded = model.run_recorded(integer_inputs(model, inputs, known, f"{bundle.path}"), ticks)
    units = {link.name for link in model.record.links if link.unit is not None}
    prefixes = {"parts": "", "links": "links."}

    return {
        kind: {
            name: model.dequantize({f"{prefix}{name}": recorded[kind][name]})[f"{prefix}{name}"]
            for name in recorded[kind]
            if kind == "parts" or name in units
        }
        for kind, prefix in prefixes.items()
    }


def integer_inputs(model: IntegerModel, inputs: Mapping[str, Values], known: Signals, where: str) -> dict[str, Values]:
    """The integers that enter a model on a sample.

    Args:
        model: of a network, or of what was quantised in the middle of it.
        inputs: of the network.
        known: what the parts and links of the quantised network gave.
        where: the sample is from, for messages.

    Raises:
        DataError: the sample lacks something that enters.
    """
    brought = {**known["links"], **known["parts"], **inputs}
    missing = [name for name in model.record.inputs if name not in brought]
    if missing:
        raise DataError(f"{where}: the sample of the integer model has no values of {missing[0]!r}")

    return model.quantize({name: brought[name] for name in model.record.inputs})


def sample_signals(manifest: Manifest, numbers: Mapping[str, Values]) -> Signals:
    """What the numbers of a sample tell of parts and links, in the manifest's order."""
    names = {"parts": tuple(manifest.parts), "links": tuple(link.name for link in manifest.links)}
    return {
        kind: {name: numbers[f"{kind}.{name}"] for name in known if f"{kind}.{name}" in numbers}
        for kind, known in names.items()
    }


class _IntegerRunner(Runner):
    def step(
        self, inputs: Mapping[str, Values], state: RunnerState, hook: SignalHook | None = None
    ) -> tuple[dict[str, Values], RunnerState]:
        with fitting("what came in"):
            return super().step(inputs, state, hook)


class _IntegerPart:
    """A part of the integer model between real values."""

    def __init__(self, model: IntegerModel, name: str) -> None:
        self.program = model.parts[name]
        self.scale = model.record.scale(name)
        links = model.record.incoming(name)
        self.reads = {link.name: link for link in links if link.kind == "transmission"}
        self.acts = {(str(link.node), str(link.quantity)): link for link in links if link.kind == "modulation"}

    def step(self, reads: Mapping[str, Values], effects: Effects, state: Any) -> tuple[Values, Any]:
        given = {str(self.reads[name].argument): whole(name, x, self.reads[name].gives) for name, x in reads.items()}
        acting = {
            key: [(whole(self.acts[key].name, x, self.acts[key].gives), by) for x, by in several]
            for key, several in effects.items()
        }

        y, state = self.program.step(given, acting, state)
        return (y * self.scale).astype(np.float32), state


class _IntegerUnit:
    """A unit of the integer model between real values."""

    def __init__(self, model: IntegerModel, link: IntegerLinkRecord) -> None:
        self.link = link
        self.unit = model.links[link.name].unit

    def push(
        self, x: Values, state: UnitRunnerState, starts: bool | NDArray[np.bool_] = False, context: Values | None = None
    ) -> tuple[list[Values], UnitRunnerState]:
        link = self.link
        unit = self.unit
        if unit is None:
            raise DataError(f"the integer model has no unit for link {link.name!r}")

        beside = link.takes_beside
        second = None if context is None or beside is None else whole(link.name, context, beside)
        values, state = unit.push(whole(link.name, x, link.takes), state, starts, second)

        return [(q * link.gives.scale).astype(np.float32) for q in values], state


def _clock(record: Any) -> Any:
    return None if record is None else record.clock


def _same(link: IntegerLinkRecord, known: Any) -> bool:
    if known is None or link.target not in (None, known.target):
        return False

    same = all(getattr(link, name) == getattr(known, name) for name in ("kind", "emits", "held", "delay"))
    # by position an argument has no name in the manifest
    same = same and (link.argument is None or known.into in (None, link.argument))

    return same and link.source in (known.source, known.name)
