"""Does a bundle say what the trained network said? Every level on the same sample, part by part and link by link.

| level | what runs |
|---|---|
| trained | the network that was exported; what it gave stands in the bundle, and the others are held against it |
| onnxruntime | each ANN part alone, on what the trained network fed it |
| openvino | each ONNX file alone, that of a part or of a unit, by a second runtime; where OpenVINO is installed |
| nir | each SNN part alone, read back from its file |
| units | each hybrid unit alone, made of its numbers |
| rebuilt | the whole network, rebuilt in torch from the bundle alone |
| runner | the whole network without torch |
| integers | the integer model, where the bundle has one: the same bits as the quantised network |
| quantised | what the quantised network gave, beside the trained one: a difference that is stated, not judged |

Alone means that a difference is not handed on: the next part gets what the trained network gave. Further levels are
given by those who have them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spikebridge.deploy.bundle.bundle import Bundle
from spikebridge.deploy.bundle.manifest import ClockRecord, Manifest
from spikebridge.deploy.bundle.rebuild import rebuild
from spikebridge.deploy.bundle.stages import array_forms
from spikebridge.deploy.bundle.trace import record_active_trace
from spikebridge.deploy.integer.bundle import Signals, integer_signals, sample_signals
from spikebridge.deploy.nir.reader import NirPart, from_nir
from spikebridge.deploy.onnx.openvino import OpenVinoSession, has_openvino
from spikebridge.deploy.onnx.session import OnnxSession, OpenSession, Session
from spikebridge.deploy.runtime.nir_interpreter import Effects
from spikebridge.deploy.runtime.runner import Runner
from spikebridge.errors import DataError, ExportError
from spikebridge.hybrid import HybridNetwork
from spikebridge.neurons import Effect

Values: TypeAlias = NDArray[Any]
_Level: TypeAlias = Callable[[dict[str, Values], int], Signals]  # of inputs and ticks


@dataclass(frozen=True)
class Tolerance:
    """How far a level may be from the trained network.

    Args:
        values: largest difference, in parts of the largest value (of 1 where all are smaller).
        spikes: share of spikes that may differ: near a threshold the last bit of a sum decides.
    """

    values: float = 1e-4
    spikes: float = 1e-3


_EXACT = Tolerance(0.0, 0.0)


@dataclass(frozen=True)
class ComparisonRow:
    """One part or link on one level.

    Attributes:
        largest: largest difference.
        largest_value: of the trained network.
        share: of values that differ, for spikes; None for other signals.
        first_tick: where the first of them differs, None where none does.
        passed: whether it is within the tolerance; None where the difference is only stated.
    """

    level: str
    kind: str
    name: str
    largest: float
    largest_value: float
    share: float | None
    first_tick: int | None
    passed: bool | None


@dataclass(frozen=True)
class Comparison:
    """All rows.

    Attributes:
        rows: of every level that ran.
        left_out: what did not run, a line each with the reason.
    """

    rows: tuple[ComparisonRow, ...]
    left_out: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every level is within its tolerance."""
        return all(row.passed is not False for row in self.rows)


