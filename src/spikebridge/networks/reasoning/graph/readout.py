"""Answers read from the spikes of the graph: values at the last step, statuses at probes, confidence from perception.

A value is a spike of a concept or the number of active members of a set. A probe checks the size of a set at the step
at which the program relies on it. The confidence is the product of the perception scores of all objects and events
that the program selected.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spikebridge.networks.reasoning.events.events import COLLISION
from spikebridge.networks.reasoning.graph.compiler import Instructions, Probe
from spikebridge.networks.reasoning.graph.layout import MAX_COUNTED
from spikebridge.networks.reasoning.graph.spiking_graph import GraphState, SpikingGraph
from spikebridge.networks.reasoning.graph.worlds import OBSERVED, Worlds
from spikebridge.networks.reasoning.parsing.operators import OperatorTable

# `unique` found one member each time; none; several; no second event; two values fired at once.
_Status = Literal["ok", "empty", "ambiguous", "missing", "conflict"]


@dataclass(frozen=True)
class GraphAnswer:
    """The answer of the graph to one program.

    Args:
        value: a number, `yes`, `no`, an attribute value, `correct` or `wrong`; None without an answer.
        status: `ok` if every selection of the program was unambiguous.
        confidence: product of the perception scores used, 0 to 1, lowered where the margin shrank.
        margin: smallest distance of a membrane from its threshold during the run, in steps `s`; at most 0.5.
    """

    value: str | None
    status: _Status
    confidence: float = 1.0
    margin: float = 0.5


class QueryResult(NamedTuple):
    """The answer of one query, and the number of the last active object (-1: none)."""

    answer: GraphAnswer
    selected: int


class Slot(NamedTuple):
    """The place of a program: the number of its world in the batch, and its column."""

    world: int
    column: int


@dataclass(frozen=True, eq=False)
class GraphBatch:
    """A batch of worlds with their graph, and one slot for each program."""

    worlds: Worlds
    graph: SpikingGraph
    slots: tuple[Slot, ...]
    programs: tuple[Instructions, ...]

    @property
    def num_columns(self) -> int:
        """The largest number of programs about one world."""
        return 1 + max((slot.column for slot in self.slots), default=0)


class GraphRecord(NamedTuple):
    """Spikes of both sets at every step, the last state, and the smallest margins."""

    objects: Bool[Tensor, "T O Q"]
    events: Bool[Tensor, "T E Q"]
    last: GraphState
    margins: Float[Tensor, "W Q"]


class Recorder:
    """Records a run step by step. Where channels do not add up, the margins follow from the preset."""

    def __init__(self, graph: SpikingGraph, measures_margins: bool) -> None:
        self._graph = graph
        self._measures_margins = measures_margins
        self._object_rows = _rows(graph.indices.of_objects("object"))
        self._event_rows = _rows(graph.indices.of_events("event"))
        self._objects: list[Tensor] = []
        self._events: list[Tensor] = []
        self._distance: Tensor | None = None
        self._last: GraphState | None = None

    def add(self, state: GraphState) -> None:
        """Records one step."""
        self._objects.append(state.spikes[self._object_rows] > 0)
        self._events.append(state.spikes[self._event_rows] > 0)
        self._last = state

        if self._measures_margins:
            distance = self._graph.threshold_distance(state.v)
            self._distance = distance if self._distance is None else torch.minimum(self._distance, distance)

    def record(self) -> GraphRecord:
        """The record of all steps."""
        if self._last is None:
            raise RuntimeError("a run has at least one step")

        if self._distance is not None:
            margins = self._graph.min_by_world(self._distance)
        else:
            shape = self._graph.indices.num_worlds, self._last.v.shape[1]
            margins = torch.full(shape, _full_margin(self._graph))

        return GraphRecord(torch.stack(self._objects), torch.stack(self._events), self._last, margins)


def _rows(neurons: np.ndarray) -> slice:
    return slice(int(neurons[0]), int(neurons[-1]) + 1) if len(neurons) else slice(0, 0)


def _full_margin(graph: SpikingGraph) -> float:
    return graph.preset.margin / graph.preset.step


class ProgramValues(NamedTuple):
    """The value of each program, and whether two values fired at once."""

    values: list[str | None]
    conflicts: list[bool]


def read_results(
    batch: GraphBatch, record: GraphRecord, table: OperatorTable, read: Callable[..., ProgramValues] | None = None
) -> list[QueryResult]:
    """The result of every program of a batch, in order; `read` replaces the read-out of values."""
    if not batch.slots:
        return []

    values = (read or _read_values)(batch, record)
    begins = [len(record.objects) - program.num_steps(table) for program in batch.programs]
    statuses = _statuses(batch, record, begins)
    confidences = _confidences(batch, record, begins)
    selected = _selected_objects(batch, record)
    margins = record.margins.cpu().numpy()
    full_margin = _full_margin(batch.graph)
    results = []

    for number, slot in enumerate(batch.slots):
        value = values.values[number]
        status = statuses[number]
        if status == "ok" and values.conflicts[number]:
            status = "conflict"
        if status == "ok" and value is None:
            status = "empty"

        # a margin below that of the preset means that channels added up: noise could change the answer
        margin = float(margins[slot])
        share = min(max(margin / full_margin, 0.0), 1.0) if full_margin > 0 else 1.0
        answer = GraphAnswer(value, status, float(confidences[number] * share), margin)
        results.append(QueryResult(answer, selected[number]))

    return results


def with_removal(result: QueryResult, removal: QueryResult | None) -> QueryResult:
    """The result of a counterfactual query, which also relies on the query that selected the removed object."""
    if removal is None:
        return result

    # the removal comes first in time, so its failure is the reason
    own = result.answer
    other = removal.answer
    status = other.status if other.status != "ok" else own.status
    confidence = own.confidence * other.confidence
    answer = replace(own, status=status, confidence=confidence, margin=min(own.margin, other.margin))

    return result._replace(answer=answer)


def _read_values(batch: GraphBatch, record: GraphRecord) -> ProgramValues:
    layout = batch.graph.indices.layout
    index = layout.shared_index
    fired = shared_at_slots(batch, record.last.spikes) > 0
    values: list[str | None] = []
    conflicts = []

    for p, (program, slot) in enumerate(zip(batch.programs, batch.slots, strict=True)):
        if program.reads in layout.attributes:
            names = [value for value in layout.attributes[program.reads] if fired[index[value], p]]
            values.append(names[0] if names else None)
            conflicts.append(len(names) > 1)
            continue

        if program.reads == "match":
            level = int(fired[index["match"], p])
        else:
            first = index[f"{program.group}_count[1]"]
            level = int(fired[first : first + MAX_COUNTED, p].sum())
            # beyond the thermometer the members are counted themselves
            if level == MAX_COUNTED:
                members = _sets(batch, record)[program.group]
                level = int(members.spikes[-1, members.world == slot.world, slot.column].sum())

        values.append(level_as_value(program, level))
        conflicts.append(False)

    return ProgramValues(values, conflicts)


def shared_at_slots(batch: GraphBatch, quantity: Float[Tensor, "N Q"]) -> Float[np.ndarray, "G P"]:
    """A quantity of the shared neurons, for each program in its world and column."""
    indices = batch.graph.indices
    shape = len(indices.layout.shared), indices.num_worlds, quantity.shape[1]
    worlds, columns = (np.array(part, dtype=np.int64) for part in zip(*batch.slots, strict=True))

    return quantity[: shape[0] * shape[1]].reshape(shape).cpu().numpy()[:, worlds, columns]


def level_as_value(program: Instructions, level: int) -> str:
    """A count, or a set that is empty or not, as the answer of a program."""
    if program.reads == "count":
        return str(level)
    if program.reads == "exist" and program.world in OBSERVED:
        return "yes" if level else "no"
    return "correct" if bool(level) != program.negated else "wrong"


class _Set(NamedTuple):
    """A set: spikes of its members at every step, and the world of each member."""

    spikes: Bool[Tensor, "T M Q"]
    world: np.ndarray

    def sizes(self, num_worlds: int) -> Float[np.ndarray, "T W Q"]:
        """The number of active members in each world."""
        num_steps, _, num_columns = self.spikes.shape
        sums = torch.zeros(num_steps, num_worlds, num_columns, device=self.spikes.device)
        world = torch.as_tensor(self.world, device=self.spikes.device)
        return sums.index_add_(1, world, self.spikes.float()).cpu().numpy()


def _sets(batch: GraphBatch, record: GraphRecord) -> dict[str, _Set]:
    return {
        "object": _Set(record.objects, batch.worlds.world_of_object),
        "event": _Set(record.events, batch.worlds.events.scene),
    }


def _statuses(batch: GraphBatch, record: GraphRecord, begins: Sequence[int]) -> list[_Status]:
    num_worlds = len(batch.worlds.worlds)
    sizes = {group: members.sizes(num_worlds) for group, members in _sets(batch, record).items()}
    is_collision = torch.as_tensor(batch.worlds.events.kind == COLLISION, device=record.events.device)
    collisions = _Set(record.events & is_collision[:, None], batch.worlds.events.scene)
    sizes["collision"] = collisions.sizes(num_worlds)
    statuses: list[_Status] = []

    for program, slot, begin in zip(batch.programs, batch.slots, begins, strict=True):
        status: _Status = "ok"
        # the first failure explains the later ones
        for probe in program.probes:
            size = sizes["collision" if probe.collision else probe.group][(begin + probe.step, *slot)]
            status = _probe_status(probe, int(size))
            if status != "ok":
                break

        if status == "ok" and _pair_is_one_object(batch, record, slot, program, begin):
            status = "ambiguous"

        statuses.append(status)

    return statuses


def _probe_status(probe: Probe, size: int) -> _Status:
    if size < probe.min_size:
        return "missing" if probe.min_size == 2 and size == 1 else "empty"
    return "ambiguous" if size > probe.max_size else "ok"


def _pair_is_one_object(batch: GraphBatch, record: GraphRecord, slot: Slot, program: Instructions, begin: int) -> bool:
    in_world = torch.as_tensor(batch.worlds.world_of_object == slot.world, device=record.objects.device)
    if program.pair is None or int(in_world.sum()) == 2:
        return False  # two objects form only one pair, whichever references name it

    first, second = (record.objects[begin + probe.step, :, slot.column][in_world] for probe in program.pair)
    return bool((first == second).all())


def _selected_objects(batch: GraphBatch, record: GraphRecord) -> list[int]:
    last = record.objects[-1].cpu().numpy()
    first = batch.worlds.first_object
    numbers = batch.worlds.num_objects
    selected = []

    for world, column in batch.slots:
        active = np.flatnonzero(last[first[world] : first[world] + numbers[world], column])
        selected.append(int(active[-1]) if len(active) else -1)

    return selected


def _confidences(batch: GraphBatch, record: GraphRecord, begins: Sequence[int]) -> Float[np.ndarray, "P"]:
    """The product of the scores of all objects and events that a program selected or ended with."""
    worlds = batch.worlds
    confidences = np.ones(len(batch.programs))
    # scenes from a file, not perceived, need no search for the members
    if (worlds.value_scores == 1).all() and (worlds.events.score == 1).all():
        return confidences

    numbers = {"object": worlds.num_objects, "event": worlds.num_events}
    scores = {"object": worlds.value_scores.prod(1), "event": worlds.events.score}

    for group, members in _sets(batch, record).items():
        fired = members.spikes.cpu().numpy()
        first = np.cumsum(numbers[group]) - numbers[group]

        # a probe for one member is a selection; the last step holds the set of the answer
        for p, (program, slot, begin) in enumerate(zip(batch.programs, batch.slots, begins, strict=True)):
            in_world = slice(first[slot.world], first[slot.world] + numbers[group][slot.world])
            steps = {begin + probe.step for probe in program.probes if probe.group == group and probe.max_size == 1}
            used = fired[sorted(steps | {len(fired) - 1}), in_world, slot.column].any(0)
            confidences[p] *= scores[group][in_world][used].prod()

    return confidences
