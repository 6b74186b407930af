"""Whether the values of a manifest agree with each other, and with what the trained network gave. No torch is needed.

A bundle's sample holds the output of every part, so it shows what a manifest may say of shapes, spikes and clocks.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from numpy.typing import NDArray

from spikebridge.deploy.bundle.manifest import ClockRecord, LinkRecord, Manifest, PartRecord
from spikebridge.errors import DataError

Values = NDArray[Any]
_SAME_STEP = 1e-6  # relative; steps are products of binary fractions
_WITH_STEP = ("Exponential", "Alpha", "Gaussian")  # kernels of the package that hold the step of their clock


def check_consistency(manifest: Manifest, sample: Mapping[str, Values]) -> None:
    """Raises where a manifest contradicts itself or the sample.

    Args:
        manifest: of the bundle.
        sample: its tensors, `inputs.NAME`, `parts.NAME` and `links.NAME`, `(K, B, *N)` each.

    Raises:
        DataError: the message names the part or link, what the manifest says and what was expected.
    """
    for name, part in manifest.parts.items():
        _check_format(name, part)
        _check_arguments(name, part, manifest.incoming(name))

    for link in manifest.links:
        _check_link(manifest, link)

    _check_sample(manifest, sample)


def check_step(who: str, step: float, clock: ClockRecord, dt: float, divided_by: int = 1) -> None:
    """Raises where what a file holds was made for another step than that of its clock.

    Args:
        who: holds the step, for the message.
        step: in the file [s].
        clock: on which it runs.
        dt: base step of the manifest [s].
        divided_by: steps in a period.

    Example:
        >>> check_step("part 'snn'", 0.001, ClockRecord(1, 0), 0.002)
        Traceback (most recent call last):
        spikebridge.errors.DataError: part 'snn' was made for a step of 0.001 s, but the manifest says 0.002 s, ...
    """
    wanted = clock.period * dt / divided_by
    if not math.isclose(step, wanted, rel_tol=_SAME_STEP):
        raise DataError(
            f"{who} was made for a step of {step:.9g} s, but the manifest says {wanted:.9g} s, a period of "
            f"{clock.period} ticks of dt = {dt:.9g} s"
        )


def _check_format(name: str, part: PartRecord) -> None:
    """A NIR graph starts by itself, an ONNX step from a file of its first state; another ONNX file has no state."""
    expected = ("snn", False) if part.format == "nir" else ("snn", True) if part.initial is not None else ("ann", False)
    if (part.side, part.initial is not None) != expected:
        states = "has a file of its first state" if part.initial is not None else "has no file of a first state"
        raise DataError(
            f"manifest: part {name!r} is on side {part.side!r} in format {part.format!r} and {states}, which do not fit"
        )


def _check_arguments(name: str, part: PartRecord, links: list[LinkRecord]) -> None:
    named = [link for link in links if link.into is not None]
    for link in named:
        if link.kind == "modulation" or not str(link.into).isidentifier():
            raise DataError(
                f"manifest: link {link.name!r} has into = {link.into!r}; expected the name of an argument, and only of "
                "a transmission"
            )

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


def _check_link(manifest: Manifest, link: LinkRecord) -> None:
    source = manifest.clock(link.source)
    target = manifest.clock(link.target)

    if link.unit is None:
        if link.emits != source:
            raise DataError(
                f"manifest: link {link.name!r} has no unit, so it emits as {link.source!r} does, {_words(source)}, but "
                f"the manifest says {_words(link.emits)}"
            )

        if link.shape != manifest.shape(link.source):
            raise DataError(
                f"manifest: link {link.name!r} has no unit, so it carries {manifest.shape(link.source)} of "
                f"{link.source!r}, but the manifest says {link.shape}"
            )

    reads = ClockRecord(link.emits.period, link.emits.phase + link.delay % link.emits.period)
    if not link.held and reads != target:
        raise DataError(
            f"manifest: link {link.name!r} is not held, but its clocks do not fit: values come {_words(reads)}, and "
            f"part {link.target!r} runs {_words(target)}"
        )

    kernel = None if link.unit is None else link.unit.kernel
    if link.unit is not None and kernel is not None and kernel.name in _WITH_STEP:
        window = link.unit.window
        # a held value is steps inside its period
        length = window.settings.get("length") if window is not None and window.name == "Hold" else 1
        step = kernel.settings.get("dt")
        if isinstance(step, int | float) and isinstance(length, int):
            check_step(f"the kernel of link {link.name!r}", step, source, manifest.dt, length)


def _check_sample(manifest: Manifest, sample: Mapping[str, Values]) -> None:
    record = manifest.sample
    for where, clock, shape in _signals(manifest):
        what = where.partition(".")[2]
        if where not in sample:
            raise DataError(f"the sample has no tensor {where!r}, which the manifest tells of")

        values = sample[where]
        if values.ndim < 2 or values.shape[2:] != shape:
            raise DataError(
                f"{what!r} gave values of shape {values.shape[2:]} on the sample, but the manifest says {shape}"
            )

        number = clock.count(record.ticks)
        is_input = where.startswith("inputs.")
        if values.shape[1] != record.batch or len(values) < number or (len(values) > number and not is_input):
            raise DataError(
                f"{what!r} has {len(values)} samples of {values.shape[1]} streams in the sample, but the manifest says "
                f"{number} of {record.batch}: {_words(clock)}, in {record.ticks} ticks"
            )

    for link in manifest.links:
        carried = sample.get(f"links.{link.name}")
        if carried is not None and carried.shape[2:] != link.shape:
            raise DataError(
                f"link {link.name!r} carried {carried.shape[2:]} on the sample, but the manifest says {link.shape}"
            )

    for name, part in manifest.parts.items():
        values = sample[f"parts.{name}"]
        spikes = part.side == "snn" and bool(((values == 0) | (values == 1)).all())
        if part.spikes != spikes:
            gave = "spikes" if spikes else "other values than the spikes of a part of side 'snn'"
            raise DataError(
                f"manifest: part {name!r} has spikes = {str(part.spikes).lower()}, but it gave {gave} on the sample"
            )


def _words(clock: ClockRecord) -> str:
    return f"every {clock.period} ticks from tick {clock.phase}"


def _signals(manifest: Manifest) -> Iterator[tuple[str, ClockRecord, tuple[int, ...]]]:
    """Name in the sample, clock and shape of every input and part."""
    for name, entry in manifest.inputs.items():
        yield f"inputs.{name}", entry.clock, entry.shape

    for name, part in manifest.parts.items():
        yield f"parts.{name}", part.clock, part.shape
