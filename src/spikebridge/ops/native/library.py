"""The native library: where it stands, whether it fits, and the threads that it may use.

It is a plain shared library that knows neither Python nor PyTorch, built when the package was installed if there was a
C compiler. It makes no threads of its own: PyTorch's own team runs it, or one thread where that team cannot be had.
"""

import ctypes
import importlib.util
import struct
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

NAME = "spikebridge.ops.native._native"
VERSION = 8  # SPIKEBRIDGE_VERSION of native.h
_NUM_VALUES = 9  # those of `NeuronParams`, and BASE


class Signal(ctypes.Structure):
    """`Signal` of native.h."""

    _fields_ = [("at", ctypes.c_void_p), ("step", ctypes.c_int64), ("group", ctypes.c_int64)]


class Value(ctypes.Structure):
    """`Value` of native.h."""

    _fields_ = [("at", ctypes.c_void_p), *[(name, ctypes.c_int64) for name in ("step", "group", "column")]]


class Share(ctypes.Structure):
    """`Share` of native.h."""

    _fields_ = [("chunks", ctypes.c_void_p), ("columns", ctypes.c_void_p), ("steps", ctypes.c_void_p)]


class LoopPlan(ctypes.Structure):
    """`LoopPlan` of native.h."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("num_steps", "num_groups", "num_columns", "chunk", "reset")],
        *[(name, ctypes.c_int64) for name in ("surrogate", "through_reset")],
        ("width", ctypes.c_float),
        ("num_threads", ctypes.c_int64),
        ("team", ctypes.c_void_p),
        ("values", Value * _NUM_VALUES),
    ]


class Pooling(ctypes.Structure):
    """`Pooling` of native.h."""

    _fields_ = [
        ("pooled", Signal),
        *[(name, ctypes.c_int64) for name in ("channels", "width", "size_y", "size_x")],
    ]


class Forward(ctypes.Structure):
    """`Forward` of native.h."""

    _fields_ = [
        ("plan", LoopPlan),
        *[(name, Signal) for name in ("x", "y", "kept")],
        *[(name, ctypes.c_void_p) for name in ("start_v", "start_i", "start_a", "v", "i", "a")],
        ("pooling", Pooling),
    ]


class Backward(ctypes.Structure):
    """`Backward` of native.h."""

    _fields_ = [
        ("plan", LoopPlan),
        *[(name, Signal) for name in ("x", "kept")],
        *[(name, ctypes.c_void_p) for name in ("start_v", "start_i", "start_a", "end_v", "end_i", "end_a")],
        ("grad_y", Value),
        ("pooling", Pooling),
        ("grad_x", Signal),
        *[(name, ctypes.c_void_p) for name in ("grad_v", "grad_i", "grad_a")],
        ("shares", Share * _NUM_VALUES),
    ]


class Respond(ctypes.Structure):
    """`Respond` of native.h."""

    _fields_ = [
        ("plan", LoopPlan),
        *[(name, Signal) for name in ("x", "y")],
        *[(name, ctypes.c_int64) for name in ("num_given", "offset", "num_taps")],
        ("taps", Value),
    ]


class LeakySum(ctypes.Structure):
    """`LeakySum` of native.h."""

    _fields_ = [
        ("plan", LoopPlan),
        ("form", ctypes.c_int64),
        *[(name, Signal) for name in ("x", "y")],
        *[(name, ctypes.c_void_p) for name in ("start_first", "start_second", "first", "second")],
        *[(name, Value) for name in ("decay", "factor")],
        ("before", Signal),
        ("start", ctypes.c_void_p),
        ("anew", ctypes.c_char_p),
    ]


class Library(NamedTuple):
    """A loaded library, or the reason why there is none."""

    steps: ctypes.CDLL | None
    why_not: str = ""
    instructions: str = ""
    team: int | None = None  # address of the function that runs PyTorch's threads


@cache
def library() -> Library:
    """The library, loaded at the first call."""
    spec = importlib.util.find_spec(NAME)
    if spec is None or spec.origin is None:
        return Library(None, "the native part was not built; install again where there is a C compiler")
    return load(Path(spec.origin))


def load(path: Path) -> Library:
    """A library file, if it is one of this version."""
    try:
        if _is_cut_off(path):
            why = f"the native part is damaged ({path} is cut off); install again where there is a C compiler"
            return Library(None, why)

        steps = ctypes.CDLL(str(path))
        version = steps.spikebridge_version()
    except (OSError, AttributeError) as error:
        return Library(None, f"the native part cannot be loaded ({error}); install again")

    if version != VERSION:
        return Library(None, f"the native part is of version {version}, not {VERSION}; install again")

    steps.spikebridge_instructions.restype = ctypes.c_char_p
    return Library(steps, "", steps.spikebridge_instructions().decode(), _torch_team())


def _is_cut_off(path: Path) -> bool:
    """Whether an ELF file ends before its table of sections, which stands last: to load it would end the process."""
    with path.open("rb") as file:
        header = file.read(64)

    if len(header) < 64 or header[:6] != b"\x7fELF\x02\x01":  # of 64 bits, the lowest byte first
        return False

    (start,), (size, number) = struct.unpack_from("<Q", header, 40), struct.unpack_from("<2H", header, 58)
    return path.stat().st_size < start + size * number


def _torch_team() -> int | None:
    """The address of `GOMP_parallel` as PyTorch itself finds it, so that both share one team of threads.

    A handle on PyTorch's library looks a name up in what that library was linked with, whatever it is called. None
    where PyTorch's threads are of another kind: the native steps run on one thread there.
    """
    for name in ("libtorch_cpu.so", "libtorch.so"):
        try:
            linked = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / name))
            return ctypes.cast(linked.GOMP_parallel, ctypes.c_void_p).value
        except (OSError, AttributeError):
            continue

    return None


def run(name: str, job: Forward | Backward | Respond | LeakySum) -> None:
    """Runs a job, on as many threads as its plan says."""
    if getattr(library().steps, name)(ctypes.byref(job)) != 0:
        raise MemoryError("out of memory in the native steps")
