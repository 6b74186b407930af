"""An answer with its reasons: every step in names, the chain of causes, and what hangs on a single neuron."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from spikebridge.errors import ConfigError
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.explain.causes import ExplanationStep, reasons_of
from spikebridge.networks.reasoning.explain.labels import event_labels, object_labels
from spikebridge.networks.reasoning.graph.compiler import Instructions, compile_as_published, compile_program
from spikebridge.networks.reasoning.graph.layout import Preset, preset_of
from spikebridge.networks.reasoning.graph.readout import GraphAnswer, Recorder, Slot
from spikebridge.networks.reasoning.graph.run import (
    Batch,
    CollisionSource,
    Query,
    RunOptions,
    assign_slots,
    batch_stimuli,
    read_results,
)
from spikebridge.networks.reasoning.graph.wiring import wire
from spikebridge.networks.reasoning.graph.worlds import World
from spikebridge.networks.reasoning.parsing.operators import OperatorTable


@dataclass(frozen=True)
class Step:
    """One step of a run in names.

    Args:
        step: its number, from 0.
        instruction: what is going on.
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
        self, scene: Scene, world: World, program: Instructions, setting: RunOptions, tokens: Sequence[str]
    ) -> None:
        self.scene, self.program, self.setting = scene, program, setting
        self.tokens = tuple(tokens)
        self.removal: Explanation | None = None
        self._batch = assign_slots([scene], [Query(world, program)], setting)
        self._stimuli = batch_stimuli(self._batch, setting)
        recorder = Recorder(self._batch.graph, setting.measures_margins)
        spikes = []
        for moment in self._batch.graph.run(self._stimuli, columns=1):
            recorder.take(moment)
            spikes.append(self._batch.graph.majority(moment.spikes)[:, 0].cpu())
        self._fired = torch.stack(spikes).numpy()
        (finding,) = read_results(self._batch, recorder.record(), setting)
        self.answer = GraphAnswer(finding.value, finding.status, finding.confidence, finding.margin)
        self.found = finding.found

    @cached_property
    def objects(self) -> list[str]:
        """The objects in words."""
        return object_labels(self.scene)

    @cached_property
    def events(self) -> list[str]:
        """The events in words, in order of time."""
        return event_labels(self._batch.worlds, self.objects)

    @cached_property
    def names(self) -> list[str]:
        """The neurons by name."""
        return self.setting.layout.names(len(self.objects), len(self.events))

    @cached_property
    def instructions(self) -> list[str]:
        """What is going on at each step; the last one is the silent step at which the answer is read."""
        trains = self.setting.table.trains
        return [name for name in self.program.names for _ in trains[name]] + ["read"]

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Every step in names."""
        told = []
        first_object, first_event = self.names.index("object[0]") if self.objects else 0, self._first_event
        for t, fired in enumerate(self._fired):
            objects = np.flatnonzero(fired[first_object : first_object + len(self.objects)])
            events = np.flatnonzero(fired[first_event : first_event + len(self.events)])
            told.append(
                Step(
                    t,
                    self.instructions[t],
                    tuple(self.names[n] for n in np.flatnonzero(self._stimulated[t])),
                    tuple(self.names[n] for n in np.flatnonzero(fired)),
                    tuple(objects.tolist()),
                    tuple(events.tolist()),
                )
            )
        return tuple(told)

    @cached_property
    def cause_chain(self) -> tuple[ExplanationStep, ...]:
        """From the answer's spikes back to perceived facts, latest first; nothing where no spike is the answer."""
        setting, batch = self.setting, self._batch
        return reasons_of(
            [self.names.index(name) for name in self._answering()],
            self._fired,
            self._stimulated,
            wire(batch.worlds, setting.layout, replace(setting.preset, copies=1)),
            setting.preset,
            self.names,
            self.instructions,
            (self.objects, self.events),
            batch.worlds,
            setting.layout,
        )

    def silence(self, names: Sequence[str]) -> list[GraphAnswer]:
        """What the answer would be if a neuron were silent, for each of the neurons alone.

        Args:
            names: neurons.

        Raises:
            ConfigError: there is no such neuron.
        """
        layout = self.setting.layout
        places = [layout.index(name, len(self.objects), len(self.events)) for name in names]
        silenced = torch.zeros(len(self.names), len(places), dtype=torch.bool, device=self.setting.device)
        silenced[places, torch.arange(len(places))] = True
        seats = tuple(Slot(0, column) for column in range(len(places)))
        batch = Batch(self._batch.worlds, self._batch.graph, seats, (self.program,) * len(places))
        recorder = Recorder(batch.graph, self.setting.measures_margins)
        stimuli = [stimulus.spread(len(places)) for stimulus in self._stimuli]
        for moment in batch.graph.run(stimuli, len(places), silenced=silenced):
            recorder.take(moment)
        findings = read_results(batch, recorder.record(), self.setting) if places else []
        return [GraphAnswer(f.value, f.status, f.confidence, f.margin) for f in findings]

    def critical(self) -> list[str]:
        """The neurons whose silence would change the answer's value."""
        fired = [self.names[n] for n in np.flatnonzero(np.any(self._fired, axis=0))]
        # who never fires is silent already
        return [n for n, said in zip(fired, self.silence(fired), strict=True) if said.value != self.answer.value]

    @cached_property
    def _stimulated(self) -> np.ndarray:
        stimulated = np.zeros(self._fired.shape, dtype=bool)
        for step, stimulus in enumerate(self._stimuli):
            stimulated[step, stimulus.neuron.cpu()] = True
        return stimulated

    @property
    def _first_event(self) -> int:
        return self.names.index("event[0]") if self.events else 0

    def _answering(self) -> list[str]:
        """The neurons that are the answer, as far as they fired at the last step."""
        fired, layout, reads = set(self.steps[-1].fired), self.setting.layout, self.program.reads
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
        scene: what it is about.
        tokens: a whole program; `Question.programs` holds those of a question.
        preset: as in `answer`.
        collisions: as in `answer`.
        causal: as in `answer`.
        table: as in `answer`.

    Returns:
        The answer with its steps and reasons; where an object is removed, `removal` tells how it was found.

    Example:
        >>> objects = [["red", "metal", "cube"], ["blue", "rubber", "sphere"]]
        >>> scene = Scene.from_lists(1, objects, [[0, [[0, 9.0, 9.0], [1, 5.0, 5.0]]]], [[5, 0, 1]])
        >>> told = explain(scene, "objects cube filter_shape unique query_color".split())
        >>> told.answer.value, [step.objects for step in told.steps]
        ('red', [(), (0, 1), (0, 1), (0,), (0,), (0,)])
        >>> told.critical()
        ['all_objects', 'kind_color', 'red', 'cube', 'object[0]']
    """
    setting = RunOptions(preset_of(preset), table if table is not None else OperatorTable(), causal)
    if collisions is not None:
        (scene,) = collisions([scene])
    compiler = compile_program if setting.preset.exact else compile_as_published
    program = compiler(tokens, setting.table)
    if program.world == "observed":
        return Explanation(scene, World(0), program, setting, tokens)
    if program.world == "predicted":
        return Explanation(scene, World(0, "predicted"), program, setting, tokens)
    if program.removal is None:
        raise ConfigError("a program about a supposed world says which object is removed")
    removal = Explanation(scene, World(0), program.removal, setting, tokens)
    explanation = Explanation(scene, World(0, removal.found), program, setting, tokens)
    explanation.removal = removal
    if removal.answer.status != "ok":
        explanation.answer = replace(explanation.answer, status=removal.answer.status)
    return explanation
