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
from spikebridge.deploy.chips.core import Core, CoreState, Numbers, Population
from spikebridge.deploy.runtime.links import fitting
from spikebridge.errors import DataError

_HEAD = {"schema": "spikebridge chip part", "version": 1}


@dataclass(frozen=True)
class ChipPartRecord:
    """A part on a chip: its input, its populations in order, and the steps by which its spikes come later."""

    chip: str
    part: str
    dt: float
    delay: int
    input: InputCode
    populations: tuple[Population, ...]


class ChipModel:
    """A part in a chip's integers, a `PartRunner`.

    Args:
        chip: the chip.
        record: of the part.
        numbers: the integers of its populations, as `Core` names them.
    """

    def __init__(self, chip: ChipSpec, record: ChipPartRecord, numbers: Numbers) -> None:
        self.record = record
        with fitting(f"the part {record.part!r} on {chip.name}"):
            self.core = Core(chip, record.populations, numbers)

    def step(
        self, reads: Mapping[str, NDArray[Any]], effects: Any, state: CoreState | None
    ) -> tuple[NDArray[np.float32], CoreState]:
        """A tick: counts of spikes `(B, *N)` to spikes `(B, *M)`."""
        (x,) = reads.values()
        counts = self.record.input.encode(x, self.record.part)
        y, state = self.core.step(counts, self.core.start(len(x)) if state is None else state)
        return y.reshape(len(x), *self.record.populations[-1].shape).astype(np.float32), state

    def files(self) -> dict[str, bytes]:
        """The content of its two files by suffix."""
        text = json.dumps({**_HEAD, **dataclasses.asdict(self.record)}, indent=1)
        numbers = {name: np.ascontiguousarray(value, np.int32) for name, value in self.core.numbers.items()}
        return {"json": f"{text}\n".encode(), "safetensors": save(numbers)}


def read_record(text: str, where: str) -> ChipPartRecord:
    """The record of a part from the text of its file."""
    plain = parse_json(text, f"{where} is damaged")
    if not isinstance(plain, dict) or {name: plain.pop(name, None) for name in _HEAD} != _HEAD:
        raise DataError(f"{where} is no part on a chip of version 1; `spikebridge quantize --chip` writes one")

    record: ChipPartRecord = RecordReader().read(ChipPartRecord, plain, where)
    return record
