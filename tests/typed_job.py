"""The typed job: every annotation of the package is executed as a check, by tests that call every annotated function.

Annotations are the same whatever values a test tries, and checking them takes longer than most tests. So a test
function is left out where others call all that it calls: `untyped.txt` lists them. What is not listed runs, so new
tests do until `make typed-tests` makes the list again. The Makefile leaves out whole files.
"""

import functools
from pathlib import Path
from typing import Any

import beartype
from beartype.roar import BeartypeDecorHintPep3119Exception

LEFT_OUT = Path(__file__).with_name("untyped.txt")
LEAST_CALLED = 3100
"""Annotated functions that the job must call. The list is made again where there are fewer."""
FOUND: set[str] = set()
CALLED: set[str] = set()
_check = beartype.beartype(
    conf=beartype.BeartypeConf(is_pep484_tower=True)
)  # an int is a float, as Python's typing says


def checker(function: Any) -> Any:
    """beartype, which notes the functions that it checks and those that are called."""
    try:
        checked: Any = _check(function)
    except BeartypeDecorHintPep3119Exception:
        return function  # an annotation is a protocol that describes modules, which cannot be checked

    if isinstance(function, type):
        return checked

    name = f"{function.__module__}.{function.__qualname__}"
    FOUND.add(name)

    @functools.wraps(checked)
    def noted(*arguments: Any, **options: Any) -> Any:
        CALLED.add(name)
        return checked(*arguments, **options)

    return noted


def left_out() -> set[str]:
    """The test functions of `untyped.txt`."""
    lines = LEFT_OUT.read_text(encoding="utf-8").splitlines()
    return {line for line in lines if not line.startswith("#")}
