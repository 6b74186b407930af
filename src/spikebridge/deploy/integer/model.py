"""The integer model: a quantised hybrid network in numpy, tick by tick, without floats and without torch.

    model = IntegerModel.open("digits.integer/")
    outputs, state = model.step(model.quantize(inputs), model.start(batch=1))   # one tick
    outputs = model.dequantize(model.run(model.quantize(inputs)))               # a whole recording

Only `quantize` and `dequantize` convert between floats and integers. The rules of time are those of `TickRunner`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.bundle.manifest import skipped_flags
from spikebridge.deploy.integer.program import IntegerProgram
from spikebridge.deploy.integer.records import IntegerInputRecord, IntegerLinkRecord, IntegerRecord, QParamsRecord
from spikebridge.deploy.integer.units import integer_unit
from spikebridge.deploy.runtime.links import AWAKE, LinkRunner, fitting
from spikebridge.deploy.runtime.runner import RunnerState, SignalHook, TickRunner, check_arrays
from spikebridge.deploy.stages.arithmetic import MAX_SHIFT, Ints
from spikebridge.deploy.stages.kernels import Forms
from spikebridge.errors import DataError, ShapeError

Values: TypeAlias = NDArray[Any]
Numbers: TypeAlias = Mapping[str, Values]


class IntegerModel(TickRunner):
    """A network of integers. `integer_model(quantized)` makes one, `IntegerModel.open(folder)` reads one.

    Args:
        record: parts, links and scales.
        numbers: integers, `parts/NAME/OPERATION/NUMBER` and `links/NAME/STAGE/NUMBER`.
        stages: `KernelForm`, `DiscretizerForm` and `NeuronForm` of user-defined stages and neurons by record name.
    """

    flag_type = np.int64

    def __init__(self, record: IntegerRecord, numbers: Numbers, stages: Forms = None) -> None:
        self.record = record
        self.numbers = dict(numbers)
        self.forms = dict(stages or {})
        _check_numbers(numbers)

        with fitting("the integer model", "a number"):
            parts = {
                name: IntegerProgram(part.program, numbers_below(numbers, f"parts/{name}/"), stages)
                for name, part in record.parts.items()
            }
            links = {link.name: _link_runner(record, link, numbers, stages) for link in record.links}
            super().__init__(record, parts, links)

    @classmethod
    def open(cls, path: Path | str, stages: Forms = None) -> "IntegerModel":
        """Reads a model that `save` wrote.

        Raises:
            DataError: the folder is no integer model, or a file is missing or damaged.
        """
        from spikebridge.deploy.integer.file import read_integer

        return cls(*read_integer(Path(path)), stages)

    def save(self, path: Path | str) -> None:
        """Writes the model as a new folder, whole or not at all.

        Raises:
            ExportError: the folder is there already.
        """
        from spikebridge.deploy.integer.file import write_integer

        write_integer(Path(path), self.record, self.numbers)

    @property
    def num_bytes(self) -> int:
        """Bytes of all integers."""
        return sum(q.nbytes for q in self.numbers.values())

    def quantize(self, inputs: Mapping[str, Values]) -> dict[str, Values]:
        """Real inputs as integers, clipped to the range of each input; masks stay masks."""
        check_arrays(inputs)
        taken = {name: record.signal or name for name, record in self.record.inputs.items()}
        for name in inputs:
            if name not in (*taken, *taken.values()):
                self._check_known(name)

        quantized: dict[str, Values] = {}
        for name, signal in taken.items():
            x = inputs.get(name, inputs.get(signal))
            if x is not None:
                grid = self.record.inputs[name].grid
                quantized[name] = x.astype(np.bool_) if grid is None else to_integers(name, x, grid)

        return quantized

    def dequantize(self, outputs: Mapping[str, Ints]) -> dict[str, NDArray[np.float32]]:
        """Outputs as real values."""
        return {name: (y * self.record.scale(name)).astype(np.float32) for name, y in outputs.items()}

    def argument(self, link: IntegerLinkRecord) -> str:
        return str(link.argument)

    def has_state(self, part: str) -> bool:
        return self.record.parts[part].program.has_state

    def check_input(self, name: str, record: IntegerInputRecord, x: Values) -> Values:
        if x.dtype.kind not in "biu":
            raise ShapeError(f"input {name!r} needs integers, but got {x.dtype}; quantize() makes them")
        return x if record.grid is None else np.clip(x.astype(np.int64), record.grid.low, record.grid.high)

    def step(
        self, inputs: Mapping[str, Values], state: RunnerState, hook: SignalHook | None = None
    ) -> tuple[dict[str, Ints], RunnerState]:
        # a shape that does not fit is found by numpy, deep inside
        with fitting("the integer model", "an input"):
            return super().step(inputs, state, hook)


def _check_numbers(numbers: Numbers) -> None:
    for name, q in numbers.items():
        if q.dtype.kind not in "iu":
            raise DataError(f"the integer model holds {name!r} of {q.dtype}; expected integers")
        if "shift" in name.rpartition("/")[2] and q.size and not 0 <= q.min() <= q.max() <= MAX_SHIFT:
            raise DataError(f"the integer model holds a shift of {q.max()} in {name!r}; expected 0 to {MAX_SHIFT}")


def to_integers(name: str, x: Values, grid: QParamsRecord) -> Ints:
    """Real values as integers, clipped to a grid."""
    if not np.isfinite(x).all():
        raise DataError(f"{name!r} has values that are not finite")

    # the same rounding as `round_ste` of the quantised network
    integers: Ints = np.clip(np.floor(x.astype(np.float64) / grid.scale + 0.5), grid.low, grid.high).astype(np.int64)
    return integers


def _link_runner(record: IntegerRecord, link: IntegerLinkRecord, numbers: Numbers, forms: Forms) -> LinkRunner:
    stages = numbers_below(numbers, f"links/{link.name}/")
    # files hold the narrowest type, which sums would leave
    link_numbers = {name: q.astype(np.int64) for name, q in stages.get("link", {}).items()}
    trigger = link.trigger
    initial = link_numbers.get("initial") if link.wake is None else np.zeros(link.wake.num_flags, np.int64)

    return LinkRunner(
        link,
        record.clock(link.source),
        None if link.unit is None else integer_unit(link.unit, stages, forms),
        initial=initial,
        context=None if link.context is None else link_numbers["context"],
        trigger=None if trigger is None else (trigger, record.clock(trigger)),
        masked=record.is_mask(trigger),
        shape=None if link.wake is None else link.shape,
        skips=skipped_flags(link, record.links),
        threshold=AWAKE if link.wake is None else link.threshold,
    )


def numbers_below(numbers: Numbers, prefix: str) -> dict[str, dict[str, Values]]:
    """The integers below a path, by operation or stage."""
    below: dict[str, dict[str, Values]] = {}
    for name, value in numbers.items():
        if name.startswith(prefix):
            owner, _, key = name.removeprefix(prefix).rpartition("/")
            below.setdefault(owner, {})[key] = value

    return below
