"""The native library built for aarch64 gives the bits of an x86 build by the same compiler, and of this process.

Calls of this process are recorded with the memory around their pointers, and replayed by both builds. Of the library of
this process the sums of the files with clones.h are equal to rounding only, so there both builds are compared alone.
"""

import ctypes
import re
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from aarch64 import EMULATOR, FOLDERS, IS_SKIPPED, REASON, build_library
from spikebridge.networks.sensing.detection.patches import grey_features
from spikebridge.networks.sensing.native.alignment import ComparedCells, align
from spikebridge.networks.sensing.native.bin_events import count_near, event_image
from spikebridge.networks.sensing.native.correlation import correlate, template_fits
from spikebridge.networks.sensing.native.fixed_convolution import FixedConvolution, FixedConvolutions
from spikebridge.networks.sensing.native.pathway import NativePathway
from spikebridge.networks.sensing.native.places import mean_places
from spikebridge.networks.sensing.native.resampling import MovedPicture, sample_moved, sample_patches
from spikebridge.networks.sensing.native.search_region import RegionInputs, search_region
from spikebridge.neurons import LIF, AdaptiveLIF, CubaLIF, Integrator, Sequential
from spikebridge.ops import max_pool2d
from spikebridge.ops.filters.fir import finite_response
from spikebridge.ops.filters.leaky_sum import one_pass_alphas, one_pass_means, one_pass_sums
from spikebridge.ops.layers.convolution import convolve
from spikebridge.ops.layers.linear import linear
from spikebridge.ops.native.library import library
from spikebridge.ops.sequence import native
from spikebridge.ops.sparse.engine import EventDriven
from spikebridge.ops.sparse.native import NativeSteps, functions

pytestmark = pytest.mark.untyped

PAGE = 4096
BEFORE = 16 * PAGE
BEHIND = 32 * PAGE  # the most that a call may read or write behind a pointer
BUSY = 3  # of replay.c
OWN_BITS = ["forward", "backward", "sum", "respond", "pool_forward", "pool_backward"]
OWN_BITS += ["events_step_float", "events_step_double"]
ROUNDED = ["linear_weights", "convolution_weights", "spike_convolution"]
ROUNDED += ["event_image", "count_near", "correlate", "template_fits", "sample_patches", "sample_moved", "orientation"]
ROUNDED += ["places", "align", "search_region", "fixed_convolutions", "pathway_step"]
# the other functions of the library, and why no call of them is replayed
NO_KERNELS = {
    **dict.fromkeys(["version", "sizes", "events_version", "events_layer_size"], "constants, compared at loading"),
    **dict.fromkeys(["instruction_set", "instructions", "use_at_most"], "the instructions of x86 in use"),
    "missing_instructions": "the processor that the library was built for",
    **dict.fromkeys(["rows", "share_out"], "parts of kernels, which C alone calls"),
}


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


def run_responses() -> None:
    x = random(9, 2, 37).requires_grad_()
    for taps in (random(4), random(3, 37)):
        finite_response(x, taps, random(2, 2, 37)).square().sum().backward()


def run_layers() -> None:
    """Layers in training, of few active inputs, and of few taps."""
    silent = random(140, 128) * (random(140, 128) > 1)
    layer = nn.Linear(128, 130)
    linear(layer, silent).square().sum().backward()

    pictures = random(2, 16, 12, 16)
    pictures = (pictures * (pictures > 1)).to(memory_format=torch.channels_last).requires_grad_()
    many_taps = nn.Conv2d(16, 80, 3, padding=1).to(memory_format=torch.channels_last)
    convolve(many_taps, pictures).square().sum().backward()

    few_taps = nn.Conv2d(2, 32, 3, stride=2).to(memory_format=torch.channels_last)
    convolve(few_taps, random(6, 2, 33, 20)).square().sum().backward()


def run_events() -> None:
    """Live steps of every kind of layer; the native function gets structures, whose pointers can be recorded."""
    for dtype, name in ((torch.float32, "float"), (torch.float64, "double")):
        # with channels for whole vectors: of fewer channels the order of sums depends on the instructions
        network = Sequential(
            nn.Conv2d(2, 16, 3, stride=2),
            LIF(tau=0.02, v_threshold=0.2, refractory=0.002),
            nn.Conv2d(16, 16, 3, padding=1),
            AdaptiveLIF(v_threshold=0.2),
            nn.MaxPool2d(2),
            nn.AvgPool2d(3, stride=1, padding=1),
            nn.Flatten(),
            CubaLIF(v_threshold=0.1),
            nn.Linear(96, 7),
            Integrator(tau=0.02),
            dt=0.001,
        )
        live = EventDriven(network.to(dtype).eval())
        steps = (3 * random(4, 1, 2, 13, 11)).to(dtype)
        steps[:2] *= steps[:2] > 4

        function = getattr(library().steps, f"spikebridge_events_step_{name}")
        state = network.initial_state(steps[0])
        plan = NativeSteps(function, live.layers, live.row, state, steps[0])
        plan.layer_arguments = plan.records.array, len(plan.records.records)
        plan.state_arguments = plan.before, plan.after
        for x_t in steps:
            _, state = plan.step(x_t, state)


