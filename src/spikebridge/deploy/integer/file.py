"""An integer model on disk: records in `integer.json`, numbers in `integer.safetensors`. No torch is needed."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from spikebridge.data.io.atomic import atomic_folder, check_new, write_bytes
from spikebridge.data.io.closed_folder import inside
from spikebridge.data.io.json_text import read_json
from spikebridge.data.io.records import RecordReader
from spikebridge.data.io.safe_open import read_bytes
from spikebridge.deploy.bundle.manifest import FileRecord
from spikebridge.deploy.integer.records import IntegerRecord
from spikebridge.errors import DataError, ExportError

RECORDS = "integer.json"
NUMBERS = "integer.safetensors"
_SCHEMA = "spikebridge integer model"
_VERSION = 2
_MAX_BYTES = 16 << 20  # of the records


def integer_files(model: IntegerRecord, numbers: Mapping[str, NDArray[Any]]) -> dict[str, bytes]:
    """The content of the files of an integer model by name."""
    content = save({name: np.ascontiguousarray(value) for name, value in numbers.items()})
    records = dataclasses.asdict(dataclasses.replace(model, numbers=FileRecord.of(content)))
    text = json.dumps({"schema": _SCHEMA, "version": _VERSION, **records}, indent=1, allow_nan=False) + "\n"

    return {RECORDS: text.encode(), NUMBERS: content}


def write_integer(path: Path, model: IntegerRecord, numbers: Mapping[str, NDArray[Any]]) -> None:
    """Writes a new folder, whole or not at all."""
    check_new(path, ExportError)
    with atomic_folder(path) as draft:
        for name, content in integer_files(model, numbers).items():
            write_bytes(draft / name, content)


def read_integer(path: Path) -> tuple[IntegerRecord, dict[str, NDArray[Any]]]:
    """Reads a folder; raises a `DataError` if it is no integer model or damaged."""
    records = inside(path, RECORDS)
    numbers = inside(path, NUMBERS)
    if not records.is_file() or not numbers.is_file():
        raise DataError(
            f"{path} is not an integer model: {RECORDS} or {NUMBERS} is missing; `spikebridge quantize` makes one"
        )

    plain = read_json(records, "the records of an integer model", _MAX_BYTES)
    if not isinstance(plain, dict) or plain.pop("schema", None) != _SCHEMA:
        raise DataError(f"{records} is not the record of an integer model; `spikebridge quantize` makes one")

    version = plain.pop("version", None)
    if version != _VERSION:
        raise DataError(
            f"{records} is of version {version}, but this program reads version {_VERSION}; quantise the network again"
        )

    model: IntegerRecord = RecordReader().read(IntegerRecord, plain, RECORDS)
    # size and hash are checked before memory is taken
    if model.numbers is None or numbers.stat().st_size != model.numbers.size:
        raise DataError(f"{numbers} has {numbers.stat().st_size} bytes, not the size in {RECORDS}; copy it again")

    content = read_bytes(numbers, "the numbers of an integer model", model.numbers.size)
    if hashlib.sha256(content).hexdigest() != model.numbers.sha256:
        raise DataError(f"{numbers} is damaged: its SHA-256 is not the one in {RECORDS}; copy it again")

    try:
        return model, load(content)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{numbers} is damaged: {error}") from None
