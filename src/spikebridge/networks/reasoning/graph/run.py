"""Answers to questions about scenes from a spiking graph (R. Zhao et al., Nature Communications 13:3427, 2022).

Scenes become worlds, worlds become connections, programs become spike trains. All worlds of a batch lie side by side,
the programs of a world are columns, and every answer is read at the last step. Counterfactual questions take two
passes: the first selects the object that is removed, the second runs in the world without it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import torch

from spikebridge.errors import ConfigError, DataError, did_you_mean
from spikebridge.hybrid.unit.unit import HybridUnit
from spikebridge.networks.reasoning.data.scene import Question, Scene
from spikebridge.networks.reasoning.graph.compiler import Instructions, compile_as_published, compile_program
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
from spikebridge.networks.reasoning.graph.spiking_graph import GraphFaults, SpikingGraph, StimulusSpikes
from spikebridge.networks.reasoning.graph.units import program_spikes, program_unit, stimulus_sizes
from spikebridge.networks.reasoning.graph.wiring import neuron_indices, wire
from spikebridge.networks.reasoning.graph.worlds import World, build_worlds
from spikebridge.networks.reasoning.parsing.operators import OperatorTable, with_blanks
from spikebridge.ops.graph_sums import Path

CollisionSource = Callable[[Sequence[Scene]], Sequence[Scene]]
"""Reads collisions from trajectories: returns the same scenes with other collisions (`Scene.with_collisions`)."""

_MAX_WORLDS = 1024  # worlds that run at once; more are split, so that memory does not grow with the number of videos


@dataclass(frozen=True)
class Execution:
    """How the graph is computed.

    Args:
        path: how spikes are summed, `dense`, `sparse` or `events`; all give equal spikes. None chooses.
        faults: faults to inject; None for none.
        device: where the graph runs.
    """

    path: Path | None = None
    faults: GraphFaults | None = None
    device: str = "cpu"


@dataclass(frozen=True, eq=False)
class RunOptions:
    """How programs run.

    Args:
        preset: sizes of weights.
        table: operators and attributes.
        causal: counterfactual events as in `without_object`.
        execution: how the graph is computed.
    """

    preset: Preset = PRESETS["compartment"]
    table: OperatorTable = field(default_factory=OperatorTable)
    causal: bool = False
    execution: Execution = Execution()

    @cached_property
    def layout(self) -> NeuronLayout:
        """The neurons."""
        return NeuronLayout(self.preset.exact, self.table.attributes)

    @cached_property
    def unit(self) -> HybridUnit:
        """The hybrid unit that turns programs into spike trains."""
        return program_unit(self.table, self.layout)

    @property
    def measures_margins(self) -> bool:
        """Whether margins depend on the run: with faults, with a leak, or where channels add up."""
        has_faults = self.execution.faults is not None
        preset = self.preset
        return has_faults or preset.decay > 0 or (preset.exact and not preset.saturates)


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
        questions: of any kind.
        preset: `paper`, `scaled` or `compartment`, or one of your own.
        collisions: reads collisions from the trajectories; None takes those of the scenes.
        causal: keep observed and predicted events that do not depend on the removed object.
        abstain: no value unless the status is `ok`.
        table: operators and attributes; None for the public vocabulary.
        execution: device, summation path and injected faults; None for the defaults.

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
    table = table if table is not None else OperatorTable()
    options = RunOptions(preset_of(preset), table, causal, execution if execution is not None else Execution())
    given = [scenes] if isinstance(scenes, Scene) else list(scenes)
    if collisions is not None:
        given = list(collisions(given))

    number_of = {scene.video: number for number, scene in enumerate(given)}
    if len(number_of) < len(given):
        twice = next(scene.video for number, scene in enumerate(given) if number_of[scene.video] != number)
        raise DataError(f"there are two scenes of video {twice}; give each once")

    compiler = _CachedCompiler(options)
    asked = []
    for question in questions:
        scene = 0 if isinstance(scenes, Scene) else _scene_number(question.video, number_of)
        asked.append([(scene, compiler(tokens)) for tokens in question.programs])

    results = iter(_run_in_two_passes(given, [pair for pairs in asked for pair in pairs], options))
    answers = [tuple(next(results).answer for _ in pairs) for pairs in asked]
    if abstain:
        return [tuple(one if one.status == "ok" else replace(one, value=None) for one in many) for many in answers]

    return answers


def _scene_number(video: int | str, number_of: dict[int | str, int]) -> int:
    if video not in number_of:
        raise DataError(
            f"a question is about video {video}, but there is no scene of it; "
            f"{did_you_mean(str(video), [str(known) for known in list(number_of)[:20]])}"
        )

    return number_of[video]


class _CachedCompiler:
    """Compiles programs; those that differ only in attribute values are compiled once."""

    def __init__(self, options: RunOptions) -> None:
        self.table = options.table
        self.compile = compile_program if options.preset.exact else compile_as_published
        self.known: dict[tuple[str, ...], Instructions] = {}

    def __call__(self, tokens: tuple[str, ...]) -> Instructions:
        blank, words = with_blanks(tokens, self.table)
        if blank not in self.known:
            try:
                self.known[blank] = self.compile(blank, self.table)
            except ConfigError:
                return self.compile(tokens, self.table)  # raises again, with the words that were given

        return self.known[blank].filled(words)


def _run_in_two_passes(
    scenes: Sequence[Scene], asked: Sequence[tuple[int, Instructions]], options: RunOptions
) -> list[QueryResult]:
    """First all observed worlds and all removed objects, then the predicted and counterfactual worlds."""
    removals = list(dict.fromkeys((scene, p.removal) for scene, p in asked if p.removal is not None))
    observed = [number for number, (_, program) in enumerate(asked) if program.world == "observed"]
    queries = [Query(World(scene), removal) for scene, removal in removals]
    queries += [Query(World(asked[number][0]), asked[number][1]) for number in observed]
    first = _run_queries(scenes, queries, options)
    removed: dict[tuple[int, Instructions | None], QueryResult] = dict(zip(removals, first, strict=False))
    results = dict(zip(observed, first[len(removals) :], strict=True))
    others = [number for number in range(len(asked)) if number not in results]
    queries = []

    for scene, program in (asked[number] for number in others):
        condition = "predicted" if program.world == "predicted" else removed[scene, program.removal].selected
        queries.append(Query(World(scene, condition), program))

    for number, result in zip(others, _run_queries(scenes, queries, options), strict=True):
        scene, program = asked[number]
        results[number] = with_removal(result, removed.get((scene, program.removal)))

    return [results[number] for number in range(len(asked))]


def _run_queries(scenes: Sequence[Scene], queries: Sequence[Query], options: RunOptions) -> list[QueryResult]:
    """Runs programs in worlds, each world built once.

    Args:
        scenes: of the batch.
        queries: programs with their worlds, all observed or all hypothetical.
        options: how they run.

    Returns:
        One result for each query.
    """
    results: dict[int, QueryResult] = {}
    for numbers in _split(queries):
        batch = assign_slots(scenes, [queries[number] for number in numbers], options)
        results |= dict(zip(numbers, read_results(batch, run_batch(batch, options), options.table), strict=True))

    return [results[number] for number in range(len(queries))]


def _split(queries: Sequence[Query]) -> list[list[int]]:
    """Numbers of queries that run together: worlds with about as many queries, and at most `_MAX_WORLDS`."""
    of_world: dict[World, list[int]] = {}
    for number, query in enumerate(queries):
        of_world.setdefault(query.world, []).append(number)

    parts: list[list[list[int]]] = []
    for numbers in sorted(of_world.values(), key=len):
        if not parts or len(parts[-1]) == _MAX_WORLDS or len(numbers) > 4 * len(parts[-1][0]):
            parts.append([])
        parts[-1].append(numbers)

    return [[number for numbers in part for number in numbers] for part in parts]


def assign_slots(scenes: Sequence[Scene], queries: Sequence[Query], options: RunOptions) -> GraphBatch:
    """Builds the worlds of queries and their graph, and gives each query a column in its world."""
    number_of = {world: number for number, world in enumerate(dict.fromkeys(query.world for query in queries))}
    worlds = build_worlds(
        scenes, list(number_of), options.preset.exact, options.table.attributes, causal=options.causal
    )
    taken = [0] * len(number_of)
    slots = []

    for query in queries:
        number = number_of[query.world]
        slots.append(Slot(number, taken[number]))
        taken[number] += 1

    graph = SpikingGraph(
        wire(worlds, options.layout, options.preset),
        neuron_indices(worlds, options.layout),
        options.preset,
        options.execution.path,
        options.execution.faults,
        options.execution.device,
    )
    return GraphBatch(worlds, graph, tuple(slots), tuple(query.program for query in queries))


def batch_stimuli(batch: GraphBatch, options: RunOptions) -> list[StimulusSpikes]:
    """For each step the spikes from outside to the shared neurons of all worlds."""
    number_of = {program: number for number, program in enumerate(dict.fromkeys(batch.programs))}
    spikes = program_spikes(list(number_of), options.table, options.unit)
    sizes = stimulus_sizes(options.layout, options.preset.drive)
    program, step, neuron = spikes.transpose(0, 1).nonzero(as_tuple=True)
    number = torch.bincount(program, minlength=len(number_of))

    # every slot takes a copy of the spikes of its program
    runs = torch.tensor([number_of[ran] for ran in batch.programs])
    slot = torch.repeat_interleave(number[runs])
    begin = number[runs].cumsum(0) - number[runs]
    of = (number.cumsum(0) - number)[runs][slot] + torch.arange(len(slot)) - begin[slot]
    order = torch.argsort(step[of], stable=True)
    slot = slot[order]
    of = of[order]
    world, column = torch.tensor(batch.slots)[slot].unbind(1)
    target = neuron[of] * len(batch.worlds.worlds) + world
    cuts = torch.bincount(step[of], minlength=len(spikes)).tolist()
    parts = (part.to(options.execution.device).split(cuts) for part in (target, column, sizes[neuron[of]]))

    return [StimulusSpikes(*pieces) for pieces in zip(*parts, strict=True)]


def run_batch(batch: GraphBatch, options: RunOptions) -> GraphRecord:
    """Runs all programs of a batch from rest."""
    recorder = Recorder(batch.graph, options.measures_margins)
    for output in batch.graph.run(batch_stimuli(batch, options), batch.columns):
        recorder.add(output)

    return recorder.record()
