"""The integer model: a quantised hybrid network in numpy, tick by tick, without floats and without torch.

    model = IntegerModel.open("digits.integer/")
    outputs, state = model.step(model.enter(inputs), model.start(batch=1))   # one tick
    outputs = model.real(model.run(model.enter(inputs)))                     # a whole recording

Only `enter` and `real`, at its borders, know real values: there the sensor's converter and the user's screen stand. The
rules of time are those of `HybridNetwork`, as in `runner.py`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.integer_arithmetic import Whole
from spikebridge.deploy.integer_links import IntegerLink, IntegerLinkState
from spikebridge.deploy.integer_program import IntegerProgram
from spikebridge.deploy.integer_records import IntegerRecord
from spikebridge.errors import ShapeError, did_you_mean

Values: TypeAlias = NDArray[Any]
Numbers: TypeAlias = Mapping[str, Values]


class IntegerState(NamedTuple):
    """All that a stream needs to go on: the next tick, the batch, states of parts and links."""

    tick: int
    batch: int
    parts: dict[str, Any]
    links: dict[str, IntegerLinkState]


class IntegerModel:
    """A network of whole numbers. `integer_model(quantized)` makes one, `IntegerModel.open(folder)` reads one.

    Args:
        record: the model in words.
        numbers: its whole numbers, `parts/NAME/OPERATION/NUMBER` and `links/NAME/STAGE/NUMBER`.
    """

    def __init__(self, record: IntegerRecord, numbers: Numbers) -> None:
        self.record, self.numbers = record, dict(numbers)
        self.parts = {
            name: IntegerProgram(part.program, _below(numbers, f"parts/{name}/")) for name, part in record.parts.items()
        }
        self.links = {
            link.name: IntegerLink(record, link, _below(numbers, f"links/{link.name}/")) for link in record.links
        }

    @classmethod
    def open(cls, path: Path | str) -> "IntegerModel":
        """Reads a model that `save` wrote.

        Raises:
            DataError: it is none, or a file is missing or damaged.
        """
        from spikebridge.deploy.integer_file import read_integer

        return cls(*read_integer(Path(path)))

    def save(self, path: Path | str) -> None:
        """Writes the model as a new folder, whole or not at all.

        Raises:
            ExportError: the folder is there already.
        """
        from spikebridge.deploy.integer_file import write_integer

        write_integer(Path(path), self.record, self.numbers)

    @property
    def num_bytes(self) -> int:
        """Of all whole numbers."""
        return sum(q.nbytes for q in self.numbers.values())

    def enter(self, inputs: Mapping[str, Values]) -> dict[str, Values]:
        """Real inputs as whole numbers, clipped to what each can take; masks stay masks."""
        entered: dict[str, Values] = {}
        for name, x in inputs.items():
            grid = self._input(name).grid
            if grid is None:
                entered[name] = x.astype(np.bool_)
                continue
            if not np.isfinite(x).all():
                raise ShapeError(f"input {name!r} has values that are not finite")
            entered[name] = np.clip(np.floor(x.astype(np.float64) / grid.scale + 0.5), grid.low, grid.high).astype(int)
        return entered

    def real(self, outputs: Mapping[str, Whole]) -> dict[str, NDArray[np.float32]]:
        """Outputs as real values."""
        return {name: (y * self.record.outputs[name]).astype(np.float32) for name, y in outputs.items()}

    def start(self, batch: int) -> IntegerState:
        """The state before the first tick.

        Args:
            batch: streams side by side.
        """
        return IntegerState(
            0, batch, {name: {} for name in self.parts}, {n: o.start(batch) for n, o in self.links.items()}
        )

    def step(self, inputs: Mapping[str, Values], state: IntegerState) -> tuple[dict[str, Whole], IntegerState]:
        """One tick.

        Args:
            inputs: those that fire at it, whole numbers `(B, *N)` each.
            state: of `start`, or after the tick before.

        Returns:
            What fired: outputs by name, and `links.NAME` for units whose target is not in the model. A unit that gives
            several values in a tick gives the last one.

        Raises:
            ShapeError: an input is missing, or one is too much.
        """
        tick, record = state.tick, self.record
        signals: dict[str, Any] = {name: self._taken(name, inputs.get(name), tick) for name in record.inputs}
        for name in inputs:
            self._input(name)
        parts, links, outputs = dict(state.parts), dict(state.links), {}
        done = set(record.inputs)
        late: list[str] = []

        def take_in(name: str) -> None:
            made, links[name] = self.links[name].take_in(signals, tick, links[name])
            if f"links.{name}" in record.outputs and made:
                outputs[f"links.{name}"] = made[-1]

        for part in record.order:
            for link in record.incoming(part):
                if link.delay and not done.issuperset(self.links[link.name].sources):
                    late.append(link.name)
                else:
                    take_in(link.name)
            signals[part], parts[part] = self._fire(part, tick, parts[part], links)
            done.add(part)
        for name in (*late, *(link.name for link in record.incoming(None))):
            take_in(name)
        outputs |= {name: signals[name] for name in record.outputs if signals.get(name) is not None}
        return outputs, IntegerState(tick + 1, state.batch, parts, links)

    def run(self, inputs: Mapping[str, Values], ticks: int | None = None) -> dict[str, Whole]:
        """A whole recording.

        Args:
            inputs: whole numbers `(T, B, *N)` each.
            ticks: how many; None means the most for which every input has exactly the samples given.

        Returns:
            What came out, `(K, B, *M)` each.

        Raises:
            ShapeError: inputs that do not fit each other.
        """
        for name in self.record.inputs:
            if name not in inputs:
                raise ShapeError(f"input {name!r} is missing; the model has {', '.join(self.record.inputs)}")
        clocks = {name: self._input(name).clock for name in inputs}
        if ticks is None:
            ticks = min(clock.phase + len(inputs[name]) * clock.period for name, clock in clocks.items())
        state = self.start(next(iter(inputs.values())).shape[1])
        given: dict[str, list[Whole]] = {}
        for tick in range(ticks):
            now = {}
            for name, clock in clocks.items():
                if clock.fires(tick):
                    if clock.count(tick) >= len(inputs[name]):
                        raise ShapeError(f"input {name!r} has {len(inputs[name])} samples; tick {tick} needs one more")
                    now[name] = inputs[name][clock.count(tick)]
            outputs, state = self.step(now, state)
            for name, y in outputs.items():
                given.setdefault(name, []).append(y)
        return {name: np.stack(values) for name, values in given.items()}

    def _fire(self, part: str, tick: int, state: Any, links: dict[str, IntegerLinkState]) -> tuple[Whole | None, Any]:
        fires = self.record.parts[part].clock.fires(tick)
        reads: dict[str, Whole] = {}
        effects: dict[str, dict[str, list[tuple[Whole, str]]]] = {}
        for link in self.record.incoming(part):
            value, links[link.name] = self.links[link.name].read(tick, fires, links[link.name])
            if value is None:
                continue
            if link.kind == "transmission":
                reads[str(link.argument)] = value
            else:
                effects.setdefault(str(link.neuron), {}).setdefault(str(link.quantity), []).append((value, link.by))
        return self.parts[part].run(reads, state, effects) if fires else (None, state)

    def _taken(self, name: str, x: Values | None, tick: int) -> Values | None:
        record = self._input(name)
        if (x is None) == record.clock.fires(tick):
            wanted = "a sample" if x is None else "none"
            raise ShapeError(f"input {name!r} has {wanted} at tick {tick} ({record.clock})")
        if x is not None and x.dtype.kind not in "biu":
            raise ShapeError(f"input {name!r} needs whole numbers, but got {x.dtype}; enter() makes them")
        return x if x is None or record.grid is None else x.astype(np.int64)

    def _input(self, name: str) -> Any:
        if name not in self.record.inputs:
            raise ShapeError(f"there is no input {name!r}; {did_you_mean(name, self.record.inputs)}")
        return self.record.inputs[name]


def _below(numbers: Numbers, prefix: str) -> dict[str, dict[str, Values]]:
    found: dict[str, dict[str, Values]] = {}
    for name, value in numbers.items():
        if name.startswith(prefix):
            owner, _, key = name.removeprefix(prefix).rpartition("/")
            found.setdefault(owner, {})[key] = value
    return found
