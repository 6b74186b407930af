"""Steps of array forms in C: the ranges and memory of their states, and the loop that computes all places.

`write_step` calls an array form with expressions (`c/arithmetic.py`) until the ranges of its state settle, gives the
state its memory, and writes the lines of one step.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from spikebridge.deploy.c.arithmetic import Block, Element, Expression, Ring, as_expression
from spikebridge.deploy.c.source import CArray, CSource, broadcast_index, for_loop, if_block
from spikebridge.errors import ExportError

# a range takes a pass for each field that it depends on; one that grows for ever has no type
_MAX_PASSES = 8
_Leaf: TypeAlias = Element | Ring
_Step: TypeAlias = Callable[[Any], tuple[Expression, Any]]


@dataclass(frozen=True)
class Place:
    """The C function in which a step is written, and the name of its state."""

    source: CSource
    function: str
    name: str


class WrittenStep(NamedTuple):
    """A step in C: the array of its output, lines of a step, of a return to the start, and of a leak of the state."""

    out: CArray
    lines: list[str]
    restart: list[str]
    leak: list[str]


def write_step(
    place: Place,
    start: Any,
    step: _Step,
    target: Callable[[Expression], CArray],
    leak: Callable[[Any], Any] | None = None,
) -> WrittenStep:
    """Writes a step `y, state = step(state)`, and a leak `state = leak(state)`.

    The start is numpy's arrays, empty rings, and tuples of these; `target` gives the output its memory.
    """
    initial = list(_leaves(start))
    state = _settled(start, step)
    restart: list[str] = []

    for i, name in enumerate(_names(place.name, start)):
        state[i] = _allocated(place.source, name, state[i])
        restart += _start_lines(place.source, state[i], initial[i])

    y, after = step(_with_leaves(start, iter(state)))
    out = target(y)
    rings = [new for new in _leaves(after) if isinstance(new, Ring)]
    lines = _step_lines(place, _places(y, state), [*_stores(state, after), (out, y)], rings)
    leaking: list[str] = []
    if leak is not None:
        leaked = leak(_with_leaves(start, iter(state)))
        leaking = _step_lines(place, _places(y, state), _stores(state, leaked), [])

    return WrittenStep(out, lines, restart, leaking)


def _stores(state: Sequence[_Leaf], after: Any) -> list[tuple[CArray, Expression]]:
    """The fields of a state that change, and their values."""
    stores = []
    for old, new in zip(state, _leaves(after), strict=True):
        # a field that a step leaves as it is needs no line
        if isinstance(old, Element) and not isinstance(new, Ring) and new is not old:
            stores.append((old.array, as_expression(new)))

    return stores


def write_function(place: Place, y: Expression, out: CArray) -> list[str]:
    """Lines of an expression without a state, whose values go to some memory."""
    return write_step(place, None, lambda state: (y, None), lambda y: out).lines


def _settled(start: Any, step: _Step) -> list[_Leaf]:
    """A state whose shapes and ranges no step leaves."""
    state = [_leaf_of(leaf) for leaf in _leaves(start)]
    for _ in range(_MAX_PASSES):
        y, after = step(_with_leaves(start, iter(state)))
        wider = [_hull(old, _leaf_of(new)) for old, new in zip(state, _leaves(after), strict=True)]
        # one loop computes all places, so that all fields but single numbers have its shape
        places = _places(y, wider)
        wider = [Element(leaf.array.shaped(places)) if _has_places(leaf) else leaf for leaf in wider]
        if [leaf.array for leaf in wider] == [leaf.array for leaf in state]:
            return state
        state = wider

    raise ExportError("the range of a state grows from step to step, so it has no C type")


def _leaf_of(leaf: Any) -> _Leaf:
    """A field of the state without memory: its shape and range."""
    if isinstance(leaf, Ring):
        return Ring(leaf.range, leaf.place, leaf.rows)
    return Element(as_expression(leaf).like)


def _hull(old: _Leaf, new: _Leaf) -> _Leaf:
    a = old.array
    b = new.array
    array = CArray(a.code, np.broadcast_shapes(a.shape, b.shape), min(a.low, b.low), max(a.high, b.high))
    return replace(old, array=array) if isinstance(old, Ring) else Element(array)


def _has_places(leaf: _Leaf) -> bool:
    return isinstance(leaf, Element) and leaf.array.size > 1


def _places(y: Expression, state: Sequence[_Leaf]) -> tuple[int, ...]:
    """The shape of the loop over all places."""
    return np.broadcast_shapes(y.shape[1:], *(leaf.array.shape for leaf in state if _has_places(leaf)))


def _leaves(state: Any) -> Iterator[Any]:
    if isinstance(state, tuple):
        for item in state:
            yield from _leaves(item)
    elif state is not None:
        yield state


def _with_leaves(state: Any, leaves: Iterator[_Leaf]) -> Any:
    if isinstance(state, tuple):
        items = [_with_leaves(item, leaves) for item in state]
        return type(state)(*items) if hasattr(state, "_fields") else tuple(items)
    return None if state is None else next(leaves)


def _names(name: str, state: Any) -> list[str]:
    if not isinstance(state, tuple):
        return [] if state is None else [f"{name}_state"]
    keys = getattr(state, "_fields", range(len(state)))
    return [f"{name}_{key}" for key, item in zip(keys, state, strict=True) if item is not None]


def _allocated(source: CSource, name: str, leaf: _Leaf) -> _Leaf:
    if isinstance(leaf, Element):
        return Element(source.state_array(name, leaf.array))

    array = source.state_array(name, leaf.array, leaf.rows)
    return Ring(array, source.state_number(f"{name}_place"), leaf.rows)


def _start_lines(source: CSource, leaf: _Leaf, initial: Any) -> list[str]:
    array = leaf.array
    clear = f"memset({array.code}, 0, sizeof {array.code});"
    if isinstance(leaf, Ring):
        return [clear, f"{leaf.place} = 0;"]
    if not np.any(initial):
        return [clear]

    # memory starts with zeros, so that only other values have a line in the start function
    lines = for_loop(array.size, [f"{array.code}[j] = {source.constant(initial[0], array.shape)};"])
    source.starts += lines

    return lines


def _step_lines(
    place: Place, shape: tuple[int, ...], stores: Sequence[tuple[CArray, Expression]], rings: Sequence[Ring]
) -> list[str]:
    """Rings get the present step, then all places are computed and stored, then single numbers."""
    # a single number for all places, such as a count of steps, is stored once, behind the loop
    is_single = [array.size == 1 < math.prod(shape) for array, _ in stores]
    loop = Block(place.source, place.function, shape)
    body = [line for ring in rings for line in _ring_lines(loop, ring)]
    body += loop.write([store for store, single in zip(stores, is_single, strict=True) if not single])
    numbers = Block(place.source, place.function, ())
    behind = numbers.write([store for store, single in zip(stores, is_single, strict=True) if single])
    advance = [f"{ring.place} = ({ring.place} + 1) % {ring.rows};" for ring in rings if ring.newest is not None]

    return [*(for_loop(math.prod(shape), body) if body else []), *behind, *advance]


def _ring_lines(loop: Block, ring: Ring) -> list[str]:
    """The present step, put into a ring; where a window starts, it may fill the ring."""
    array = ring.array
    place = broadcast_index(array.shape, loop.shape)
    lines = []
    if ring.fill is not None:
        started, step = ring.fill
        rows = for_loop(ring.rows, [f"{array.code}[i * {array.size} + {place}] = {loop.text(step)};"], "i")
        lines += if_block(f"!{loop.text(started)}", rows)

    if ring.newest is not None:
        lines.append(f"{array.code}[{ring.place} * {array.size} + {place}] = {loop.text(ring.newest)};")

    return lines
