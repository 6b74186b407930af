"""The settings of a run: a frozen dataclass as plain values for JSON and back, and as a command line.

JSON has no infinity and no NaN, so these three are written as the words "inf", "-inf" and "nan".
"""

import dataclasses
import enum
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from spikebridge.data.io.records import RecordReader, is_plain_number
from spikebridge.errors import ConfigError, DataError

_WORDS = ("inf", "-inf", "nan")


def to_plain(value: Any, where: str = "config") -> Any:
    """A value in dicts, lists, numbers, words and None; `where` is its name in messages."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name), f"{where}.{f.name}") for f in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, tuple | list):
        return [to_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: to_plain(item, f"{where}.{key}") for key, item in value.items()}

    raise ConfigError(
        f"{where} is a {type(value).__name__}, which JSON cannot hold; use numbers, words, tuples, dataclasses"
    )


def from_plain(kind: Any, value: Any, where: str = "config") -> Any:
    """The value of a type, a dataclass or any annotation of its fields, that `to_plain` made plain."""
    return _READER.read(kind, value, where)


def read_results(kind: Any, value: Any, file: Path, sizes: dict[str, int] | None = None) -> Any:
    """Results as a typed dict that a recipe declares; `sizes` are lengths of axes that several files share.

    Raises:
        DataError: the file is damaged, or of another recipe; the message names the field.
    """
    try:
        reader = RecordReader(DataError, _is_number, sizes={} if sizes is None else sizes)
        return reader.read(kind, value, "results")
    except DataError as error:
        raise DataError(
            f"{file} is damaged, or not of this recipe: {error}; restore it, or remove it and resume the training "
            "(--resume), which writes it again"
        ) from None


def _is_number(value: Any) -> bool:
    return is_plain_number(value) or (isinstance(value, str) and value in _WORDS)


def _migrate(kind: Any, fields: Mapping[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    # removed fields: a config of an earlier version may hold the value that stood for their absence; `...` is any
    removed: dict[str, Any] = getattr(kind, "REMOVED_FIELDS", {})
    values = _grouped(kind, fields, value)

    return {name: item for name, item in values.items() if name not in removed or removed[name] not in (..., item)}


def _added_fields(kind: Any) -> Collection[str]:
    # a config of an earlier version has their defaults
    added: tuple[str, ...] = getattr(kind, "ADDED_FIELDS", ())
    return added


_READER = RecordReader(ConfigError, _is_number, _migrate, _added_fields)


def _grouped(kind: Any, fields: Mapping[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """The values with each field of a flat config, of release 0.1, moved into the group that holds it now.

    A field keeps its name, or `RENAMED_FIELDS` of the class maps the old name to the new one or to "group.name".
    """
    groups = {name: hint for name, hint in fields.items() if dataclasses.is_dataclass(hint)}
    group_of = {f.name: group for group, hint in groups.items() for f in dataclasses.fields(hint)}
    renamed: dict[str, str] = getattr(kind, "RENAMED_FIELDS", {})
    grouped: dict[str, Any] = {}

    for name, item in value.items():
        if name in groups and isinstance(item, dict):
            path = f".{name}"  # a group, which may have the name of an earlier field
        elif name in renamed:
            path = renamed[name]
        else:
            path = f"{'' if name in fields else group_of.get(name, '')}.{name}"

        group, _, field = path.rpartition(".")
        target = grouped.setdefault(group, {}) if group else grouped
        target[field] = item

    return grouped


def reproduce_command(recipe: str, config: Any) -> str:
    """The command that trains the same run again: the options of a config that differ from the defaults."""
    return " ".join([f"spikebridge train {recipe}", *_changed_options(config, "")])


def _changed_options(config: Any, prefix: str, group_default: Any = None) -> list[str]:
    """The options of a group; its defaults are those of the group's own default, if it has one."""
    words: list[str] = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        option = prefix + field.name.replace("_", "-")
        own_default = field.default_factory() if callable(field.default_factory) else field.default
        default = own_default if group_default is None else getattr(group_default, field.name)

        if value == default:
            continue

        if dataclasses.is_dataclass(value):
            words += _changed_options(value, f"{option}.", default)
        elif isinstance(value, bool):
            # tyro's form of the negative option: --group.no-name
            group, _, last = option.rpartition(".")
            words.append(f"--{option}" if value else f"--{group}.no-{last}" if group else f"--no-{last}")
        else:
            items = value if isinstance(value, tuple) else (value,)
            words += [f"--{option}", *(quote(str(item)) for item in items)]

    return words
