"""The settings of a sweep: `NAME=VALUE,...` and seeds `A:B` as cells, one training each."""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, NamedTuple

from spikebridge.data.io.number_text import parse_integer, parse_real
from spikebridge.errors import ConfigError, did_you_mean

_MAX_CELLS = 100_000
_MAX_CHARACTERS = 150  # of a folder's name; file systems hold 255 bytes


class Range(NamedTuple):
    """Numbers that a search draws, both ends included; with `is_log` uniformly in the logarithm."""

    low: float
    high: float
    is_log: bool


@dataclass(frozen=True)
class Setting:
    """A setting of a recipe, named as the option of `train`, with values by their text, or the range of a search."""

    name: str
    default: Any
    values: dict[str, Any] = field(default_factory=dict)
    range: Range | None = None


class Pruning(NamedTuple):
    """The trial of a search to which a training reports a metric: the file of the study, and the trial's identifier."""

    journal: str
    trial: int
    metric: str


@dataclass(frozen=True)
class Cell:
    """One training of a sweep.

    `name` is that of its run folder. `settings` are names with values as typed, `values` the same parsed, together with
    the settings of the seed. A trial of a search has its number, and a `pruning` if it may be stopped.
    """

    name: str
    settings: dict[str, str]
    seed: int | None
    values: dict[str, Any]
    trial: int = 0
    pruning: Pruning | None = None


def parse_settings(words: Iterable[str], config: Any, read: Callable[[Setting, str], Any]) -> list[Setting]:
    """The settings in words such as `NAME=VALUE,...`, or for a search `NAME=LOW:HIGH` and `NAME=LOW:HIGH:log`.

    `read` gives the plain value of a text.
    """
    defaults = dict(_fields(config))
    settings: dict[str, Setting] = {}

    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip().removeprefix("--").replace("_", "-")
        texts = [value.strip() for value in text.split(",")]
        if not equals or not all(texts):
            raise ConfigError(f"--set takes NAME=VALUE,VALUE,..., but got {word!r}")
        if name not in defaults:
            raise ConfigError(f"--set {word}: the recipe has no setting {name!r}; {did_you_mean(name, defaults)}")
        if name == "seed":
            raise ConfigError(f"--set {word}: seeds are given with --seeds, such as --seeds 0:4")
        if name in settings:
            raise ConfigError(f"--set {name} is given twice; separate its values by commas: --set {name}=A,B")
        if len(set(texts)) < len(texts):
            raise ConfigError(f"--set {word}: a value is given twice")

        setting = Setting(name, defaults[name], range=_range(name, text))
        if setting.range is None:
            setting = replace(setting, values={one: read(setting, one) for one in texts})

        settings[name] = setting

    return list(settings.values())


def parse_seeds(text: str) -> list[int]:
    """The seeds in words: from A to before B, or single ones."""
    is_range = ":" in text
    try:
        numbers = [parse_integer(one) for one in text.split(":" if is_range else ",")]
    except ValueError:
        numbers = []

    if is_range:
        numbers = list(range(*numbers)[:_MAX_CELLS]) if len(numbers) == 2 else []
    if not numbers or min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise ConfigError(f"--seeds takes A:B (A to before B) or A,B,..., integers from 0 on, but got {text!r}")

    return numbers


def cells_of(settings: Sequence[Setting], seeds: Mapping[int | None, dict[str, int]]) -> list[Cell]:
    """A cell for each combination of values and each seed; `seeds` holds the settings of each (`values_of_seed`)."""
    number = len(seeds)
    for setting in settings:
        if setting.range is not None:
            raise ConfigError(
                f"--set {setting.name} is a range, from which only a search draws; add --search optuna, or give values"
            )

        number *= len(setting.values)

    if number > _MAX_CELLS:
        raise ConfigError(f"a sweep of {number} cells is more than {_MAX_CELLS}; give fewer values")

    cells = []
    for texts in itertools.product(*(setting.values for setting in settings)):
        typed = {setting.name: text for setting, text in zip(settings, texts, strict=True)}
        values = {setting.name: setting.values[typed[setting.name]] for setting in settings}
        cells += [Cell(_folder_name(typed, seed), typed, seed, values | own) for seed, own in seeds.items()]

    return cells


def values_of_seed(seed: int | None, config: Any, settings: Sequence[Setting]) -> dict[str, int]:
    """The settings with which a recipe trains one seed."""
    if seed is None:
        return {}

    is_swept = any(setting.name == "num-seeds" for setting in settings)
    return {"seed": seed} | ({"num-seeds": 1} if hasattr(config, "num_seeds") and not is_swept else {})


def with_values(config: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of plain settings with other values, which have the names of options."""
    changed = deepcopy(config)
    for name, value in values.items():
        *groups, last = name.replace("-", "_").split(".")
        place = changed
        for group in groups:
            place = place[group]
        place[last] = value

    return changed


def _folder_name(settings: Mapping[str, str], seed: int | None) -> str:
    """The name of a cell's run folder."""
    typed = dict(settings) if seed is None else {**settings, "seed": str(seed)}
    text = ",".join(f"{name}={value}" for name, value in typed.items()) or "preset"
    name = re.sub(r"[^\w.,=+-]", lambda letter: f"%{ord(letter[0]):X}", text.replace(" ", "+"))
    if len(name) <= _MAX_CHARACTERS and name.isascii():
        return name

    # here, as in `recipe_digest`
    import hashlib

    plain = name.encode("ascii", "ignore").decode()[:_MAX_CHARACTERS]
    return f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _range(name: str, text: str) -> Range | None:
    """`LOW:HIGH` or `LOW:HIGH:log` as a range; None for anything else."""
    low, *rest = text.split(":")
    try:
        ends = (parse_real(low.strip()), parse_real(rest[0].strip()))
    except (ValueError, IndexError):
        return None

    is_log = len(rest) == 2 and rest[1].strip() == "log"
    if (len(rest) > 1 and not is_log) or not ends[0] < ends[1] or (is_log and ends[0] <= 0):
        raise ConfigError(f"--set {name} takes a range as LOW:HIGH or LOW:HIGH:log, log from above 0, but got {text!r}")

    return Range(*ends, is_log)


def _fields(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every field of a dataclass by its option's name, nested ones with dots."""
    for one in fields(config):
        name = prefix + one.name.replace("_", "-")
        value = getattr(config, one.name)
        if is_dataclass(value):
            yield from _fields(value, f"{name}.")
        else:
            yield name, value
