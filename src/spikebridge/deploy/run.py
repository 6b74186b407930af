"""Running a bundle from file to file: a recording in, the outputs and the rate out. No torch is needed."""

import time
from collections.abc import Callable, Mapping, Sequence
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
from spikebridge.deploy.chips.bundle import bundle_runner
from spikebridge.deploy.chips.chip import ChipSpec
from spikebridge.errors import DataError

Values = NDArray[Any]
_REPORT_EVERY = 1.0  # seconds
_MAX_BYTES = 4 << 30  # of all input arrays
_SUFFIXES = (".npz", ".safetensors")
_MAX_VALUES = 8  # of an output in its row
_MAX_CLASSES = 3


@dataclass(frozen=True)
class _RunResult:
    """The outputs of a run by name, `(K, B, *M)` each, its ticks, and its seconds without loading."""

    outputs: dict[str, Values]
    ticks: int
    seconds: float

    @property
    def ticks_per_second(self) -> float:
        return self.ticks / self.seconds if self.seconds > 0 else float("inf")


def run_bundle(
    bundle: Bundle,
    file: Path | None = None,
    progress: Callable[[str], None] = lambda line: None,
    *,
    integers: bool = False,
    chip: ChipSpec | None = None,
    inputs: Mapping[str, Values] | None = None,
) -> _RunResult:
    """Runs a bundle, its integer model, or its parts on a chip, on a recording or on its own sample (`file` of None).

    The file is `.npz` or `.safetensors` with an array `(T, B, *N)` for each input; `inputs` is its content where it was
    read already. `progress` is called once a second.
    """
    runner = bundle_runner(bundle, integers, chip)

    if file is None:
        inputs = bundle.sample_inputs()
        ticks = bundle.manifest.sample.ticks
    else:
        inputs = read_arrays(file) if inputs is None else inputs
        # a recording runs to its end, and the sample as long as the trained network ran
        ticks = runner.count_ticks(inputs)
        if ticks == 0 or any(0 in x.shape[:2] for x in inputs.values()):
            raise DataError(f"{file} has no samples; expected arrays (T, B, ...) with T and B of 1 or more")

    started = time.perf_counter()
    reported = started

    def hook(kind: str, name: str, tick: int, value: Values) -> Values:
        nonlocal reported
        now = time.perf_counter()
        if now - reported > _REPORT_EVERY:
            reported = now
            progress(f"tick {tick} of {ticks}, {tick / (now - started):.0f} a second")

        return value

    outputs = runner.run(inputs, ticks, hook)
    return _RunResult(outputs, ticks, time.perf_counter() - started)


def read_arrays(file: Path) -> dict[str, Values]:
    """The arrays of a `.npz` or `.safetensors` file by name."""
    _check_suffix(file)
    if file.suffix == ".npz":
        return read_npz(file, max_bytes=_MAX_BYTES)

    try:
        # safetensors checks the sizes of the header against the size of the file before it takes memory
        return dict(load_file(checked_file(file, "a file of inputs")))
    except DataError:
        raise
    except (SafetensorError, ValueError, OSError, KeyError, TypeError) as error:
        raise DataError(f"{file} is damaged: {error}") from None


def output_row(name: str, y: Values, classes: Sequence[str] = ()) -> dict[str, Any]:
    """An output `(K, B, *M)` as a row of a table: its last value, with the names of classes the largest ones first."""
    last = y[-1, 0].ravel()
    row: dict[str, Any] = {"output": name, "values": len(y), "shape": list(y.shape[2:])}
    if len(last) == len(classes):
        order = np.argsort(-last, kind="stable")[:_MAX_CLASSES]
        return row | {"last": {classes[place]: float(last[place]) for place in order}}

    return row | {"last": last[:_MAX_VALUES].tolist()}


def check_destination(file: Path) -> None:
    """Raises for a file that `write_arrays` could not write, before there is anything to write."""
    _check_suffix(file)
    if not file.parent.is_dir():
        raise DataError(f"there is no folder {file.parent} to write {file.name} into")

    check_target(file)


def write_arrays(file: Path, arrays: dict[str, Values]) -> None:
    """Writes arrays as `.npz` or `.safetensors`, whole or not at all."""
    check_destination(file)
    if file.suffix == ".npz":
        with atomic_write(file) as opened:
            np.savez(opened, allow_pickle=False, **arrays)
    else:
        write_bytes(file, save({name: np.ascontiguousarray(values) for name, values in arrays.items()}))


def _check_suffix(file: Path) -> None:
    if file.suffix not in _SUFFIXES:
        raise DataError(f"{file} should end in .npz or .safetensors")
