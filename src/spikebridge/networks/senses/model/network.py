"""Networks of several senses: each sense a part on its own clock, one answer, and a gate that decides to look.

A fast sensor is coded as signed changes. Its SNN has synaptic currents with time constants of their own, which hold
the sensor's value where they are long and its change where they are short: a sensor at rest costs nothing. The evidence
for each class is the sum of what its spikes say. A slow sensor, an eye, is read by an ANN with a memory, which runs
when the gate wakes it, one tick after its decision, so that nothing reads a picture that was not asked for. The answer
is the sum of the evidence, with what each sense weighs in its read-out.

| network | wrist | eye | join |
|---|---|---|---|
| `hybrid` | SNN | ANN | weighted sum |
| `link` | SNN | ANN, whose memory reads the evidence of the SNN through a unit | weighted sum |
| `ann` | ANN on blocks of samples | ANN | weighted sum |
| `early` | ANN on blocks of samples | ANN | one memory on the features of both |
"""

import math
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.hybrid import (
    Every,
    HybridNetwork,
    HybridUnit,
    SignedDelta,
    Transmission,
    Wake,
    every,
    ticks,
)
from spikebridge.hybrid.network.link import Link
from spikebridge.networks.senses.model.parts import (
    Answer,
    EvidenceReadout,
    Eye,
    Features,
    GatedMemory,
    GateKind,
    Join,
    LookGate,
    Newest,
    PooledEvidence,
    Seen,
)
from spikebridge.neurons import LIF, CubaLIF, Integrator, Sequential, Triangle

VARIANTS = {
    "hybrid": "SNN and ANN, weighted sum of their evidence",
    "link": "SNN and ANN, whose memory reads the evidence of the SNN",
    "ann": "ANN on each sense, weighted sum",
    "early": "ANN on the features of all senses",
}


class SenseShape(NamedTuple):
    """One sense: its sensor, its part ("snn" or "ann"), its clock in steps of the network, the shape of a value."""

    name: str
    part: str
    period: int
    shape: tuple[int, ...]

    @property
    def is_picture(self) -> bool:
        """True if a value is a picture."""
        return len(self.shape) > 1


class SensesShape(NamedTuple):
    """Sizes: the step of the fastest clock `dt` [s], the senses, that which looks last, and their layers.

    `quantum` is the change of a value that a spike stands for, `min_wait` the ticks from one look to the next.
    """

    dt: float
    senses: tuple[SenseShape, ...]
    num_classes: int
    hidden: int = 96
    features: int = 40
    quantum: float = 0.1
    gate: GateKind = "rule"
    threshold: float = 0.4
    min_wait: int = 5

    @property
    def looks(self) -> bool:
        """True if the last sense is an ANN that sleeps while a sensor of values listens."""
        first, last = self.senses[0], self.senses[-1]
        return len(self.senses) > 1 and not first.is_picture and last.part == "ann"


class _Draft(NamedTuple):
    """The pieces of a network while it is made."""

    inputs: dict[str, Every]
    parts: dict[str, nn.Module]
    links: list[Link]


