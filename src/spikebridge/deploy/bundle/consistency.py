"""Checks of a manifest against itself and against the sample of the trained network. No torch is needed.

A bundle's sample holds the output of every part, so it shows shapes, spikes and clocks.
"""

import math
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from spikebridge.deploy.bundle.manifest import ClockRecord, LinkRecord, Manifest, PartRecord, SignalRecord
from spikebridge.errors import DataError

Values = NDArray[Any]
_TOLERANCE = 1e-6  # of a step, relative; steps are products of binary fractions
_WITH_STEP = ("Exponential", "Alpha", "Gaussian")  # kernels of the package that hold the step of their clock


def check_consistency(manifest: Manifest, sample: Mapping[str, Values]) -> None:
    """Raises a `DataError` for a manifest that contradicts itself or its sample.

    The sample has `inputs.NAME`, `parts.NAME` and `links.NAME`, `(K, B, *N)` each.
    """
    for name, part in manifest.parts.items():
        _check_format(name, part)
        _check_arguments(name, part, manifest.incoming(name))

    for link in manifest.links:
        _check_source(manifest, link)
        _check_sampled(manifest, link)
        _check_kernel_step(manifest, link)

    for name in (*manifest.inputs, *manifest.signals):
        if name not in manifest.flags:
            _check_signal(manifest, sample, name)

    for link in manifest.links:
        _check_carried(link, sample)

    for name, (owner, signal) in manifest.signals.items():
        if name not in manifest.flags:
            _check_spikes(name, signal, manifest.parts[owner].side, sample[f"parts.{name}"])


def check_step(who: str, step: float, clock: ClockRecord, dt: float, divided_by: int = 1) -> None:
    """Raises a `DataError` for a file made for another step [s] than that of its clock."""
    expected = clock.period * dt / divided_by
    if not math.isclose(step, expected, rel_tol=_TOLERANCE):
        raise DataError(
            f"{who} was made for a step of {step:.9g} s, but the manifest says {expected:.9g} s, a period of "
            f"{clock.period} ticks of dt = {dt:.9g} s"
        )


def _check_format(name: str, part: PartRecord) -> None:
    # a NIR graph starts by itself, an ONNX step from a file of its first state; another ONNX file has no state
    has_initial = part.initial is not None
    expected = ("snn", False) if part.format == "nir" else ("snn", True) if has_initial else ("ann", False)
    if (part.side, has_initial) != expected:
        states = "has a file of its first state" if has_initial else "has no file of a first state"
        raise DataError(
            f"manifest: part {name!r} is on side {part.side!r} in format {part.format!r} and {states}, which do not fit"
        )


def _check_arguments(name: str, part: PartRecord, links: list[LinkRecord]) -> None:
    named = [link for link in links if link.into is not None]
    for link in named:
        if link.kind != "transmission" or not str(link.into).isidentifier():
            raise DataError(
                f"manifest: link {link.name!r} has into = {link.into!r}; expected the name of an argument, and only of "
                "a transmission"
            )

    # several links by position are arguments in order, but a name is one argument
    if len({link.into for link in named}) < len(named):
        raise DataError(f"manifest: two links lead into one argument of part {name!r}")

    by_position = [link for link in links if link.kind == "transmission" and link.into is None]
    if part.side == "snn" and len(by_position) != 1:
        raise DataError(
            f"manifest: {len(by_position)} links lead into part {name!r} by position; a part of side 'snn' takes one, "
            "and others with the name of an argument in into"
        )

    if part.format == "nir" and named:
        raise DataError(
            f"manifest: link {named[0].name!r} leads into {named[0].into!r} of part {name!r}, a NIR graph, which has "
            "one input without a name"
        )


