"""The manifest of a bundle: `manifest.json` as dataclasses, and as text. No torch is needed.

Shapes are those of one sample, without time and batch. Clocks are in base ticks of `dt` seconds. Links are in the order
of a part's arguments; `order` is the order in which parts fire inside one tick. Every value of the text is checked
against its declared type. The text holds the SHA-256 of its own values, so that a changed delay, which makes another
valid network, is noticed.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from spikebridge.data.io.json_text import parse_json
from spikebridge.data.io.records import RecordReader
from spikebridge.errors import DataError, did_you_mean, is_number

_SCHEMA = "spikebridge bundle"
_VERSION = 1
_MAX_NUMBERS = 1 << 28  # in one value of a signal
_MAX_TICKS = 1 << 31
_MAX_STEPS = 1 << 20  # of a window or kernel
_MAX_FLOAT32 = 3.4028234663852886e38

Setting = int | float | bool | str | None
Side = Literal["ann", "snn"]
Dtype = Literal["float32", "float64", "bool", "uint8", "int8", "int16", "int32", "int64"]


@dataclass(frozen=True)
class ClockRecord:
    """A clock: the period and the tick of the first sample, in base ticks."""

    period: int
    phase: int

    def __post_init__(self) -> None:
        if not 1 <= self.period <= _MAX_TICKS or not 0 <= self.phase <= _MAX_TICKS:
            raise DataError(f"a clock has a period of at least 1 and a phase of at least 0 ticks, but got {self}")

    def count(self, stop: int) -> int:
        """The number of samples before tick `stop`."""
        return max(0, -((self.phase - stop) // self.period))

    def between(self, start: int, stop: int) -> int:
        """The number of samples from tick `start` to before tick `stop`."""
        return self.count(stop) - self.count(start)

    def fires(self, tick: int) -> bool:
        return tick >= self.phase and (tick - self.phase) % self.period == 0


@dataclass(frozen=True)
class InputRecord:
    """An input: its clock, and shape and dtype of one sample."""

    clock: ClockRecord
    shape: tuple[int, ...]
    dtype: Literal["float32", "bool"] = "float32"

    def __post_init__(self) -> None:
        check_shape(self.shape)


@dataclass(frozen=True)
class SignalRecord:
    """A signal that a part gives by name, "part.key": one of several outputs, or a state of a layer after each step."""

    shape: tuple[int, ...]
    dtype: Dtype = "float32"
    spikes: bool = False
    state: bool = False

    def __post_init__(self) -> None:
        check_shape(self.shape)


@dataclass(frozen=True)
class PartRecord:
    """A part. An SNN part that NIR cannot hold is an ONNX step: state in, state out."""

    side: Side  # "snn" if it spikes or has a state
    format: Literal["onnx", "nir"]
    file: str
    clock: ClockRecord
    shape: tuple[int, ...]  # of its output, or the first of several
    spikes: bool = False  # that output is spikes
    initial: str | None = None  # file with the state before the first tick, for an ONNX step
    leak: str | None = None  # ONNX file, from steps without input and the state to the state, where its wake leaks
    notes: tuple[str, ...] = ()  # properties for which the format has no field, and why a part is not in NIR
    dtype: Dtype = "float32"  # of that output; "bool" for flags
    signals: dict[str, SignalRecord] = field(default_factory=dict)  # outputs by name, and states that are read

    def __post_init__(self) -> None:
        check_shape(self.shape)

    @property
    def outputs(self) -> dict[str, SignalRecord]:
        """Several outputs by name, in the order of the file; none where there is one without a name."""
        return {name: signal for name, signal in self.signals.items() if not signal.state}

    @property
    def states(self) -> dict[str, SignalRecord]:
        """The states that are read, by signal."""
        return {name: signal for name, signal in self.signals.items() if signal.state}


@dataclass(frozen=True)
class StageRecord:
    """A window, kernel or discretizer: its class and settings; its tensors are in the file of the link's numbers.

    A user-defined stage without an array form is a `Function`, an ONNX file of its own.
    """

    name: str
    settings: dict[str, Setting]

    def __post_init__(self) -> None:
        for name, value in self.settings.items():
            where = f"the stage {self.name!r} has {name} = {value!r:.40}"
            if isinstance(value, float) and not math.isfinite(value):
                raise DataError(f"{where}, which is no finite number")

            kind = _SETTINGS.get(name) if self.name in _STAGES else None
            if kind == "flag" and not isinstance(value, bool):
                raise DataError(f"{where}; expected true or false")
            if kind == "size" and not _is_size(value) and not (name in _OPTIONAL and value is None):
                raise DataError(f"{where}; expected an integer from 1 to {_MAX_STEPS}")
            if kind == "positive" and not (is_number(value) and value > 0):
                raise DataError(f"{where}; expected a number above 0")


_SETTINGS = {
    "keep": "flag",
    **dict.fromkeys(("length", "stride", "num_taps", "lag", "limit"), "size"),
    **dict.fromkeys(("tau", "dt", "sigma", "quantum"), "positive"),
}
_OPTIONAL = ("lag", "limit")
# a user-defined stage may give these names another meaning
_WINDOWS = ("Hold", "Tumbling", "Sliding", "Since")
_KERNELS = ("Sum", "Mean", "Difference", "Exponential", "Alpha", "Gaussian", "Taps")
_STAGES = {*_WINDOWS, *_KERNELS, "SignedDelta"}


def _is_size(value: Setting) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MAX_STEPS


@dataclass(frozen=True)
class UnitRecord:
    """A hybrid unit by its stages."""

    window: StageRecord | None = None
    kernel: StageRecord | None = None
    nonlinearity: str | None = None  # ONNX file, from `value` (and `context`) to `output`
    discretizer: StageRecord | None = None
    fires: str | None = None  # NIR file of the layer of a `SpikingLayer` discretizer
    kernel_function: str | None = None  # ONNX file of a `Function`, from steps (B, L, *N) to one value
    discretizer_function: str | None = None  # ONNX file of a `Function`, from values (B, M, *N) to (B, M2, *N2)

    @property
    def files(self) -> list[str]:
        files = (self.nonlinearity, self.fires, self.kernel_function, self.discretizer_function)
        return [file for file in files if file is not None]


@dataclass(frozen=True)
class WakeRecord:
    """The settings of a wake: its target is awake while one of so many newest flags is 1/2 or more."""

    asleep: Literal["hold", "zero", "none"]
    state: Literal["keep", "leak", "reset"]
    num_flags: int
    replay: int = 0  # newest samples of the inputs that a part runs over at waking

    def __post_init__(self) -> None:
        if not 1 <= self.num_flags <= _MAX_STEPS or not 0 <= self.replay <= _MAX_STEPS:
            raise DataError(f"a wake has from 1 to {_MAX_STEPS} flags, and replays no more samples, but got {self}")


@dataclass(frozen=True)
class LinkRecord:
    """A link."""

    name: str
    kind: Literal["transmission", "modulation", "initialisation", "wake"]
    source: str
    target: str
    shape: tuple[int, ...]  # of one value
    emits: ClockRecord  # clock of its values, before the delay
    held: bool
    delay: int = 0
    into: str | None = None
    context: str | None = None
    initial: float | None = 0.0  # value before the first one; None where the numbers hold it as `initial`
    node: str | None = None  # layer that a modulation or an initialisation acts on
    quantity: str | None = None  # of that layer, or the field of its state
    by: Literal["add", "multiply", "replace"] = "multiply"
    unit: UnitRecord | None = None
    numbers: str | None = None  # file of tensors
    dtype: Dtype = "float32"  # of its values
    wake: WakeRecord | None = None

    def __post_init__(self) -> None:
        check_shape(self.shape)
        if (self.kind == "wake") != (self.wake is not None):
            raise DataError(
                f"link {self.name!r} is a {self.kind}, but {'has' if self.wake else 'lacks'} settings of a wake"
            )
        if not 0 <= self.delay <= _MAX_TICKS:
            raise DataError(f"link {self.name!r} has a delay of {self.delay} ticks")
        if self.acts and (self.node is None or self.quantity is None):
            raise DataError(f"the {self.kind} {self.name!r} names no quantity")
        if not self.acts and (self.node is not None or self.quantity is not None):
            raise DataError(f"the {self.kind} {self.name!r} names a quantity, as only a modulation does")
        if self.initial is not None and abs(self.initial) > _MAX_FLOAT32:
            raise DataError(f"link {self.name!r} begins with {self.initial!r}, which float32 does not hold")

    @property
    def acts(self) -> bool:
        """True if the link acts on a quantity or a state."""
        return self.kind in ("modulation", "initialisation")

    @property
    def sources(self) -> list[str]:
        return [name for name in (self.source, self.context, trigger_of(self)) if name is not None]


@dataclass(frozen=True)
class SampleRecord:
    """A small input and the signals of the trained network: `inputs.NAME`, `parts.NAME`, `links.NAME` in the file."""

    file: str
    ticks: int
    batch: int

    def __post_init__(self) -> None:
        if not 1 <= self.ticks <= _MAX_TICKS or not 1 <= self.batch <= _MAX_NUMBERS:
            raise DataError(f"a sample has 1 tick and 1 stream at least, but got {self}")


@dataclass(frozen=True)
class StartRecord:
    """The state of a stream that the bundle continues: the next tick, its number of streams, and a file of tensors."""

    tick: int
    batch: int
    file: str

    def __post_init__(self) -> None:
        if not 0 <= self.tick <= _MAX_TICKS or not 1 <= self.batch <= _MAX_NUMBERS:
            raise DataError(f"a start has a tick of 0 or more and 1 stream at least, but got {self}")


@dataclass(frozen=True)
class IntegersRecord:
    """The integer model: its folder, its two files, and the signals of the quantised network on the sample."""

    folder: str
    files: tuple[str, ...]
    sample: str


@dataclass(frozen=True)
class FileRecord:
    """Size in bytes and SHA-256 of a file."""

    size: int
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> "FileRecord":
        return cls(len(content), hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class Manifest:
    """The content of a bundle."""

    dt: float
    inputs: dict[str, InputRecord]
    parts: dict[str, PartRecord]
    links: tuple[LinkRecord, ...]
    order: tuple[str, ...]
    outputs: tuple[str, ...]
    sample: SampleRecord
    files: dict[str, FileRecord]
    left_out: tuple[str, ...]  # modules of the network that are no part and no unit, and so not run by the bundle
    card: dict[str, Any]  # data, figures, seed, versions
    integers: IntegersRecord | None = None
    left_out_numbers: str | None = None  # file with their numbers, `MODULE.NAME`
    start: StartRecord | None = None  # None at the initial state

    def __post_init__(self) -> None:
        if not 0 < self.dt < math.inf:
            raise DataError(f"manifest: dt is a time above 0 s, but is {self.dt}")
        if sorted(self.order) != sorted(self.parts):
            raise DataError(f"manifest: order names {list(self.order)}, but the parts are {list(self.parts)}")

        for part, record in self.parts.items():
            for name in record.signals:
                if not name.startswith(f"{part}."):
                    raise DataError(f"manifest: part {part!r} gives {name!r}; expected a name that begins with {part}.")

        for name in self.outputs:
            _check_listed(name, self.signals, "an output")

        for link in self.links:
            self._check_link(link)

        set_states = [
            f"{link.target}.{link.node}.{link.quantity}" for link in self.links if link.kind == "initialisation"
        ]
        for state in set_states:
            if set_states.count(state) > 1:
                raise DataError(f"manifest: two links set the state {state!r}")

        if len(self.flags) < sum(link.kind == "wake" for link in self.links):
            raise DataError("manifest: two wakes lead to one part")

        if len({link.name for link in self.links}) < len(self.links):
            raise DataError("manifest: two links have one name")

        for file in self.named_files():
            _check_listed(file, self.files, "a file")

    def _check_link(self, link: LinkRecord) -> None:
        _check_listed(link.target, self.parts, f"the target of link {link.name!r}")
        for name in link.sources:
            role = "the source" if name == link.source else "a signal"
            _check_listed(name, {**self.inputs, **self.signals}, f"{role} of link {link.name!r}")

        # an input comes before all parts
        index = {name: i for i, name in enumerate(self.order)}
        owners = [self.owner(name) for name in link.sources]
        if not link.delay and any(index.get(name, -1) >= index[link.target] for name in owners):
            raise DataError(
                f"manifest: {link.target!r} fires before a signal that link {link.name!r} needs in the same tick"
            )

    @property
    def flags(self) -> dict[str, str]:
        """The parts with a wake by the signal of their flags."""
        return {f"{link.target}.awake": link.target for link in self.links if link.kind == "wake"}

    @property
    def first_tick(self) -> int:
        return 0 if self.start is None else self.start.tick

    @cached_property
    def signals(self) -> dict[str, tuple[str, SignalRecord]]:
        """All that parts give, and flags of parts with a wake, by name, each with its part."""
        signals: dict[str, tuple[str, SignalRecord]] = {}
        for part, record in self.parts.items():
            if not record.outputs:
                signals[part] = part, SignalRecord(record.shape, record.dtype, record.spikes)
            signals |= {name: (part, signal) for name, signal in record.signals.items()}

        return signals | {name: (part, SignalRecord((1,), spikes=True)) for name, part in self.flags.items()}

    def given(self, part: str) -> dict[str, SignalRecord]:
        """The outputs of a part, and its states that are read, by signal."""
        return {n: signal for n, (owner, signal) in self.signals.items() if owner == part and n not in self.flags}

    def owner(self, signal: str) -> str:
        """The part that gives a signal, or the part or the input of that name."""
        return self.signals[signal][0] if signal in self.signals else signal

    def named_files(self) -> list[str]:
        names: list[str | None] = [self.sample.file, self.left_out_numbers]
        names += [] if self.start is None else [self.start.file]
        if self.integers is not None:
            names += [*(f"{self.integers.folder}/{file}" for file in self.integers.files), self.integers.sample]

        for part in self.parts.values():
            names += [part.file, part.initial, part.leak]

        for link in self.links:
            names += [link.numbers, *([] if link.unit is None else link.unit.files)]

        return [name for name in names if name is not None]

    def clock(self, signal: str) -> ClockRecord:
        owner = self.owner(signal)
        return self.inputs[owner].clock if owner in self.inputs else self.parts[owner].clock

    def signal(self, name: str) -> InputRecord | SignalRecord:
        """The record of an input, or of a signal of a part."""
        return self.inputs[name] if name in self.inputs else self.signals[name][1]

    def shape(self, signal: str) -> tuple[int, ...]:
        return self.signal(signal).shape

    def dtype(self, signal: str) -> Dtype:
        return self.signal(signal).dtype

    def incoming(self, part: str | None) -> list[LinkRecord]:
        """The links to a part, in order."""
        return [link for link in self.links if link.target == part]


def trigger_of(link: LinkRecord) -> str | None:
    """The signal at whose samples the windows of a link's unit open, None if there is none."""
    window = link.unit.window if link.unit is not None else None
    return str(window.settings.get("trigger")) if window is not None and window.name == "Since" else None


