"""The exception tree. Every message says what was expected, what came, and what to do.

```
SpikebridgeError
├── ShapeError   (ValueError)   a tensor's shape, dtype or device does not fit
│   └── StateError              a state is not one of the layer, or not one of the stream
├── ConfigError  (ValueError)   a setting, name, clock or link is invalid
├── DataError    (OSError)      a file or stream is missing, damaged or holds impossible values
└── ExportError  (ValueError)   something cannot be written in another format
```
"""

from collections.abc import Iterable
from difflib import get_close_matches


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
        self.message, self.layer = message, layer


class ConfigError(SpikebridgeError, ValueError):
    """A setting, name, clock or link is invalid."""


class DataError(SpikebridgeError, OSError):
    """A file or stream is missing, damaged or holds impossible values."""


class ExportError(SpikebridgeError, ValueError):
    """Something cannot be written in another format."""


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
