"""The integer model: a quantised hybrid network in numpy, tick by tick, without floats and without torch.

    model = IntegerModel.open("digits.integer/")
    outputs, state = model.step(model.quantize(inputs), model.start(batch=1))   # one tick
    outputs = model.dequantize(model.run(model.quantize(inputs)))                     # a whole recording

Only `quantize` and `dequantize`, at the borders, see real values. The rules of time are those of `TickRunner`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.integer.program import IntegerProgram
from spikebridge.deploy.integer.records import IntegerInputRecord, IntegerLinkRecord, IntegerRecord, QParamsRecord
from spikebridge.deploy.integer.units import integer_unit
from spikebridge.deploy.runtime.links import LinkRunner
from spikebridge.deploy.runtime.runner import RunnerState, SignalHook, TickRunner, check_arrays
from spikebridge.deploy.stages.arithmetic import MOST_SHIFT, Ints
from spikebridge.errors import DataError, ShapeError, SpikebridgeError

Values: TypeAlias = NDArray[Any]
Numbers: TypeAlias = Mapping[str, Values]


class IntegerModel(TickRunner):
    """A network of integers. `integer_model(quantized)` makes one, `IntegerModel.open(folder)` reads one.

    Args:
        record: the model in words.
        numbers: its integers, `parts/NAME/OPERATION/NUMBER` and `links/NAME/STAGE/NUMBER`.
        stages: `KernelForm` and `DiscretizerForm` of stages that the package does not know, by record name.
    """

    def __init__(self, record: IntegerRecord, numbers: Numbers, stages: Mapping[str, Any] | None = None) -> None:
        self.record = record
        self.numbers = dict(numbers)
        for name, q in numbers.items():
            if q.dtype.kind not in "iu":
                raise DataError(f"the integer model holds {name!r} of {q.dtype}; expected integers")
            if "shift" in name.rpartition("/")[2] and q.size and not 0 <= q.min() <= q.max() <= MOST_SHIFT:
                raise DataError(f"the integer model holds a shift of {q.max()} in {name!r}; 0 to {MOST_SHIFT} can be")

        with fitting("its numbers"):
            super().__init__(
                record,
                {n: IntegerProgram(p.program, numbers_below(numbers, f"parts/{n}/")) for n, p in record.parts.items()},
                {
                    link.name: _link(record, link, numbers_below(numbers, f"links/{link.name}/"), stages)
                    for link in record.links
                },
            )

    @classmethod
    def open(cls, path: Path | str, stages: Mapping[str, Any] | None = None) -> "IntegerModel":
        """Reads a model that `save` wrote.

        Raises:
            DataError: it is none, or a file is missing or damaged.
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
        """Of all integers."""
        return sum(q.nbytes for q in self.numbers.values())

    def quantize(self, inputs: Mapping[str, Values]) -> dict[str, Values]:
        """Real inputs as integers, clipped to what each can take; masks stay masks."""
        check_arrays(inputs)
        quantized: dict[str, Values] = {}
        for name, x in inputs.items():
            grid = self._input(name).grid
            quantized[name] = x.astype(np.bool_) if grid is None else whole(name, x, grid)

        return quantized

    def dequantize(self, outputs: Mapping[str, Ints]) -> dict[str, NDArray[np.float32]]:
        """Outputs as real values."""
        return {name: (y * self.record.scale(name)).astype(np.float32) for name, y in outputs.items()}

    def argument(self, link: IntegerLinkRecord) -> str:
        return str(link.argument)

    def check_input(self, name: str, record: IntegerInputRecord, x: Values) -> Values:
        if x.dtype.kind not in "biu":
            raise ShapeError(f"input {name!r} needs integers, but got {x.dtype}; quantize() makes them")
        return x if record.grid is None else np.clip(x.astype(np.int64), record.grid.low, record.grid.high)

    def step(
        self, inputs: Mapping[str, Values], state: RunnerState, hook: SignalHook | None = None
    ) -> tuple[dict[str, Ints], RunnerState]:
        with fitting("what came in"):
            return super().step(inputs, state, hook)

    def _input(self, name: str) -> IntegerInputRecord:
        self._known(name)
        return self.record.inputs[name]


def whole(name: str, x: Values, grid: QParamsRecord) -> Ints:
    """Real values as integers, clipped to a grid.

    Example:
        >>> whole("x", np.array([0.5, 9.0]), QParamsRecord(scale=0.25, low=-8, high=7)).tolist()
        [2, 7]
    """
    if not np.isfinite(x).all():
        raise DataError(f"{name!r} has values that are not finite")

    entered: Ints = np.clip(np.floor(x.astype(np.float64) / grid.scale + 0.5), grid.low, grid.high).astype(np.int64)
    return entered


@contextmanager
def fitting(what: str) -> Iterator[None]:
    """What numpy says where numbers of an integer model do not fit each other, as one line.

    Example:
        >>> with fitting("what came in"):
        ...     np.ones(2) @ np.ones(3)
        Traceback (most recent call last):
        spikebridge.errors.DataError: the integer model cannot run, what came in does not fit: ...
    """
    try:
        yield
    except SpikebridgeError:
        raise
    except KeyError as missing:
        raise DataError(f"the integer model is damaged: it lacks {missing}") from None
    except (ValueError, IndexError, TypeError, AttributeError, OverflowError) as error:
        raise DataError(f"the integer model cannot run, {what} does not fit: {error}") from None


def _link(
    record: IntegerRecord,
    link: IntegerLinkRecord,
    numbers: Mapping[str, dict[str, Any]],
    stages: Mapping[str, Any] | None,
) -> LinkRunner:
    own = {name: q.astype(np.int64) for name, q in numbers.get("link", {}).items()}
    trigger = link.trigger

    return LinkRunner(
        link,
        record.clock(link.source),
        None if link.unit is None else integer_unit(link.unit, numbers, stages),
        initial=own.get("initial"),
        context=None if link.context is None else own["context"],
        trigger=None if trigger is None else (trigger, record.clock(trigger)),
        masked=trigger in record.inputs and record.inputs[str(trigger)].grid is None,
    )


def numbers_below(numbers: Numbers, prefix: str) -> dict[str, dict[str, Values]]:
    """The integers below a path, by what owns them.

    Example:
        >>> numbers_below({"parts/snn/lif/decay": np.array(3)}, "parts/snn/")
        {'lif': {'decay': array(3)}}
    """
    found: dict[str, dict[str, Values]] = {}
    for name, value in numbers.items():
        if name.startswith(prefix):
            owner, _, key = name.removeprefix(prefix).rpartition("/")
            found.setdefault(owner, {})[key] = value

    return found
