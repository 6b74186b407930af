"""Comparison of a bundle with the trained network: every level on the same sample, part by part and link by link.

| level | what runs |
|---|---|
| trained | the exported network; its signals are stored in the bundle, and the other levels are compared with them |
| onnxruntime | each ANN part alone, on the inputs that it had in the trained network |
| nir | each SNN part alone, read back from its file |
| units | each hybrid unit alone, made of its numbers |
| rebuilt | the whole network, rebuilt in torch from the bundle alone |
| runner | the whole network without torch |
| integers | the integer model, where the bundle has one: the same bits as the quantised network |
| quantised | the quantised network against the trained one: the difference is stated, not judged |
| NAME integers | each part on the chip NAME alone, in numpy: the same spikes as in torch |
| NAME | the network with its parts on the chip against the trained one: the difference is stated |

A part alone gets the signals of the trained network, so that a difference is not passed on. Callers may add levels.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spikebridge._notebook import notebook_html
from spikebridge.deploy.bundle.bundle import Bundle
from spikebridge.deploy.bundle.manifest import ClockRecord, Manifest
from spikebridge.deploy.bundle.rebuild import rebuild
from spikebridge.deploy.bundle.stages import array_forms
from spikebridge.deploy.bundle.start import start_state
from spikebridge.deploy.bundle.trace import ReferenceTrace, record_active_trace, record_trace
from spikebridge.deploy.chips.bundle import chip_models, chip_runner, recorded_signals
from spikebridge.deploy.chips.catalog import CHIPS
from spikebridge.deploy.chips.chip import ChipSpec
from spikebridge.deploy.integer.bundle import Signals, integer_signals, sample_signals
from spikebridge.deploy.nir.reader import NirPart, from_nir
from spikebridge.deploy.runtime.nir_interpreter import SET, Effects
from spikebridge.deploy.runtime.parts import Outputs, PartRunner, state_of, with_states
from spikebridge.deploy.runtime.runner import Runner
from spikebridge.errors import ConfigError, DataError, ExportError, did_you_mean
from spikebridge.hybrid import HybridNetwork
from spikebridge.hybrid.network.network import NetworkState
from spikebridge.neurons import Effect

Values: TypeAlias = NDArray[Any]
_Record: TypeAlias = Callable[[HybridNetwork, dict[str, Tensor], int, NetworkState | None], ReferenceTrace]
_Level: TypeAlias = Callable[[dict[str, Values], int], Signals]  # from inputs and ticks


@dataclass(frozen=True)
class Tolerance:
    """The allowed difference of a level from the trained network.

    Args:
        values: largest difference, relative to the largest value (to 1 where all are smaller).
        spikes: share of spikes that may differ: near a threshold the last bit of a sum decides.
    """

    values: float = 1e-4
    spikes: float = 1e-3


_EXACT = Tolerance(0.0, 0.0)


@dataclass(frozen=True)
class ComparisonRow:
    """One part or link on one level."""

    level: str
    kind: str
    name: str
    largest: float  # difference
    largest_value: float  # of the trained network
    share: float | None  # of spikes that differ; None for other signals
    first_tick: int | None  # of the first difference; None if there is none
    passed: bool | None  # None where the difference is only stated


@dataclass(frozen=True)
class Comparison:
    """The result of `compare_bundle`: a row for each part and link of every level."""

    rows: tuple[ComparisonRow, ...]

    @property
    def passed(self) -> bool:
        """True if every level is within its tolerance."""
        return all(row.passed is not False for row in self.rows)

    def summary(self) -> list[dict[str, Any]]:
        """A row for each level: the part or link that differs most, and whether all of them are within tolerance."""
        levels: dict[str, list[ComparisonRow]] = {}
        for row in self.rows:
            levels.setdefault(row.level, []).append(row)

        return [_worst(level, rows) for level, rows in levels.items()]

    def __str__(self) -> str:
        rows = self.summary()
        if not rows:
            return "nothing was compared"

        lines = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)

    def _repr_html_(self) -> str | None:
        """The summary, for a notebook."""
        return notebook_html("comparison_html", "Comparison with the trained network", self.summary())


def _worst(level: str, rows: Sequence[ComparisonRow]) -> dict[str, Any]:
    worst = max(rows, key=lambda row: (row.passed is False, row.share or 0.0, row.largest))
    judged = [row.passed for row in rows if row.passed is not None]
    return {
        "level": level,
        "compared": len(rows),
        "passed": "stated" if not judged else "yes" if all(judged) else "no",
        "differs most": worst.name,
        "by": f"{worst.largest:.3g}",
        "of": f"{worst.largest_value:.3g}",
    }


def compare_bundle(
    bundle: Bundle,
    tolerance: Tolerance = Tolerance(),
    *,
    inputs: Mapping[str, Values | Tensor] | None = None,
    network: HybridNetwork | None = None,
    quantized: HybridNetwork | None = None,
    further: Mapping[str, tuple[_Level, Tolerance]] | None = None,
    stages: Sequence[type[nn.Module]] = (),
    progress: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Runs every level, on the sample of the bundle or on other inputs.

    Args:
        bundle: an opened bundle.
        tolerance: tolerance of the bundle's own levels.
        inputs: inputs by name, `(T, B, *N)` each, in place of the sample's.
        network: the trained network, whose signals the levels are compared with in place of the stored ones. On other
            inputs without it, they are compared with those of the rebuilt network.
        quantized: the quantised network, with which integers are compared on other inputs; without it their
            difference from the trained network is only stated.
        further: other levels, each with its tolerance; one with the name of a chip takes the place of its levels.
        stages: classes of user-defined kernels and discretizers, each with an `array_form`.
        progress: called with the name of the level that runs.

    Returns:
        Differences of every part and unit on every level.

    Raises:
        ExportError: the sample leaves a layer silent or a unit without effect.
        ShapeError: inputs that do not fit the bundle.
        DataError: a file is damaged, or the sample is of another network.
    """
    manifest = bundle.manifest
    forms = array_forms(stages)
    runner = Runner(bundle, stages=forms)
    numbers = bundle.numbers(manifest.sample.file)
    arrays = {name: _tensor(numbers, f"inputs.{name}") for name in manifest.inputs}
    ticks = manifest.sample.ticks
    # on inputs of the user's own a layer may be silent
    record = record_active_trace
    if inputs is not None:
        arrays = {name: x.detach().cpu().numpy() if isinstance(x, Tensor) else x for name, x in inputs.items()}
        arrays = runner.checked(arrays)
        ticks = runner.count_ticks(arrays)
        record = record_trace

    trained = sample_signals(manifest, numbers)
    if network is not None:
        progress("trained")
        trained = _signals_of(bundle, copy.deepcopy(network).cpu().eval(), arrays, ticks, record)
    elif inputs is not None:
        trained = _signals_of(bundle, rebuild(bundle, stages), arrays, ticks, record)

    missing = [name for name in manifest.signals if name not in (*trained["parts"], *manifest.flags)]
    if missing:
        raise DataError(f"{bundle.path}: the sample has no values of part {missing[0]!r}; export the bundle again")

    progress("each part and unit alone")
    rows = list(_compare_alone(bundle, arrays, ticks, trained, forms, tolerance))

    levels: dict[str, tuple[_Level, Tolerance]] = {
        "rebuilt": (lambda x, n: _signals_of(bundle, rebuild(bundle, stages), x, n, record), tolerance),
        "runner": (runner.run_recorded, tolerance),
        **(further or {}),
    }
    for level, (run, allowed) in levels.items():
        progress(level)
        rows += _compare_level(manifest, level, trained, run(arrays, ticks), allowed)

    if manifest.integers is not None:
        progress("integers")
        stored = bundle.numbers(manifest.integers.sample)
        expected = sample_signals(manifest, stored) if inputs is None else None
        if quantized is not None:
            expected = _signals_of(bundle, quantized.eval(), arrays, ticks, record_trace)
        rows += _compare_integers(bundle, arrays, ticks, trained, expected, forms)

    for name in (placed.name for placed in manifest.chips if placed.name not in (further or {})):
        progress(name)
        if name not in CHIPS:
            raise ConfigError(f"{bundle.path} has parts on the chip {name!r}; give its file with --chip FILE.py")
        rows += _compare_chip(bundle, CHIPS[name], arrays, ticks, trained, forms, on_sample=inputs is None)

    return Comparison(tuple(rows))


