"""manifest.json: a manifest as text and back, every value held against its declared type. No torch is needed."""

import dataclasses
import json
import math
import types
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from spikebridge.deploy.manifest import Manifest
from spikebridge.errors import DataError, did_you_mean

SCHEMA = "spikebridge bundle"
VERSION = 1

R = TypeVar("R")


def write_manifest(manifest: Manifest) -> str:
    """The text of manifest.json."""
    head = {"schema": SCHEMA, "version": VERSION}
    return json.dumps({**head, **dataclasses.asdict(manifest)}, indent=2, allow_nan=False) + "\n"


def parse_manifest(text: str) -> Manifest:
    """Reads manifest.json.

    Raises:
        DataError: it is no manifest, one of another version, or a value is not what it should be.

    Example:
        >>> parse_manifest('{"schema": "spikebridge bundle", "version": 9}')
        Traceback (most recent call last):
        spikebridge.errors.DataError: manifest.json is of version 9, but this program reads version 1; ...
    """
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"manifest.json is damaged: {error}") from None
    if not isinstance(plain, dict) or plain.pop("schema", None) != SCHEMA:
        raise DataError("manifest.json is not the manifest of a spikebridge bundle")
    version = plain.pop("version", None)
    if version != VERSION:
        raise DataError(
            f"manifest.json is of version {version}, but this program reads version {VERSION}; export the bundle anew, "
            "or use the spikebridge that wrote it"
        )
    return record(Manifest, plain, "manifest")


def record(kind: type[R], value: Any, where: str) -> R:
    """A dataclass from plain values, every one of its declared type.

    Raises:
        DataError: a field too many or too few, or a value of another type.
    """
    if not isinstance(value, dict):
        raise DataError(f"{where} should be an object, but is a {type(value).__name__}")
    hints = get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in value:
        if name not in fields:
            raise DataError(f"{where} has an unknown field {name!r}; {did_you_mean(str(name), fields)}")
    missing = [name for name, f in fields.items() if name not in value and f.default is dataclasses.MISSING]
    if missing:
        raise DataError(f"{where} lacks {', '.join(missing)}")
    return kind(**{name: _value(hints[name], item, f"{where}.{name}") for name, item in value.items()})


def _value(kind: Any, value: Any, where: str) -> Any:
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return record(kind, value, where)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        choices = [choice for choice in inner if choice is not type(None)]
        if len(choices) == 1:
            return _value(choices[0], value, where)
        if type(value) in choices:
            return value
    elif origin is Literal:
        if value in inner:
            return value
    elif origin is tuple and isinstance(value, list):
        return tuple(_value(inner[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    elif origin is dict and isinstance(value, dict):
        return {key: _value(inner[1], item, f"{where}.{key}") for key, item in value.items()}
    elif kind is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    elif type(value) is kind:
        return value
    shown = f"{value!r}"
    raise DataError(f"{where} should be {getattr(kind, '__name__', kind) if not origin else kind}, but is {shown:.80}")
