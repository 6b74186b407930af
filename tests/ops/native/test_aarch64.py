"""The native library built for aarch64 gives the bits of an x86 build by the same compiler, and of this process.

Calls of this process are recorded with the memory around their pointers, and replayed by both builds. Of the library of
this process the sums of the files with clones.h are equal to rounding only, so there both builds are compared alone.
"""

import ctypes
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aarch64 import EMULATOR, IS_SKIPPED, REASON, build_library
from spikebridge.networks.sensing.native.bin_events import count_near, event_image
from spikebridge.networks.sensing.native.correlation import correlate
from spikebridge.networks.sensing.native.resampling import sample_patches
from spikebridge.neurons import LIF, AdaptiveLIF, CubaLIF, Sequential
from spikebridge.ops import max_pool2d
from spikebridge.ops.filters.leaky_sum import one_pass_alphas, one_pass_means, one_pass_sums
from spikebridge.ops.native.library import library
from spikebridge.ops.sequence import native

pytestmark = [
    pytest.mark.untyped,
    pytest.mark.skipif(IS_SKIPPED, reason=REASON),
    pytest.mark.skipif(not native.available(), reason="built without a C compiler"),
]

PAGE = 4096
BEFORE = 16 * PAGE
BEHIND = 32 * PAGE
BUSY = 3  # of replay.c
OWN_BITS = ["forward", "backward", "sum", "pool_forward", "pool_backward"]
ROUNDED = ["event_image", "count_near", "correlate", "sample_patches"]


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def run_neurons() -> None:
    for neuron in (LIF(tau=0.02), AdaptiveLIF(), CubaLIF()):
        x = (2 * random(9, 2, 37)).requires_grad_()
        y = Sequential(neuron, dt=0.001)(x)[0]
        (y * random(9, 2, 37)).sum().backward()


def run_sums() -> None:
    x = random(7, 3, 5)
    one_pass_sums(x, None, 0.9, None)
    one_pass_means(x, None, 2.0, None)
    one_pass_alphas(x, None, None, 0.9, 0.9, None)


def run_pools() -> None:
    x = random(3, 5, 8, 7).contiguous(memory_format=torch.channels_last).requires_grad_()
    max_pool2d(x, 2).square().sum().backward()


def run_pictures() -> None:
    draws = np.random.default_rng(0)
    x, y = draws.integers(0, 30, (2, 400)).astype(np.uint16)
    events = (x, y, draws.random(400) < 0.5)
    event_image(events, (3, 5, 7, 11), counts=True)
    count_near(events, np.array([3.3, 5.1, 12.7, 9.0]), (1.0, 0.5, 1.6))
    correlate(random(6, 5, 8).permute(2, 0, 1)[None], random(18, 18, 8), range(2, 13), range(3, 14))
    places = draws.uniform(-3, 20, (2, 2, 9)).astype(np.float32)
    sample_patches(random(4, 20, 17).permute(0, 2, 1)[None], *places)


class Recorder:
    """Calls of native functions, as replay.c reads them, and the memory of each after it."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []
        self.names: list[str] = []
        self.after: list[bytes] = []

    def wrap(self, name: str, function: Any) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            numbers = [_number(one) for one in arguments]
            parts = _memory_of(numbers, arguments)
            head = struct.pack("<64s8qq", name.encode(), *numbers, *[0] * (8 - len(numbers)), len(parts))
            before = [struct.pack("<2q", a, b - a) + ctypes.string_at(a, b - a) for a, b in parts]
            result: int = function(*arguments)
            self.calls.append(head + b"".join(before))
            self.names.append(name.removeprefix("spikebridge_"))
            self.after.append(b"".join(ctypes.string_at(a, b - a) for a, b in parts))
            return result

        return call


def _number(argument: Any) -> int:
    """An argument as C gets it: a number, or an address."""
    if hasattr(argument, "_obj"):
        return ctypes.addressof(argument._obj)
    if isinstance(argument, ctypes.Array | ctypes.Structure):
        return ctypes.addressof(argument)
    return int(getattr(argument, "value", argument) or 0)


def _memory_of(numbers: list[int], arguments: tuple[Any, ...]) -> list[tuple[int, int]]:
    """Pages around all pointers: those of the arguments, and those in the structures that they point to."""
    things = [getattr(one, "_obj", one) for one in arguments]
    raw = b"".join(bytes(one) for one in things if isinstance(one, ctypes.Array | ctypes.Structure))
    pointers = {*numbers, *struct.unpack(f"<{len(raw) // 8}Q", raw[: len(raw) // 8 * 8])}
    maps = list(_writable())
    parts = sorted(_around(p, maps) for p in pointers if _is_inside(p, maps))
    joined: list[tuple[int, int]] = []
    for start, stop in parts:
        if joined and start <= joined[-1][1]:
            start, last = joined.pop()
            stop = max(stop, last)
        joined.append((start, stop))

    return joined


def _writable() -> Iterator[tuple[int, int]]:
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        span, rights, *_ = line.split()
        start, stop = (int(end, 16) for end in span.split("-"))
        if rights.startswith("rw"):
            yield start, stop


def _is_inside(pointer: int, maps: list[tuple[int, int]]) -> bool:
    return any(start <= pointer < stop for start, stop in maps)


def _around(pointer: int, maps: list[tuple[int, int]]) -> tuple[int, int]:
    start, stop = next(one for one in maps if one[0] <= pointer < one[1])
    page = pointer // PAGE * PAGE
    return max(start, page - BEFORE), min(stop, page + BEHIND)


def replay(command: list[str], calls: Path, results: Path) -> bytes:
    for _ in range(5):
        done = subprocess.run([*command, str(calls), str(results)], timeout=60, check=False)
        if done.returncode != BUSY:
            break

    assert done.returncode == 0
    return results.read_bytes()


def test_the_library_gives_the_same_bits_on_aarch64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = library().steps
    recorder = Recorder()
    for name in (*OWN_BITS, *ROUNDED):
        full = f"spikebridge_{name}"
        monkeypatch.setattr(steps, full, recorder.wrap(full, getattr(steps, full)))

    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    for operations in (run_neurons, run_sums, run_pools, run_pictures):
        operations()

    assert set(recorder.names) == {*OWN_BITS, *ROUNDED}

    calls = tmp_path / "calls"
    calls.write_bytes(b"".join(recorder.calls))
    got = {}
    for processor, emulator in (("aarch64", [EMULATOR]), ("x86_64", [])):
        program = tmp_path / processor
        build_library(processor, program)
        got[processor] = replay([*emulator, str(program)], calls, tmp_path / f"{processor}.bin")

    assert got["aarch64"] == got["x86_64"]

    before = _memory_in(recorder.calls)
    first = 0
    for name, old, own in zip(recorder.names, before, recorder.after, strict=True):
        new = np.frombuffer(got["aarch64"][first : first + len(own)], np.uint8)
        first += len(own)
        is_written = new != np.frombuffer(old, np.uint8)
        assert is_written.any(), name
        assert name in ROUNDED or (new == np.frombuffer(own, np.uint8))[is_written].all(), name


def _memory_in(calls: list[bytes]) -> Iterator[bytes]:
    """The memory before each recorded call."""
    for call in calls:
        place = 64 + 8 * 9
        parts = []
        while place < len(call):
            (length,) = struct.unpack_from("<q", call, place + 8)
            parts.append(call[place + 16 : place + 16 + length])
            place += 16 + length
        yield b"".join(parts)