def target_level(bundle: Bundle, parts: Mapping[str, PartRunner]) -> _Level:
    """A level for `compare_bundle`: the whole bundle with some parts on another target.

    A target is a class with the method `step` of `PartRunner`, made from the part's file; it may call a chip, a
    simulator or a program. When it is made, it refuses a part that it cannot hold.

    Args:
        bundle: an opened bundle.
        parts: targets by the name of the part; the others run as in the bundle.

    Raises:
        ConfigError: the bundle has no such part.
    """
    for name in parts:
        if name not in bundle.manifest.parts:
            raise ConfigError(f"{bundle.path} has no part {name!r}; {did_you_mean(name, bundle.manifest.parts)}")

    return lambda inputs, ticks: Runner(bundle, parts).run_recorded(inputs, ticks)


class _ReadBack:
    """A NIR part in torch, in place of the runner's part in numpy."""

    def __init__(self, name: str, part: NirPart, states: Mapping[str, str]) -> None:
        self.name = name
        self.part = part
        self.states = states  # that are read, by signal

    def begin(self, start: Mapping[str, Values]) -> Any:
        batch = len(next(iter(start.values())))
        state = self.part.initial_state(torch.zeros(batch, *(self.part.graph.shape or ())))
        for key, value in start.items():
            state = self.part.with_state_at(state, key.removeprefix("state."), torch.from_numpy(value))

        return state

    def leak(self, state: Any, steps: int) -> Any:
        return self.part.leak(state, torch.tensor([steps]))

    def step(self, reads: Mapping[str, Values], effects: Effects, state: Any) -> tuple[Outputs, Any]:
        (x,) = (torch.from_numpy(np.ascontiguousarray(x)).unsqueeze(0) for x in reads.values())
        modulation: dict[str, list[Effect]] = {}
        for (node, quantity), acts in effects.items():
            path = f"{node}.{quantity}"
            for value, by in acts:
                tensor = torch.from_numpy(value)
                if by == SET:
                    before = self.part.initial_state(x[0]) if state is None else state
                    state = self.part.with_state_at(before, path, tensor)
                else:
                    modulation.setdefault(path, []).append(Effect(tensor.unsqueeze(0), by))  # type: ignore[arg-type]

        with torch.no_grad():
            y, after = self.part(x, state, **modulation)

        read = {signal: self.part.state_at(after, path).numpy() for signal, path in self.states.items()}
        return with_states(self.name, y[0].numpy(), read), after


