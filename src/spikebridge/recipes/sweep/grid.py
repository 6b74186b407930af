"""The settings of a sweep: `--set NAME=VALUE,...` and `--seeds A:B` as cells, one training each."""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, NamedTuple

from spikebridge.data.io.number_text import parse_integer, parse_real
from spikebridge.errors import ConfigError, did_you_mean

_MOST_CELLS = 100_000
_MOST_LETTERS = 150  # of a folder's name; file systems hold 255 bytes


class Range(NamedTuple):
    """A range of numbers that a search draws from, with both ends.

    Args:
        low, high: its ends.
        is_log: draw uniformly in the logarithm.
    """

    low: float
    high: float
    is_log: bool


@dataclass(frozen=True)
class Setting:
    """A field of a recipe's `Config` and what it is set to.

    Attributes:
        name: as in the command line of `train`, with dots and dashes: "camera.noise".
        default: its value in the preset.
        values: as typed; several words of one value are separated by spaces.
        range: what a search draws from, in the place of values.
    """

    name: str
    default: Any
    values: tuple[str, ...] = ()
    range: Range | None = None

    def words(self, value: str) -> tuple[str, ...]:
        """The options of `train` that set it.

        Example:
            >>> Setting("networks", ("ann",)).words("learned ann"), Setting("camera.clips", False).words("false")
            (('--networks', 'learned', 'ann'), ('--camera.no-clips',))
        """
        if isinstance(self.default, bool) and value.lower() in ("true", "false"):
            group, dot, last = self.name.rpartition(".")
            return (f"--{self.name}" if value.lower() == "true" else f"--{group}{dot}no-{last}",)

        return (f"--{self.name}", *value.split())


@dataclass(frozen=True)
class Cell:
    """One training of a sweep.

    Attributes:
        settings: names and values as typed.
        seed: None for the seed of the preset.
        words: the options of `train`.
        given_name: of the run folder, in the place of one made of the settings.
        config: all settings, a dataclass, in the place of options.
    """

    settings: dict[str, str]
    seed: int | None
    words: tuple[str, ...]
    given_name: str | None = None
    config: Any = None

    @property
    def name(self) -> str:
        """The name of its run folder.

        Example:
            >>> Cell({"lr": "0.01", "networks": "learned ann"}, 3, ()).name
            'lr=0.01,networks=learned+ann,seed=3'
        """
        if self.given_name is not None:
            return self.given_name

        given = self.settings if self.seed is None else {**self.settings, "seed": str(self.seed)}
        text = ",".join(f"{name}={value}" for name, value in given.items()) or "preset"
        name = re.sub(r"[^\w.,=+-]", lambda found: f"%{ord(found[0]):X}", text.replace(" ", "+"))
        if len(name) <= _MOST_LETTERS and len(name.encode()) == len(name):
            return name

        import hashlib  # here, as in `recipe_digest`

        plain = name.encode("ascii", "ignore").decode()[:_MOST_LETTERS]
        return f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def parse_settings(words: Iterable[str], config: Any) -> list[Setting]:
    """The settings of `--set`.

    Args:
        words: `NAME=VALUE,...`, or `NAME=LOW:HIGH` and `NAME=LOW:HIGH:log` for a search.
        config: the recipe's settings to start from, a dataclass.

    Raises:
        ConfigError: no such field, no value, or a name or value given twice.

    Example:
        >>> @dataclass
        ... class Config:
        ...     lr: float = 0.1
        >>> parse_settings(["lr=0.01,0.003"], Config())
        [Setting(name='lr', default=0.1, values=('0.01', '0.003'), range=None)]
    """
    known = dict(_fields(config))
    found: dict[str, Setting] = {}

    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip().removeprefix("--").replace("_", "-")
        values = tuple(value.strip() for value in text.split(","))
        if not equals or not all(values):
            raise ConfigError(f"--set takes NAME=VALUE,VALUE,..., but got {word!r}")
        if name not in known:
            raise ConfigError(f"--set {word}: the recipe has no setting {name!r}; {did_you_mean(name, known)}")
        if name == "seed":
            raise ConfigError(f"--set {word}: seeds are given with --seeds, such as --seeds 0:4")
        if name in found:
            raise ConfigError(f"--set {name} is given twice; separate its values by commas: --set {name}=A,B")
        if len(set(values)) < len(values):
            raise ConfigError(f"--set {word}: a value is given twice")

        drawn = _range(name, text) if len(values) == 1 else None
        found[name] = Setting(name, known[name], () if drawn else values, drawn)

    return list(found.values())


def parse_seeds(text: str) -> list[int]:
    """The seeds of `--seeds`: from A to before B, or single ones.

    Raises:
        ConfigError: it is neither, or holds no seed.

    Example:
        >>> parse_seeds("0:4"), parse_seeds("3"), parse_seeds("1,5")
        ([0, 1, 2, 3], [3], [1, 5])
    """
    try:
        ends = [parse_integer(one) for one in text.split(":" if ":" in text else ",")]
        seeds = list(range(*ends)[:_MOST_CELLS]) if ":" in text and len(ends) == 2 else ends if ":" not in text else []
    except ValueError:
        seeds = []

    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds takes A:B (A to before B) or A,B,..., whole numbers from 0 on, but got {text!r}")

    return seeds


def cells_of(settings: Sequence[Setting], seeds: Sequence[int] | None, more: Sequence[str] = ()) -> list[Cell]:
    """A cell for each combination of values and each seed.

    Args:
        settings: with values.
        seeds: None for the seed of the preset.
        more: further options of each cell.

    Raises:
        ConfigError: a range, which only a search draws from, or too many cells.

    Example:
        >>> [cell.name for cell in cells_of([Setting("lr", 0.1, ("0.01", "0.1"))], [0, 1])]
        ['lr=0.01,seed=0', 'lr=0.01,seed=1', 'lr=0.1,seed=0', 'lr=0.1,seed=1']
    """
    number = len(seeds or [0])
    for setting in settings:
        if setting.range is not None:
            raise ConfigError(
                f"--set {setting.name} is a range, from which only a search draws; add --search optuna, or give values"
            )

        number *= len(setting.values)

    if number > _MOST_CELLS:
        raise ConfigError(f"a sweep of {number} cells is more than {_MOST_CELLS}; give fewer values")

    found = []
    for values in itertools.product(*(setting.values for setting in settings)):
        words = [word for setting, value in zip(settings, values, strict=True) for word in setting.words(value)]
        given = {setting.name: value for setting, value in zip(settings, values, strict=True)}
        for seed in [None] if seeds is None else seeds:
            own = () if seed is None else ("--seed", str(seed))
            found.append(Cell(given, seed, (*words, *own, *more)))

    return found


def _range(name: str, text: str) -> Range | None:
    """`LOW:HIGH` or `LOW:HIGH:log` as a range; None for anything else."""
    ends = text.split(":")
    if not 2 <= len(ends) <= 3:
        return None

    try:
        low = parse_real(ends[0].strip())
        high = parse_real(ends[1].strip())
    except ValueError:
        return None

    is_log = len(ends) == 3
    if (is_log and (ends[2].strip() != "log" or low <= 0)) or not low < high:
        raise ConfigError(f"--set {name} takes a range as LOW:HIGH or LOW:HIGH:log, log from above 0, but got {text!r}")

    return Range(low, high, is_log)


def _fields(config: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Every field of a dataclass by its option's name, nested ones with dots."""
    for field in fields(config):
        name, value = field.name.replace("_", "-"), getattr(config, field.name)
        if is_dataclass(value):
            yield from _fields(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
