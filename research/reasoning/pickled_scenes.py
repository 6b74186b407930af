"""Writes pickled scenes as JSON lines, which `spikebridge eval reasoning --scenes` and `spikebridge ask` read.

    python research/reasoning/pickled_scenes.py FILE_OR_FOLDER scenes.jsonl

Nothing is imported and nothing is executed: the instructions of a pickle are interpreted here. Only those that build
lists, dicts, tuples, texts and numbers are carried out; every other instruction is refused. A scene without a number of
its video gets that of its file.
"""

import argparse
import json
import pickletools
import re
from collections.abc import Callable
from itertools import chain, islice
from pathlib import Path
from typing import Any

from spikebridge.data.io.atomic import write_text
from spikebridge.data.io.safe_open import read_bytes
from spikebridge.errors import DataError

MAX_BYTES = 2**26
_MAX_INSTRUCTIONS = 2**23
_MAX_DEPTH = 100
_MAX_SHARING = 4  # values of the whole tree per instruction; a shared value counts once per use
_MAX_CHARACTERS = 2**26  # of all texts, counted in the same way
_MAX_INTEGER_BITS = 4000

SUFFIXES = (".p", ".pkl", ".pickle")
NUMBERS = ("video", "scene_index", "video_index")
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_WITH_VALUE = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MEMO_PUT = {"PUT", "BINPUT", "LONG_BINPUT"}
_MEMO_GET = {"GET", "BINGET", "LONG_BINGET"}
_MARK = object()


def read_restricted_pickle(path: Path) -> Any:
    """The value of a pickle file, made of dict, list, tuple, str, int, float, bool and None alone.

    A value is refused if it nests too deep, contains itself, or shares items so often that copies would fill memory.
    """
    return restricted_unpickle(read_bytes(path, "a pickle of plain values", MAX_BYTES), str(path))