def skipped_flags(link: Any, links: Iterable[Any]) -> str | None:
    """The flags of a link's source, if that gives no value while it is asleep: of records of bundles or integers."""
    part, _, key = link.source.partition(".")
    wakes = (other for other in links if other.wake is not None and other.wake.asleep == "none")
    gives_none = key != "awake" and any(other.target in (part, link.source) for other in wakes)

    return f"{part}.awake" if gives_none else None


def record_name(kind: type) -> str:
    """The name of a stage class in files: its `record_name`, or its class name."""
    # a subclass does not inherit the name of its parent
    return str(vars(kind).get("record_name", kind.__name__))


def check_shape(shape: tuple[int, ...]) -> None:
    """Raises a `DataError` for a shape that cannot be, or needs more memory than a sample should."""
    if any(n < 0 for n in shape) or math.prod(shape) > _MAX_NUMBERS:
        raise DataError(
            f"a bundle declares values of shape {shape}: {math.prod(shape)} numbers, more than {_MAX_NUMBERS}"
        )


def _check_listed(name: str, names: Any, role: str) -> None:
    if name not in names:
        raise DataError(f"manifest: {role} is {name!r}, which is not there; {did_you_mean(name, names)}")


def write_manifest(manifest: Manifest) -> str:
    """The text of manifest.json, with the SHA-256 of its values."""
    plain = {"schema": _SCHEMA, "version": _VERSION, **dataclasses.asdict(manifest)}
    return json.dumps({**plain, "sha256": _digest(plain)}, indent=2, allow_nan=False) + "\n"


def parse_manifest(text: str) -> Manifest:
    """Reads manifest.json; one without `sha256`, written by another program or edited, is not compared with it."""
    plain = parse_json(text, "manifest.json is damaged")
    if not isinstance(plain, dict) or plain.get("schema") != _SCHEMA:
        raise DataError("manifest.json is not the manifest of a spikebridge bundle")

    version = plain.get("version")
    if version != _VERSION or isinstance(version, bool):
        raise DataError(
            f"manifest.json is of version {version}, but this program reads version {_VERSION}; export the bundle "
            "again, or use the spikebridge that wrote it"
        )

    # the digest is compared last, since a field of a wrong type has a clearer message of its own
    written = plain.pop("sha256", None)
    fields = {name: value for name, value in plain.items() if name not in ("schema", "version")}
    manifest: Manifest = RecordReader().read(Manifest, fields, "manifest")

    if written is not None and written != _digest(plain):
        raise DataError(
            "manifest.json was changed after it was written: its SHA-256 is not the one that it holds; copy or export "
            'it again, or delete its line "sha256" if you meant the change'
        )

    return manifest


def _digest(plain: dict[str, Any]) -> str:
    """SHA-256 of values, whatever their order and layout as text."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
