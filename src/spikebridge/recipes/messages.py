"""Messages of the program: a line on stderr, and the line about a failure."""

import sys

from spikebridge.errors import SpikebridgeError, printable
from spikebridge.recipes.load import line_in_recipe_file

_MAX_CHARACTERS = 1000


def status(line: str) -> None:
    """Prints one line to stderr; a long one, such as with a value of a damaged file, is cut."""
    text = printable(line)
    text = text if len(text) <= _MAX_CHARACTERS else f"{text[: _MAX_CHARACTERS - 3]}..."
    print(text, file=sys.stderr, flush=True)


def explain(failure: BaseException) -> tuple[str, int]:
    """The line and the exit code of a failure."""
    text = str(failure)
    if isinstance(failure, KeyboardInterrupt):
        return text or "stopped", 130
    if isinstance(failure, SpikebridgeError):
        return f"error: {text}", 2
    if isinstance(failure, OSError) and failure.strerror:
        return f"error: {failure.filename or 'file'}: {failure.strerror}", 2

    # a mistake in a recipe file is the user's, not one of the program
    place = line_in_recipe_file(failure)
    if place is not None:
        return f"error: {place}: {type(failure).__name__}{text and ': '}{text} (--debug shows the traceback)", 2

    # PyTorch raises a RuntimeError where memory is short
    if isinstance(failure, MemoryError) or "can't allocate memory" in text:
        return f"error: there is not enough memory for this input{text and ': '}{text}", 2
    if isinstance(failure, RecursionError):
        return "error: the input is nested too deep", 2

    return f"unexpected {type(failure).__name__}: {text} (--debug shows where)", 1