def restricted_unpickle(content: bytes, place: str = "pickle") -> Any:
    """The value of a pickle in memory; see `read_restricted_pickle`.

    Example:
        >>> restricted_unpickle(b"(lp0\\nI1\\naF2.5\\na.")
        [1, 2.5]
        >>> restricted_unpickle(b"cos\\nsystem\\n(S'ls'\\ntR.", "old.p")
        Traceback (most recent call last):
        ...
        spikebridge.errors.DataError: old.p: refused at byte 0: GLOBAL 'os system' is no plain value...
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    try:
        for number, (operation, argument, position) in enumerate(pickletools.genops(content)):
            if number >= _MAX_INSTRUCTIONS:
                raise DataError(f"{place}: expected at most {_MAX_INSTRUCTIONS} instructions, but there are more.")
            # the memory that the value needs is bounded by the instructions that made it
            if operation.name == "STOP":
                value = _single_value(stack, place)
                _check_tree(value, _MAX_SHARING * (number + 1), place)
                return value

            _execute(operation.name, argument, stack, memo, f"{place}: refused at byte {position}")
    except (ValueError, IndexError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise DataError(f"{place}: expected a pickle of plain values, but it is damaged ({error}).") from error

    raise DataError(f"{place}: expected a pickle of plain values, but it has no end.")


def _execute(name: str, argument: Any, stack: list[Any], memo: dict[int, Any], refusal: str) -> None:
    """Executes one instruction on stack and memo."""
    if name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
    elif name in _EMPTY:
        stack.append(_EMPTY[name]())
    elif name in _WITH_VALUE:
        stack.append(_value(argument, refusal))
    elif name == "MARK":
        stack.append(_MARK)
    elif name in _TUPLES:
        stack[-_TUPLES[name] :] = [tuple(_top(stack, _TUPLES[name]))]
    elif name in ("APPENDS", "SETITEMS", "TUPLE", "LIST", "DICT"):
        _gather(name, _pop_mark(stack), stack)
    elif name == "APPEND":
        value = stack.pop()
        _gather("APPENDS", [value], stack)
    elif name == "SETITEM":
        pair = _top(stack, 2)
        del stack[-2:]
        _gather("SETITEMS", pair, stack)
    elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
    elif name in _MEMO_PUT:
        memo[int(argument)] = stack[-1]
    elif name in _MEMO_GET:
        stack.append(memo[int(argument)])
    elif name not in ("PROTO", "FRAME"):
        shown = "" if argument is None else f" {argument!s:.60}"
        shown = f" {str(argument)!r:.60}" if isinstance(argument, str) else shown
        raise DataError(
            f"{refusal}: {name}{shown} is no plain value. Only dict, list, tuple, str, int, float, bool and None are "
            "read; save the file again as JSON."
        )


def _value(argument: Any, refusal: str) -> Any:
    if isinstance(argument, int) and argument.bit_length() > _MAX_INTEGER_BITS:
        raise DataError(f"{refusal}: an integer of {argument.bit_length()} bits")
    return argument


def _top(stack: list[Any], number: int) -> list[Any]:
    values = stack[-number:]
    if len(values) != number or any(value is _MARK for value in values):
        raise IndexError("too few values")
    return values


def _pop_mark(stack: list[Any]) -> list[Any]:
    """The values above the last mark, removed together with it."""
    for at in range(len(stack) - 1, -1, -1):
        if stack[at] is _MARK:
            values = stack[at + 1 :]
            del stack[at:]
            return values

    raise IndexError("no mark")


def _gather(name: str, values: list[Any], stack: list[Any]) -> None:
    """Puts values into the container on top of the stack, or into a new one."""
    if any(value is _MARK for value in values):
        raise IndexError("a mark is left")

    if name == "TUPLE":
        stack.append(tuple(values))
    elif name == "LIST":
        stack.append(values)
    elif name == "APPENDS":
        if not isinstance(stack[-1], list):
            raise TypeError("nothing to append to")
        stack[-1].extend(values)
    else:
        if len(values) % 2:
            raise IndexError("a key without a value")

        if name == "DICT":
            stack.append({})

        if not isinstance(stack[-1], dict):
            raise TypeError("nothing to set items of")
        # a key is hashed, which takes 2^40 steps for a tuple of tuples that share their items 40 deep
        if any(isinstance(key, tuple | list | dict) for key in values[::2]):
            raise TypeError("a key that is neither text nor number")

        stack[-1].update(zip(values[::2], values[1::2], strict=True))


def _single_value(stack: list[Any], place: str) -> Any:
    if len(stack) != 1 or stack[0] is _MARK:
        raise DataError(f"{place}: expected a pickle of one value, but it leaves {len(stack)}.")
    return stack[0]


def _check_tree(value: Any, max_values: int, place: str) -> None:
    """Refuses a value with a cycle, too many levels, or too many values where a shared one counts once per use."""
    num_values = 0
    num_characters = 0
    level = [value]

    # level by level, since recursion would fail on the trees that are to be refused
    for _ in range(_MAX_DEPTH):
        num_values += len(level)
        num_characters += sum(len(one) for one in level if isinstance(one, str))
        if num_values > max_values or num_characters > _MAX_CHARACTERS:
            raise DataError(f"{place}: a pickle that uses the same values this often is not read; save it as JSON.")

        inner = (
            one.values() if isinstance(one, dict) else one for one in level if isinstance(one, list | tuple | dict)
        )
        level = list(islice(chain.from_iterable(inner), max_values + 1))
        if not level:
            return

    raise DataError(f"{place}: a pickle that nests deeper than {_MAX_DEPTH} levels is not read.")


def convert(source: Path, target: Path) -> int:
    """Writes the scenes of a pickle, or of all pickles of a folder, as JSON lines; returns their number."""
    files = sorted(file for file in source.rglob("*") if file.suffix in SUFFIXES) if source.is_dir() else [source]
    lines = []

    for file in files:
        value = read_restricted_pickle(file)
        number = re.search(r"(\d+)\D*$", file.stem)
        for scene in value if isinstance(value, list) else [value]:
            has_number = not isinstance(scene, dict) or any(key in scene for key in NUMBERS)
            own = {} if has_number or number is None else {"video": int(number[1])}
            lines.append(json.dumps({**scene, **own} if own else scene))

    write_text(target, "".join(f"{line}\n" for line in lines))
    return len(lines)


def main() -> None:
    """Converts, and prints the number of scenes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    print(f"{convert(options.source, options.target)} scenes")


if __name__ == "__main__":
    main()