def run_pictures() -> None:
    draws = np.random.default_rng(0)
    x, y = draws.integers(0, 30, (2, 400)).astype(np.uint16)
    events = (x, y, draws.random(400) < 0.5)
    event_image(events, (3, 5, 7, 11), counts=True)
    count_near(events, np.array([3.3, 5.1, 12.7, 9.0]), (1.0, 0.5, 1.6))
    correlate(random(6, 5, 8).permute(2, 0, 1)[None], random(18, 18, 8), range(2, 13), range(3, 14))
    template_fits(random(3, 5, 7, 18), random(1, 5, 4, 4))

    # places far outside, and some that are no numbers
    places = draws.uniform(-3, 20, (2, 2, 9)).astype(np.float32)
    places[0, :, :3] = np.nan, 1e20, -np.inf
    sample_patches(random(4, 20, 17).permute(0, 2, 1)[None], *places)

    frames = draws.integers(0, 256, (2, 31, 40)).astype(np.uint8)
    sides = np.array([[30.0, 21.0], [9.0, 80.0]])
    grey_features(frames[0], np.array([9.0, 7.0, 14.0, 9.0]), sides, np.array([[0.0, 0.0], [-60.0, 2.0]]), 16)

    motion = np.array([[1.1, 0.3, 0.2], [-0.3, 0.9, -0.3]], np.float32)
    edges = [np.linspace(-1.2, 1.1, n, dtype=np.float32) for n in (13, 6)]
    moved = MovedPicture(random(20, 33, 2).permute(2, 0, 1), motion, *edges)
    sample_moved(moved)

    columns, rows = draws.uniform(-3, 20, (2, 2, 8)).astype(np.float32)
    search_region(RegionInputs(*frames, *events, moved, (5, 4)), columns, rows, 2.0, 0.01)


def run_places() -> None:
    draws = np.random.default_rng(0)
    maps = 3 * draws.normal(size=(9, 7)), draws.random((9, 7))
    factors = np.array([[0.0, 0.0], [1.0, -0.5], [200.0, 0.0]])
    mean_places(maps, factors, (-3, 1), 20 * draws.normal(size=(11, 2)), draws.random(11) + 0.2)

    positions, values, slopes = (draws.normal(size=(n, 50)).astype(np.float32) for n in (3, 1, 6))
    positions[2] = 1
    cells = ComparedCells(positions / 2, values[0], np.ones(50, np.float32), slopes)
    start = np.array([[1.0, 0.1, 0.2], [-0.1, 0.9, 0.0]], np.float32)
    align(cells, draws.random((12, 15)).astype(np.float32), (0.9, 1.1), [start, start + np.float32(0.1)])


def run_trained_layers() -> None:
    """Convolutions of a trained network by tiles, with a stride and with a shortcut; a pathway of two branches."""
    tiles = FixedConvolution(nn.Conv2d(17, 35, 3, padding=1).requires_grad_(False), relu_from=2)
    stride = FixedConvolution(nn.Conv2d(35, 6, 3, stride=2).requires_grad_(False))
    shortcut = FixedConvolution(nn.Conv2d(3, 3, 3, padding=1).requires_grad_(False), relu_from=0, shortcut=True)
    FixedConvolutions(tiles, stride, shortcut)(random(2, 17, 12, 9))

    for num_channels in (8, 11):
        both = nn.Conv2d(2, 2 * num_channels, 5, 2, 2)
        out = nn.Conv2d(num_channels, num_channels, 3, padding=1, bias=False)
        pathway = NativePathway(both, out, torch.linspace(0.5, 0.9, num_channels), torch.tensor(0.9), 0.3)
        events = 3 * random(1, 2, 18, 14).clamp(min=1) - 3
        pathway.step(events, *random(2, 1, num_channels, 9, 7).unbind())


OPERATIONS = [run_neurons, run_sums, run_responses, run_pools, run_layers, run_events]
OPERATIONS += [run_pictures, run_places, run_trained_layers]


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


def test_every_function_of_the_library_is_replayed_or_has_a_reason() -> None:
    files = [file for folder in FOLDERS for file in folder.glob("*.c")]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    defined = re.findall(r"^(?!static )\w[^;={}\n]*\bspikebridge_(\w+)\(", text, re.MULTILINE)

    assert set(defined) == {*OWN_BITS, *ROUNDED, *NO_KERNELS}


@pytest.mark.skipif(IS_SKIPPED, reason=REASON)
@pytest.mark.skipif(not native.available(), reason="built without a C compiler")
def test_the_library_gives_the_same_bits_on_aarch64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the functions of live steps are kept with their types, before they are recorded
    assert len(functions()) == 2

    steps = library().steps
    recorder = Recorder()
    for name in (*OWN_BITS, *ROUNDED):
        full = f"spikebridge_{name}"
        monkeypatch.setattr(steps, full, recorder.wrap(full, getattr(steps, full)))

    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    torch.manual_seed(0)
    for operations in OPERATIONS:
        operations()

    assert set(recorder.names) == {*OWN_BITS, *ROUNDED}

    calls = tmp_path / "calls"
    calls.write_bytes(b"".join(recorder.calls))
    got = {}
    for processor, emulator in (("aarch64", [EMULATOR]), ("x86_64", [])):
        program = tmp_path / processor
        build_library(processor, program)
        got[processor] = replay([*emulator, str(program)], calls, tmp_path / f"{processor}.bin")

    differs: set[str] = set()
    before = _memory_in(recorder.calls)
    first = 0
    for name, old, own in zip(recorder.names, before, recorder.after, strict=True):
        new, other = (np.frombuffer(memory[first : first + len(own)], np.uint8) for memory in got.values())
        first += len(own)
        is_written = new != np.frombuffer(old, np.uint8)
        assert is_written.any(), name

        is_own = (new == np.frombuffer(own, np.uint8))[is_written].all()
        if not np.array_equal(new, other) or (name in OWN_BITS and not is_own):
            differs.add(name)

    assert differs == set()


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
