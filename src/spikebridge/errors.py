"""The exception tree. Every message says what was expected, what came, and what to do.

```
SpikebridgeError
├── ShapeError   (ValueError)   a tensor's shape, dtype or device does not fit
│   └── StateError              a state is not one of the layer, or not one of the stream
├── ConfigError  (ValueError)   a setting, name, clock or link is invalid
├── DataError    (OSError)      a file or stream is missing, damaged or holds impossible values
│   └── CutFileError            a file ends too early
└── ExportError  (ValueError)   something cannot be written in another format
```
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from importlib import import_module
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeGuard


class SpikebridgeError(Exception):
    """Base of all errors of this package."""


class ShapeError(SpikebridgeError, ValueError):
    """A tensor's shape, dtype or device does not fit."""


class StateError(ShapeError):
    """A state is not one of the layer that it is given to, or not one of the stream.

    Args:
        message: what was expected, what came, what to do.
        layer: the module that refuses the state; containers put its path before the message.
    """

    def __init__(self, message: str, layer: object = None) -> None:
        super().__init__(message)
        self.message = message
        self.layer = layer


class ConfigError(SpikebridgeError, ValueError):
    """A setting, name, clock or link is invalid."""


class DataError(SpikebridgeError, OSError):
    """A file or stream is missing, damaged or holds impossible values."""


class CutFileError(DataError):
    """A reader came to the end of a file inside of a packet.

    Args:
        path: the file.
        inside: what it ends inside of, in words.
    """

    def __init__(self, path: Path, inside: str) -> None:
        super().__init__(f"{path}: the file ends inside {inside}.")
        self.inside = inside


class ExportError(SpikebridgeError, ValueError):
    """Something cannot be written in another format."""


def is_number(value: object) -> TypeGuard[float]:
    """True if a value is a real number and no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_integer(value: object) -> bool:
    """True if a value is an integer and no truth value.

    Example:
        >>> is_integer(3), is_integer(3.0), is_integer(True)
        (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_positive(value: object) -> bool:
    """True if a value is a finite number above 0.

    Example:
        >>> is_positive(0.5), is_positive(0), is_positive("0.5"), is_positive(True)
        (True, False, False, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool) and 0 < float(value) < math.inf


def in_words(value: object) -> str:
    """The actual value in the words of a message: a class, a name, a short value, or its type.

    Example:
        >>> in_words("40 Hz"), in_words(int), in_words([0.5]), in_words(print)
        ("'40 Hz'", 'the class int (an instance is int(...))', 'the list [0.5]', 'the function print')
    """
    kind = type(value).__name__
    if isinstance(value, type):
        return f"the class {value.__name__} (an instance is {value.__name__}(...))"
    if value is None or isinstance(value, str | int | float | complex):
        return repr(value)
    if isinstance(value, list | tuple | dict | set):
        return f"the {kind} {text}" if len(text := repr(value)) < 60 and "\n" not in text else f"a {kind}"
    if getattr(value, "is_nested", False):
        return "a nested tensor (to_padded_tensor(0.0) makes a dense one)"
    if callable(value) and hasattr(value, "__name__"):
        return f"the function {value.__name__}"

    return f"{'an' if kind[0] in 'AEIOUaeiou' else 'a'} {kind}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence that lists the known words and, if one is similar, suggests it.

    Example:
        >>> did_you_mean("v_treshold", ["tau", "v_threshold"])
        "did you mean 'v_threshold'? Known: tau, v_threshold."
        >>> did_you_mean("colour", [])
        'Known: none.'
    """
    names = list(known)
    near = get_close_matches(word, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""

    return f"{hint}Known: {', '.join(names) or 'none'}."


def printable(text: str) -> str:
    """A text as a terminal may show it: control characters, of which names of files may be full, stand as escapes.

    Args:
        text: lines; ends of lines and tabs stay.

    Example:
        >>> printable("clip\\x1b[2J.npz")
        'clip\\\\x1b[2J.npz'
    """
    if text.isascii() and text.isprintable():
        return text

    return "".join(
        one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape", "surrogatepass").decode("ascii")
        for one in text
    )


# the checks that are left for the end of a block, by their owner; None outside of one
deferred: ContextVar[dict[object, Callable[[], None]] | None] = ContextVar("deferred", default=None)


@contextmanager
def deferred_checks() -> Iterator[None]:
    """Makes checks when the block ends that would cost time inside: the last one that each object has left.

    Example:
        >>> with deferred_checks():
        ...     defer_check("network", lambda: print("checked"))
        ...     print("done")
        done
        checked
    """
    checks: dict[object, Callable[[], None]] = {}
    token = deferred.set(checks)
    try:
        yield
    finally:
        deferred.reset(token)

    for check in checks.values():
        check()


def defer_check(owner: object, check: Callable[[], None]) -> None:
    """Leaves a check for the end of the block, in place of the one before of the same owner; nothing outside of one."""
    if (checks := deferred.get()) is not None:
        checks[owner] = check


def import_extra(
    module: str, extra: str, purpose: str, error: type[SpikebridgeError] = ConfigError, advice: str = ""
) -> Any:
    """A module of an optional package; where it is missing, an error names the extra of this package that brings it.

    Example:
        >>> import_extra("nothing_like_it", "nir", "NIR files need")
        Traceback (most recent call last):
        spikebridge.errors.ConfigError: NIR files need the package nothing_like_it: pip install -e '.[nir]' in the ...
    """
    try:
        return import_module(module)
    except ImportError:
        raise error(f"{purpose} the package {module}: {install_command(extra)}{advice}") from None


def install_command(extra: str) -> str:
    """The command that installs an extra of this package, which is installed from its sources.

    Example:
        >>> install_command("nir")
        "pip install -e '.[nir]' in the clone of spikebridge"
    """
    return f"pip install -e '.[{extra}]' in the clone of spikebridge"


def check_named(inputs: object) -> None:
    """Raises a `ConfigError` where the inputs of a network are not given by name.

    Example:
        >>> check_named([0.5])
        Traceback (most recent call last):
        spikebridge.errors.ConfigError: a network takes its inputs by name, {'x': ...}, but got the list [0.5]
    """
    if not isinstance(inputs, Mapping):
        raise ConfigError(f"a network takes its inputs by name, {{'x': ...}}, but got {in_words(inputs)}")
