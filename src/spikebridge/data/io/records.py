"""Plain values, as JSON holds them, read as dataclasses or typed dicts; each is checked against its declared type.

A typed dict may hold more than its fields. `Annotated[list[list[int]], "classes", "classes"]` names the axes of nested
lists: one name is one length, of at least 1, in all that a reader reads; "_" is any length of at least 1.
"""

import dataclasses
import enum
import math
import types
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

from spikebridge.errors import DataError, SpikebridgeError, did_you_mean

# a file may hold an integer of any length; larger ones are no number of an array
_MAX_INTEGER = 2**63


def is_plain_number(value: Any) -> bool:
    """True for a number of JSON that fits into a float and, if it is an integer, into 64 bits."""
    return isinstance(value, float) or (type(value) is int and abs(value) < _MAX_INTEGER)


def _is_finite(value: Any) -> bool:
    return is_plain_number(value) and math.isfinite(value)


def _unchanged(kind: Any, fields: Mapping[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    return value


def _fields_with_defaults(kind: Any) -> Collection[str]:
    return [field.name for field in dataclasses.fields(kind) if field.default is not dataclasses.MISSING]


@dataclass(frozen=True)
class RecordReader:
    """A reader of dataclasses, and of the types of their fields, from plain values."""

    error: type[SpikebridgeError] = DataError
    # true for a value that stands for a float
    is_number: Callable[[Any], bool] = _is_finite
    # the values of a dataclass under the names of its fields, where an earlier version had others
    migrate: Callable[[Any, Mapping[str, Any], dict[str, Any]], dict[str, Any]] = _unchanged
    # the fields of a dataclass whose values may be missing
    optional_fields: Callable[[Any], Collection[str]] = _fields_with_defaults
    # the lengths of named axes
    sizes: dict[str, int] = field(default_factory=dict)

    def read(self, kind: Any, value: Any, where: str) -> Any:
        """The value as `kind`, a dataclass or an annotation of a field; `where` is its name in messages."""
        if kind is Any:
            return value
        if dataclasses.is_dataclass(kind):
            return self._read_record(kind, value, where)
        if is_typeddict(kind):
            return self._read_fields(kind, value, where)

        origin = get_origin(kind)
        arguments = get_args(kind)
        if origin is Annotated:
            return self._read_axes(*arguments, value=value, where=where)
        if origin is NotRequired:
            return self.read(arguments[0], value, where)
        if origin in (Union, types.UnionType):
            return self._read_union(kind, arguments, value, where)
        if origin is Literal and value in arguments:
            return value
        if kind is float and self.is_number(value):
            return float(value)
        # True is an int in Python, but no number in JSON
        if kind is not float and type(value) is kind and (kind is not int or is_plain_number(value)):
            return value
        if kind is Path and isinstance(value, str):
            return Path(value)
        if isinstance(kind, type) and issubclass(kind, enum.Enum) and str(value) in kind.__members__:
            return kind[str(value)]
        if (origin or kind) in (tuple, list) and isinstance(value, list):
            return self._read_sequence(origin or kind, arguments, value, where)
        if origin is dict and isinstance(value, dict):
            return {key: self.read(arguments[1], item, f"{where}.{key}") for key, item in value.items()}

        expected = kind if origin else getattr(kind, "__name__", kind)
        raise self.error(f"{where} should be {expected}, but is {value!r:.80}")

    def _read_record(self, kind: Any, value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise self.error(f"{where} should be the fields of {kind.__name__}, but is {value!r:.80}")

        hints = get_type_hints(kind)
        fields = {field.name: hints[field.name] for field in dataclasses.fields(kind)}
        value = self.migrate(kind, fields, value)
        for name in value:
            if name not in fields:
                raise self.error(f"{where} has no field {name!r}: {did_you_mean(str(name), fields)}")

        optional = self.optional_fields(kind)
        missing = [name for name in fields if name not in value and name not in optional]
        if missing:
            raise self.error(f"{where} lacks {', '.join(missing)}, which {kind.__name__} of this version needs")

        return kind(**{name: self.read(fields[name], item, f"{where}.{name}") for name, item in value.items()})

    def _read_fields(self, kind: Any, value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.error(f"{where} should be an object, but is {value!r:.80}")

        hints = get_type_hints(kind, include_extras=True)
        missing = sorted(kind.__required_keys__ - value.keys())
        if missing:
            raise self.error(f"{where} lacks {', '.join(map(repr, missing))}")

        read = {name: self.read(hint, value[name], f"{where}.{name}") for name, hint in hints.items() if name in value}
        return value | read

    def _read_axes(self, kind: Any, *axes: str, value: Any, where: str) -> Any:
        read = self.read(kind, value, where)
        level = [read]
        for axis in axes:
            for item in level:
                length = len(item) if axis == "_" else self.sizes.setdefault(axis, len(item))
                if len(item) != length or not length:
                    raise self.error(f"{where} should have {length or 'one or more'} {axis}, but has {len(item)}")

            level = [inner for item in level for inner in item]

        return read

    def _read_union(self, kind: Any, choices: tuple[Any, ...], value: Any, where: str) -> Any:
        """The value as the first of the types that it fits."""
        records = [choice for choice in choices if dataclasses.is_dataclass(choice)]
        # the message of a record names its wrong field
        if len(records) == 1 and isinstance(value, dict):
            return self.read(records[0], value, where)

        for choice in choices:
            try:
                return self.read(choice, value, where)
            except self.error:
                continue

        raise self.error(f"{where} should be {kind}, but is {value!r:.80}")

    def _read_sequence(self, kind: Any, hints: tuple[Any, ...], value: list[Any], where: str) -> Any:
        if kind is list or hints[1:] == (...,):
            hints = hints[:1] * len(value)
        elif not hints:
            hints = (Any,) * len(value)

        if len(hints) != len(value):
            raise self.error(f"{where} should hold {len(hints)} values, but holds {len(value)}")

        pairs = zip(hints, value, strict=True)
        return kind(self.read(hint, item, f"{where}[{index}]") for index, (hint, item) in enumerate(pairs))
