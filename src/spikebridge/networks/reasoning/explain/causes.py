"""From an answer's spike backwards through the weights that mattered, down to perceived facts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from spikebridge.networks.reasoning.explain.labels import fact_label, neuron_label
from spikebridge.networks.reasoning.graph.layout import NeuronLayout, Preset
from spikebridge.networks.reasoning.graph.wiring import ConnectionKind, Connections
from spikebridge.networks.reasoning.graph.worlds import Worlds


@dataclass(frozen=True)
class Evidence:
    """One thing that a spike rests on: an earlier spike, and the perceived fact that joins them, if it is one.

    Args:
        step: of the earlier spike.
        neuron: that fired.
        fact: what the connection says, where it was written from the scene.
        score: how sure the fact is.
    """

    step: int
    neuron: str
    fact: str | None = None
    score: float = 1.0


@dataclass(frozen=True)
class ExplanationStep:
    """A spike, and what it rests on.

    Args:
        step: when.
        neuron: which.
        says: what the spike says.
        grounds: earlier spikes that were needed; none where an instruction fired it.
        instruction: what fired it from outside.
    """

    step: int
    neuron: str
    says: str
    grounds: tuple[Evidence, ...] = ()
    instruction: str | None = None


def reasons_of(
    answers: Sequence[int],
    fired: Bool[np.ndarray, "T N"],
    stimulated: Bool[np.ndarray, "T N"],
    connections: Connections,
    preset: Preset,
    names: Sequence[str],
    instructions: Sequence[str],
    words: tuple[Sequence[str], Sequence[str]],
    worlds: Worlds,
    layout: NeuronLayout,
) -> tuple[ExplanationStep, ...]:
    """The chain of reasons of a run in one world, latest first.

    A neuron that only holds on is followed back to the step at which it was let in, or last had to be brought back.

    Args:
        answers: neurons whose spikes at the last step are the answer.
        fired: spikes.
        stimulated: spikes from outside.
        connections: of the graph.
        preset: its sizes.
        names: neurons by name.
        instructions: what was going on at each step.
        words: objects and events in words.
        worlds: the one world.
        layout: its neurons.
    """
    walk = _Walk(fired, connections, preset)
    open_ones = [(len(fired) - 1, int(n)) for n in answers]
    found: dict[tuple[int, int], ExplanationStep] = {}
    while open_ones:
        step, neuron = open_ones.pop()
        step = walk.let_in(step, neuron, stimulated)
        if (step, neuron) in found:
            continue
        says = neuron_label(names[neuron], *words)
        if stimulated[step, neuron]:
            found[step, neuron] = ExplanationStep(step, names[neuron], says, instruction=instructions[step])
            continue
        grounds = []
        for c in walk.needed(step, neuron):
            source = int(connections.source[c])
            before = walk.let_in(step - 1, source, stimulated)
            fact, score = None, 1.0
            if connections.written[c]:
                fact = fact_label(names[source], names[neuron], *words)
                score = _score(names[source], names[neuron], worlds, layout)
            grounds.append(Evidence(before, names[source], fact, score))
            open_ones.append((step - 1, source))
        found[step, neuron] = ExplanationStep(step, names[neuron], says, tuple(grounds))
    return tuple(found[key] for key in sorted(found, reverse=True))


class _Walk:
    """Which connections a spike needed."""

    def __init__(self, fired: np.ndarray, connections: Connections, preset: Preset) -> None:
        self.fired, self.connections, self.preset = fired, connections, preset
        self.order = np.argsort(connections.target, kind="stable")
        self.sorted_targets = connections.target[self.order]

    def let_in(self, step: int, neuron: int, stimulated: np.ndarray) -> int:
        """The step since which a neuron has only held on."""
        while step > 0 and not stimulated[step, neuron] and self._only_holds(step, neuron):
            step -= 1
        return step

    def needed(self, step: int, neuron: int) -> np.ndarray:
        """Positive connections whose source fired just before; channels only where it took one."""
        active = self._active(step, neuron)
        weight, kind = self.connections.weight[active], self.connections.kind[active]
        is_channel = ((kind == ConnectionKind.CHANNEL) | (kind == ConnectionKind.TALLY)) & (weight > 0)
        enough = weight[~is_channel].sum() >= self.preset.v_threshold
        return active[(weight > 0) & ~(is_channel & enough)]

    def _only_holds(self, step: int, neuron: int) -> bool:
        needed = self.needed(step, neuron)
        return len(needed) == 1 and bool(self.connections.source[needed[0]] == neuron)

    def _active(self, step: int, neuron: int) -> np.ndarray:
        if step == 0:
            return np.zeros(0, dtype=np.int64)
        begin, end = np.searchsorted(self.sorted_targets, [neuron, neuron + 1])
        into = self.order[begin:end]
        return into[self.fired[step - 1, self.connections.source[into]]]


def _score(source: str, target: str, worlds: Worlds, layout: NeuronLayout) -> float:
    """How sure a fact is: that of the value it tells of, or of the events."""
    sure = 1.0
    for name in (source, target):
        group, _, rest = name.partition("[")
        if rest and group.startswith("event"):
            sure *= float(worlds.events.score[int(rest.rstrip("]"))])
    slots = [name for name in (source, target) if name.startswith("object[")]
    for kind, values in enumerate(layout.attributes.values()):
        if slots and (source in values or target in values):
            sure *= float(worlds.value_scores[int(slots[0].removeprefix("object[").rstrip("]")), kind])
    return sure
