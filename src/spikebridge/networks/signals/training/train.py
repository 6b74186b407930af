"""The training of one network: augmented copies of the windows, random changes of batches, objective, schedule.

Of few people a network learns their voices as well as the words. A mixture of two windows of one class lies between two
voices, and has the label of both; mixup (H. Zhang et al., ICLR 2018) mixes classes and labels too. In some windows a
hybrid gets one of its two inputs alone (modality dropout), so that it learns to answer from each.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from spikebridge.errors import ConfigError
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.signals.data.sensor import Sensor
from spikebridge.networks.signals.data.windows import Windows
from spikebridge.networks.signals.model.network import scale_inputs
from spikebridge.training.batches import Batches
from spikebridge.training.callbacks.averaging import AveragedWeights
from spikebridge.training.loop import fit
from spikebridge.training.phase import WHOLE, Phase
from spikebridge.training.run.run import Run
from spikebridge.training.settings import Settings, check_positive

_Change: TypeAlias = Callable[[dict[str, Tensor], torch.Generator], dict[str, Tensor]]

_WEIGHT_DECAY = 0.02
_SMOOTHING = 0.1  # of labels
_MASKING = 0.15  # largest share of the features, and of the frames
_MIN_OWN = 0.5  # share of the window itself in a mixture
_GRADIENT_CLIP = 2.0
_WARMUP = 0.15  # share of the steps up to the highest rate


@dataclass(frozen=True)
class LearningConfig:
    """Settings of the training of each network."""

    copies: int = 8
    """Augmented copies of a window."""
    epochs: int = 4
    """Passes over the copies."""
    batch_size: int = 64
    """Windows of a training step."""
    lr: float = 0.004
    """Highest rate of one cycle."""
    modality_dropout: float = 0.0
    """Share of one input alone."""
    averaging: float = 0.0
    """Share of last steps to average over."""
    mixing: float = 0.0
    """Share of mixed windows."""
    detector_steps: int = 450
    """Steps of a detector."""

    ADDED_FIELDS: ClassVar[tuple[str, ...]] = ("modality_dropout", "averaging", "mixing", "detector_steps")
    REMOVED_FIELDS: ClassVar[dict[str, Any]] = {
        "coloring": 0.0,
        "weight_decay": _WEIGHT_DECAY,
        "smoothing": _SMOOTHING,
        "masking": _MASKING,
    }

    def __post_init__(self) -> None:
        """Checks the settings."""
        check_positive(self, ("copies", "epochs", "batch_size", "lr", "detector_steps"))
        for name in ("averaging", "mixing"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} is a share from 0 to 1, but is {getattr(self, name)}")

        if not 0 <= self.modality_dropout <= 0.5:
            raise ConfigError(
                "modality_dropout is a share from 0 to 0.5, since as many windows lose the one input as the other, but "
                f"is {self.modality_dropout}"
            )


def tensors_of(inputs: Mapping[str, NDArray[np.float32]], labels: NDArray[np.int64]) -> dict[str, Tensor]:
    """Inputs and labels as tensors."""
    return {
        **{name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in inputs.items()},
        "label": torch.from_numpy(labels),
    }


def training_batches(sensor: Sensor, windows: Windows, config: LearningConfig, seed: int) -> Batches:
    """Augmented copies of the training windows, the same for every network of a seed."""
    generator = np.random.default_rng(seed)
    copies = [sensor.augmented_inputs(windows, generator) for _ in range(config.copies)]
    inputs = {name: np.concatenate([copy[name] for copy in copies], 1) for name in copies[0]}
    tensors = tensors_of(inputs, np.tile(windows.label, config.copies))
    axes = {name: 0 if name == "label" else 1 for name in tensors}
    mask: _Change = partial(mask_frames, max_share=_MASKING)
    mix: _Change = partial(mix_within_class, share=config.mixing)

    return Batches(tensors, axes, augment=partial(_in_turn, changes=(mix, mask) if config.mixing else (mask,)))


def answers(network: HybridNetwork, batch: Mapping[str, Tensor]) -> Tensor:
    """The weighted mean of the logits so far at every answer, `(K, B, C)`."""
    dtype = next(network.parameters()).dtype
    inputs = {name: batch[name].to(dtype) for name in network.inputs}
    logits = network(inputs)[0]["answer"]
    weight = batch["weight"].to(dtype)[:, :, None]

    # answers after the end of a recording have the weight 0, so the mean stays that of the last one before
    return (logits * weight).cumsum(0) / weight.cumsum(0).clamp(min=1e-6)


def _objective(network: HybridNetwork, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy of the last answer of each window."""
    logits = answers(network, batch)[-1]
    hits = (logits.argmax(-1) == batch["label"]).float().mean()
    return F.cross_entropy(logits, batch["label"], label_smoothing=_SMOOTHING), {"accuracy": hits}


def train_windows(
    network: HybridNetwork, data: Batches, config: LearningConfig, seed: int, quiet: bool = True, run: Run | None = None
) -> None:
    """Trains a network in place."""
    scale_inputs(network, data.tensors)
    retrain_windows(network, data, config, seed, quiet, run)


