"""An answer with its explanation: every step by name, the chain of causes, and the neurons that the answer needs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from spikebridge.errors import ConfigError
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.explain.causes import ExplanationStep, SpikeTrace, trace_causes
from spikebridge.networks.reasoning.explain.labels import event_labels, object_labels
from spikebridge.networks.reasoning.graph.compiler import Instructions
from spikebridge.networks.reasoning.graph.layout import Preset, preset_of
from spikebridge.networks.reasoning.graph.readout import GraphAnswer, GraphBatch, Recorder, Slot
from spikebridge.networks.reasoning.graph.run import CollisionSource, Query, RunOptions, assign_slots, batch_stimuli
from spikebridge.networks.reasoning.graph.worlds import World
from spikebridge.networks.reasoning.parsing.operators import OperatorTable


@dataclass(frozen=True)
class TraceStep:
    """One time step of a run, by name; objects and events are numbers of the members of the sets."""

    step: int
    instruction: str
    stimulated: tuple[str, ...]
    fired: tuple[str, ...]
    objects: tuple[int, ...]
    events: tuple[int, ...]


class Explanation:
    """A program about a scene, run with every spike recorded. Made by `explain`."""

    def __init__(
        self, scene: Scene, world: World, program: Instructions, options: RunOptions, tokens: Sequence[str]
    ) -> None:
        self.scene = scene
        self.program = program
        self.options = options
        self.tokens = tuple(tokens)
        self.removal: Explanation | None = None
        self._batch = assign_slots([scene], [Query(world, program)], options)
        self._stimuli = batch_stimuli(self._batch, options)

        recorder = Recorder(self._batch.graph, options.measures_margins)
        spikes = []
        for state in self._batch.graph.run(self._stimuli, num_columns=1):
            recorder.add(state)
            spikes.append(state.spikes[:, 0].cpu() > 0)

        self._fired = torch.stack(spikes).numpy()
        self.answer, self.selected = options.read(self._batch, recorder.record())[0]

    @cached_property
    def objects(self) -> list[str]:
        """Labels of the objects."""
        return object_labels(self.scene)

    @cached_property
    def events(self) -> list[str]:
        """Labels of the events, in order of time."""
        return event_labels(self._batch.worlds, self.objects)

    @cached_property
    def names(self) -> list[str]:
        """The neurons by name."""
        return self.options.layout.names(len(self.objects), len(self.events))

    @cached_property
    def steps(self) -> tuple[TraceStep, ...]:
        """Every time step by name; the last one is the silent step at which the answer is read."""
        trace = self._trace
        steps = []
        for t, fired in enumerate(self._fired):
            steps.append(
                TraceStep(
                    t,
                    trace.instructions[t],
                    stimulated=tuple(self.names[n] for n in np.flatnonzero(trace.stimulated[t])),
                    fired=tuple(self.names[n] for n in np.flatnonzero(fired)),
                    objects=self._members(fired, "object", len(self.objects)),
                    events=self._members(fired, "event", len(self.events)),
                )
            )

        return tuple(steps)

    @cached_property
    def cause_chain(self) -> tuple[ExplanationStep, ...]:
        """From the answer's spikes back to perceived facts, latest first; empty where no spike is the answer."""
        layout = self.options.layout
        worlds = self._batch.worlds
        connections = self.options.connections(worlds)
        return trace_causes(self._answer_neurons(), self._trace, connections, self.options.preset, worlds, layout)

    def ablate(self, names: Sequence[str]) -> list[GraphAnswer]:
        """The answer with one neuron silenced, for each of the neurons; raises `ConfigError` for an unknown name."""
        neurons = [self.options.layout.index(name, len(self.objects), len(self.events)) for name in names]
        num_columns = len(neurons)
        silenced = torch.zeros(len(self.names), num_columns, dtype=torch.bool, device=self.options.execution.device)
        # each neuron is silenced in a column of its own, so that one run tries all of them
        silenced[neurons, torch.arange(num_columns)] = True

        slots = tuple(Slot(0, column) for column in range(num_columns))
        batch = GraphBatch(self._batch.worlds, self._batch.graph, slots, (self.program,) * num_columns)
        recorder = Recorder(batch.graph, self.options.measures_margins)
        stimuli = [stimulus.spread(num_columns) for stimulus in self._stimuli]
        for state in batch.graph.run(stimuli, num_columns, silenced=silenced):
            recorder.add(state)

        return [result.answer for result in self.options.read(batch, recorder.record())]

    def critical(self) -> list[str]:
        """The neurons that the answer needs: with one of them silenced its value changes."""
        # a neuron that never fires changes nothing
        fired = [self.names[n] for n in np.flatnonzero(np.any(self._fired, axis=0))]
        answers = self.ablate(fired)
        return [name for name, answer in zip(fired, answers, strict=True) if answer.value != self.answer.value]

    @cached_property
    def _trace(self) -> SpikeTrace:
        stimulated = np.zeros(self._fired.shape, dtype=bool)
        for step, stimulus in enumerate(self._stimuli):
            stimulated[step, stimulus.neuron.cpu()] = True

        trains = self.options.table.trains
        instructions = [name for name in self.program.names for _ in trains[name]] + ["read"]

        return SpikeTrace(self._fired, stimulated, self.names, instructions, self.objects, self.events)

    def _members(self, fired: np.ndarray, group: str, number: int) -> tuple[int, ...]:
        first = self.names.index(f"{group}[0]") if number else 0
        return tuple(np.flatnonzero(fired[first : first + number]).tolist())

    def _answer_neurons(self) -> list[str]:
        """The neurons whose spikes at the last step are the answer."""
        fired = self.steps[-1].fired
        reads = self.program.reads
        attributes = self.options.layout.attributes
        if reads in attributes:
            return [value for value in attributes[reads] if value in fired]
        if reads == "match":
            return [name for name in fired if name == "match"]

        # a number is a thermometer code, so that its members are the evidence
        return [name for name in fired if name.partition("[")[0] == self.program.group]


def explain(
    scene: Scene,
    tokens: Sequence[str],
    preset: str | Preset = "compartment",
    collisions: CollisionSource | None = None,
    causal: bool = False,
    table: OperatorTable | None = None,
) -> Explanation:
    """Runs one whole program (`Question.programs`) about a scene, and records every spike; arguments as in `answer`.

    Where an object is removed, `removal` explains how it was selected.
    """
    options = RunOptions(preset_of(preset), table if table is not None else OperatorTable(), causal)
    if collisions is not None:
        (scene,) = collisions([scene])

    program = options.compile(tokens)
    if program.world != "counterfactual":
        return Explanation(scene, World(0, program.world), program, options, tokens)
    if program.removal is None:
        raise ConfigError("a counterfactual program names the object that is removed, but this one names none")

    removal = Explanation(scene, World(0, program.removal.world), program.removal, options, tokens)
    explanation = Explanation(scene, World(0, removal.selected), program, options, tokens)
    explanation.removal = removal
    # an answer about a world without the wrong object is not certain, whatever its own status
    if removal.answer.status != "ok":
        explanation.answer = replace(explanation.answer, status=removal.answer.status)

    return explanation