def compare_bundle(
    bundle: Bundle,
    tolerance: Tolerance = Tolerance(),
    *,
    further: Mapping[str, tuple[_Level, Tolerance]] | None = None,
    stages: Sequence[type[nn.Module]] = (),
    progress: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Runs every level.

    Args:
        bundle: an opened one.
        tolerance: for the levels of a bundle.
        further: other levels, each with its tolerance.
        stages: classes of kernels and discretizers that the package does not know, each with an `array_form`.
        progress: gets the name of the level that runs.

    Returns:
        Differences of every part and unit on every level.

    Raises:
        ExportError: the sample leaves a layer silent or a unit without effect.
        DataError: a file is damaged, or the sample is not of this network.
    """
    numbers = bundle.numbers(bundle.manifest.sample.file)
    inputs = {name: _of(numbers, f"inputs.{name}") for name in bundle.manifest.inputs}
    ticks = bundle.manifest.sample.ticks
    truth = sample_signals(bundle.manifest, numbers)
    missing = [name for name in bundle.manifest.parts if name not in truth["parts"]]

    if missing:
        raise DataError(f"{bundle.path}: the sample has no values of part {missing[0]!r}; export the bundle anew")

    rows: list[ComparisonRow] = []
    forms = array_forms(stages)
    progress("each part and unit alone")

    for kind, name, got in _alone(bundle, inputs, ticks, truth, forms):
        level = _level(bundle.manifest, kind, name)
        rows.append(_row(bundle.manifest, level, kind, name, truth[kind][name], got, tolerance))

    second, left_out = _openvino(bundle, inputs, ticks, truth, forms, tolerance, progress)
    rows += second
    levels: dict[str, tuple[_Level, Tolerance]] = {
        "rebuilt": (lambda x, n: _rebuilt(rebuild(bundle, stages), x, n), tolerance),
        "runner": (lambda x, n: Runner(bundle, stages=forms).run_recorded(x, n), tolerance),
        **(further or {}),
    }

    for level, (run, allowed) in levels.items():
        progress(level)
        signals = run(inputs, ticks)

        for kind, known in truth.items():
            for name, wanted in known.items():
                if not len(wanted):
                    continue
                if name not in signals[kind]:
                    raise ExportError(f"level {level!r} gave nothing of {kind[:-1]} {name!r}")
                rows.append(_row(bundle.manifest, level, kind, name, wanted, signals[kind][name], allowed))

    if bundle.manifest.integers is not None:
        progress("integers")
        rows += _integers(bundle, inputs, ticks, truth, forms)

    return Comparison(tuple(rows), left_out)


class _ReadBack:
    """A NIR part in torch, where the runner has one in numpy."""

    def __init__(self, part: NirPart) -> None:
        self.part = part

    def step(self, reads: Mapping[str, Values], effects: Effects, state: Any) -> tuple[Values, Any]:
        (x,) = reads.values()
        modulation = {
            f"{node}.{quantity}": [Effect(torch.from_numpy(signal).unsqueeze(0), by) for signal, by in several]  # type: ignore[arg-type]
            for (node, quantity), several in effects.items()
        }
        with torch.no_grad():
            y, state = self.part(torch.from_numpy(np.ascontiguousarray(x)).unsqueeze(0), state, **modulation)

        return y[0].numpy(), state


def _alone(
    bundle: Bundle,
    inputs: dict[str, Values],
    ticks: int,
    truth: Signals,
    forms: Mapping[str, Any],
    open_session: OpenSession | None = None,
) -> list[tuple[str, str, Values]]:
    """What every part and unit makes of what the trained network fed it."""
    files = {name: record.file for name, record in bundle.manifest.parts.items() if record.format == "nir"}
    parts = {name: _ReadBack(from_nir(bundle.read(file))) for name, file in files.items()}
    runner = Runner(bundle, parts, stages=forms, open_session=open_session)
    made: Signals = {kind: {} for kind in truth}
    gathered: dict[tuple[str, str], list[Values]] = {}

    def hook(kind: str, name: str, tick: int, value: Values) -> Values:
        if name not in truth[kind]:
            return value

        mine = gathered.setdefault((kind, name), [])
        mine.append(value)
        if len(mine) > len(truth[kind][name]):
            raise DataError(f"{bundle.path}: the sample has too few values of {name!r}; export the bundle anew")

        return truth[kind][name][len(mine) - 1]

    runner.run(inputs, ticks, hook)
    for (kind, name), values in gathered.items():
        made[kind][name] = np.stack(values)

    return [(kind, name, made[kind][name]) for kind, known in truth.items() for name in known if name in made[kind]]


def _openvino(
    bundle: Bundle,
    inputs: dict[str, Values],
    ticks: int,
    truth: Signals,
    forms: Mapping[str, Any],
    tolerance: Tolerance,
    progress: Callable[[str], None],
) -> tuple[list[ComparisonRow], tuple[str, ...]]:
    """Every part and unit with an ONNX file alone, by OpenVINO; and what did not run."""
    files = _onnx_files(bundle.manifest)
    if not files:
        return [], ()
    if not has_openvino():
        return [], ("openvino: not installed; pip install 'spikebridge[openvino]' adds this second ONNX runtime",)

    progress("openvino")
    refused: dict[str, str] = {}

    def open_session(content: bytes, name: str) -> Session:
        try:
            return OpenVinoSession(content, name)
        except DataError as error:
            refused[name] = f"openvino: {error}"
            return OnnxSession(content, name)

    rows = []
    for kind, name, got in _alone(bundle, inputs, ticks, truth, forms, open_session):
        mine = {f"{bundle.path / file}" for file in files.get((kind, name), ())}
        if mine and not mine & refused.keys():
            rows.append(_row(bundle.manifest, "openvino", kind, name, truth[kind][name], got, tolerance))

    return rows, tuple(refused.values())


def _onnx_files(manifest: Manifest) -> dict[tuple[str, str], list[str]]:
    """The ONNX files of parts and links, by kind and name."""
    found = {("parts", name): [part.file] for name, part in manifest.parts.items() if part.format == "onnx"}
    for link in manifest.links:
        unit = link.unit
        files = [] if unit is None else [unit.nonlinearity, unit.kernel_function, unit.discretizer_function]
        if named := [file for file in files if file is not None]:
            found["links", link.name] = named

    return found


def _rebuilt(network: HybridNetwork, inputs: dict[str, Values], ticks: int) -> Signals:
    tensors = {name: torch.from_numpy(x.copy()) for name, x in inputs.items()}
    recorded = record_active_trace(network, tensors, ticks)
    return {"parts": _numpy(recorded.parts), "links": _numpy(recorded.links)}


def _integers(
    bundle: Bundle, inputs: dict[str, Values], ticks: int, truth: Signals, forms: Mapping[str, Any]
) -> list[ComparisonRow]:
    """The integer model beside the quantised network, and that beside the trained one."""
    manifest = bundle.manifest
    numbers = bundle.numbers(manifest.integers.sample if manifest.integers is not None else None)
    known = sample_signals(manifest, numbers)
    rows = []

    for kind, made in integer_signals(bundle, inputs, known, ticks, forms).items():
        for name, y in made.items():
            rows.append(_row(manifest, "integers", kind, name, _of(known[kind], name), y, _EXACT))

    for kind, trained in truth.items():
        for name, wanted in trained.items():
            if len(wanted):
                rows.append(_row(manifest, "quantised", kind, name, wanted, _of(known[kind], name), None))

    return rows


def _row(
    manifest: Manifest, level: str, kind: str, name: str, wanted: Values, got: Values, allowed: Tolerance | None
) -> ComparisonRow:
    tolerance = allowed or _EXACT
    if wanted.shape != got.shape:
        raise ExportError(
            f"level {level!r} gives {got.shape} of {kind[:-1]} {name!r}, but the network gave {wanted.shape}"
        )

    away = np.abs(wanted.astype(np.float64) - got)
    largest = float(away.max()) if away.size else 0.0
    value = float(np.abs(wanted).max()) if wanted.size else 0.0
    spikes = manifest.parts[name].spikes if kind == "parts" else bool(np.isin(wanted, (0, 1)).all())
    share = float((away > 0).mean()) if spikes and away.size else None
    within = share <= tolerance.spikes if share is not None else largest <= tolerance.values * max(1.0, value)
    clock = manifest.parts[name].clock if kind == "parts" else _emits(manifest, name)
    limit = 0.0 if spikes else tolerance.values * max(1.0, value)
    late = np.flatnonzero((away > limit).reshape(len(away), -1).any(1))
    first = int(clock.phase + late[0] * clock.period) if late.size else None
    passed = None if allowed is None else bool(np.isfinite(largest)) and within

    return ComparisonRow(level, kind[:-1], name, largest, value, share, first, passed)


def _level(manifest: Manifest, kind: str, name: str) -> str:
    if kind == "links":
        return "units"
    return "nir" if manifest.parts[name].format == "nir" else "onnxruntime"


def _emits(manifest: Manifest, name: str) -> ClockRecord:
    return next(link.emits for link in manifest.links if link.name == name)


def _numpy(tensors: Mapping[str, Tensor]) -> dict[str, Values]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def _of(numbers: Mapping[str, Values], name: str) -> Values:
    if name not in numbers:
        raise DataError(f"the sample of the bundle lacks {name!r}; export it anew")
    return numbers[name]
