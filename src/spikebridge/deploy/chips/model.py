"""A part in a chip's integers as a file, and as a part of a runner. No torch is needed."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from spikebridge.data.io.json_text import parse_json
from spikebridge.data.io.records import RecordReader
from spikebridge.deploy.chips.chip import ChipSpec
from spikebridge.deploy.chips.code import InputCode
from spikebridge.deploy.chips.core import Connection, Core, CoreState, Population
from spikebridge.deploy.runtime.links import fitting
from spikebridge.errors import DataError

Values = NDArray[Any]
_SCHEMA = "spikebridge chip part"
_VERSION = 1


@dataclass(frozen=True)
class ConnectionRecord:
    """The settings of a connection; `convolution` is None for a matrix."""

    source: str
    shift: int
    shape: tuple[int, ...]
    convolution: dict[str, Any] | None


@dataclass(frozen=True)
class PopulationRecord:
    """The settings of a population."""

    name: str
    shape: tuple[int, ...]
    max_spikes: int
    connections: tuple[ConnectionRecord, ...]


@dataclass(frozen=True)
class ChipPartRecord:
    """A part on a chip: its input, its populations in order, and the steps by which its spikes come later."""

    chip: str
    part: str
    dt: float
    delay: int
    input: InputCode
    populations: tuple[PopulationRecord, ...]


class ChipModel:
    """A part in a chip's integers, a `PartRunner`.

    Args:
        chip: the chip.
        record: of the part.
        numbers: integers `POPULATION/NAME`, and weights `POPULATION/weight_K`.
    """

    def __init__(self, chip: ChipSpec, record: ChipPartRecord, numbers: Mapping[str, Values]) -> None:
        self.record = record
        self.numbers = dict(numbers)
        with fitting(f"the part {record.part!r} on {chip.name}"):
            self.core = Core(chip, [_population(one, numbers) for one in record.populations])

    @classmethod
    def of(cls, core: Core, part: str, dt: float, delay: int, code: InputCode) -> "ChipModel":
        """The model of a core."""
        numbers: dict[str, Values] = {}
        records = []
        for one in core.populations:
            numbers |= {f"{one.name}/{name}": np.asarray(value, np.int32) for name, value in one.numbers.items()}
            connections = []
            for k, connection in enumerate(one.connections):
                numbers[f"{one.name}/weight_{k}"] = connection.weight.astype(np.int16)
                settings = dict(connection.settings) or None
                shape = connection.shape
                connections.append(ConnectionRecord(connection.source, connection.shift, shape, settings))

            records.append(PopulationRecord(one.name, one.shape, one.max_spikes, tuple(connections)))

        return cls(core.chip, ChipPartRecord(core.chip.name, part, dt, delay, code, tuple(records)), numbers)

    def step(self, reads: Mapping[str, Values], effects: Any, state: CoreState | None) -> tuple[Values, CoreState]:
        """A tick: counts of spikes `(B, *N)` to spikes `(B, *M)`."""
        (x,) = reads.values()
        counts = self.record.input.encode(x, self.record.part)
        y, state = self.core.step(counts, self.core.start(len(x)) if state is None else state)
        return y.reshape(len(x), *self.record.populations[-1].shape).astype(np.float32), state

    def files(self) -> dict[str, bytes]:
        """The content of its two files by suffix."""
        text = json.dumps({"schema": _SCHEMA, "version": _VERSION, **dataclasses.asdict(self.record)}, indent=1)
        return {"json": f"{text}\n".encode(), "safetensors": save(self.numbers)}


def read_record(text: str, where: str) -> ChipPartRecord:
    """The record of a part from the text of its file."""
    plain = parse_json(text, f"{where} is damaged")
    if not isinstance(plain, dict) or plain.pop("schema", None) != _SCHEMA or plain.pop("version", None) != _VERSION:
        raise DataError(f"{where} is no part on a chip of version {_VERSION}; `spikebridge quantize --chip` writes one")

    record: ChipPartRecord = RecordReader().read(ChipPartRecord, plain, where)
    return record


def _population(record: PopulationRecord, numbers: Mapping[str, Values]) -> Population:
    integers = {key: value.astype(np.int64) for key, value in numbers.items()}
    connections = []
    for k, one in enumerate(record.connections):
        # a list of pairs in JSON
        settings = dict(one.convolution or {})
        weight = integers[f"{record.name}/weight_{k}"]
        connections.append(Connection(one.source, weight, one.shift, one.shape, settings))

    names = ("v_threshold", "bias", "decay", "decay_syn")
    own = {name: integers[f"{record.name}/{name}"] for name in names}
    alias = integers.get(f"{record.name}/alias")
    return Population(
        record.name, connections, own if alias is None else own | {"alias": alias}, record.max_spikes, record.shape
    )