def _compare_alone(
    bundle: Bundle,
    inputs: dict[str, Values],
    ticks: int,
    trained: Signals,
    forms: Mapping[str, Any],
    tolerance: Tolerance,
) -> Iterator[ComparisonRow]:
    manifest = bundle.manifest
    parts: dict[str, PartRunner] = {}
    for name, record in manifest.parts.items():
        if record.format == "nir":
            states = {signal: state_of(name, signal) for signal in record.states}
            parts[name] = _ReadBack(name, from_nir(bundle.read(record.file)), states)

    recorded = _run_alone(bundle, Runner(bundle, parts, stages=forms), inputs, ticks, trained)
    for kind, signals in trained.items():
        for name, expected in signals.items():
            if name in recorded[kind]:
                level = _level_of(manifest, kind, name)
                yield _row(manifest, level, kind, name, expected, recorded[kind][name], tolerance)


def _run_alone(bundle: Bundle, runner: Runner, inputs: dict[str, Values], ticks: int, expected: Signals) -> Signals:
    """The signals of parts and links of which each reads what the ones before it were expected to give."""
    recorded: dict[str, dict[str, list[Values]]] = {kind: {} for kind in expected}

    def hook(kind: str, name: str, tick: int, value: Values) -> Values:
        if name not in expected[kind]:
            return value

        values = recorded[kind].setdefault(name, [])
        values.append(value)
        if len(values) > len(expected[kind][name]):
            raise DataError(f"{bundle.path}: the sample has too few values of {name!r}; export the bundle again")

        return expected[kind][name][len(values) - 1]

    runner.run(inputs, ticks, hook)
    return {kind: {name: np.stack(values) for name, values in named.items()} for kind, named in recorded.items()}


def _compare_level(
    manifest: Manifest, level: str, trained: Signals, signals: Signals, tolerance: Tolerance | None
) -> Iterator[ComparisonRow]:
    for kind, named in trained.items():
        for name, expected in named.items():
            # a unit may close no window on the sample
            if not len(expected):
                continue
            if name not in signals[kind]:
                raise ExportError(f"level {level!r} has no values of {kind[:-1]} {name!r}")
            yield _row(manifest, level, kind, name, expected, signals[kind][name], tolerance)


