"""Reading answers off the spikes of the last step, and off the sets at probes on the way.

How sure an answer is: the product of the perception scores of what it rests on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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

Status = Literal["ok", "empty", "ambiguous", "missing", "conflict"]
"""How an answer came about: every `unique` found one; none; several; no second event; two values fired."""


@dataclass(frozen=True)
class GraphAnswer:
    """What the graph says.

    Args:
        value: a number, `yes`, `no`, a value, `correct` or `wrong`; None where it abstains or nothing fired.
        status: how it came about.
        confidence: product of the perception scores that the answer rests on, 0 to 1, less where the margin shrank.
        margin: smallest distance of a membrane from its threshold on the way, in steps `s`; at most 0.5.
    """

    value: str | None
    status: Status
    confidence: float = 1.0
    margin: float = 0.5


class Slot(NamedTuple):
    """Where a program runs: its world in the batch, and its column."""

    world: int
    column: int


class Record(NamedTuple):
    """What is kept of a run.

    Args:
        objects: `(T, O, Q)` spikes of `object`.
        events: `(T, E, Q)` spikes of `event`.
        spikes: `(G, W, Q)` of the shared neurons at the last step.
        membranes: `(G, W, Q)` the same, as shares of the drive's step.
        margins: `(W, Q)`.
    """

    objects: Bool[Tensor, "T O Q"]
    events: Bool[Tensor, "T E Q"]
    spikes: Bool[Tensor, "G W Q"]
    membranes: Float[Tensor, "G W Q"]
    margins: Float[Tensor, "W Q"]


class Recorder:
    """Takes in moment after moment, and keeps what answers are read from.

    Args:
        graph: what runs.
        margins: whether to measure margins; without faults or leak those of a preset are known beforehand.
    """

    def __init__(self, graph: SpikingGraph, margins: bool) -> None:
        places = graph.places
        self.graph = graph
        self.objects_at, self.events_at = (
            slice(int(at[0]), int(at[-1]) + 1) if len(at) else slice(0, 0)
            for at in (places.of_objects("object"), places.of_events("event"))
        )
        self.objects: list[Tensor] = []
        self.events: list[Tensor] = []
        self.least: Tensor | None = None
        self.measures = margins
        self.last: StepOutput | None = None

    def take(self, moment: StepOutput) -> None:
        """Keeps one step."""
        fired = self.graph.majority(moment.spikes)
        self.objects.append(fired[self.objects_at].clone())
        self.events.append(fired[self.events_at].clone())
        if self.measures:
            distance = self.graph.distance(moment.v)
            self.least = distance if self.least is None else torch.minimum(self.least, distance)
        self.last = moment

    def record(self) -> Record:
        """What was kept, after the last step."""
        if self.last is None:
            raise RuntimeError("a run has at least one step")
        places, preset = self.graph.places, self.graph.preset
        shape = len(places.layout.shared), places.num_worlds, self.last.v.shape[1]
        number = shape[0] * shape[1]
        spikes = self.graph.majority(self.last.spikes)[:number].reshape(shape)
        membranes = self.graph.mean_membrane(self.last.v)[:number].reshape(shape) / preset.step
        known = torch.full(shape[1:], preset.margin / preset.step)
        least = known if self.least is None else self.graph.least_of_worlds(self.least)
        return Record(torch.stack(self.objects), torch.stack(self.events), spikes, membranes, least)


def read_values(
    programs: Sequence[Instructions], seats: Sequence[Slot], record: Record, graph: SpikingGraph
) -> list[tuple[str | None, bool]]:
    """The value that each program left, and whether two values fired at once.

    Args:
        programs: one a seat.
        seats: where they ran.
        record: of the run.
        graph: what ran.
    """
    layout, index = graph.places.layout, graph.places.layout.shared_index
    spikes, membranes = record.spikes.cpu().numpy(), record.membranes.cpu().numpy()
    worlds, columns = (np.array(part, dtype=np.int64) for part in zip(*seats, strict=True))
    fired, v = spikes[:, worlds, columns], membranes[:, worlds, columns]
    counted = _members(record, graph, worlds, columns)
    answers: list[tuple[str | None, bool]] = []
    for p, program in enumerate(programs):
        if program.reads in layout.attributes:
            values = layout.attributes[program.reads]
            named = [value for value in values if fired[index[value], p]]
            answers.append((named[0] if named else None, len(named) > 1))
            continue
        if not layout.exact:
            level = round(float(v[index["match" if program.reads == "match" else "count"], p]))
        elif program.reads == "match":
            level = int(fired[index["match"], p])
        else:
            first = index[f"{program.group}_count[1]"]
            level = int(fired[first : first + MAX_COUNTED, p].sum())
            if level == MAX_COUNTED:
                level = int(counted[program.group][p])
        answers.append((_word(program, level), False))
    return answers


def _word(program: Instructions, level: int) -> str:
    if program.reads == "count":
        return str(level)
    if program.reads == "exist" and program.world == "observed":
        return "yes" if level else "no"
    return "correct" if bool(level) != program.negated else "wrong"


def _members(record: Record, graph: SpikingGraph, worlds: np.ndarray, columns: np.ndarray) -> dict[str, np.ndarray]:
    """How many members the sets have at the last step, by seat."""
    places, sizes = graph.places, {}
    for group, last, world in (
        ("object", record.objects[-1], places.world_of_object),
        ("event", record.events[-1], places.world_of_event),
    ):
        sizes[group] = _by_world(last.unsqueeze(0), world, places.num_worlds)[0].cpu().numpy()[worlds, columns]
    return sizes


def read_statuses(
    programs: Sequence[Instructions], seats: Sequence[Slot], record: Record, worlds: Worlds, num_steps: Sequence[int]
) -> list[Status]:
    """Whether every probe held, in the order of the program; the first that did not says why.

    Args:
        programs: one a seat.
        seats: where they ran.
        record: of the run.
        worlds: in which they ran.
        num_steps: of each program; its first step stands so many before the end.
    """
    number = len(worlds.worlds)
    total = record.objects.shape[0]
    collides = torch.as_tensor(worlds.events.kind == COLLISION, device=record.events.device)
    sizes = {
        "object": _by_world(record.objects, worlds.world_of_object, number).cpu().numpy(),
        "event": _by_world(record.events, worlds.events.scene, number).cpu().numpy(),
        "collision": _by_world(record.events & collides[:, None], worlds.events.scene, number).cpu().numpy(),
    }
    statuses: list[Status] = []
    for program, seat, steps in zip(programs, seats, num_steps, strict=True):
        begin = total - steps
        status: Status = "ok"
        for probe in program.probes:
            size = sizes["collision" if probe.collision else probe.group][begin + probe.step, seat.world, seat.column]
            status = _status(probe, int(size))
            if status != "ok":
                break
        if status == "ok" and program.pair is not None and _is_same(program.pair, begin, seat, record, worlds):
            status = "ambiguous"
        statuses.append(status)
    return statuses


def _status(probe: Probe, size: int) -> Status:
    if size < probe.least:
        return "missing" if probe.least == 2 and size == 1 else "empty"
    return "ambiguous" if size > probe.most else "ok"


def _is_same(pair: tuple[Probe, Probe], begin: int, seat: Slot, record: Record, worlds: Worlds) -> bool:
    own = torch.as_tensor(worlds.world_of_object == seat.world, device=record.objects.device)
    if int(own.sum()) == 2:
        return False  # of two objects there is one pair, whatever names it
    first, second = (record.objects[begin + probe.step, :, seat.column][own] for probe in pair)
    return bool((first == second).all())


def found_objects(seats: Sequence[Slot], record: Record, worlds: Worlds) -> list[int]:
    """The last active object of each seat at the last step, -1 where there is none."""
    last, first = record.objects[-1].cpu().numpy(), worlds.first_object
    numbers = worlds.num_objects
    found = []
    for world, column in seats:
        active = np.flatnonzero(last[first[world] : first[world] + numbers[world], column])
        found.append(int(active[-1]) if len(active) else -1)
    return found


def _by_world(fired: Bool[Tensor, "T M Q"], world: np.ndarray, number: int) -> Float[Tensor, "T W Q"]:
    """How many fire in each world."""
    sums = torch.zeros(fired.shape[0], number, fired.shape[2], device=fired.device)
    return sums.index_add_(1, torch.as_tensor(world, device=fired.device), fired.float())


def confidences(
    programs: Sequence[Instructions], seats: Sequence[Slot], record: Record, worlds: Worlds, num_steps: Sequence[int]
) -> Float[np.ndarray, "P"]:
    """The product of the scores of all objects and events that a program singled out or ended with.

    Objects count with the scores of all their attributes, events with their own. What was told, and not perceived, has
    the score 1.

    Args:
        programs: one a seat.
        seats: where they ran.
        record: of the run.
        worlds: in which they ran.
        num_steps: of each program.
    """
    sure = np.ones(len(programs))
    if (worlds.value_scores == 1).all() and (worlds.events.score == 1).all():
        return sure
    scores = {"object": worlds.value_scores.prod(1), "event": worlds.events.score}
    fired = {"object": record.objects.cpu().numpy(), "event": record.events.cpu().numpy()}
    numbers = {"object": worlds.num_objects, "event": worlds.num_events}
    total = len(fired["object"])
    for p, (program, seat, steps) in enumerate(zip(programs, seats, num_steps, strict=True)):
        for group in ("object", "event"):
            first = numbers[group][: seat.world].sum()
            own = slice(first, first + numbers[group][seat.world])
            moments = {
                total - steps + probe.step for probe in program.probes if probe.group == group and probe.most == 1
            }
            used = fired[group][sorted(moments | {total - 1}), own, seat.column].any(0)
            sure[p] *= scores[group][own][used].prod()
    return sure
