"""A bundle that runs without torch: numpy, onnxruntime and nir are all it needs.

    bundle = Bundle.open("bundle/")
    runner = Runner(bundle)
    outputs, state = runner.step({"events": x}, state)     # one tick
    outputs = runner.run(inputs)                           # a whole recording

The rules of time are those of `HybridNetwork`: a part fires at its ticks, reads sampled or held links, and what a unit
makes is stamped and delivered by the link's clock. They are written once more here, tick by tick, so that each checks
the other.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.bundle import Bundle
from spikebridge.deploy.manifest import InputRecord, LinkRecord
from spikebridge.deploy.runner_links import LinkRunner, LinkState
from spikebridge.deploy.runner_parts import PartRunner, open_part
from spikebridge.errors import DataError, ShapeError, did_you_mean

Values: TypeAlias = NDArray[Any]
Listen: TypeAlias = Callable[[str, str, int, Values], Values]  # kind, name, tick, value: what goes on instead


class RunnerState(NamedTuple):
    """All that a stream needs to go on: the next tick, the batch, states of parts and links."""

    tick: int
    batch: int
    parts: dict[str, Any]
    links: dict[str, LinkState]


class Runner:
    """A bundle, loaded.

    Args:
        bundle: an opened one.
        parts: other runners for some parts, by name.

    Raises:
        DataError: a file of the bundle is damaged or does not fit.
    """

    def __init__(self, bundle: Bundle, parts: Mapping[str, PartRunner] | None = None) -> None:
        self.manifest = bundle.manifest
        given = dict(parts or {})
        self.parts = {
            name: given[name] if name in given else open_part(bundle, name, record)
            for name, record in self.manifest.parts.items()
        }
        self.links = {link.name: LinkRunner(bundle, link) for link in self.manifest.links}

    def start(self, batch: int) -> RunnerState:
        """The state before the first tick.

        Args:
            batch: streams side by side.
        """
        links = {name: link.start(batch) for name, link in self.links.items()}
        return RunnerState(0, batch, dict.fromkeys(self.parts), links)

    def step(
        self, inputs: Mapping[str, Values], state: RunnerState, listen: Listen | None = None
    ) -> tuple[dict[str, Values], RunnerState]:
        """One tick.

        Args:
            inputs: those that fire at it, `(B, *N)` each.
            state: of `start`, or after the tick before.
            listen: is told every value that a part or a link makes, and gives the one that goes on.

        Returns:
            The outputs that fired, and the state.

        Raises:
            ShapeError: an input is missing, too much, or of another shape.
        """
        tick = state.tick
        signals: dict[str, Values | None] = dict.fromkeys(self.manifest.parts)
        for name, record in self.manifest.inputs.items():
            signals[name] = _taken(name, record, inputs.get(name), tick, state.batch)
        for name in inputs:
            if name not in self.manifest.inputs:
                raise ShapeError(f"there is no input {name!r}; {did_you_mean(name, self.manifest.inputs)}")
        parts, links = dict(state.parts), dict(state.links)
        late: list[LinkRecord] = []
        done = set(self.manifest.inputs)

        def take_in(link: LinkRecord) -> None:
            runner = self.links[link.name]
            made, links[link.name] = runner.take_in(signals, tick, links[link.name])
            if made and listen is not None:
                made = [listen("links", link.name, tick, value) for value in made]
            links[link.name] = runner.send(made, links[link.name])

        for part in self.manifest.order:
            for link in self.manifest.incoming(part):
                if link.delay and not done.issuperset(self.links[link.name].sources):
                    late.append(link)
                else:
                    take_in(link)
            y, parts[part] = self._fire(part, tick, parts[part], links)
            if y is not None and listen is not None:
                y = listen("parts", part, tick, y)
            signals[part] = y
            done.add(part)
        for link in late:
            take_in(link)
        outputs = {name: y for name in self.manifest.outputs if (y := signals[name]) is not None}
        return outputs, RunnerState(tick + 1, state.batch, parts, links)

    def run(
        self, inputs: Mapping[str, Values], ticks: int | None = None, listen: Listen | None = None
    ) -> dict[str, Values]:
        """A whole recording.

        Args:
            inputs: `(T, B, *N)` each.
            ticks: how many; None means the most for which every input has exactly the samples given.
            listen: as in `step`.

        Returns:
            The outputs, `(K, B, *M)` each; those that never fired are not there.

        Raises:
            ShapeError: inputs that do not fit the bundle or each other.
        """
        number = self.count_ticks(inputs) if ticks is None else ticks
        batch = next(iter(inputs.values())).shape[1]
        state = self.start(batch)
        given: dict[str, list[Values]] = {name: [] for name in self.manifest.outputs}
        for tick in range(number):
            now = {}
            for name, record in self.manifest.inputs.items():
                if record.clock.fires(tick):
                    x, index = inputs[name], record.clock.count(tick)
                    if index >= len(x):
                        raise ShapeError(f"input {name!r} has {len(x)} samples, but tick {tick} needs one more")
                    now[name] = x[index]
            outputs, state = self.step(now, state, listen)
            for name, y in outputs.items():
                given[name].append(y)
        return {name: np.stack(values) for name, values in given.items() if values}

    def count_ticks(self, inputs: Mapping[str, Values]) -> int:
        """The most ticks for which every input has exactly the samples given."""
        for name in self.manifest.inputs:
            if name not in inputs:
                raise ShapeError(f"input {name!r} is missing; the bundle has {', '.join(self.manifest.inputs)}")
        for name, x in inputs.items():
            if name not in self.manifest.inputs:
                raise ShapeError(f"there is no input {name!r}; {did_you_mean(name, self.manifest.inputs)}")
            if x.ndim < 2:
                raise ShapeError(f"input {name!r} needs a signal (T, B, *N), but got shape {x.shape}")
        clocks = {name: record.clock for name, record in self.manifest.inputs.items()}
        return min(clock.phase + len(inputs[name]) * clock.period for name, clock in clocks.items())

    def _fire(self, part: str, tick: int, state: Any, links: dict[str, LinkState]) -> tuple[Values | None, Any]:
        fires = self.manifest.parts[part].clock.fires(tick)
        reads: dict[str, Values] = {}
        effects: dict[tuple[str, str], list[tuple[Values, str]]] = {}
        for link in self.manifest.incoming(part):
            value, links[link.name] = self.links[link.name].read(tick, fires, links[link.name])
            if value is None:
                continue
            if link.kind == "transmission":
                reads[link.name] = value
            else:
                effects.setdefault((str(link.node), str(link.quantity)), []).append((value, link.by))
        return self.parts[part].step(reads, effects, state) if fires else (None, state)


def _taken(name: str, record: InputRecord, x: Values | None, tick: int, batch: int) -> Values | None:
    if (x is None) == record.clock.fires(tick):
        wanted = "a sample" if x is None else "none"
        raise ShapeError(
            f"input {name!r} has {wanted} at tick {tick} (every {record.clock.period} from tick {record.clock.phase})"
        )
    if x is None:
        return None
    if x.shape != (batch, *record.shape):
        raise ShapeError(f"input {name!r} needs a step {(batch, *record.shape)}, but got {x.shape}")
    if record.dtype == "bool":
        if x.dtype != np.bool_:
            raise ShapeError(f"input {name!r} is a mask of flags, but got {x.dtype}")
        return x
    if x.dtype.kind not in "fbiu":
        raise ShapeError(f"input {name!r} needs numbers, but got {x.dtype}")
    taken: Values = x.astype(np.float32)
    if not np.isfinite(taken).all():
        raise DataError(f"input {name!r} has values that are not finite at tick {tick}")
    return taken
