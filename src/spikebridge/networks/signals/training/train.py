"""The training of one network: augmented copies of the windows, objective, schedule."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from spikebridge.errors import ConfigError
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.signals.data.sensor import Sensor
from spikebridge.networks.signals.data.windows import Windows
from spikebridge.networks.signals.model.network import scale_inputs
from spikebridge.networks.signals.training.batch_changes import drop_modality, in_turn, mask_frames, mix_within_class
from spikebridge.training.batches import Batches
from spikebridge.training.callbacks.averaging import AveragedWeights
from spikebridge.training.loop import fit
from spikebridge.training.phase import WHOLE, Phase
from spikebridge.training.run.run import Run
from spikebridge.training.settings import Settings, check_positive


@dataclass(frozen=True)
class LearningConfig:
    """The training of a network."""

    copies: int = 8
    """Augmented copies of each training window; an epoch passes over all of them."""
    epochs: int = 4
    """Passes over the copies."""
    batch_size: int = 64
    """Windows of a training step."""
    lr: float = 0.004
    """Highest learning rate of a one-cycle schedule."""
    weight_decay: float = 0.02
    """Decoupled weight decay."""
    smoothing: float = 0.1
    """Label smoothing."""
    masking: float = 0.15
    """Most of a frame's features, and of the frames, that are masked in a training window; 0 masks none."""

    modality_dropout: float = 0.0
    """Share of the training windows of which a hybrid gets the frames alone, and as many the fast signal alone."""
    averaging: float = 0.0
    """Share of the steps, the last ones, whose mean weights the network ends with; 0 takes those of the last step."""
    mixing: float = 0.0
    """Share of the training windows that are mixed with another window of their class."""

    ADDED_FIELDS: ClassVar[tuple[str, ...]] = ("modality_dropout", "averaging", "mixing")
    """Fields that run folders written before do not have."""
    REMOVED_FIELDS: ClassVar[dict[str, Any]] = {"coloring": 0.0}
    """Fields of earlier run folders, and the value without effect."""

    def __post_init__(self) -> None:
        """Checks the settings."""
        check_positive(self, ("copies", "epochs", "batch_size", "lr"))
        for name in ("smoothing", "masking", "averaging", "mixing"):
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
    """Augmented copies of the training windows; the same for every network that is trained with a seed."""
    generator = np.random.default_rng(seed)
    copies = [sensor.augmented_inputs(windows, generator) for _ in range(config.copies)]
    inputs = {name: np.concatenate([copy[name] for copy in copies], 1) for name in copies[0]}
    tensors = tensors_of(inputs, np.tile(windows.label, config.copies))
    axes = {name: 0 if name == "label" else 1 for name in tensors}
    mix = partial(mix_within_class, share=config.mixing) if config.mixing else None
    mask = partial(mask_frames, most=config.masking) if config.masking else None

    return Batches(tensors, axes, augment=partial(in_turn, changes=(mix, mask)) if mix or mask else None)


def answers(network: HybridNetwork, batch: Mapping[str, Tensor]) -> Tensor:
    """Weighted mean of the logits so far, at every answer, `(K, B, C)`; what follows a recording changes nothing."""
    dtype = next(network.parameters()).dtype
    inputs = {name: batch[name].to(dtype) for name in network.inputs}
    logits = network(inputs)[0]["answer"]
    weight = batch["weight"].to(dtype)[:, :, None]

    return (logits * weight).cumsum(0) / weight.cumsum(0).clamp(min=1e-6)


def _objective(
    network: HybridNetwork, batch: dict[str, Tensor], *, smoothing: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy of the last answer of each window."""
    logits = answers(network, batch)[-1]
    hits = (logits.argmax(-1) == batch["label"]).float().mean()
    return F.cross_entropy(logits, batch["label"], label_smoothing=smoothing), {"accuracy": hits}


def train_windows(
    network: HybridNetwork, data: Batches, config: LearningConfig, seed: int, quiet: bool = True, run: Run | None = None
) -> None:
    """Trains a network in place, its inputs scaled to the training windows first.

    Args:
        network: of `signals_network`.
        data: of `training_batches`.
        config: of the training.
        seed: of the order of windows, masks and dropout.
        quiet: show no progress.
        run: where metrics and checkpoints go; a checkpoint that it holds is resumed.
    """
    scale_inputs(network, data.tensors)
    if config.modality_dropout and len(network.inputs) > 1:
        drop = partial(drop_modality, share=config.modality_dropout)
        data = Batches(data.tensors, data.batch, partial(in_turn, changes=(data.augment, drop)))

    settings = Settings(seed=seed, quiet=quiet, batch_size=config.batch_size, accelerator="cpu")
    steps = config.epochs * -(-len(data.tensors["label"]) // config.batch_size)
    last = max(1, round(config.averaging * steps))
    mean = [AveragedWeights(start=steps - last + 1)] if config.averaging else []
    fit(network, [_phase(config, steps)], data, settings=settings, run=run, callbacks=mean)


def _phase(config: LearningConfig, steps: int) -> Phase:
    """The one phase of a training of so many steps."""
    return Phase(
        "signals",
        train=WHOLE,
        objective=partial(_objective, smoothing=config.smoothing),
        epochs=config.epochs,
        optimizer=partial(torch.optim.AdamW, lr=config.lr, weight_decay=config.weight_decay),
        scheduler=partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=config.lr, total_steps=steps + 1, pct_start=0.15),
        scheduler_interval="step",
        clip=2.0,
    )
