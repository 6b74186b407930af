"""The published form of the spiking graph, preset `paper`: the arithmetic of the released code of R. Zhao et al., 2022.

It differs from the form of the package:

| stage | published form |
|---|---|
| compiler | rewrites tokens without types |
| worlds | the first 20 observed and the first 5 predicted or counterfactual events; colliding objects move |
| weights | before and after go by rank; no motion at any time; sums of channels can reach the threshold |
| read-out | membrane potentials of the neurons `count` and `match`; objects and events are counted together |

`run_questions(scenes, questions, published())` runs it.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from research.reasoning.graphs.faulty_graph import FaultyOptions
from spikebridge.networks.reasoning.data.scene import Question, Scene
from spikebridge.networks.reasoning.events.events import (
    COLLISION,
    IN,
    OUT,
    Events,
    collision_events,
    observed_events,
    ranks,
    tracks_of,
)
from spikebridge.networks.reasoning.graph.compiler import Instructions
from spikebridge.networks.reasoning.graph.layout import PRESETS, NeuronLayout, Preset
from spikebridge.networks.reasoning.graph.readout import (
    GraphBatch,
    GraphRecord,
    ProgramValues,
    QueryResult,
    level_as_value,
    read_results,
    shared_at_slots,
)
from spikebridge.networks.reasoning.graph.run import RunOptions, run_questions
from spikebridge.networks.reasoning.graph.wiring import CHANNEL, DRIVE, FIXED, INHIBITION, TALLY, Connections, Wiring
from spikebridge.networks.reasoning.graph.worlds import IndexPairs, World, Worlds, join_worlds
from spikebridge.networks.reasoning.parsing.operators import ORDERS, OperatorTable, parse
from spikebridge.networks.reasoning.scores import tally, values

PAPER = Preset("paper", drive=100.0, step=1.0, v_threshold=100.0)  # the margin is 0
MAX_EVENTS = 20
_MAX_HYPOTHETICAL_EVENTS = 5

# Neurons that the package added to the published ones, with its count neurons.
_ADDED = (
    *("ask_whole", "whole", "event_before", "event_after"),
    *("ask_starting", "ask_stopping", "ask_turning", "ask_coming", "ask_changing"),
    *("ask_hitting", "event_struck"),
    *("left", "right", "top", "bottom"),
)


class PublishedTable(OperatorTable):
    """The operators with the instructions of the published compiler."""

    @cached_property
    def trains(self) -> dict[str, tuple[tuple[str, ...], ...]]:
        both = (("all_events", "store_objects", "store_events"), ())
        known = {name: train for name, train in super().trains.items() if not {*_ADDED} & {*sum(train, ())}}
        return {**known, "events, storing both": both, "silence": ((), ()), "null": ((), ())}


class PublishedLayout(NeuronLayout):
    """The 42 shared neurons, 6 for each object and 6 for each event."""

    count_neurons = ()

    @cached_property
    def shared(self) -> tuple[str, ...]:
        return tuple(name for name in super().shared if name not in _ADDED)

    @cached_property
    def event_groups(self) -> tuple[str, ...]:
        return tuple(name for name in super().event_groups if name not in _ADDED)


class PublishedWiring(Wiring):
    """The published connections."""

    fixed = (
        *(row for row in FIXED if row[1] != "match" and not {*row[:2]} & {*_ADDED, "ask_before", "ask_after"}),
        ("object", "count", TALLY),
        ("event", "count", TALLY),
        ("event", "event_memory", CHANNEL),
        ("object_memory", "match", TALLY),
        ("event_memory", "match", TALLY),
        ("ask_before", "event_earlier", DRIVE),
        ("ask_after", "event_later", DRIVE),
    )

    requests = ((IN, "ask_entering"), (OUT, "ask_leaving"), (COLLISION, "ask_colliding"))

    def connect_order(self) -> None:
        k, j = self.worlds.event_pairs()
        event = self.indices.of_events("event")
        for group, inhibits in (("event_earlier", k <= j), ("event_later", k >= j)):
            self.connect(event[k[inhibits]], self.indices.of_events(group)[j[inhibits]], INHIBITION)

    def connect_repetitions(self) -> None:
        """None: the memory of an event accepts that event alone."""

    def connect_counters(self) -> None:
        """None: sets are counted by a potential."""

    def connect_sides(self) -> None:
        """None: sides are not asked for."""

    def connect_hitters(self) -> None:
        """None: who struck is not asked for."""

    def connect_whole_video(self) -> None:
        """None: motion is judged at events."""


class PublishedOptions(FaultyOptions):
    """Settings of a run of the published form; see `published`."""

    @cached_property
    def layout(self) -> NeuronLayout:
        return PublishedLayout(self.table.attributes)

    def compile(self, tokens: Sequence[str]) -> Instructions:
        return compile_as_published(tokens, self.table)

    def build_worlds(self, scenes: Sequence[Scene], worlds: Sequence[World]) -> Worlds:
        return build_as_published(scenes, worlds, self.table)

    def connections(self, worlds: Worlds) -> Connections:
        return PublishedWiring(worlds, self.layout).connections(self.preset)

    def read(self, batch: GraphBatch, record: GraphRecord) -> list[QueryResult]:
        return read_results(batch, record, self.table, read_potentials)

    @property
    def measures_margins(self) -> bool:
        return self.has_faults


def published(**settings: Any) -> PublishedOptions:
    """Options of the published form, with the settings of `FaultyOptions`."""
    return PublishedOptions(PAPER, PublishedTable(), **settings)


# Options of the published form and of the presets of the package.
FORMS: dict[str, RunOptions] = {
    "paper": published(),
    "scaled": RunOptions(PRESETS["scaled"]),
    "compartment": RunOptions(PRESETS["compartment"]),
}


def score_form(scenes: Sequence[Scene], questions: Sequence[Question], options: RunOptions) -> dict[str, Any]:
    """The accuracy of a form of the graph, as `tally`."""
    return tally(questions, values(run_questions(scenes, questions, options)))


def build_as_published(scenes: Sequence[Scene], worlds: Sequence[World], table: OperatorTable) -> Worlds:
    """Worlds with the published number of events, in which colliding objects move."""
    scene_of_world = [scenes[world.scene] for world in worlds]
    if not all(world.condition == "observed" for world in worlds):
        rows = [_hypothetical(scene, world) for scene, world in zip(scene_of_world, worlds, strict=True)]
        events = _first_of_each(collision_events(rows), _MAX_HYPOTHETICAL_EVENTS)
        return join_worlds(worlds, scene_of_world, events, None, table.attributes)

    tracks = tracks_of(scene_of_world)
    events = _first_of_each(observed_events(scene_of_world, tracks), MAX_EVENTS)
    observed = join_worlds(worlds, scene_of_world, events, tracks, table.attributes)

    return replace(observed, moving=_with_colliding(observed))


def _hypothetical(scene: Scene, world: World) -> np.ndarray:
    none = np.zeros((0, 3), dtype=np.int64)
    return scene.predicted if world.condition == "predicted" else scene.what_if.get(int(world.condition), none)


def _first_of_each(events: Events, number: int) -> Events:
    """The first events of each scene, in the order of the list."""
    return events.take(ranks(events.scene) < number)


def _with_colliding(worlds: Worlds) -> IndexPairs:
    """The pairs of events and moving objects, with the objects of each collision."""
    events = worlds.events
    rows = [np.stack(worlds.moving, axis=1)]
    collisions = np.flatnonzero(events.kind == COLLISION)
    for column in events.objects.T:
        objects = worlds.first_object[events.scene[collisions]] + column[collisions]
        rows.append(np.stack([collisions, objects], axis=1))

    return IndexPairs(*np.unique(np.concatenate(rows), axis=0).T)


def read_potentials(batch: GraphBatch, record: GraphRecord) -> ProgramValues:
    """The value of each program from the membranes of the last step."""
    layout = batch.graph.indices.layout
    index = layout.shared_index
    fired = shared_at_slots(batch, record.last.spikes) > 0
    levels = shared_at_slots(batch, record.last.v) / batch.graph.preset.step
    values: list[str | None] = []
    conflicts = []

    for p, program in enumerate(batch.programs):
        if program.reads in layout.attributes:
            names = [value for value in layout.attributes[program.reads] if fired[index[value], p]]
            values.append(names[0] if names else None)
            conflicts.append(len(names) > 1)
        else:
            level = levels[index["match" if program.reads == "match" else "count"], p]
            values.append(level_as_value(program, round(float(level))))
            conflicts.append(False)

    return ProgramValues(values, conflicts)


def compile_as_published(tokens: Sequence[str], table: OperatorTable) -> Instructions:
    """Instructions as the released code makes them; raises `ConfigError` for a program that is not well typed.

    A value and its filter become one instruction, as do words of order; `unique` and `query_frame` are dropped; the
    part that leads to a frame moves to the front; a motion filter without a time applies to all events.

    Example:
        >>> tokens = "objects red filter_color null filter_moving count".split()
        >>> compile_as_published(tokens, PublishedTable()).names
        ('events', 'objects', 'filter_red', 'silence', 'filter_moving', 'count')
    """
    parse(tokens, table)
    program = list(tokens)
    negated = tokens[-1] == "negate"

    if "unseen_events" in program:
        choice = program[: program.index("unseen_events")]
        names = [*_instructions(["events", *choice[1:]], table), "unseen_events"]
        return Instructions(tuple(names), "exist", negated=negated, world="predicted")

    if "filter_counterfact" in program:
        begin = program.index("all_events", 1)
        end = program.index("filter_counterfact")
        names = [*_instructions(["events", *program[1:begin]], table), "filter_counterfact"]
        removal = Instructions(("silence", *_instructions(program[begin + 1 : end], table)), "object")
        return Instructions(tuple(names), "exist", negated=negated, world="counterfactual", removal=removal)

    last = program[-2] if negated else program[-1]
    reads = "match" if last == "belong_to" else last.removeprefix("query_")

    return Instructions(tuple(_instructions(program, table)), reads, negated=negated)


def _instructions(program: Sequence[str], table: OperatorTable) -> list[str]:
    names: list[str] = []
    for token in program:
        kind = token.removeprefix("filter_")
        if kind in table.attributes:
            names.append(f"filter_{names.pop()}")
        # a word of order alone is the instruction
        elif not (kind == "order" and names[-1] in ORDERS):
            names.append(token)

    if "query_frame" in names:
        begin = names.index("events")
        end = names.index("query_frame") + 1
        names = names[begin:end] + names[:begin] + names[end:]

    # a motion filter without a time is judged at the events of the set
    names = ["silence" if name == "null" else name for name in names if name not in ("unique", "query_frame")]
    if {"filter_moving", "filter_stationary"} & set(names) and names[0] != "events":
        names = ["events", *names]

    return _with_memory(names)


def _with_memory(names: Sequence[str]) -> list[str]:
    """Joins two consecutive `events` to one instruction, which stores the choice."""
    joined: list[str] = []
    for name in names:
        if name == "events" and joined and joined[-1] == "events":
            joined[-1] = "events, storing both"
        else:
            joined.append(name)

    return joined
