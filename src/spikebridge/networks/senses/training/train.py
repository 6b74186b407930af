"""Training of a senses network: the eye by its teacher, each sense alone, the senses weighed on people left out."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.senses.data.sampling import Sampled
from spikebridge.networks.senses.model.parts import motion
from spikebridge.networks.senses.training.augmentation import random_speed, stretch, vary_motion, vary_pictures
from spikebridge.neurons.state import where
from spikebridge.ops.modes import evaluating
from spikebridge.training.batches import Batches
from spikebridge.training.callbacks.averaging import AveragedWeights
from spikebridge.training.loop import fit
from spikebridge.training.phase import WHOLE, Phase
from spikebridge.training.settings import Settings, check_minimum, check_positive

_Objective: TypeAlias = Callable[[nn.Module, dict[str, Tensor]], tuple[Tensor, dict[str, Tensor]]]

_SMOOTHING = 0.1  # of labels
_WEIGHT_DECAY = 0.02
_CLIP = 2.0
_WARMUP = 0.15
_AVERAGED = 0.3  # share of the last steps
_DROPOUT = 0.2
_DEAD = 0.1  # share of the trials without a sense
_MOVING = 0.4  # of the sensor that listens
_EYE_BATCH = 128
_EYE_RATE = 0.004
COPIES = 4  # of pictures
_TAUGHT = 0.7  # share of the teachers in the loss
_TEMPERATURE = 2.0  # of what they say
_MOMENTS = ((0.6, 0.2), (0.8, 0.3), (1.0, 0.5))  # shares of a trial at which its answer counts, with their weights


@dataclass(frozen=True)
class SensesLearning:
    """Settings of the training."""

    epochs: int = 30
    """Passes over the trials, a sense."""
    eye_epochs: int = 5
    """Passes of the eye over its pictures."""
    batch_size: int = 64
    """Trials of a step."""
    lr: float = 0.006
    """Highest rate of one cycle."""
    weigh: bool = True
    """Weigh senses on people left out."""
    teachers: int = 2
    """ANNs whose soft answers a sense of values learns."""

    ADDED_FIELDS: ClassVar[tuple[str, ...]] = ("teachers",)

    def __post_init__(self) -> None:
        """Checks the settings."""
        check_positive(self, ("epochs", "eye_epochs", "batch_size", "lr"))
        check_minimum(self, teachers=0)


def _fit_cycle(
    module: nn.Module,
    data: Batches,
    objective: _Objective,
    config: SensesLearning,
    seed: int,
    quiet: bool,
    averaged: bool = True,
) -> None:
    """One cycle of training on everything of a module, with the mean of its last weights."""
    num_steps = config.epochs * math.ceil(len(data) / config.batch_size)
    phase = Phase(
        "senses",
        train=WHOLE,
        objective=objective,
        epochs=config.epochs,
        optimizer=partial(torch.optim.AdamW, lr=config.lr, weight_decay=_WEIGHT_DECAY),
        # the scheduler is called once more after the last step
        scheduler=partial(
            torch.optim.lr_scheduler.OneCycleLR, max_lr=config.lr, total_steps=num_steps + 1, pct_start=_WARMUP
        ),
        scheduler_interval="step",
        clip=_CLIP,
    )
    settings = Settings(seed=seed, quiet=quiet, batch_size=config.batch_size, accelerator="cpu")
    averaging = AveragedWeights(start=max(1, num_steps - round(_AVERAGED * num_steps)))
    fit(module, [phase], data, settings=settings, callbacks=[averaging] if averaged else [])


def _loss_of(
    evidence: Float[Tensor, "T B K"],
    length: Int64[Tensor, " B"],
    label: Int64[Tensor, " B"],
    taught: Sequence[Float[Tensor, "T B K"]] = (),
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy with the labels and with what teachers say, at some moments, and the accuracy at the end."""
    rows = torch.arange(len(label))
    loss = evidence.new_zeros(())
    for share, weight in _MOMENTS:
        at = (share * length).long().clamp(min=1) - 1
        logits = evidence[at, rows]
        part = F.cross_entropy(logits, label, label_smoothing=_SMOOTHING)
        if taught:
            # G. Hinton et al., "Distilling the knowledge in a neural network", 2015
            soft = torch.stack([torch.softmax(one[at, rows] / _TEMPERATURE, -1) for one in taught]).mean(0)
            part = torch.lerp(part, _TEMPERATURE**2 * F.cross_entropy(logits / _TEMPERATURE, soft), _TAUGHT)
        loss = loss + weight * part

    return loss, {"accuracy": (logits.argmax(-1) == label).float().mean()}


