"""Many programs in many worlds in one pass: worlds side by side, programs as columns, all answers at the last step.

The hybrid reasoning network: questions about scenes, answered by a spiking graph (R. Zhao et al., 2022).

Scenes become worlds, worlds connections, programs spike trains; the graph runs, and answers are read off its spikes.
All questions run in one pass; where an object is removed, a first pass finds which, and a second runs without it.
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
    Record,
    Recorder,
    Slot,
    Status,
    confidences,
    found_objects,
    read_statuses,
    read_values,
)
from spikebridge.networks.reasoning.graph.spiking_graph import GraphFaults, SpikingGraph, StimulusSpikes
from spikebridge.networks.reasoning.graph.units import program_spikes, program_unit, stimulus_sizes
from spikebridge.networks.reasoning.graph.wiring import neuron_indices, wire
from spikebridge.networks.reasoning.graph.worlds import World, Worlds, build_worlds
from spikebridge.networks.reasoning.parsing.operators import OperatorTable, with_blanks
from spikebridge.ops.graph_sums import Path

MOST_WORLDS = 1024
"""Worlds that run at once; more are cut, so that memory does not grow with the number of videos."""


@dataclass(frozen=True, eq=False)
class RunOptions:
    """How programs run.

    Args:
        preset: sizes of weights.
        table: operators and attributes.
        causal: what-if events as in `without_object`.
        path: how spikes are summed, see `spikebridge.ops.graph_sums`.
        faults: what goes wrong; None for nothing.
        device: where the graph runs.
    """

    preset: Preset = PRESETS["compartment"]
    table: OperatorTable = field(default_factory=OperatorTable)
    causal: bool = False
    path: Path | None = None
    faults: GraphFaults | None = None
    device: str = "cpu"

    @cached_property
    def layout(self) -> NeuronLayout:
        """The neurons."""
        return NeuronLayout(self.preset.exact, self.table.attributes)

    @cached_property
    def unit(self) -> HybridUnit:
        """Turns programs into spike trains."""
        return program_unit(self.table, self.layout)

    @property
    def measures_margins(self) -> bool:
        """Whether margins depend on the run: with faults, with a leak, or where channels add up."""
        return self.faults is not None or self.preset.decay > 0 or (self.preset.exact and not self.preset.saturates)


class Query(NamedTuple):
    """A program, and the world in which it runs."""

    world: World
    program: Instructions


class QueryResult(NamedTuple):
    """What a program found: its value, how, how sure, and the last active object."""

    value: str | None
    status: Status
    confidence: float
    margin: float
    found: int


@dataclass(frozen=True, eq=False)
class Batch:
    """Worlds side by side with their graph, and the seats of the programs in it."""

    worlds: Worlds
    graph: SpikingGraph
    seats: tuple[Slot, ...]
    programs: tuple[Instructions, ...]

    @property
    def columns(self) -> int:
        """Programs of the world that has most."""
        return 1 + max((seat.column for seat in self.seats), default=0)


def run_queries(scenes: Sequence[Scene], jobs: Sequence[Query], setting: RunOptions) -> list[QueryResult]:
    """Runs programs in worlds, each world built once.

    Args:
        scenes: of the batch.
        jobs: programs with their worlds, all observed or all hypothetical.
        setting: how they run.

    Returns:
        One finding a job.
    """
    findings: dict[int, QueryResult] = {}
    for numbers in _cut(jobs):
        batch = assign_slots(scenes, [jobs[number] for number in numbers], setting)
        record = run_batch(batch, setting)
        findings |= dict(zip(numbers, read_results(batch, record, setting), strict=True))
    return [findings[number] for number in range(len(jobs))]


def assign_slots(scenes: Sequence[Scene], jobs: Sequence[Query], setting: RunOptions) -> Batch:
    """Builds the worlds that jobs run in, and gives each job a column in its world."""
    number_of = {world: number for number, world in enumerate(dict.fromkeys(job.world for job in jobs))}
    worlds = build_worlds(
        scenes, list(number_of), setting.preset.exact, setting.table.attributes, causal=setting.causal
    )
    taken = [0] * len(number_of)
    seats = []
    for job in jobs:
        number = number_of[job.world]
        seats.append(Slot(number, taken[number]))
        taken[number] += 1
    graph = SpikingGraph(
        wire(worlds, setting.layout, setting.preset),
        neuron_indices(worlds, setting.layout),
        setting.preset,
        setting.path,
        setting.faults,
        setting.device,
    )
    return Batch(worlds, graph, tuple(seats), tuple(job.program for job in jobs))


def batch_stimuli(batch: Batch, setting: RunOptions) -> list[StimulusSpikes]:
    """For each step what arrives at the shared neurons of all worlds."""
    number_of = {program: number for number, program in enumerate(dict.fromkeys(batch.programs))}
    spikes = program_spikes(list(number_of), setting.table, setting.unit)
    sizes = stimulus_sizes(setting.layout, setting.preset.drive)
    program, step, neuron = spikes.transpose(0, 1).nonzero(as_tuple=True)
    number = torch.bincount(program, minlength=len(number_of))
    # every seat takes the spikes of its program
    runs = torch.tensor([number_of[ran] for ran in batch.programs])
    seat = torch.repeat_interleave(number[runs])
    begin = number[runs].cumsum(0) - number[runs]
    of = (number.cumsum(0) - number)[runs][seat] + torch.arange(len(seat)) - begin[seat]
    order = torch.argsort(step[of], stable=True)
    seat, of = seat[order], of[order]
    world, column = torch.tensor(batch.seats)[seat].unbind(1)
    at = neuron[of] * len(batch.worlds.worlds) + world
    cuts = torch.bincount(step[of], minlength=len(spikes)).tolist()
    device = setting.device
    parts = (part.to(device).split(cuts) for part in (at, column, sizes[neuron[of]]))
    return [StimulusSpikes(*pieces) for pieces in zip(*parts, strict=True)]


def run_batch(batch: Batch, setting: RunOptions) -> Record:
    """Runs all programs of a batch from rest."""
    recorder = Recorder(batch.graph, setting.measures_margins)
    for moment in batch.graph.run(batch_stimuli(batch, setting), batch.columns):
        recorder.take(moment)
    return recorder.record()


def _cut(jobs: Sequence[Query]) -> list[list[int]]:
    """Numbers of jobs to run together: worlds with about as many jobs, and not too many at once."""
    of_world: dict[World, list[int]] = {}
    for number, job in enumerate(jobs):
        of_world.setdefault(job.world, []).append(number)
    parts: list[list[list[int]]] = []
    for numbers in sorted(of_world.values(), key=len):
        if not parts or len(parts[-1]) == MOST_WORLDS or len(numbers) > 4 * len(parts[-1][0]):
            parts.append([])
        parts[-1].append(numbers)
    return [[number for numbers in part for number in numbers] for part in parts]


def read_results(batch: Batch, record: Record, setting: RunOptions) -> list[QueryResult]:
    """What every program of a batch found."""
    values = read_values(batch.programs, batch.seats, record, batch.graph)
    num_steps = [program.num_steps(setting.table) for program in batch.programs]
    statuses = read_statuses(batch.programs, batch.seats, record, batch.worlds, num_steps)
    sure = confidences(batch.programs, batch.seats, record, batch.worlds, num_steps)
    found = found_objects(batch.seats, record, batch.worlds)
    margins = record.margins.cpu().numpy()
    known = setting.preset.margin / setting.preset.step
    findings = []
    for number, (seat, (value, conflicting)) in enumerate(zip(batch.seats, values, strict=True)):
        margin = float(margins[seat.world, seat.column])
        status = statuses[number]
        if status == "ok" and conflicting:
            status = "conflict"
        if status == "ok" and value is None:
            status = "empty"
        less = min(max(margin / known, 0.0), 1.0) if known > 0 else 1.0
        findings.append(QueryResult(value, status, float(sure[number] * less), margin, found[number]))
    return findings


CollisionSource = Callable[[Sequence[Scene]], Sequence[Scene]]
"""What reads collisions from trajectories: the same scenes with collisions of its own (`Scene.with_collisions`)."""


def answer(
    scenes: Scene | Sequence[Scene],
    questions: Sequence[Question],
    preset: str | Preset = "compartment",
    collisions: CollisionSource | None = None,
    causal: bool = False,
    abstain: bool = False,
    table: OperatorTable | None = None,
    path: Path | None = None,
    faults: GraphFaults | None = None,
    device: str = "cpu",
) -> list[tuple[GraphAnswer, ...]]:
    """Answers questions about scenes, all in one pass (two where an object is removed).

    Args:
        scenes: the scenes that the questions name by `video`; a single scene serves all questions.
        questions: of any kind.
        preset: `paper`, `scaled` or `compartment`, or one of your own.
        collisions: reads collisions anew from the trajectories; None takes those of the scenes.
        causal: what-if events from those seen and foreseen where the removed object has no part in them.
        abstain: no value unless the status is `ok`.
        table: operators and attributes; None for the public vocabulary.
        path: how spikes are summed, `dense`, `sparse` or `events`; all give equal spikes.
        faults: what goes wrong in the graph; None for nothing.
        device: where the graph runs.

    Returns:
        For each question one answer a whole program (`Question.programs`): one for a descriptive question, else one a
        choice.

    Raises:
        ConfigError: a program that is not well typed, or that the graph cannot hold.
        DataError: a question about a video that is not there, or a scene that is too large.

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
        [(Answer(value='sphere', status='ok', confidence=1.0, margin=0.5),)]
    """
    table = table if table is not None else OperatorTable()
    setting = RunOptions(preset_of(preset), table, causal, path, faults, device)
    given = [scenes] if isinstance(scenes, Scene) else list(scenes)
    if collisions is not None:
        given = list(collisions(given))
    number_of = _numbers(given)
    programs = _Programs(setting)
    asked = []
    for question in questions:
        scene = 0 if isinstance(scenes, Scene) else _find(question.video, number_of)
        asked.append([(scene, programs.compiled(tokens)) for tokens in question.programs])
    flat = [pair for pairs in asked for pair in pairs]
    answers = iter(_answers(given, flat, setting, abstain))
    return [tuple(next(answers) for _ in pairs) for pairs in asked]


def _answers(
    scenes: Sequence[Scene], asked: Sequence[tuple[int, Instructions]], setting: RunOptions, abstain: bool
) -> list[GraphAnswer]:
    """First everything about what was seen, and who is removed; then everything that is foreseen or supposed."""
    removals: list[tuple[int, Instructions | None]] = list(
        dict.fromkeys((scene, p.removal) for scene, p in asked if p.removal is not None)
    )
    seen = [number for number, (_, program) in enumerate(asked) if program.world == "observed"]
    jobs = [Query(World(scene), removal) for scene, removal in removals if removal is not None]
    jobs += [Query(World(asked[number][0]), asked[number][1]) for number in seen]
    findings = run_queries(scenes, jobs, setting)
    removed: dict[tuple[int, Instructions | None], QueryResult] = dict(zip(removals, findings, strict=False))
    result = dict(zip(seen, findings[len(removals) :], strict=True))
    other = [number for number in range(len(asked)) if number not in result]
    jobs = [Query(_world(*asked[number], removed), asked[number][1]) for number in other]
    for number, finding in zip(other, run_queries(scenes, jobs, setting), strict=True):
        scene, program = asked[number]
        result[number] = _joined(finding, removed.get((scene, program.removal)))
    return [_said(result[number], abstain) for number in range(len(asked))]


def _world(scene: int, program: Instructions, removed: dict[tuple[int, Instructions | None], QueryResult]) -> World:
    if program.world == "predicted":
        return World(scene, "predicted")
    return World(scene, removed[scene, program.removal].found)


def _joined(finding: QueryResult, removal: QueryResult | None) -> QueryResult:
    """An answer rests on the finding of the removed object, too."""
    if removal is None:
        return finding
    return finding._replace(
        status=removal.status if removal.status != "ok" else finding.status,
        confidence=finding.confidence * removal.confidence,
        margin=min(finding.margin, removal.margin),
    )


def _said(finding: QueryResult, abstain: bool) -> GraphAnswer:
    said = GraphAnswer(finding.value, finding.status, finding.confidence, finding.margin)
    return replace(said, value=None) if abstain and finding.status != "ok" else said


class _Programs:
    """Programs that differ in their words alone are compiled once."""

    def __init__(self, setting: RunOptions) -> None:
        self.table = setting.table
        self.compiler = compile_program if setting.preset.exact else compile_as_published
        self.known: dict[tuple[str, ...], Instructions] = {}

    def compiled(self, tokens: tuple[str, ...]) -> Instructions:
        blank, words = with_blanks(tokens, self.table)
        if blank not in self.known:
            try:
                self.known[blank] = self.compiler(blank, self.table)
            except ConfigError:
                return self.compiler(tokens, self.table)  # which says it in the words that were given
        return self.known[blank].filled(words)


def _numbers(scenes: Sequence[Scene]) -> dict[int | str, int]:
    number_of: dict[int | str, int] = {}
    for number, scene in enumerate(scenes):
        if scene.video in number_of:
            raise DataError(f"there are two scenes of video {scene.video}; give each once")
        number_of[scene.video] = number
    return number_of


def _find(video: int | str, number_of: dict[int | str, int]) -> int:
    if video not in number_of:
        raise DataError(
            f"a question is about video {video}, but there is no scene of it; "
            f"{did_you_mean(str(video), [str(known) for known in list(number_of)[:20]])}"
        )
    return number_of[video]