def senses_network(variant: str, shape: SensesShape) -> HybridNetwork:
    """One of the networks of `VARIANTS`. Its inputs have the names of the sensors.

    Its outputs are `answer`, logits `(K, B, num_classes)`, the evidence of each sense, `gate.ready` and `gate.look`.

    Example:
        >>> wrist = SenseShape("wrist", "snn", 1, (3,))
        >>> eye = SenseShape("eye", "ann", 5, (1, 8, 8))
        >>> network = senses_network("hybrid", SensesShape(0.02, (wrist, eye), 4, hidden=8, features=6))
        >>> inputs = {"wrist": torch.zeros(10, 2, 3), "eye": torch.zeros(2, 2, 1, 8, 8)}
        >>> network(inputs)[0]["answer"].shape
        torch.Size([2, 2, 4])
    """
    if variant not in VARIANTS:
        raise ConfigError(f"there is no senses network {variant!r}; {did_you_mean(variant, VARIANTS)}")
    if not shape.senses:
        raise ConfigError("a senses network needs one sense at least")

    draft = _Draft({}, {}, [])
    clock = max(sense.period for sense in shape.senses)
    for sense in shape.senses:
        if sense.part == "snn" and variant in ("hybrid", "link"):
            draft.inputs[sense.name] = every(sense.period * shape.dt, (sense.period - 1) * shape.dt)
            _add_snn(draft, sense, shape)
        else:
            # the ANN of a fast sensor reads blocks of samples at the clock of the slowest
            draft.inputs[sense.name] = every(clock * shape.dt, (clock - 1) * shape.dt)
            _add_features(draft, sense, shape, 1 if sense.is_picture else clock // sense.period)

    _add_memories(draft, variant, shape, clock)
    evidence = [name for name in draft.parts if name.endswith("_evidence")]
    draft.parts["answer"] = Answer(len(evidence))
    # that of an SNN has a faster clock
    draft.links.extend(Transmission(name, "answer", held=f"{name[:-9]}_snn1" in draft.parts) for name in evidence)
    outputs = ["answer", *evidence]
    if shape.looks:
        _add_gate(draft, variant, shape, clock)
        outputs += ["gate.ready", "gate.look"]

    clocks = {"answer": every(clock * shape.dt, (clock - 1) * shape.dt)}
    return HybridNetwork(
        dt=shape.dt, inputs=draft.inputs, parts=draft.parts, links=draft.links, outputs=outputs, clocks=clocks
    )


def _add_snn(draft: _Draft, sense: SenseShape, shape: SensesShape) -> None:
    links = draft.links
    name = sense.name
    hidden = shape.hidden

    def spread(shortest: float, longest: float) -> torch.Tensor:
        return torch.exp(torch.empty(hidden).uniform_(math.log(shortest), math.log(longest)))

    fc1 = nn.Linear(math.prod(sense.shape), hidden, bias=False)
    fc2 = nn.Linear(hidden, hidden, bias=False)
    readout = EvidenceReadout(2 * hidden, shape.num_classes)
    # changes are few and small, so default weights would leave the membranes far below their thresholds
    with torch.no_grad():
        fc1.weight *= _GAIN_CHANGES * shape.quantum
        fc2.weight *= _GAIN_SPIKES
        readout.linear.weight *= _GAIN_READOUT

    first = CubaLIF(spread(0.03, 0.5), spread(0.03, 0.9), surrogate=Triangle(1.0), learn=("tau", "tau_syn"))
    second = LIF(spread(0.03, 0.5), surrogate=Triangle(1.0), learn=("tau",))
    draft.parts.update(
        {
            f"{name}_snn1": Sequential(fc=fc1, lif=first),
            f"{name}_snn2": Sequential(fc=fc2, lif=second),
            f"{name}_readout": readout,
            f"{name}_evidence": Integrator(tau=math.inf),
        }
    )
    links += [
        Transmission(name, f"{name}_snn1", HybridUnit(discretizer=SignedDelta(shape.quantum, _MAX_SPIKES))),
        Transmission(f"{name}_snn1", f"{name}_snn2"),
        Transmission(f"{name}_snn1", f"{name}_readout"),
        Transmission(f"{name}_snn2", f"{name}_readout"),
        Transmission(f"{name}_readout", f"{name}_evidence"),
    ]


def _add_features(draft: _Draft, sense: SenseShape, shape: SensesShape, block: int) -> None:
    part = f"{sense.name}_features"
    draft.parts[part] = (
        Eye((sense.shape[1], sense.shape[2]), shape.features)
        if sense.is_picture
        else Features(block * math.prod(sense.shape), shape.features)
    )
    draft.links.append(Transmission(sense.name, part))


def _add_memories(draft: _Draft, variant: str, shape: SensesShape, clock: int) -> None:
    """A memory and its evidence for each ANN, or one for all of them."""
    links = draft.links
    features = [name for name in draft.parts if name.endswith("_features")]
    listening = [name for name in draft.parts if name.endswith("_evidence")] if variant == "link" else []
    groups = {"senses": features} if variant == "early" else {name[:-9]: [name] for name in features}

    for name, sources in groups.items():
        size = shape.features * len(sources) + shape.num_classes * len(listening)
        memory = f"{name}_memory"
        looks = shape.looks and name == shape.senses[-1].name
        draft.parts[memory] = GatedMemory(size, shape.features)
        draft.parts[f"{name}_readout"] = EvidenceReadout(shape.features, shape.num_classes)
        draft.parts[f"{name}_evidence"] = Integrator(-clock * shape.dt / math.log(_KEPT)) if looks else PooledEvidence()
        links += [
            Transmission(memory, memory, into="before", held=True, delay=ticks(clock)),
            Transmission(memory, f"{name}_readout"),
            Transmission(f"{name}_readout", f"{name}_evidence"),
        ]
        if size == shape.features:
            links.append(Transmission(sources[0], memory))
            continue

        draft.parts[f"{name}_join"] = Join()
        links += [Transmission(source, f"{name}_join") for source in sources]
        # the unit: evidence as probabilities
        links += [
            Transmission(source, f"{name}_join", HybridUnit(nonlinearity=nn.Softmax(-1)), held=True)
            for source in listening
        ]
        links.append(Transmission(f"{name}_join", memory))


def _add_gate(draft: _Draft, variant: str, shape: SensesShape, clock: int) -> None:
    """The gate, which receives the first sense and the last answer, and wakes the ANN of the last one."""
    links = draft.links
    first, last = shape.senses[0], shape.senses[-1]
    is_block = f"{first.name}_features" in draft.parts
    block = clock // first.period if is_block and not first.is_picture else 1
    draft.parts["gate"] = LookGate(
        shape.gate, shape.num_classes, math.prod(first.shape), threshold=shape.threshold, min_wait=shape.min_wait
    )
    newest = HybridUnit(nonlinearity=Newest(math.prod(first.shape))) if block > 1 else None
    links += [
        Transmission(first.name, "gate", newest, held=not is_block),
        Transmission("answer", "gate", into="answer", delay=ticks(clock)),
    ]
    look = partial(Wake, "gate.look", gradient="none", delay=ticks(clock))
    source = f"{last.name}_seen"
    if last.is_picture:
        draft.parts[source] = Seen()
        links += [Transmission(last.name, source), look(source, asleep="zero")]

    # a look that brings no new picture changes no memory
    wake = partial(Wake, source, gradient="none") if last.is_picture else look
    # features that are joined at every tick have no memory of their own to protect
    links.append((wake if variant == "early" else look)(f"{last.name}_features"))
    if variant != "early":
        links.extend(wake(f"{last.name}_{part}") for part in ("memory", "readout", "evidence"))


_GAIN_CHANGES = 3.0
_GAIN_SPIKES = 8.0
_GAIN_READOUT = 0.3
_MAX_SPIKES = 4
_KEPT = 0.8  # of the evidence of a look at the next one, since looks at one action are much alike
