"""The chain of causes of an answer: from its spikes back through the connections that mattered to perceived facts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from spikebridge.networks.reasoning.explain.labels import fact_label, neuron_label
from spikebridge.networks.reasoning.graph.layout import NeuronLayout, Preset
from spikebridge.networks.reasoning.graph.wiring import ConnectionKind, Connections
from spikebridge.networks.reasoning.graph.worlds import Worlds


@dataclass(frozen=True)
class Evidence:
    """An earlier spike that a spike needed, and the perceived fact that connects them, with its score."""

    step: int
    neuron: str
    fact: str | None = None
    score: float = 1.0


@dataclass(frozen=True)
class ExplanationStep:
    """A spike of the chain and its meaning, with the evidence that it needed or the instruction that fired it."""

    step: int
    neuron: str
    meaning: str
    evidence: tuple[Evidence, ...] = ()
    instruction: str | None = None


@dataclass(frozen=True, eq=False)
class SpikeTrace:
    """All spikes of a run in one world, and those from outside, with names of neurons, instructions and elements."""

    fired: Bool[np.ndarray, "T N"]
    stimulated: Bool[np.ndarray, "T N"]
    names: Sequence[str]
    instructions: Sequence[str]
    objects: Sequence[str]
    events: Sequence[str]


def trace_causes(
    answers: Sequence[str],
    trace: SpikeTrace,
    connections: Connections,
    preset: Preset,
    worlds: Worlds,
    layout: NeuronLayout,
) -> tuple[ExplanationStep, ...]:
    """The chain of causes from the neurons of the answer back to perceived facts, latest step first."""
    inputs = _NeededInputs(trace, connections, preset)
    pending = [(len(trace.fired) - 1, trace.names.index(name)) for name in answers]
    chain: dict[tuple[int, int], ExplanationStep] = {}

    while pending:
        # a neuron that only holds its activity is followed back to the step that activated it
        step, neuron = pending.pop()
        step = inputs.onset(step, neuron)
        if (step, neuron) in chain:
            continue

        name = trace.names[neuron]
        meaning = neuron_label(name, trace.objects, trace.events)
        if trace.stimulated[step, neuron]:
            chain[step, neuron] = ExplanationStep(step, name, meaning, instruction=trace.instructions[step])
            continue

        evidence = []
        for c in inputs.needed(step, neuron):
            source = int(connections.source[c])
            source_name = trace.names[source]
            fact = None
            score = 1.0
            if connections.from_scene[c]:
                fact = fact_label(source_name, name, trace.objects, trace.events)
                score = _fact_score(source_name, name, worlds, layout)

            evidence.append(Evidence(inputs.onset(step - 1, source), source_name, fact, score))
            pending.append((step - 1, source))

        chain[step, neuron] = ExplanationStep(step, name, meaning, tuple(evidence))

    return tuple(chain[key] for key in sorted(chain, reverse=True))


class _NeededInputs:
    """The connections that a spike needed."""

    def __init__(self, trace: SpikeTrace, connections: Connections, preset: Preset) -> None:
        self.trace = trace
        self.connections = connections
        self.preset = preset
        self.order = np.argsort(connections.target, kind="stable")
        self.sorted_targets = connections.target[self.order]

    def onset(self, step: int, neuron: int) -> int:
        """The step since which a neuron has been active by its own recurrent connection alone."""
        while step > 0 and not self.trace.stimulated[step, neuron]:
            needed = self.needed(step, neuron)
            if len(needed) != 1 or self.connections.source[needed[0]] != neuron:
                break
            step -= 1

        return step

    def needed(self, step: int, neuron: int) -> Int[np.ndarray, "C"]:
        """Positive connections whose source fired one step before; channels only where the spike needed one."""
        active = self._active(step, neuron)
        weight = self.connections.weight[active]
        kind = self.connections.kind[active]
        is_channel = ((kind == ConnectionKind.CHANNEL) | (kind == ConnectionKind.TALLY)) & (weight > 0)
        # drives and gates that fire the neuron alone make the channels irrelevant
        is_enough = weight[~is_channel].sum() >= self.preset.v_threshold

        return active[(weight > 0) & ~(is_channel & is_enough)]

    def _active(self, step: int, neuron: int) -> np.ndarray:
        """The connections to a neuron whose source fired one step before."""
        if step == 0:
            return np.zeros(0, dtype=np.int64)

        # sorted targets find the inputs of a neuron without a pass over all connections
        begin, end = np.searchsorted(self.sorted_targets, [neuron, neuron + 1])
        inputs = self.order[begin:end]
        return inputs[self.trace.fired[step - 1, self.connections.source[inputs]]]


def _fact_score(source: str, target: str, worlds: Worlds, layout: NeuronLayout) -> float:
    """The perception score of a fact: that of the attribute value, or of the events."""
    score = 1.0
    objects = []
    for name in (source, target):
        group, _, number = name.rstrip("]").partition("[")
        if number and group.startswith("event"):
            score *= float(worlds.events.score[int(number)])
        if group == "object":
            objects.append(int(number))

    # a connection between an object and a value is as certain as the classification of that kind
    for kind, values in enumerate(layout.attributes.values()):
        if objects and (source in values or target in values):
            score *= float(worlds.value_scores[objects[0], kind])

    return score