def retrain_windows(
    network: HybridNetwork, data: Batches, config: LearningConfig, seed: int, quiet: bool = True, run: Run | None = None
) -> None:
    """Trains a network in place, from the kernels of its inputs as they are."""
    # a network of one input would be left without any
    if config.modality_dropout and len(network.inputs) > 1:
        drop = partial(drop_modality, share=config.modality_dropout)
        data = Batches(data.tensors, data.batch, partial(_in_turn, changes=(data.augment, drop)))

    settings = Settings(seed=seed, quiet=quiet, batch_size=config.batch_size, accelerator="cpu")
    num_steps = config.epochs * math.ceil(len(data.tensors["label"]) / config.batch_size)
    num_averaged = max(1, round(config.averaging * num_steps))
    averaging = [AveragedWeights(start=num_steps - num_averaged + 1)] if config.averaging else []
    fit(network, [_phase(config, num_steps)], data, settings=settings, run=run, callbacks=averaging)


def _phase(config: LearningConfig, num_steps: int) -> Phase:
    one_cycle = torch.optim.lr_scheduler.OneCycleLR
    return Phase(
        "signals",
        train=WHOLE,
        objective=_objective,
        epochs=config.epochs,
        optimizer=partial(torch.optim.AdamW, lr=config.lr, weight_decay=_WEIGHT_DECAY),
        # the scheduler is called once more after the last step
        scheduler=partial(one_cycle, max_lr=config.lr, total_steps=num_steps + 1, pct_start=_WARMUP),
        scheduler_interval="step",
        clip=_GRADIENT_CLIP,
    )


def mix_within_class(batch: dict[str, Tensor], generator: torch.Generator, *, share: float) -> dict[str, Tensor]:
    """Mixes some windows with another window of their class in the batch, which is stretched to their length."""
    label = batch["label"]
    weight = batch["weight"]
    partner = _partners(label, generator)
    draws = torch.rand(2, len(label), 1, generator=generator)
    own = torch.where(draws[0] < share, _MIN_OWN + (1 - _MIN_OWN) * draws[1], 1.0)
    num_answers = (weight > 0).sum(0)
    mixed = {}

    # a window has the same factor in both inputs; what follows the end of its recording stays
    for name in ("frames", "signal"):
        x = batch[name]
        length = num_answers * (len(x) // len(weight))
        other = _stretched(x[:, partner], length[partner], length)
        inside = torch.arange(len(x))[:, None] < length
        mixed[name] = torch.where(inside[:, :, None], own * x + (1 - own) * other, x)

    return {**batch, **mixed}


def _partners(label: Int64[Tensor, " B"], generator: torch.Generator) -> Int64[Tensor, " B"]:
    """The place of another window of the same class, or of the window itself where it is alone."""
    order = torch.randperm(len(label), generator=generator)
    partner = torch.empty_like(label)
    for one in label.unique():
        members = order[label[order] == one]
        partner[members] = members.roll(1)

    return partner


def _stretched(
    x: Float[Tensor, "T B N"], before: Int64[Tensor, " B"], after: Int64[Tensor, " B"]
) -> Float[Tensor, "T B N"]:
    """Signals whose first steps, `before` of them, are stretched over `after` steps, linearly interpolated."""
    last = (before - 1).clamp(min=0)
    position = torch.minimum(torch.arange(len(x))[:, None] * (before / after.clamp(min=1)), last)
    left = position.long()
    right = torch.minimum(left + 1, last)
    share = (position - left)[:, :, None]

    def values(step: Tensor) -> Tensor:
        return x.gather(0, step[:, :, None].expand_as(x))

    return torch.lerp(values(left), values(right), share.to(x.dtype))


def mask_frames(batch: dict[str, Tensor], generator: torch.Generator, *, max_share: float) -> dict[str, Tensor]:
    """Masks a range of features and one of frames of each window (D. Park et al., SpecAugment, 2019)."""
    frames = batch["frames"]
    num_frames, num_windows, num_features = frames.shape

    def inside(size: int) -> Tensor:
        width = torch.rand(num_windows, generator=generator) * max_share * size
        start = torch.rand(num_windows, generator=generator) * size
        place = torch.arange(size)[:, None]
        return (place >= start) & (place < start + width.floor())

    masked = torch.zeros_like(frames, dtype=torch.bool)
    masked |= inside(num_features).T[None]
    masked |= inside(num_frames)[:, :, None]

    # the mean stands for an unknown value; zeros would be bands as loud as the mean of all
    return {**batch, "frames": torch.where(masked, frames.mean((0, 1)), frames)}


def drop_modality(batch: dict[str, Tensor], generator: torch.Generator, *, share: float) -> dict[str, Tensor]:
    """Removes one of the two inputs of some windows (N. Neverova et al., ModDrop, IEEE TPAMI 38:1692, 2016)."""
    draw = torch.rand(len(batch["label"]), 1, generator=generator)
    frames = batch["frames"]
    signal = batch["signal"]
    frames = torch.where(draw < share, frames.mean((0, 1)), frames)

    return {**batch, "frames": frames, "signal": signal.masked_fill(draw > 1 - share, 0.0)}


def _in_turn(
    batch: dict[str, Tensor], generator: torch.Generator, *, changes: Sequence[_Change | None]
) -> dict[str, Tensor]:
    """A batch after several random changes."""
    for change in changes:
        batch = batch if change is None else change(batch, generator)
    return batch
