"""Answers read from the spikes of the graph: values at the last step, statuses at probes, confidence from perception.

A value is a spike of a concept or the number of active members of a set. A probe checks the size of a set at the step
at which the program relies on it. The confidence is the product of the perception scores of all objects and events
that the program selected.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spikebridge.networks.reasoning.events.events import COLLISION
from spikebridge.networks.reasoning.graph.compiler import Instructions, Probe
from spikebridge.networks.reasoning.graph.layout import MAX_COUNTED
from spikebridge.networks.reasoning.graph.spiking_graph import SpikingGraph, StepOutput
from spikebridge.networks.reasoning.graph.worlds import Worlds
from spikebridge.networks.reasoning.parsing.operators import OperatorTable

_Status = Literal["ok", "empty", "ambiguous", "missing", "conflict"]
"""`unique` found one member each time; none; several; no second event; two values fired at once."""


@dataclass(frozen=True)
class GraphAnswer:
    """The answer of the graph to one program.

    Args:
        value: a number, `yes`, `no`, an attribute value, `correct` or `wrong`; None without an answer.
        status: whether every selection of the program was unambiguous.
        confidence: product of the perception scores used, 0 to 1, lowered where the margin shrank.
        margin: smallest distance of a membrane from its threshold during the run, in steps `s`; at most 0.5.
    """

    value: str | None
    status: _Status
    confidence: float = 1.0
    margin: float = 0.5


class QueryResult(NamedTuple):
    """The result of one query: its answer, and the number of the last active object (-1: none)."""

    answer: GraphAnswer
    selected: int


class Slot(NamedTuple):
    """Where a program runs: the number of its world in the batch, and its column."""

    world: int
    column: int


@dataclass(frozen=True, eq=False)
class GraphBatch:
    """Worlds side by side with their graph, and one slot for each program."""

    worlds: Worlds
    graph: SpikingGraph
    slots: tuple[Slot, ...]
    programs: tuple[Instructions, ...]

    @property
    def columns(self) -> int:
        """Number of columns: the programs of the world that has most."""
        return 1 + max((slot.column for slot in self.slots), default=0)


class GraphRecord(NamedTuple):
    """What is kept of a run.

    Args:
        objects: `(T, O, Q)` spikes of `object`.
        events: `(T, E, Q)` spikes of `event`.
        spikes: `(G, W, Q)` of the shared neurons at the last step.
        membranes: `(G, W, Q)` of the shared neurons at the last step, in steps `s`.
        margins: `(W, Q)`.
    """

    objects: Bool[Tensor, "T O Q"]
    events: Bool[Tensor, "T E Q"]
    spikes: Bool[Tensor, "G W Q"]
    membranes: Float[Tensor, "G W Q"]
    margins: Float[Tensor, "W Q"]


class Recorder:
    """Records a run step by step, as far as answers need it.

    Args:
        graph: the graph that runs.
        margins: whether to measure margins; without faults and leak they follow from the preset.
    """

    def __init__(self, graph: SpikingGraph, margins: bool) -> None:
        self.graph = graph
        self._object_rows, self._event_rows = (
            slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0, 0)
            for rows in (graph.indices.of_objects("object"), graph.indices.of_events("event"))
        )

        self._objects: list[Tensor] = []
        self._events: list[Tensor] = []
        self._distance: Tensor | None = None
        self._measures_margins = margins
        self._last: StepOutput | None = None

    def add(self, output: StepOutput) -> None:
        """Records one step."""
        fired = self.graph.majority(output.spikes)
        self._objects.append(fired[self._object_rows].clone())
        self._events.append(fired[self._event_rows].clone())
        if self._measures_margins:
            distance = self.graph.threshold_distance(output.v)
            self._distance = distance if self._distance is None else torch.minimum(self._distance, distance)

        self._last = output

    def record(self) -> GraphRecord:
        """The record, after the last step."""
        if self._last is None:
            raise RuntimeError("a run has at least one step")

        indices = self.graph.indices
        preset = self.graph.preset
        shape = len(indices.layout.shared), indices.num_worlds, self._last.v.shape[1]
        number = shape[0] * shape[1]
        spikes = self.graph.majority(self._last.spikes)[:number].reshape(shape)
        membranes = self.graph.mean_membrane(self._last.v)[:number].reshape(shape) / preset.step

        if self._distance is None:
            margins = torch.full(shape[1:], preset.margin / preset.step)
        else:
            margins = self.graph.minimum_by_world(self._distance)

        return GraphRecord(torch.stack(self._objects), torch.stack(self._events), spikes, membranes, margins)


def read_results(batch: GraphBatch, record: GraphRecord, table: OperatorTable) -> list[QueryResult]:
    """The result of every program of a batch, in order.

    Args:
        batch: what ran.
        record: of the run.
        table: operators; a program's length follows from it.
    """
    if not batch.slots:
        return []

    total = len(record.objects)
    begins = [total - program.num_steps(table) for program in batch.programs]
    values, conflicts = _values(batch, record)
    statuses = _statuses(batch, record, begins)
    confidences = _confidences(batch, record, begins)
    selected = _selected_objects(batch, record)
    margins = record.margins.cpu().numpy()
    full_margin = batch.graph.preset.margin / batch.graph.preset.step
    results = []

    for number, slot in enumerate(batch.slots):
        value = values[number]
        status = statuses[number]
        margin = float(margins[slot])
        if status == "ok" and conflicts[number]:
            status = "conflict"

        if status == "ok" and value is None:
            status = "empty"

        share = min(max(margin / full_margin, 0.0), 1.0) if full_margin > 0 else 1.0
        answer = GraphAnswer(value, status, float(confidences[number] * share), margin)
        results.append(QueryResult(answer, selected[number]))

    return results


def with_removal(result: QueryResult, removal: QueryResult | None) -> QueryResult:
    """The result of a counterfactual query, which also relies on the query that selected the removed object."""
    if removal is None:
        return result

    own = result.answer
    other = removal.answer
    status = other.status if other.status != "ok" else own.status
    confidence = own.confidence * other.confidence
    answer = replace(own, status=status, confidence=confidence, margin=min(own.margin, other.margin))

    return result._replace(answer=answer)


def _values(batch: GraphBatch, record: GraphRecord) -> tuple[list[str | None], list[bool]]:
    """The value of each program, and whether two values fired at once."""
    layout = batch.graph.indices.layout
    index = layout.shared_index
    worlds, columns = (np.array(part, dtype=np.int64) for part in zip(*batch.slots, strict=True))
    fired = record.spikes.cpu().numpy()[:, worlds, columns]
    membranes = record.membranes.cpu().numpy()[:, worlds, columns]
    sizes = {
        group: _count_by_world(spikes[-1:], world, len(batch.worlds.worlds))[0].cpu().numpy()[worlds, columns]
        for group, spikes, world in _sets(batch, record)
    }

    values: list[str | None] = []
    conflicts = []

    for p, program in enumerate(batch.programs):
        if program.reads in layout.attributes:
            named = [value for value in layout.attributes[program.reads] if fired[index[value], p]]
            values.append(named[0] if named else None)
            conflicts.append(len(named) > 1)
            continue

        if not layout.exact:
            level = round(float(membranes[index["match" if program.reads == "match" else "count"], p]))
        elif program.reads == "match":
            level = int(fired[index["match"], p])
        else:
            first = index[f"{program.group}_count[1]"]
            level = int(fired[first : first + MAX_COUNTED, p].sum())
            if level == MAX_COUNTED:
                level = int(sizes[program.group][p])

        values.append(_level_as_value(program, level))
        conflicts.append(False)

    return values, conflicts


def _level_as_value(program: Instructions, level: int) -> str:
    if program.reads == "count":
        return str(level)
    if program.reads == "exist" and program.world == "observed":
        return "yes" if level else "no"
    return "correct" if bool(level) != program.negated else "wrong"


def _sets(batch: GraphBatch, record: GraphRecord) -> list[tuple[str, Tensor, np.ndarray]]:
    """Both sets: name, spikes at every step, and the world of each member."""
    worlds = batch.worlds
    return [("object", record.objects, worlds.world_of_object), ("event", record.events, worlds.events.scene)]


def _count_by_world(fired: Bool[Tensor, "T M Q"], world: np.ndarray, number: int) -> Float[Tensor, "T W Q"]:
    """The number of active members in each world."""
    sums = torch.zeros(fired.shape[0], number, fired.shape[2], device=fired.device)
    return sums.index_add_(1, torch.as_tensor(world, device=fired.device), fired.float())


def _statuses(batch: GraphBatch, record: GraphRecord, begins: Sequence[int]) -> list[_Status]:
    """Whether every probe held, in the order of the program; the first that failed gives the status."""
    number = len(batch.worlds.worlds)
    sizes = {name: _count_by_world(spikes, world, number).cpu().numpy() for name, spikes, world in _sets(batch, record)}
    is_collision = torch.as_tensor(batch.worlds.events.kind == COLLISION, device=record.events.device)
    collisions = record.events & is_collision[:, None]
    sizes["collision"] = _count_by_world(collisions, batch.worlds.events.scene, number).cpu().numpy()
    statuses: list[_Status] = []

    for program, slot, begin in zip(batch.programs, batch.slots, begins, strict=True):
        status: _Status = "ok"
        for probe in program.probes:
            size = sizes["collision" if probe.collision else probe.group][(begin + probe.step, *slot)]
            status = _probe_status(probe, int(size))
            if status != "ok":
                break

        if status == "ok" and program.pair is not None and _selects_one_object(batch, record, slot, program, begin):
            status = "ambiguous"

        statuses.append(status)

    return statuses


def _probe_status(probe: Probe, size: int) -> _Status:
    if size < probe.least:
        return "missing" if probe.least == 2 and size == 1 else "empty"
    return "ambiguous" if size > probe.most else "ok"


def _selects_one_object(batch: GraphBatch, record: GraphRecord, slot: Slot, program: Instructions, begin: int) -> bool:
    """Whether the two references to a pair of objects selected the same object."""
    own = torch.as_tensor(batch.worlds.world_of_object == slot.world, device=record.objects.device)
    if program.pair is None or int(own.sum()) == 2:
        return False  # two objects form only one pair, whichever references name it

    first, second = (record.objects[begin + probe.step, :, slot.column][own] for probe in program.pair)
    return bool((first == second).all())


def _selected_objects(batch: GraphBatch, record: GraphRecord) -> list[int]:
    """The last active object of each slot at the last step, -1 without one."""
    last = record.objects[-1].cpu().numpy()
    first = batch.worlds.first_object
    numbers = batch.worlds.num_objects
    selected = []

    for world, column in batch.slots:
        active = np.flatnonzero(last[first[world] : first[world] + numbers[world], column])
        selected.append(int(active[-1]) if len(active) else -1)

    return selected


def _confidences(batch: GraphBatch, record: GraphRecord, begins: Sequence[int]) -> Float[np.ndarray, "P"]:
    """The product of the scores of all objects and events that a program selected or ended with.

    An object counts with the scores of all its attributes, an event with its own. What was given and not perceived has
    the score 1.
    """
    worlds = batch.worlds
    confidences = np.ones(len(batch.programs))
    if (worlds.value_scores == 1).all() and (worlds.events.score == 1).all():
        return confidences

    numbers = {"object": worlds.num_objects, "event": worlds.num_events}
    scores = {"object": worlds.value_scores.prod(1), "event": worlds.events.score}

    for group, spikes, _ in _sets(batch, record):
        fired = spikes.cpu().numpy()
        first = np.cumsum(numbers[group]) - numbers[group]

        for p, (program, slot, begin) in enumerate(zip(batch.programs, batch.slots, begins, strict=True)):
            own = slice(first[slot.world], first[slot.world] + numbers[group][slot.world])
            steps = {begin + probe.step for probe in program.probes if probe.group == group and probe.most == 1}
            used = fired[sorted(steps | {len(fired) - 1}), own, slot.column].any(0)
            confidences[p] *= scores[group][own][used].prod()

    return confidences
