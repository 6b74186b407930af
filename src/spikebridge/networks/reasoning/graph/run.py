"""Answers to questions about scenes from a spiking graph (R. Zhao et al., Nature Communications 13:3427, 2022).

Scenes become worlds, worlds become connections, programs become spike trains. The worlds of a batch form one graph,
the programs about a world are its columns, and every answer is read at the last step. Counterfactual questions take
two passes: the first selects the object that is removed, the second runs in the world without it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple, TypeAlias

import torch

from spikebridge.errors import ConfigError, DataError, did_you_mean
from spikebridge.hybrid.unit.unit import HybridUnit
from spikebridge.networks.reasoning.data.scene import Question, Scene
from spikebridge.networks.reasoning.graph._units import program_spikes, program_unit, stimulus_sizes
from spikebridge.networks.reasoning.graph.compiler import Instructions, compile_program
from spikebridge.networks.reasoning.graph.graph_sums import Path
from spikebridge.networks.reasoning.graph.layout import PRESETS, NeuronLayout, Preset, preset_of
from spikebridge.networks.reasoning.graph.readout import (
    GraphAnswer,
    GraphBatch,
    GraphRecord,
    QueryResult,
    Recorder,
    Slot,
    read_results,
    with_removal,
)
from spikebridge.networks.reasoning.graph.spiking_graph import SpikingGraph, StimulusSpikes, warn_of_sums
from spikebridge.networks.reasoning.graph.wiring import Connections, neuron_indices, wire
from spikebridge.networks.reasoning.graph.worlds import OBSERVED, World, Worlds, build_worlds
from spikebridge.networks.reasoning.parsing.operators import OperatorTable, with_blanks

# Reads collisions from trajectories: returns the same scenes with other collisions (`Scene.with_collisions`).
CollisionSource: TypeAlias = Callable[[Sequence[Scene]], Sequence[Scene]]

_MAX_WORLDS = 1024  # worlds of one graph; more are split, so that memory does not grow with the number of videos


@dataclass(frozen=True)
class Execution:
    """Device of the graph, and summation of spikes: `dense` or `sparse`, both with equal spikes."""

    path: Path | None = None
    device: str = "cpu"


@dataclass(frozen=True, eq=False)
class RunOptions:
    """Settings of a run, and its stages. A subclass can run another form of the graph."""

    preset: Preset = PRESETS["compartment"]
    table: OperatorTable = field(default_factory=OperatorTable)
    causal: bool = False  # counterfactual events as in `without_object`
    execution: Execution = Execution()

    @cached_property
    def layout(self) -> NeuronLayout:
        """The neurons of a world."""
        return NeuronLayout(self.table.attributes)

    @cached_property
    def unit(self) -> HybridUnit:
        """The hybrid unit from programs to spike trains."""
        return program_unit(self.table, self.layout)

    @property
    def measures_margins(self) -> bool:
        """True if margins depend on the run, since channels add up."""
        return not self.preset.saturates

    def compile(self, tokens: Sequence[str]) -> Instructions:
        return compile_program(tokens, self.table)

    def build_worlds(self, scenes: Sequence[Scene], worlds: Sequence[World]) -> Worlds:
        return build_worlds(scenes, worlds, self.table.attributes, self.causal)

    def connections(self, worlds: Worlds) -> Connections:
        return wire(worlds, self.layout, self.preset)

    def build_graph(self, worlds: Worlds) -> SpikingGraph:
        connections = self.connections(worlds)
        indices = neuron_indices(worlds, self.layout)
        warn_of_sums(connections, indices, self.preset)
        return SpikingGraph(connections, indices, self.preset, self.execution.path, self.execution.device)

    def read(self, batch: GraphBatch, record: GraphRecord) -> list[QueryResult]:
        return read_results(batch, record, self.table)


class Query(NamedTuple):
    """A program, and the world in which it runs."""

    world: World
    program: Instructions


def answer(
    scenes: Scene | Sequence[Scene],
    questions: Sequence[Question],
    preset: str | Preset = "compartment",
    collisions: CollisionSource | None = None,
    causal: bool = False,
    abstain: bool = False,
    table: OperatorTable | None = None,
    execution: Execution | None = None,
) -> list[tuple[GraphAnswer, ...]]:
    """Answers questions about scenes, all in one pass (two for counterfactual questions).

    Args:
        scenes: the scenes that the questions name by `video`; a single scene serves all questions.
        questions: questions of any kind.
        preset: `scaled` or `compartment`, or a preset of your own.
        collisions: reads collisions from the trajectories; None takes those of the scenes.
        causal: keep observed and predicted events that do not depend on the removed object.
        abstain: no value unless the status is `ok`.
        table: operators and attributes; None for the public vocabulary.
        execution: device and summation of spikes; None for the defaults.

    Returns:
        For each question one answer for each whole program (`Question.programs`): one for a descriptive question, else
        one for each choice.

    Raises:
        ConfigError: a program that is not well typed, or that the graph cannot hold.
        DataError: a question about an unknown video, or a scene that is too large.

    Example:
        >>> scene = Scene.from_lists(
        ...     1,
        ...     objects=[["red", "metal", "cube"], ["blue", "rubber", "sphere"]],
        ...     trajectory=[[0, [[0, 9.0, 9.0], [1, 5.0, 5.0]]]],
        ...     collisions=[[5, 0, 1]],
        ... )
        >>> program = "events objects red filter_color unique filter_collision unique objects red filter_color unique"
        >>> question = Question(1, "descriptive", (*program.split(), "query_collision_partner", "query_shape"))
        >>> answer(scene, [question])
        [(GraphAnswer(value='sphere', status='ok', confidence=1.0, margin=0.5),)]
    """
    options = RunOptions(
        preset_of(preset),
        table if table is not None else OperatorTable(),
        causal,
        execution if execution is not None else Execution(),
    )
    # a single scene serves all questions, whatever video they name
    is_single = isinstance(scenes, Scene)
    sources = [scenes] if isinstance(scenes, Scene) else list(scenes)
    if collisions is not None:
        sources = list(collisions(sources))
    if is_single:
        questions = [replace(question, video=sources[0].video) for question in questions]

    answers = run_questions(sources, questions, options)
    if abstain:
        return [tuple(one if one.status == "ok" else replace(one, value=None) for one in row) for row in answers]

    return answers


def run_questions(
    scenes: Sequence[Scene], questions: Sequence[Question], options: RunOptions
) -> list[tuple[GraphAnswer, ...]]:
    """`answer` with options: one answer for each whole program of each question."""
    number_of = {scene.video: number for number, scene in enumerate(scenes)}
    if len(number_of) < len(scenes):
        repeated = next(scene.video for number, scene in enumerate(scenes) if number_of[scene.video] != number)
        raise DataError(f"there are two scenes of video {repeated}; give each once")

    compiler = _CachedCompiler(options)
    programs = []
    for question in questions:
        scene = _scene_number(question.video, number_of)
        programs += [(scene, compiler(tokens)) for tokens in question.programs]

    results = iter(_run_in_two_passes(scenes, programs, options))
    return [tuple(next(results).answer for _ in question.programs) for question in questions]


def _scene_number(video: int | str, number_of: dict[int | str, int]) -> int:
    if video not in number_of:
        raise DataError(
            f"a question is about video {video}, but there is no scene of it; "
            f"{did_you_mean(str(video), [str(name) for name in list(number_of)[:20]])}"
        )

    return number_of[video]


class _CachedCompiler:
    """Compiles programs; those that differ only in attribute values are compiled once."""

    def __init__(self, options: RunOptions) -> None:
        self.options = options
        self.cache: dict[tuple[str, ...], Instructions] = {}

    def __call__(self, tokens: tuple[str, ...]) -> Instructions:
        blank, words = with_blanks(tokens, self.options.table)
        if blank not in self.cache:
            try:
                self.cache[blank] = self.options.compile(blank)
            except ConfigError:
                # raises again, with the words of the program
                return self.options.compile(tokens)

        return self.cache[blank].filled(words)


def _run_in_two_passes(
    scenes: Sequence[Scene], programs: Sequence[tuple[int, Instructions]], options: RunOptions
) -> list[QueryResult]:
    """First all observed worlds and all removed objects, then the predicted and counterfactual worlds."""
    # many questions about a video remove the same object: it is selected once
    removals = list(dict.fromkeys((scene, p.removal) for scene, p in programs if p.removal is not None))
    observed = [number for number, (_, program) in enumerate(programs) if program.world in OBSERVED]
    known = [*removals, *(programs[number] for number in observed)]
    queries = [Query(World(scene, program.world), program) for scene, program in known]
    first = _run_queries(scenes, queries, options)

    removed: dict[tuple[int, Instructions | None], QueryResult] = dict(zip(removals, first, strict=False))
    results = dict(zip(observed, first[len(removals) :], strict=True))
    others = [number for number in range(len(programs)) if number not in results]
    queries = []
    for scene, program in (programs[number] for number in others):
        condition = "predicted" if program.world == "predicted" else removed[scene, program.removal].selected
        queries.append(Query(World(scene, condition), program))

    for number, result in zip(others, _run_queries(scenes, queries, options), strict=True):
        scene, program = programs[number]
        results[number] = with_removal(result, removed.get((scene, program.removal)))

    return [results[number] for number in range(len(programs))]


def _run_queries(scenes: Sequence[Scene], queries: Sequence[Query], options: RunOptions) -> list[QueryResult]:
    """The result of each query; worlds are all observed or all hypothetical, and each is built once."""
    results: dict[int, QueryResult] = {}
    for numbers in _split(queries):
        batch = assign_slots(scenes, [queries[number] for number in numbers], options)
        results |= dict(zip(numbers, options.read(batch, run_batch(batch, options)), strict=True))

    return [results[number] for number in range(len(queries))]


def _split(queries: Sequence[Query]) -> list[list[int]]:
    """Numbers of queries that run together: worlds with about as many queries, and at most `_MAX_WORLDS`."""
    by_world: dict[World, list[int]] = {}
    for number, query in enumerate(queries):
        by_world.setdefault(query.world, []).append(number)

    parts: list[list[list[int]]] = []
    for numbers in sorted(by_world.values(), key=len):
        # a world with few queries would carry many empty columns
        if not parts or len(parts[-1]) == _MAX_WORLDS or len(numbers) > 4 * len(parts[-1][0]):
            parts.append([])
        parts[-1].append(numbers)

    return [[number for numbers in part for number in numbers] for part in parts]


def assign_slots(scenes: Sequence[Scene], queries: Sequence[Query], options: RunOptions) -> GraphBatch:
    """Builds the worlds of queries and their graph, and gives each query a column in its world."""
    number_of = {world: number for number, world in enumerate(dict.fromkeys(query.world for query in queries))}
    num_queries = [0] * len(number_of)
    slots = []

    for query in queries:
        number = number_of[query.world]
        slots.append(Slot(number, num_queries[number]))
        num_queries[number] += 1

    worlds = options.build_worlds(scenes, list(number_of))
    return GraphBatch(worlds, options.build_graph(worlds), tuple(slots), tuple(query.program for query in queries))


def batch_stimuli(batch: GraphBatch, options: RunOptions) -> list[StimulusSpikes]:
    """For each step the spikes from outside to the shared neurons of all worlds."""
    # equal programs are common in a batch, and their spike trains are computed once
    number_of = {program: number for number, program in enumerate(dict.fromkeys(batch.programs))}
    spikes = program_spikes(list(number_of), options.table, options.unit)
    program, step, neuron = spikes.transpose(0, 1).nonzero(as_tuple=True)
    num_spikes = torch.bincount(program, minlength=len(number_of))
    first_spike = num_spikes.cumsum(0) - num_spikes

    # every slot takes a copy of the spikes of its program
    program_of_slot = torch.tensor([number_of[program] for program in batch.programs])
    copies = num_spikes[program_of_slot]
    slot = torch.repeat_interleave(copies)
    place = torch.arange(len(slot)) - (copies.cumsum(0) - copies)[slot]
    spike = first_spike[program_of_slot][slot] + place

    # step by step, with the spikes of a step next to each other
    order = torch.argsort(step[spike], stable=True)
    slot = slot[order]
    spike = spike[order]
    world, column = torch.tensor(batch.slots)[slot].unbind(1)
    target = neuron[spike] * len(batch.worlds.worlds) + world
    charge = stimulus_sizes(options.layout, options.preset.drive)[neuron[spike]]
    num_at_step = torch.bincount(step[spike], minlength=len(spikes)).tolist()
    parts = (part.to(options.execution.device).split(num_at_step) for part in (target, column, charge))

    return [StimulusSpikes(*pieces) for pieces in zip(*parts, strict=True)]


def run_batch(batch: GraphBatch, options: RunOptions) -> GraphRecord:
    """Runs all programs of a batch from rest."""
    recorder = Recorder(batch.graph, options.measures_margins)
    for state in batch.graph.run(batch_stimuli(batch, options), batch.num_columns):
        recorder.add(state)

    return recorder.record()
