"""An integer model on disk: `integer.json` in words, `integer.safetensors` in numbers. No torch is needed."""

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

from spikebridge.data.io.atomic import atomic_folder, write_bytes, write_text
from spikebridge.data.io.json_text import read_json
from spikebridge.data.io.safe_open import read_bytes
from spikebridge.deploy.bundle.manifest import FileRecord, parse_record
from spikebridge.deploy.integer.records import IntegerRecord
from spikebridge.errors import DataError, ExportError

WORDS = "integer.json"
NUMBERS = "integer.safetensors"
SCHEMA = "spikebridge integer model"
VERSION = 2
MOST_BYTES = 16 << 20  # of the words


def write_integer(path: Path, model: IntegerRecord, numbers: Mapping[str, NDArray[Any]]) -> None:
    """Writes a new folder, whole or not at all.

    Raises:
        ExportError: it is there already.
    """
    if path.exists():
        raise ExportError(f"{path} is there already; name another folder or remove it first")

    content = save({name: np.ascontiguousarray(value) for name, value in numbers.items()})
    own = dataclasses.replace(model, numbers=FileRecord(len(content), hashlib.sha256(content).hexdigest()))
    head = {"schema": SCHEMA, "version": VERSION}
    text = json.dumps({**head, **dataclasses.asdict(own)}, indent=1, allow_nan=False) + "\n"

    with atomic_folder(path) as draft:
        write_bytes(draft / NUMBERS, content)
        write_text(draft / WORDS, text)


def read_integer(path: Path) -> tuple[IntegerRecord, dict[str, NDArray[Any]]]:
    """Reads a folder; sizes and the hash are checked before memory is taken.

    Raises:
        DataError: it is no integer model, or damaged.
    """
    words = path / WORDS
    file = path / NUMBERS
    if not words.is_file() or not file.is_file():
        raise DataError(
            f"{path} is not an integer model: {WORDS} or {NUMBERS} is missing; `spikebridge quantize` makes one"
        )

    plain = read_json(words, "the records of an integer model", MOST_BYTES)
    if not isinstance(plain, dict) or plain.pop("schema", None) != SCHEMA:
        raise DataError(f"{words} is not the record of an integer model; `spikebridge quantize` makes one")
    if (version := plain.pop("version", None)) != VERSION:
        raise DataError(f"{words} is of version {version}, but this program reads version {VERSION}; quantise anew")

    model: IntegerRecord = parse_record(IntegerRecord, plain, WORDS)
    if model.numbers is None or file.stat().st_size != model.numbers.size:
        raise DataError(f"{file} has {file.stat().st_size} bytes, not the size in {WORDS}; copy it again")

    content = read_bytes(file, "the numbers of an integer model", model.numbers.size)
    if hashlib.sha256(content).hexdigest() != model.numbers.sha256:
        raise DataError(f"{file} is damaged: its SHA-256 is not the one in {WORDS}; copy it anew")

    try:
        return model, load(content)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is damaged: {error}") from None
