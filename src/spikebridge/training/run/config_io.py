"""The settings of a run: a frozen dataclass as plain values for JSON and back, and as a command line.

JSON has no infinity and no NaN, so these three are written as the words "inf", "-inf" and "nan".
"""

import dataclasses
import enum
import math
import types
from pathlib import Path
from shlex import quote
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from spikebridge.errors import ConfigError, did_you_mean

_WORDS = ("inf", "-inf", "nan")


def to_plain(value: Any, where: str = "config") -> Any:
    """The value in dicts, lists, numbers, words and None.

    Args:
        value: a dataclass, tuple, list, dict with words as keys, path, enum or plain value, nested as you like.
        where: its name in messages.

    Raises:
        ConfigError: a value of another kind.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Layer:
        ...     sizes: tuple[int, ...] = (3, 4)
        ...     tau: float = math.inf
        >>> to_plain(Layer())
        {'sizes': [3, 4], 'tau': 'inf'}
    """
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
    """The value of a given type that `to_plain` made plain.

    Args:
        kind: a dataclass or any annotation of its fields.
        value: plain.
        where: its name in messages.

    Raises:
        ConfigError: a field too many or too few, or a value of another type.

    Example:
        >>> from_plain(tuple[float, ...], [1, "inf"])
        (1.0, inf)
        >>> from_plain(int, "three", "epochs")
        Traceback (most recent call last):
        spikebridge.errors.ConfigError: epochs should be int, but is 'three'
    """
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, where)

    origin = get_origin(kind)
    inner = get_args(kind)
    if origin in (Union, types.UnionType):
        return _first_that_fits(kind, inner, value, where)
    if origin is Literal and value in inner:
        return value
    if kind is float and (type(value) in (int, float) or value in _WORDS):
        return float(value)
    if kind in (int, str, bool, type(None), list, dict) and type(value) is kind:
        return value
    if kind is Path and isinstance(value, str):
        return Path(value)
    if isinstance(kind, type) and issubclass(kind, enum.Enum) and str(value) in kind.__members__:
        return kind[str(value)]
    if (origin or kind) in (tuple, list) and isinstance(value, list):
        return _sequence(origin or kind, inner, value, where)
    if origin is dict and isinstance(value, dict):
        return {key: from_plain(inner[1], item, f"{where}.{key}") for key, item in value.items()}

    raise ConfigError(
        f"{where} should be {getattr(kind, '__name__', None) if origin is None else kind}, but is {value!r}"
    )


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} should be the fields of {kind.__name__}, but is {value!r}")

    hints = get_type_hints(kind)
    fields = {f.name: hints[f.name] for f in dataclasses.fields(kind)}
    value = _grouped(kind, fields, value)

    # fields that a class has no longer: a config of before may hold the value that stood for their absence
    removed: dict[str, Any] = getattr(kind, "REMOVED_FIELDS", {})
    value = {name: item for name, item in value.items() if name not in removed or item != removed[name]}
    for name in value:
        if name not in fields:
            raise ConfigError(f"{where} has no field {name!r}: {did_you_mean(name, fields)}")

    # fields that a class got later: a config of before has their defaults
    added: tuple[str, ...] = getattr(kind, "ADDED_FIELDS", ())
    missing = [name for name in fields if name not in value and name not in added]
    if missing:
        raise ConfigError(f"{where} lacks {', '.join(missing)}; another version of {kind.__name__} wrote it")

    return kind(**{name: from_plain(fields[name], item, f"{where}.{name}") for name, item in value.items()})


def _grouped(kind: Any, fields: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """The values with each field of release 0.1, whose configs were flat, moved into the group that holds it now.

    A field keeps its name, or `RENAMED_FIELDS` of the class maps the old name to the new one or to "group.name".
    """
    groups = {name: hint for name, hint in fields.items() if dataclasses.is_dataclass(hint)}
    group_of = {f.name: group for group, hint in groups.items() for f in dataclasses.fields(hint)}
    renamed: dict[str, str] = getattr(kind, "RENAMED_FIELDS", {})
    grouped: dict[str, Any] = {}

    for name, item in value.items():
        group = "" if name in fields else group_of.get(name, "")
        # a group may have the name of an earlier field
        path = f".{name}" if name in groups and isinstance(item, dict) else renamed.get(name, f"{group}.{name}")
        group, _, name = path.rpartition(".")
        (grouped.setdefault(group, {}) if group else grouped)[name] = item

    return grouped


def _first_that_fits(kind: Any, choices: tuple[Any, ...], value: Any, where: str) -> Any:
    for choice in choices:
        try:
            return from_plain(choice, value, where)
        except ConfigError:
            continue

    raise ConfigError(f"{where} should be {kind}, but is {value!r}")


def _sequence(kind: Any, inner: tuple[Any, ...], value: list[Any], where: str) -> Any:
    if kind is list or inner[1:] == (...,):
        inner = inner[:1] * len(value)
    elif not inner:
        inner = (Any,) * len(value)

    if len(inner) != len(value):
        raise ConfigError(f"{where} should hold {len(inner)} values, but holds {len(value)}")

    return kind(
        from_plain(hint, item, f"{where}[{i}]") for i, (hint, item) in enumerate(zip(inner, value, strict=True))
    )


def reproduce_command(recipe: str, config: Any) -> str:
    """The command that trains the same run again: the options that differ from the defaults.

    Args:
        recipe: its name.
        config: a dataclass of its settings, grouped or flat.

    Example:
        >>> from dataclasses import dataclass, field
        >>> @dataclass(frozen=True)
        ... class Optimizer:
        ...     lr: float = 0.1
        >>> @dataclass(frozen=True)
        ... class Config:
        ...     networks: tuple[str, ...] = ("hybrid",)
        ...     clips: bool = False
        ...     optimizer: Optimizer = field(default_factory=Optimizer)
        >>> reproduce_command("sensing", Config(("fixed", "none"), clips=True, optimizer=Optimizer(lr=0.5)))
        'spikebridge train sensing --networks fixed none --clips --optimizer.lr 0.5'
        >>> reproduce_command("sensing", Config(("my own",)))
        "spikebridge train sensing --networks 'my own'"
    """
    return " ".join([f"spikebridge train {recipe}", *_changed_options(config, "")])


def _changed_options(config: Any, prefix: str, group_default: Any = None) -> list[str]:
    words: list[str] = []
    for one in dataclasses.fields(config):
        value = getattr(config, one.name)
        option = prefix + one.name.replace("_", "-")
        made = one.default_factory() if callable(one.default_factory) else one.default
        default = made if group_default is None else getattr(group_default, one.name)

        if value == default:
            continue

        if dataclasses.is_dataclass(value):
            words += _changed_options(value, f"{option}.", default)
        elif isinstance(value, bool):
            # tyro's form of the negative option: --group.no-name
            group, _, last = option.rpartition(".")
            words.append(f"--{option}" if value else f"--{group}.no-{last}" if group else f"--no-{last}")
        else:
            words += [f"--{option}", *(quote(str(item)) for item in (value if isinstance(value, tuple) else (value,)))]

    return words
