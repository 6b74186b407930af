"""One training of the recipe: eyes that all networks share, each network on them, senses weighed on people left out."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from spikebridge.errors import DataError
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.senses.data.sampling import Sampled
from spikebridge.networks.senses.model.execution import at_end, run_network
from spikebridge.networks.senses.model.network import SenseShape, SensesShape, senses_network
from spikebridge.networks.senses.model.parts import gate_features
from spikebridge.networks.senses.training.augmentation import vary_motion, vary_pictures
from spikebridge.networks.senses.training.train import (
    COPIES,
    MemoryData,
    RememberingSense,
    SensesLearning,
    SpikingSense,
    eye_features,
    teach_eye,
    train_memory,
    train_spiking,
)
from spikebridge.ops.modes import evaluating

_WEIGH_STEPS = 200
_MAX_GAIN = 2.0
_RIDGE = 1e-4
_TEACHER = 1000  # from one seed of a teacher to the next


@dataclass
class FoldTraining:
    """Trainings on the trials of some people; what several networks need is trained once.

    `teachers` are values `(K, B, *D)` at the ticks of a picture's clock, by sensor.
    """

    shape: SensesShape
    data: Sampled
    teachers: dict[str, Tensor]
    config: SensesLearning
    seed: int
    quiet: bool = True
    _eyes: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    _features: dict[str, Tensor] = field(default_factory=dict)
    _trained: dict[tuple[int, str, str], dict[str, Tensor]] = field(default_factory=dict)
    _taught: dict[tuple[int | None, str, str], list[RememberingSense]] = field(default_factory=dict)

    def train(self, variant: str) -> HybridNetwork:
        """A trained network of the variant."""
        network = self._part_of_people(variant, None)
        # the memory of a link was trained on the sum
        if self.config.weigh and variant in ("hybrid", "ann") and len(self.shape.senses) > 1:
            weights = _weights_of(self._left_out_evidence(variant), self.data.label)
            self._weigh(network, weights)
            if self.shape.looks and self.shape.senses[-1].name in self._features:
                self._teach_gate(network, variant, weights)

        return network.eval()

    def _part_of_people(self, variant: str, half: int | None) -> HybridNetwork:
        """A network that was trained on everybody, or without one half of the people; senses unweighed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = senses_network(variant, self.shape)
        for sense in self.shape.senses:
            if sense.is_picture:
                self._teach(sense)
                network.parts[f"{sense.name}_features"].load_state_dict(self._eyes[sense.name])

        if variant == "early":
            self._train_once(network, variant, "senses", half)
        else:
            for sense in self.shape.senses:
                self._train_once(network, variant, sense.name, half)

        return network

    def _teach(self, sense: SenseShape) -> None:
        """Trains the eye of a sense, once, and keeps its features."""
        if sense.name in self._eyes:
            return

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            eye = senses_network("hybrid", self.shape).parts[f"{sense.name}_features"]
        pictures = self.data.signals[sense.name]
        inside = torch.arange(len(pictures))[:, None] < self.data.lengths[sense.name]
        seen = inside & (pictures.flatten(2).amax(2) > 0)
        if not seen.any():
            raise DataError(
                f"{sense.name} shows nothing in all {len(self.data.label)} trials of the training; name the other "
                "sensors by --senses"
            )
        moved = vary_pictures(pictures, torch.Generator().manual_seed(self.seed))
        targets = self.data.label.expand(len(pictures), -1)
        if sense.name in self.teachers:
            # joints as seen from their middle
            targets = self.teachers[sense.name]
            targets = (targets - targets.mean(2, keepdim=True)).flatten(2) if targets.ndim > 3 else targets

        # what all pictures have in common would drown the rest
        targets = targets[seen]
        if targets.is_floating_point():
            targets = (targets - targets.mean(0)) / targets.std()
        teach_eye(eye, moved[seen], targets, self.config, self.seed, self.quiet)
        self._eyes[sense.name] = eye.state_dict()
        self._features[sense.name] = eye_features(eye, pictures, self.seed)

    def _train_once(self, network: HybridNetwork, variant: str, name: str, half: int | None) -> None:
        """Trains the parts of a sense that are not its eye, or takes them from another network of the fold."""
        kind = "snn" if f"{name}_snn1" in network.parts else variant if variant in ("link", "early") else "ann"
        key = (-1 if half is None else half, name, kind)
        module = torch.nn.ModuleDict(
            {
                part: one
                for part, one in network.parts.items()
                if part.startswith(f"{name}_") or (variant == "early" and part not in ("gate", "answer"))
            }
        )
        if key not in self._trained:
            self._train(network, variant, name, half)
            self._trained[key] = {path: x.clone() for path, x in module.state_dict().items()}

        module.load_state_dict(self._trained[key])

    def _train(self, network: HybridNetwork, variant: str, name: str, half: int | None) -> None:
        # the halves say how far to trust a sense, for which fewer passes do
        epochs = self.config.epochs if half is None else max(1, self.config.epochs // 2)
        config = replace(self.config, epochs=epochs)
        is_spiking = f"{name}_snn1" in network.parts
        kind = variant if variant in ("link", "early") and not is_spiking else "ann"
        data = self._memory_data(kind, name, half)
        # pictures alone gain nothing from teachers; without a slower clock an ANN would take each sample for itself
        is_slowest = is_spiking and len(data.trials.signals[name]) == len(data.trials.signals[data.clock])
        is_taught = data.block is not None and not is_slowest
        teachers = self._teachers(kind, name, half, data, config) if is_taught else []
        if is_spiking:
            train_spiking(network, name, data.trials, config, self.seed, self.quiet, teachers)
        else:
            train_memory(network, name, data, config, self.seed, self.quiet, teachers)

    def _memory_data(self, kind: str, name: str, half: int | None) -> MemoryData:
        places = np.arange(len(self.data.label)) if half is None else self._places(half, inside=False)
        clock = max(self.shape.senses, key=lambda sense: sense.period).name
        block = None if name in self._features else name
        features = [self._features[name]] if name in self._features else []
        if kind == "early":
            block = next((sense.name for sense in self.shape.senses if not sense.is_picture), None)
            features = list(self._features.values())

        given = torch.cat(features, -1)[:, places] if features else None
        context = self._context_evidence(len(given)) if kind == "link" and given is not None else None
        return MemoryData(self.data.select(places), clock, given, context, block)

    def _teachers(
        self, kind: str, name: str, half: int | None, data: MemoryData, config: SensesLearning
    ) -> list[RememberingSense]:
        """ANNs with other seeds that were trained on the same trials."""
        key = (half, name, kind)
        if key not in self._taught:
            self._taught[key] = []
            for place in range(1, config.teachers + 1):
                seed = self.seed + _TEACHER * place
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(seed)
                    network = senses_network(kind, self.shape)
                self._taught[key].append(train_memory(network, name, data, config, seed, self.quiet))

        return self._taught[key]

    def _places(self, half: int, inside: bool) -> np.ndarray:
        people = np.unique(self.data.person)
        if len(people) < 2:
            return np.flatnonzero((np.arange(len(self.data.person)) % 2 == half) == inside)
        return np.flatnonzero(np.isin(self.data.person, people[half::2]) == inside)

    def _context_evidence(self, num_ticks: int) -> Float[Tensor, "K B R M"]:
        """The evidence of SNNs at the ticks of an eye, for copies of the trials of people they were not trained on."""
        name = next(sense.name for sense in self.shape.senses if sense.part == "snn")
        x = self.data.signals[name]
        context = torch.zeros(num_ticks, x.shape[1], COPIES, self.shape.num_classes)
        generator = torch.Generator().manual_seed(self.seed)

        for half in range(2):
            places = self._places(half, inside=True)
            sense = SpikingSense(self._part_of_people("hybrid", half), name)
            with evaluating(sense):
                for copy in range(COPIES):
                    own = x[:, places]
                    evidence = sense(vary_motion(own, generator) if copy else own)
                    period = len(x) // num_ticks
                    context[:, places, copy] = evidence[period - 1 :: period]

        return context

    def _left_out_evidence(self, variant: str) -> list[Float[Tensor, "B M"]]:
        """The last evidence of each sense, from networks that were trained without one half of the people, for it."""
        rows = [torch.zeros(len(self.data.label), self.shape.num_classes) for _ in self.shape.senses]
        for half in range(2):
            places = self._places(half, inside=True)
            data = self.data.select(places)
            outputs = run_network(self._part_of_people(variant, half), data)
            for row, sense in zip(rows, self.shape.senses, strict=True):
                row[places] = at_end(outputs[f"{sense.name}_evidence"], data)

        return rows

    def _weigh(self, network: HybridNetwork, weights: Float[Tensor, " S"]) -> None:
        """Multiplies the evidence of each sense by its weight."""
        with torch.no_grad():
            for sense, weight in zip(self.shape.senses, weights, strict=True):
                network.parts[f"{sense.name}_readout"].get_submodule("linear").get_parameter("weight").mul_(weight)

    def _teach_gate(self, network: HybridNetwork, variant: str, weights: Float[Tensor, " S"]) -> None:
        """Fits the score of a learned gate to what one look gains, for people that the networks were not trained on."""
        *_, last = self.shape.senses
        examples = []
        for half in range(2):
            places = self._places(half, inside=True)
            data = self.data.select(places)
            inner = self._part_of_people(variant, half)
            self._weigh(inner, weights)
            features = self._features[last.name][:, places, 0]
            examples.append(_look_gains(inner, data, features, self.shape))

        _fit_gate(network.parts["gate"], *(torch.cat(column) for column in zip(*examples, strict=True)))


def _look_gains(
    network: HybridNetwork, data: Sampled, features: Float[Tensor, "K B N"], shape: SensesShape
) -> tuple[Float[Tensor, "M F"], Float[Tensor, " M"]]:
    """Inputs of a gate at each tick of the sense that looks, and by how much one look then lowers the loss at the end.

    The gate receives nothing of other looks.
    """
    first, last = shape.senses[0], shape.senses[-1]
    gate: Any = network.parts["gate"]
    memory: Any = network.parts[f"{last.name}_memory"]
    gate.kind = "never"
    outputs = run_network(network, data)
    logits = outputs["answer"]
    end = at_end(logits, data)
    flat = features.flatten(0, 1)
    with torch.no_grad():
        state = memory(flat, flat.new_zeros(len(flat), memory.size))
        said = network.parts[f"{last.name}_readout"](state).unflatten(0, features.shape[:2])
    label = data.label.expand(len(said), -1)
    after = F.cross_entropy((end + said).flatten(0, 1), label.flatten(), reduction="none")
    gain = F.cross_entropy(end, data.label, reduction="none") - after.unflatten(0, said.shape[:2])

    values = data.signals[first.name]
    period = len(values) // len(logits)
    inputs = gate_features(values[period - 1 :: period].flatten(2), torch.softmax(logits, -1).amax(-1))
    inside = torch.arange(len(logits))[:, None] < data.lengths[last.name]

    return inputs[inside], gain[inside].clamp(-_MAX_GAIN, _MAX_GAIN)


def _fit_gate(gate: Any, inputs: Float[Tensor, "M F"], gain: Float[Tensor, " M"]) -> None:
    """Sets the score of a gate by least squares, and its threshold so that it is open as often as the rule."""
    columns = torch.cat([inputs, torch.ones(len(inputs), 1)], 1)
    ridge = _RIDGE * len(inputs) * torch.eye(columns.shape[1])
    weight = torch.linalg.solve(columns.T @ columns + ridge, columns.T @ gain)
    open_share = float((inputs[:, 0] > gate.threshold).float().mean())
    with torch.no_grad():
        gate.score.weight.copy_(weight[None, :-1])
        gate.score.bias.copy_(weight[-1:])
        gate.least_score.copy_((columns @ weight).quantile(1 - open_share))


def _weights_of(evidence: list[Float[Tensor, "B M"]], label: Tensor) -> Float[Tensor, " S"]:
    """The weights of the senses with the least cross-entropy on evidence for people left out."""
    logs = torch.zeros(len(evidence), requires_grad=True)
    optimizer = torch.optim.Adam([logs], lr=0.05)
    for _ in range(_WEIGH_STEPS):
        logits = torch.stack([weight * one for weight, one in zip(logs.exp(), evidence, strict=True)]).sum(0)
        loss = F.cross_entropy(logits, label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return logs.detach().exp()