class _Dropout(nn.Module):
    """Features that are left out for a whole trial."""

    def __init__(self, share: float = _DROPOUT) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Float[Tensor, "T B N"]) -> Float[Tensor, "T B N"]:
        return x * F.dropout(torch.ones_like(x[:1]), self.share, self.training)


class SpikingSense(nn.Module):
    """The SNN of a network on its sensor alone: the same parts and units, run over whole trials."""

    def __init__(self, network: HybridNetwork, name: str) -> None:
        super().__init__()
        self.parts = nn.ModuleList([network.parts[f"{name}_{part}"] for part in ("snn1", "snn2", "readout")])
        # not a submodule: it has nothing to train, and no mean of infinite time constants
        self._evidence = (network.parts[f"{name}_evidence"],)
        self.code = network.units[f"{name}_to_{name}_snn1"]
        self.drop = _Dropout()

    def forward(self, x: Float[Tensor, "T B C"]) -> Float[Tensor, "T B K"]:
        snn1, snn2, readout = self.parts
        with torch.no_grad():
            code = self.code(x)[0]
        first = snn1(code)[0]
        second = snn2(self.drop(first))[0]

        return self._evidence[0](readout.get_submodule("linear")(self.drop(torch.cat([first, second], -1))))[0]


class RememberingSense(nn.Module):
    """The ANN of a network: a memory on features, those of an eye at its looks or those of blocks of samples."""

    def __init__(self, network: HybridNetwork, name: str, block: str | None = None) -> None:
        super().__init__()
        self.dense: Any = None if block is None else network.parts[f"{block}_features"]
        self.memory: Any = network.parts[f"{name}_memory"]
        self.readout: Any = network.parts[f"{name}_readout"]
        # not a submodule, as that of an SNN
        self._evidence = (network.parts[f"{name}_evidence"],)
        self.drop = _Dropout()

    def forward(
        self,
        looks: Bool[Tensor, "K B"],
        features: Float[Tensor, "K B N"] | None = None,
        samples: Float[Tensor, "T B C"] | None = None,
    ) -> Float[Tensor, "K B M"]:
        columns = []
        if self.dense is not None and samples is not None:
            blocks = samples.unflatten(0, (len(looks), -1)).transpose(1, 2).flatten(2)
            columns.append(self.dense(blocks.flatten(0, 1)).unflatten(0, looks.shape))
        if features is not None:
            columns.append(held(features, looks) if columns else features)

        # a memory of several senses runs at every tick
        steps = torch.ones_like(looks)
        if self.dense is None and features is not None:
            steps = looks & features.any(-1)
        x = self.drop(torch.cat(columns, -1))
        h = x.new_zeros(x.shape[1], self.memory.size)
        states = []
        for x_t, look in zip(x.unbind(0), steps.unbind(0), strict=True):
            h = torch.where(look[:, None], self.memory(x_t, h), h)
            states.append(h)

        said = self.readout.get_submodule("linear")(self.drop(torch.stack(states)))
        return _gathered(self._evidence[0], said, steps)


def _gathered(evidence: Any, said: Float[Tensor, "K B M"], steps: Bool[Tensor, "K B"]) -> Float[Tensor, "K B M"]:
    """The output of a part at each tick, which runs over what is said at its steps alone."""
    state = evidence.initial_state(said[0])
    y = torch.zeros_like(said[0])
    rows = []
    for said_t, step in zip(said.unbind(0), steps.unbind(0), strict=True):
        y, state = where(step, evidence.step(said_t, state), (y, state))
        rows.append(y)

    return torch.stack(rows)


