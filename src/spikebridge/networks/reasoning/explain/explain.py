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
from spikebridge.networks.reasoning.graph.compiler import Instructions, compile_as_published, compile_program
from spikebridge.networks.reasoning.graph.layout import Preset, preset_of
from spikebridge.networks.reasoning.graph.readout import (
    GraphAnswer,
    GraphBatch,
    QueryResult,
    Recorder,
    Slot,
    read_results,
)
from spikebridge.networks.reasoning.graph.run import CollisionSource, Query, RunOptions, assign_slots, batch_stimuli
from spikebridge.networks.reasoning.graph.wiring import wire
from spikebridge.networks.reasoning.graph.worlds import World
from spikebridge.networks.reasoning.parsing.operators import OperatorTable


@dataclass(frozen=True)
class _TraceStep:
    """One time step of a run, by name.

    Args:
        step: its number, from 0.
        instruction: the instruction that runs.
        stimulated: neurons that get a spike from outside.
        fired: neurons that fire.
        objects: numbers of the objects in the set.
        events: numbers of the events in the set.
    """

    step: int
    instruction: str
    stimulated: tuple[str, ...]
    fired: tuple[str, ...]
    objects: tuple[int, ...]
    events: tuple[int, ...]


class Explanation:
    """A program about a scene, run with every spike kept. Made by `explain`."""

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

        for output in self._batch.graph.run(self._stimuli, columns=1):
            recorder.add(output)
            spikes.append(self._batch.graph.majority(output.spikes)[:, 0].cpu())

        self._fired = torch.stack(spikes).numpy()
        result: QueryResult = read_results(self._batch, recorder.record(), options.table)[0]
        self.answer, self.selected = result

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
    def steps(self) -> tuple[_TraceStep, ...]:
        """Every time step by name; the last one is the silent step at which the answer is read."""
        trace = self._trace
        steps = []
        first_object = self.names.index("object[0]") if self.objects else 0
        first_event = self.names.index("event[0]") if self.events else 0

        for t, fired in enumerate(self._fired):
            objects = np.flatnonzero(fired[first_object : first_object + len(self.objects)])
            events = np.flatnonzero(fired[first_event : first_event + len(self.events)])
            stimulated = tuple(self.names[n] for n in np.flatnonzero(trace.stimulated[t]))
            active = tuple(self.names[n] for n in np.flatnonzero(fired))
            held = tuple(objects.tolist()), tuple(events.tolist())
            steps.append(_TraceStep(t, trace.instructions[t], stimulated, active, *held))

        return tuple(steps)

    @cached_property
    def cause_chain(self) -> tuple[ExplanationStep, ...]:
        """From the answer's spikes back to perceived facts, latest first; empty where no spike is the answer."""
        layout = self.options.layout
        worlds = self._batch.worlds
        connections = wire(worlds, layout, replace(self.options.preset, copies=1))
        return trace_causes(self._answer_neurons(), self._trace, connections, self.options.preset, worlds, layout)

    def ablate(self, names: Sequence[str]) -> list[GraphAnswer]:
        """The answer with one neuron silenced, for each of the neurons alone.

        Args:
            names: neurons.

        Raises:
            ConfigError: there is no such neuron.
        """
        places = [self.options.layout.index(name, len(self.objects), len(self.events)) for name in names]
        device = self.options.execution.device
        silenced = torch.zeros(len(self.names), len(places), dtype=torch.bool, device=device)
        silenced[places, torch.arange(len(places))] = True
        slots = tuple(Slot(0, column) for column in range(len(places)))
        batch = GraphBatch(self._batch.worlds, self._batch.graph, slots, (self.program,) * len(places))
        recorder = Recorder(batch.graph, self.options.measures_margins)
        stimuli = [stimulus.spread(len(places)) for stimulus in self._stimuli]

        for output in batch.graph.run(stimuli, len(places), silenced=silenced):
            recorder.add(output)

        return [result.answer for result in read_results(batch, recorder.record(), self.options.table)]

    def critical(self) -> list[str]:
        """The neurons that the answer needs: with one of them silenced its value changes."""
        # a neuron that never fires changes nothing
        fired = [self.names[n] for n in np.flatnonzero(np.any(self._fired, axis=0))]
        answers = self.ablate(fired)
        return [name for name, one in zip(fired, answers, strict=True) if one.value != self.answer.value]

    @cached_property
    def _trace(self) -> SpikeTrace:
        stimulated = np.zeros(self._fired.shape, dtype=bool)
        for step, stimulus in enumerate(self._stimuli):
            stimulated[step, stimulus.neuron.cpu()] = True

        trains = self.options.table.trains
        instructions = [name for name in self.program.names for _ in trains[name]] + ["read"]

        return SpikeTrace(self._fired, stimulated, self.names, instructions, self.objects, self.events)

    def _answer_neurons(self) -> list[str]:
        """The neurons whose spikes at the last step are the answer."""
        fired = set(self.steps[-1].fired)
        layout = self.options.layout
        reads = self.program.reads
        if reads in layout.attributes:
            return [value for value in layout.attributes[reads] if value in fired]

        if reads == "match":
            named = ["match"] if layout.exact else [n for n in self.names if "_memory[" in n]
            return [name for name in named if name in fired]

        groups = ("object", "event") if self.program.group == "both" else (self.program.group,)
        return [name for name in self.names if name.partition("[")[0] in groups and name in fired]


def explain(
    scene: Scene,
    tokens: Sequence[str],
    preset: str | Preset = "compartment",
    collisions: CollisionSource | None = None,
    causal: bool = False,
    table: OperatorTable | None = None,
) -> Explanation:
    """Runs one whole program about a scene, and keeps every spike.

    Args:
        scene: the scene that the program is about.
        tokens: a whole program; `Question.programs` holds those of a question.
        preset: as in `answer`.
        collisions: as in `answer`.
        causal: as in `answer`.
        table: as in `answer`.

    Returns:
        The answer with its steps and causes; where an object is removed, `removal` explains how it was selected.

    Example:
        >>> objects = [["red", "metal", "cube"], ["blue", "rubber", "sphere"]]
        >>> scene = Scene.from_lists(1, objects, [[0, [[0, 9.0, 9.0], [1, 5.0, 5.0]]]], [[5, 0, 1]])
        >>> explanation = explain(scene, "objects cube filter_shape unique query_color".split())
        >>> explanation.answer.value, [step.objects for step in explanation.steps]
        ('red', [(), (0, 1), (0, 1), (0,), (0,), (0,)])
        >>> explanation.critical()
        ['all_objects', 'kind_color', 'red', 'cube', 'object[0]']
    """
    options = RunOptions(preset_of(preset), table if table is not None else OperatorTable(), causal)
    if collisions is not None:
        (scene,) = collisions([scene])

    program = (compile_program if options.preset.exact else compile_as_published)(tokens, options.table)
    if program.world != "counterfactual":
        return Explanation(scene, World(0, program.world), program, options, tokens)
    if program.removal is None:
        raise ConfigError("a counterfactual program names the object that is removed, but this one names none")

    removal = Explanation(scene, World(0), program.removal, options, tokens)
    explanation = Explanation(scene, World(0, removal.selected), program, options, tokens)
    explanation.removal = removal
    if removal.answer.status != "ok":
        explanation.answer = replace(explanation.answer, status=removal.answer.status)

    return explanation
