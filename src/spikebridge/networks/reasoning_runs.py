"""Many programs in many worlds in one pass: worlds side by side, programs as columns, all answers at the last step."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch

from spikebridge.data.scenes import Scene
from spikebridge.hybrid.unit import HybridUnit
from spikebridge.networks.operators import OperatorTable
from spikebridge.networks.questions import Instructions
from spikebridge.networks.reasoning_confidence import confidences
from spikebridge.networks.reasoning_reading import (
    Record,
    Recorder,
    Seat,
    Status,
    found_objects,
    read_statuses,
    read_values,
)
from spikebridge.networks.reasoning_units import program_spikes, program_unit, stimulus_sizes
from spikebridge.networks.reasoning_worlds import World, Worlds, build_worlds
from spikebridge.networks.spiking_graph import Faults, SpikingGraph, Stimulus
from spikebridge.networks.spiking_graph_neurons import Layout
from spikebridge.networks.spiking_graph_presets import PRESETS, Preset
from spikebridge.networks.spiking_graph_wiring import places_of, wire
from spikebridge.ops.graph_sums import Path

MOST_WORLDS = 1024
"""Worlds that run at once; more are cut, so that memory does not grow with the number of videos."""


@dataclass(frozen=True, eq=False)
class Setting:
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
    faults: Faults | None = None
    device: str = "cpu"

    @cached_property
    def layout(self) -> Layout:
        """The neurons."""
        return Layout(self.preset.exact, self.table.attributes)

    @cached_property
    def unit(self) -> HybridUnit:
        """Turns programs into spike trains."""
        return program_unit(self.table, self.layout)

    @property
    def measures_margins(self) -> bool:
        """Whether margins depend on the run: with faults, with a leak, or where channels add up."""
        return self.faults is not None or self.preset.decay > 0 or (self.preset.exact and not self.preset.saturates)


class Job(NamedTuple):
    """A program, and the world in which it runs."""

    world: World
    program: Instructions


class Finding(NamedTuple):
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
    seats: tuple[Seat, ...]
    programs: tuple[Instructions, ...]

    @property
    def columns(self) -> int:
        """Programs of the world that has most."""
        return 1 + max((seat.column for seat in self.seats), default=0)


def run_jobs(scenes: Sequence[Scene], jobs: Sequence[Job], setting: Setting) -> list[Finding]:
    """Runs programs in worlds, each world built once.

    Args:
        scenes: of the batch.
        jobs: programs with their worlds, all observed or all hypothetical.
        setting: how they run.

    Returns:
        One finding a job.
    """
    findings: dict[int, Finding] = {}
    for numbers in _cut(jobs):
        batch = seat_jobs(scenes, [jobs[number] for number in numbers], setting)
        record = run_batch(batch, setting)
        findings |= dict(zip(numbers, read_findings(batch, record, setting), strict=True))
    return [findings[number] for number in range(len(jobs))]


def seat_jobs(scenes: Sequence[Scene], jobs: Sequence[Job], setting: Setting) -> Batch:
    """Builds the worlds that jobs run in, and gives each job a column in its world."""
    number_of = {world: number for number, world in enumerate(dict.fromkeys(job.world for job in jobs))}
    worlds = build_worlds(
        scenes, list(number_of), setting.preset.exact, setting.table.attributes, causal=setting.causal
    )
    taken = [0] * len(number_of)
    seats = []
    for job in jobs:
        number = number_of[job.world]
        seats.append(Seat(number, taken[number]))
        taken[number] += 1
    graph = SpikingGraph(
        wire(worlds, setting.layout, setting.preset),
        places_of(worlds, setting.layout),
        setting.preset,
        setting.path,
        setting.faults,
        setting.device,
    )
    return Batch(worlds, graph, tuple(seats), tuple(job.program for job in jobs))


def stimuli_of(batch: Batch, setting: Setting) -> list[Stimulus]:
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
    return [Stimulus(*pieces) for pieces in zip(*parts, strict=True)]


def run_batch(batch: Batch, setting: Setting) -> Record:
    """Runs all programs of a batch from rest."""
    recorder = Recorder(batch.graph, setting.measures_margins)
    for moment in batch.graph.run(stimuli_of(batch, setting), batch.columns):
        recorder.take(moment)
    return recorder.record()


def _cut(jobs: Sequence[Job]) -> list[list[int]]:
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


def read_findings(batch: Batch, record: Record, setting: Setting) -> list[Finding]:
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
        findings.append(Finding(value, status, float(sure[number] * less), margin, found[number]))
    return findings