def held(features: Float[Tensor, "K B N"], looks: Bool[Tensor, "K B"]) -> Float[Tensor, "K B N"]:
    """The features of the last look, 0 before the first one.

    Example:
        >>> looks = torch.tensor([False, True, False]).reshape(3, 1)
        >>> held(torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1), looks).flatten().tolist()
        [0.0, 2.0, 2.0]
    """
    ticks = torch.arange(1, len(looks) + 1)[:, None]
    last = torch.where(looks, ticks, 0).cummax(0).values
    padded = F.pad(features, (0, 0, 0, 0, 1, 0))

    return padded.gather(0, last[..., None].expand_as(features))


def teach_eye(
    eye: nn.Module, pictures: Tensor, targets: Tensor, config: SensesLearning, seed: int, quiet: bool
) -> None:
    """Trains an eye on pictures `(M, 1, H, W)`: values that a teacher knows `(M, D)`, or classes `(M,)`."""
    is_class = targets.dtype == torch.int64
    num_outputs = int(targets.max()) + 1 if is_class else targets.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Linear(eye.dense.out_features, num_outputs)  # type: ignore[union-attr, arg-type]

    def objective(module: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        estimate = module(batch["pictures"])
        loss = F.cross_entropy(estimate, batch["targets"]) if is_class else F.mse_loss(estimate, batch["targets"])
        return loss, {}

    # a batch of one small picture has nothing to normalise
    number = len(pictures) - (len(pictures) % _EYE_BATCH == 1)
    data = Batches({"pictures": pictures[:number], "targets": targets[:number]}, {"pictures": 0, "targets": 0})
    settings = replace(config, epochs=config.eye_epochs, batch_size=_EYE_BATCH, lr=_EYE_RATE)
    _fit_cycle(nn.Sequential(eye, head), data, objective, settings, seed, quiet, averaged=False)


def eye_features(eye: nn.Module, pictures: Float[Tensor, "K B 1 H W"], seed: int) -> Float[Tensor, "K B R N"]:
    """The features of pictures as they are, and of copies that were moved."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for copy in range(COPIES):
        moved = vary_pictures(pictures, generator) if copy else pictures
        with evaluating(eye):
            features = torch.stack([eye(picture) for picture in moved])
        # as a part that no picture wakes
        rows.append(features * (moved.flatten(2).amax(2, keepdim=True) > 0))

    return torch.stack(rows, 2)


def train_spiking(
    network: HybridNetwork,
    name: str,
    data: Sampled,
    config: SensesLearning,
    seed: int,
    quiet: bool = True,
    teachers: Sequence[RememberingSense] = (),
) -> None:
    """Trains the SNN of a sense on its sensor, and on what teachers say of the same samples in blocks."""
    block = len(data.signals[name]) // min(len(x) for x in data.signals.values())

    def vary(batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        speed = random_speed(len(batch["label"]), generator)
        x, length = stretch(batch["x"], batch["length"], speed)
        return {**batch, "x": vary_motion(x, generator), "length": length}

    def objective(module: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        num_blocks = -(-int(batch["length"].max()) // block)
        x = batch["x"][: num_blocks * block]
        looks = torch.ones(num_blocks, x.shape[1], dtype=torch.bool)
        with torch.no_grad():
            taught = [teacher(looks, None, x).repeat_interleave(block, 0) for teacher in teachers]
        return _loss_of(module(x), batch["length"], batch["label"], taught)

    tensors = {"x": data.signals[name], "length": data.lengths[name], "label": data.label}
    batches = Batches(tensors, {"x": 1, "length": 0, "label": 0}, vary)
    _fit_cycle(SpikingSense(network, name), batches, objective, config, seed, quiet)


@dataclass(frozen=True)
class MemoryData:
    """Data of a memory: trials, features and context of copies of pictures and samples, a sensor read in blocks."""

    trials: Sampled
    clock: str
    features: Float[Tensor, "K B R N"] | None = None
    context: Float[Tensor, "K B R M"] | None = None
    block: str | None = None

    def batches(self) -> Batches:
        """The batches, with other looks, copies, speeds and angles in each."""
        length = self.trials.lengths[self.clock]
        tensors = {"length": length, "label": self.trials.label, "moving": self._moving()}
        if self.features is not None:
            tensors["features"] = self.features
        if self.context is not None:
            tensors["context"] = self.context
        if self.block is not None:
            tensors["samples"] = self.trials.signals[self.block]

        return Batches(tensors, {name: min(x.ndim - 1, 1) for name, x in tensors.items()}, _vary_looks)

    def _moving(self) -> Bool[Tensor, "K B"]:
        """Ticks at which the sensor that listens moves."""
        x = next(iter(self.trials.signals.values()))
        # signals are as long as the longest trial of all people, which may be left out
        period = len(x) // len(self.trials.signals[self.clock])
        return motion(x[period - 1 :: period].flatten(2)) > _MOVING


def _vary_looks(batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    num_ticks, number = batch["moving"].shape
    # what an SNN said at another speed is not known
    speed = torch.ones(number) if "context" in batch else random_speed(number, generator)
    last = batch["length"] - 1
    place = torch.minimum((torch.arange(num_ticks)[:, None] * speed).long(), last)
    copy = torch.randint(COPIES, (number,), generator=generator)
    changed = {
        "length": ((last + 1) / speed).ceil().long().clamp(1, num_ticks),
        "looks": random_looks(batch["moving"].gather(0, place), generator),
    }
    for name in ("features", "context"):
        if name in batch:
            changed[name] = batch[name][place, torch.arange(number), copy]
    if "samples" in batch:
        x = batch["samples"]
        x, _ = stretch(x, (last + 1) * (len(x) // num_ticks), speed)
        changed["samples"] = vary_motion(x, generator)

    return {**batch, **_without_a_sense(changed, torch.rand(number, generator=generator))}


def _without_a_sense(batch: dict[str, Tensor], draw: Float[Tensor, " B"]) -> dict[str, Tensor]:
    """Trials, of some of which one of two senses is dead: a network that reads both learns to do with either."""
    present = draw >= _DEAD
    dead: dict[str, Tensor] = {name: batch[name] * present[:, None] for name in ("context", "samples") if name in batch}
    if dead and "features" in batch:
        dead["looks"] = batch["looks"] & (draw < 1 - _DEAD)

    return {**batch, **dead}


def train_memory(
    network: HybridNetwork,
    name: str,
    data: MemoryData,
    config: SensesLearning,
    seed: int,
    quiet: bool = True,
    teachers: Sequence[RememberingSense] = (),
) -> RememberingSense:
    """Trains a memory, with its block features if it has them, on looks at random."""

    def objective(module: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        end = int(batch["length"].max())
        num_ticks = len(batch["looks"])
        looks, features, samples, context = (
            batch[key][: end * len(batch[key]) // num_ticks] if key in batch else None
            for key in ("looks", "features", "samples", "context")
        )
        if features is not None and context is not None:
            features = torch.cat([features, torch.softmax(context, -1)], -1)
        with torch.no_grad():
            taught = [teacher(looks, features, samples) for teacher in teachers]

        evidence = module(looks, features, samples)
        if context is not None:
            evidence = evidence + context
            taught = [one + context for one in taught]
        return _loss_of(evidence, batch["length"], batch["label"], taught)

    sense = RememberingSense(network, name, data.block)
    _fit_cycle(sense, data.batches(), objective, config, seed, quiet)
    return sense.eval()


def random_looks(moving: Bool[Tensor, "K B"], generator: torch.Generator) -> Bool[Tensor, "K B"]:
    """Looks every 1, 2, 5 or 10 ticks, of half of the trials only while the sensor that listens moves."""
    num_ticks, number = moving.shape
    period = torch.tensor([1, 2, 5, 10])[torch.randint(4, (number,), generator=generator)]
    phase = (torch.rand(number, generator=generator) * period).long()
    looks = (torch.arange(num_ticks)[:, None] + phase) % period == 0
    always = torch.rand(number, generator=generator) < 0.5

    return looks & (moving | always)
