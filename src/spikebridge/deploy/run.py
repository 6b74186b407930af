"""Running a bundle from file to file: a recording in, the outputs and the rate out. No torch is needed."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from spikebridge.data.io.atomic import atomic_write, check_target, write_bytes
from spikebridge.data.io.npz import read_npz
from spikebridge.data.io.safe_open import checked_file
from spikebridge.deploy.bundle.bundle import Bundle
from spikebridge.deploy.integer.bundle import integer_runner
from spikebridge.deploy.runtime.runner import Runner
from spikebridge.errors import DataError

Values = NDArray[Any]
_REPORT_EVERY = 1.0  # seconds
_MOST_BYTES = 4 << 30  # of all input arrays


@dataclass(frozen=True)
class _RunResult:
    """What a run gave.

    Attributes:
        outputs: by name, `(K, B, *M)` each.
        ticks: how many.
        seconds: how long they took, without loading.
        load_seconds: how long loading took.
    """

    outputs: dict[str, Values]
    ticks: int
    seconds: float
    load_seconds: float

    @property
    def ticks_per_second(self) -> float:
        """The rate."""
        return self.ticks / self.seconds if self.seconds > 0 else float("inf")


def run_bundle(
    bundle: Bundle,
    file: Path | None = None,
    progress: Callable[[str], None] = lambda line: None,
    *,
    integers: bool = False,
    stages: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Values] | None = None,
) -> _RunResult:
    """Runs a bundle on a recording, or on its own sample.

    Args:
        bundle: an opened one.
        file: `.npz` or `.safetensors` with an array `(T, B, *N)` for each input; None takes the bundle's sample.
        progress: gets the tick and the rate, once a second.
        integers: whether what was quantised computes with integers.
        stages: forms of stages that the package does not know, by record name.
        inputs: what the file holds, where it was read already.

    Raises:
        DataError: the recording is missing, damaged or empty.
        ShapeError: it does not fit the bundle.
    """
    begun = time.perf_counter()
    runner = integer_runner(bundle, stages) if integers else Runner(bundle, stages=stages)

    if file is None:
        numbers = bundle.numbers(bundle.manifest.sample.file)
        inputs = {name: numbers[f"inputs.{name}"] for name in bundle.manifest.inputs if f"inputs.{name}" in numbers}
        ticks = bundle.manifest.sample.ticks
    else:
        inputs = read_arrays(file) if inputs is None else inputs
        ticks = runner.count_ticks(inputs)
        if ticks == 0:
            raise DataError(f"{file} has no samples; expected at least one sample of an input")

    started = reported = time.perf_counter()

    def hook(kind: str, name: str, tick: int, value: Values) -> Values:
        nonlocal reported
        if time.perf_counter() - reported > _REPORT_EVERY:
            reported = time.perf_counter()
            progress(f"tick {tick} of {ticks}, {tick / (reported - started):.0f} a second")

        return value

    outputs = runner.run(inputs, ticks, hook)
    return _RunResult(outputs, ticks, time.perf_counter() - started, started - begun)


def read_arrays(file: Path) -> dict[str, Values]:
    """The arrays of a `.npz` or `.safetensors` file by name.

    Raises:
        DataError: there is no such file, it is damaged, of another kind, or declares too much.
    """
    if file.suffix == ".npz":
        return read_npz(file, max_bytes=_MOST_BYTES)
    if file.suffix != ".safetensors":
        raise DataError(f"{file} should end in .npz or .safetensors")

    try:
        # the header's sizes are held against the size of the file before memory is taken
        return dict(load_file(checked_file(file, "a file of inputs")))
    except DataError:
        raise
    except (SafetensorError, ValueError, OSError, KeyError, TypeError) as error:
        raise DataError(f"{file} is damaged: {error}") from None


def check_destination(file: Path) -> None:
    """Refuses a file that `write_arrays` could not write, before there is anything to write.

    Raises:
        DataError: the name ends in neither .npz nor .safetensors, or its folder is not there.
        ConfigError: it is a folder, a device, a pipe or a socket.
    """
    if file.suffix not in (".npz", ".safetensors"):
        raise DataError(f"{file} should end in .npz or .safetensors")
    if not file.parent.is_dir():
        raise DataError(f"there is no folder {file.parent} to write {file.name} into")

    check_target(file)


def write_arrays(file: Path, arrays: dict[str, Values]) -> None:
    """Writes arrays as `.npz` or `.safetensors`, whole or not at all.

    Raises:
        DataError: the name ends in something else, or its folder is not there.
    """
    check_destination(file)
    if file.suffix == ".npz":
        with atomic_write(file) as opened:
            np.savez(opened, allow_pickle=False, **arrays)
    else:
        write_bytes(file, save({name: np.ascontiguousarray(values) for name, values in arrays.items()}))
