"""The native library: its structures, its file, and the threads that it may use.

It is a plain shared library that knows neither Python nor PyTorch, built when the package was installed if there was a
C compiler. It makes no threads of its own: PyTorch's own team runs it, or one thread where that team cannot be had.
"""

import ctypes
import importlib.util
import os
import platform
import struct
import warnings
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

NAME = "spikebridge.ops.native._native"
VARIABLE = "SPIKEBRIDGE_NATIVE"  # the path of another library than the installed one; `off` for none
VERSION = 8  # SPIKEBRIDGE_VERSION of native.h
_PROCESSORS = {3: "x86", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv"}  # e_machine of an ELF file
_NUM_VALUES = 9  # those of `NeuronParams`, and BASE


def int64_fields(*names: str) -> list[tuple[str, Any]]:
    """Fields of a structure that are `int64_t`."""
    return [(name, ctypes.c_int64) for name in names]


def pointer_fields(*names: str) -> list[tuple[str, Any]]:
    """Fields of a structure that are pointers."""
    return [(name, ctypes.c_void_p) for name in names]


# each structure is that of the same name in native.h


class Signal(ctypes.Structure):
    """Numbers at `at[t * step + g * group + c]`, for step t, group g and column c."""

    _fields_ = [*pointer_fields("at"), *int64_fields("step", "group")]


class Value(ctypes.Structure):
    """Numbers of a parameter; `column` is 0 where all columns have one."""

    _fields_ = [*pointer_fields("at"), *int64_fields("step", "group", "column")]


class Share(ctypes.Structure):
    """Memory for the gradient of a parameter: one sum a chunk, one a column, or each step on its own."""

    _fields_ = pointer_fields("chunks", "columns", "steps")


class LoopPlan(ctypes.Structure):
    """The plan of the steps of a signal: its sizes, the neuron, the threads."""

    _fields_ = [
        *int64_fields("num_steps", "num_groups", "num_columns", "chunk", "reset", "surrogate", "through_reset"),
        ("width", ctypes.c_float),
        *int64_fields("num_threads"),
        *pointer_fields("team"),
        ("values", Value * _NUM_VALUES),
    ]


class Pooling(ctypes.Structure):
    """Max pooling behind the spikes of neurons."""

    _fields_ = [("pooled", Signal), *int64_fields("channels", "width", "size_y", "size_x")]


class Forward(ctypes.Structure):
    """Neurons over time, with their states before and after."""

    _fields_ = [
        ("plan", LoopPlan),
        *[(name, Signal) for name in ("x", "y", "kept")],
        *pointer_fields("start_v", "start_i", "start_a", "v", "i", "a"),
        ("pooling", Pooling),
    ]


class Backward(ctypes.Structure):
    """Gradients of neurons over time."""

    _fields_ = [
        ("plan", LoopPlan),
        *[(name, Signal) for name in ("x", "kept")],
        *pointer_fields("start_v", "start_i", "start_a", "end_v", "end_i", "end_a"),
        ("grad_y", Value),
        ("pooling", Pooling),
        ("grad_x", Signal),
        *pointer_fields("grad_v", "grad_i", "grad_a"),
        ("shares", Share * _NUM_VALUES),
    ]


class Respond(ctypes.Structure):
    """A finite impulse response."""

    _fields_ = [
        ("plan", LoopPlan),
        *[(name, Signal) for name in ("x", "y")],
        *int64_fields("num_given", "offset", "num_taps"),
        ("taps", Value),
    ]


class LeakySum(ctypes.Structure):
    """A leaky sum, a mean or an alpha function, or a gradient of one."""

    _fields_ = [
        ("plan", LoopPlan),
        *int64_fields("form"),
        *[(name, Signal) for name in ("x", "y")],
        *pointer_fields("start_first", "start_second", "first", "second"),
        *[(name, Value) for name in ("decay", "factor")],
        ("before", Signal),
        *pointer_fields("start"),
        ("resets", ctypes.c_char_p),
    ]


class Library(NamedTuple):
    """A loaded library, or the reason why there is none."""

    steps: ctypes.CDLL | None
    why_not: str = ""
    instructions: str = ""
    team: int | None = None  # address of the function that runs PyTorch's threads


@cache
def library() -> Library:
    """The library, loaded at the first call: the one that `SPIKEBRIDGE_NATIVE` names, or the installed one."""
    chosen = os.environ.get(VARIABLE)
    if chosen == "off":
        return Library(None, f"{VARIABLE}=off")

    spec = importlib.util.find_spec(NAME)
    path = chosen or (spec and spec.origin)
    if not path:
        return Library(None, "the native part was not built; install again where there is a C compiler")

    loaded = load(Path(path))
    if loaded.steps is None:
        warnings.warn(f"PyTorch runs alone, with the same results but slower: {loaded.why_not}", stacklevel=2)
    return loaded


def load(path: Path) -> Library:
    """The library of a file; none if it is damaged, of another version, or built for another processor."""
    try:
        if _is_cut_off(path):
            reason = f"the native part is damaged ({path} is cut off); install again where there is a C compiler"
            return Library(None, reason)

        steps = ctypes.CDLL(str(path))
        version = steps.spikebridge_version()
        missing = _missing_instructions(steps)
    except (OSError, AttributeError) as error:
        return Library(None, f"the native part cannot be loaded ({_explain(path, error)}); install again")

    if version != VERSION:
        return Library(None, f"the native part is of version {version}, not {VERSION}; install again")
    if missing:
        reason = f"the native part ({path}) was built for {missing}, which this processor lacks; install again"
        return Library(None, reason)

    steps.spikebridge_instructions.restype = ctypes.c_char_p
    return Library(steps, "", steps.spikebridge_instructions().decode(), _torch_team())


def _missing_instructions(steps: ctypes.CDLL) -> str:
    # a library of this version that was built before the function existed is still taken
    if not hasattr(steps, "spikebridge_missing_instructions"):
        return ""

    steps.spikebridge_missing_instructions.restype = ctypes.c_char_p
    return str(steps.spikebridge_missing_instructions().decode())


def _explain(path: Path, error: Exception) -> str:
    """The reason why a file cannot be loaded: the processor that it was built for, if that is another one."""
    header = _elf_header(path) if path.is_file() else None
    if header is None:
        return str(error)

    (number,) = struct.unpack_from("<H", header, 18)
    built_for = _PROCESSORS.get(number, f"processor {number} of ELF")
    own = platform.machine().lower().replace("amd64", "x86_64").replace("arm64", "aarch64")
    return str(error) if built_for == own else f"{path} was built for {built_for}, this is {own}"


def _elf_header(path: Path) -> bytes | None:
    """The header of an ELF file of 64 bits, the lowest byte first; None for another format."""
    with path.open("rb") as file:
        header = file.read(64)

    return header if len(header) == 64 and header.startswith(b"\x7fELF\x02\x01") else None


def _is_cut_off(path: Path) -> bool:
    """True if an ELF file ends before its table of sections, which stands last: loading it would end the process."""
    header = _elf_header(path)
    if header is None:
        return False

    (start,) = struct.unpack_from("<Q", header, 40)
    size, number = struct.unpack_from("<2H", header, 58)
    return path.stat().st_size < start + size * number


def _torch_team() -> int | None:
    """The address of `GOMP_parallel` as PyTorch itself finds it, so that both share one team of threads."""
    # a handle on PyTorch's library looks a name up in the libraries that it was linked with, whatever they are called;
    # where PyTorch's threads are of another kind, the native steps run on one thread
    for name in ("libtorch_cpu.so", "libtorch.so"):
        try:
            linked = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / name))
            return ctypes.cast(linked.GOMP_parallel, ctypes.c_void_p).value
        except (OSError, AttributeError):
            continue

    return None


def threads_for(num_parts: int) -> int:
    """The number of threads that share the parts of a job: one without a team of PyTorch's."""
    return min(torch.get_num_threads(), num_parts) if library().team else 1