def _check_source(manifest: Manifest, link: LinkRecord) -> None:
    # a link without a unit passes its source on
    source = manifest.clock(link.source)
    shape = manifest.shape(link.source)
    if link.unit is None and link.emits != source:
        raise DataError(
            f"manifest: link {link.name!r} has no unit, so it emits as {link.source!r} does, {_ticks(source)}, but "
            f"the manifest says {_ticks(link.emits)}"
        )

    if link.unit is None and link.shape != shape:
        raise DataError(
            f"manifest: link {link.name!r} has no unit, so it carries {shape} of {link.source!r}, but the manifest "
            f"says {link.shape}"
        )


def _check_sampled(manifest: Manifest, link: LinkRecord) -> None:
    # a sampled link has one value at each tick of its target
    target = manifest.clock(link.target)
    arrives = ClockRecord(link.emits.period, link.emits.phase + link.delay % link.emits.period)
    if not link.held and arrives != target:
        raise DataError(
            f"manifest: link {link.name!r} is not held, but its clocks do not fit: values come {_ticks(arrives)}, and "
            f"part {link.target!r} runs {_ticks(target)}"
        )


def _check_kernel_step(manifest: Manifest, link: LinkRecord) -> None:
    # the decay of such a kernel is that of a step
    kernel = None if link.unit is None else link.unit.kernel
    if link.unit is None or kernel is None or kernel.name not in _WITH_STEP:
        return

    window = link.unit.window
    # a held value counts as several steps inside its period
    length = window.settings.get("length") if window is not None and window.name == "Hold" else 1
    step = kernel.settings.get("dt")
    if isinstance(step, int | float) and isinstance(length, int):
        check_step(f"the kernel of link {link.name!r}", step, manifest.clock(link.source), manifest.dt, length)


def _check_signal(manifest: Manifest, sample: Mapping[str, Values], name: str) -> None:
    # an input or a part has its shape, its dtype and its number of values in the sample
    kind = "inputs" if name in manifest.inputs else "parts"
    where = f"{kind}.{name}"
    if where not in sample:
        raise DataError(f"the sample has no tensor {where!r}, which the manifest names")

    signal = manifest.signal(name)
    values = sample[where]
    if values.ndim < 2 or values.shape[2:] != signal.shape:
        raise DataError(
            f"{name!r} gave values of shape {values.shape[2:]} on the sample, but the manifest says {signal.shape}"
        )

    # a bundle of an earlier version names no dtype, without which only flags give other numbers
    if (values.dtype == "bool") != (signal.dtype == "bool"):
        raise DataError(
            f"{name!r} gave {values.dtype} on the sample, but the manifest says {signal.dtype}; export the bundle again"
        )

    record = manifest.sample
    clock = manifest.clock(name)
    number = clock.between(manifest.first_tick, manifest.first_tick + record.ticks)
    # an input may be longer than the run
    has_too_many = len(values) > number and kind != "inputs"
    if values.shape[1] != record.batch or len(values) < number or has_too_many:
        raise DataError(
            f"{name!r} has {len(values)} samples of {values.shape[1]} streams in the sample, but the manifest says "
            f"{number} of {record.batch}: {_ticks(clock)}, in {record.ticks} ticks"
        )


def _check_carried(link: LinkRecord, sample: Mapping[str, Values]) -> None:
    # a link without a unit has no values of its own
    values = sample.get(f"links.{link.name}")
    if values is not None and values.shape[2:] != link.shape:
        raise DataError(
            f"link {link.name!r} carried {values.shape[2:]} on the sample, but the manifest says {link.shape}"
        )


def _check_spikes(name: str, signal: SignalRecord, side: str, values: Values) -> None:
    is_spiking = side == "snn" and not signal.state and is_spikes(values)
    if signal.spikes != is_spiking:
        gave = "spikes" if is_spiking else "other values than the spikes of a part of side 'snn'"
        raise DataError(
            f"manifest: part {name!r} has spikes = {str(signal.spikes).lower()}, but it gave {gave} on the sample"
        )


def is_spikes(values: Any) -> bool:
    """True if a signal, an array or a tensor, has no other values than 0 and 1."""
    return bool(((values == 0) | (values == 1)).all())


def _ticks(clock: ClockRecord) -> str:
    return f"every {clock.period} ticks from tick {clock.phase}"