def _signals_of(
    bundle: Bundle, network: HybridNetwork, inputs: dict[str, Values], ticks: int, record: _Record
) -> Signals:
    tensors = {name: torch.from_numpy(x.copy()) for name, x in inputs.items()}
    trace = record(network, tensors, ticks, start_state(bundle, network, tensors))
    return {"parts": _arrays(trace.parts), "links": _arrays(trace.links)}


def _compare_integers(
    bundle: Bundle,
    inputs: dict[str, Values],
    ticks: int,
    trained: Signals,
    quantized: Signals | None,
    forms: Mapping[str, Any],
) -> Iterator[ComparisonRow]:
    """The integer model against the quantised network, bit by bit, and against the trained one, whose gap is stated."""
    manifest = bundle.manifest
    # where it begins in the middle of the network, the model reads the signals of the quantised network
    signals = integer_signals(bundle, inputs, quantized or trained, ticks, forms)
    if quantized is not None:
        for kind, named in signals.items():
            for name, y in named.items():
                yield _row(manifest, "integers", kind, name, _tensor(quantized[kind], name), y, _EXACT)

    for kind, named in trained.items():
        others = signals[kind] if quantized is None else quantized[kind]
        for name, expected in named.items():
            if len(expected) and (quantized is not None or name in others):
                yield _row(manifest, "quantised", kind, name, expected, _tensor(others, name), None)


def _compare_chip(
    bundle: Bundle,
    chip: ChipSpec,
    inputs: dict[str, Values],
    ticks: int,
    trained: Signals,
    forms: Mapping[str, Any],
    *,
    on_sample: bool,
) -> Iterator[ComparisonRow]:
    """The parts on a chip in numpy against torch, spike by spike on the sample, and the pair against the network."""
    manifest = bundle.manifest
    if on_sample:
        pair = recorded_signals(bundle, chip.name)
        models = chip_models(bundle, chip)
        alone = _run_alone(bundle, Runner(bundle, models, stages=forms), inputs, ticks, pair)["parts"]
        for name in models:
            expected = _tensor(pair["parts"], name)
            if len(expected):
                yield _row(manifest, f"{chip.name} integers", "parts", name, expected, _tensor(alone, name), _EXACT)
    else:
        pair = chip_runner(bundle, chip, forms).run_recorded(inputs, ticks)

    yield from _compare_level(manifest, chip.name, trained, pair, None)


def _row(
    manifest: Manifest, level: str, kind: str, name: str, expected: Values, values: Values, allowed: Tolerance | None
) -> ComparisonRow:
    if expected.shape != values.shape:
        raise ExportError(
            f"level {level!r} gives {values.shape} of {kind[:-1]} {name!r}, but the network gave {expected.shape}"
        )

    # float64, so that the difference itself has no error
    tolerance = allowed or _EXACT
    difference = np.abs(expected.astype(np.float64) - values)
    largest = float(difference.max()) if difference.size else 0.0
    largest_value = float(np.abs(expected).max()) if expected.size else 0.0
    limit = tolerance.values * max(1.0, largest_value)
    is_spikes = manifest.signals[name][1].spikes if kind == "parts" else bool(np.isin(expected, (0, 1)).all())
    share = float((difference > 0).mean()) if is_spikes and difference.size else None

    # the largest difference of spikes is always 1, so that their share is judged
    within = largest <= limit if share is None else share <= tolerance.spikes
    steps = np.flatnonzero((difference > (0.0 if is_spikes else limit)).reshape(len(difference), -1).any(1))
    clock = _clock_of(manifest, kind, name)
    first = int(clock.phase + (clock.count(manifest.first_tick) + steps[0]) * clock.period) if steps.size else None
    passed = None if allowed is None else bool(np.isfinite(largest)) and within

    return ComparisonRow(level, kind[:-1], name, largest, largest_value, share, first, passed)


def _level_of(manifest: Manifest, kind: str, name: str) -> str:
    if kind == "links":
        return "units"
    return "nir" if manifest.parts[manifest.owner(name)].format == "nir" else "onnxruntime"


def _clock_of(manifest: Manifest, kind: str, name: str) -> ClockRecord:
    if kind == "parts":
        return manifest.clock(name)
    return next(link.emits for link in manifest.links if link.name == name)


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, Values]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def _tensor(numbers: Mapping[str, Values], name: str) -> Values:
    if name not in numbers:
        raise DataError(f"the sample of the bundle lacks {name!r}; export it again")
    return numbers[name]
