"""The phases of training a sensing network: all that tracks between frames at once, then the target detector.

A part whose weights come from another run is loaded instead of trained.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.training.objectives import (
    BOX_NOISE,
    Batch,
    Result,
    detection_objective,
    tracking_objective,
)
from spikebridge.neurons.quantity import names_of_floats
from spikebridge.training.batches import Dataset
from spikebridge.training.phase import Phase
from spikebridge.training.run.run import Run
from spikebridge.training.run.weights import check_compatible, read_weights

# the detector, by the prefix of the names of its weights, or all the rest
_LoadedPart = Literal["finder", "pathways"]
# samples of a step, of the pathways and of the detector; chosen on the validation frames, as the rates are
BATCH_SIZE = 16
# time constants, gains and other scalars of a channel learn faster than kernels
_SCALAR_LR = 2e-2
_WEIGHT_DECAY = 1e-2
_MAX_GRADIENT = 1.0


@dataclass(frozen=True)
class PathwayTraining:
    """Training of the pathways, the unit, the head and the prior: all that tracks between frames."""

    epochs: int = 5
    """Passes over the samples."""
    lr: float = 3e-3
    """Learning rate of kernels."""
    lose_events: float = 0.0
    """Largest share of removed events."""
    contrast: float = 0.0
    """Largest change of contrast, a logarithm."""
    weights_from: str = ""
    """A run to load all but the detector from."""

    ADDED_FIELDS: ClassVar[tuple[str, ...]] = ("lose_events", "contrast")
    REMOVED_FIELDS: ClassVar[dict[str, Any]] = {
        "batch_size": BATCH_SIZE,
        "lr_scalars": _SCALAR_LR,
        "box_noise": BOX_NOISE,
        "num_scenes": 2,
    }

    def __post_init__(self) -> None:
        _check_range(self, "pathways", above_0=("epochs", "lr"), from_0=("lose_events", "contrast"))
        if self.lose_events > 1:
            raise ConfigError(f"pathways.lose_events is a share, from 0 to 1, but got {self.lose_events}")


@dataclass(frozen=True)
class DetectorTraining:
    """Training of the target detector."""

    epochs: int = 10
    """Passes over the samples; 0: no detector."""
    lr: float = 3e-3
    """Learning rate."""
    num_scenes: int = 4
    """Generated scenes that are hard to track."""
    box_noise: float = 1.0
    """Error of predicted boxes [size / 6]."""
    fit_spread: bool = False
    """Scale the claimed spread to errors."""
    weights_from: str = ""
    """A run to load the detector from."""

    ADDED_FIELDS: ClassVar[tuple[str, ...]] = ("fit_spread",)
    REMOVED_FIELDS: ClassVar[dict[str, Any]] = {
        "num_films": 0,
        "background_swaps": 0.4,
        "template_error": 1.0,
        "absent_share": 0.2,
        "start_from": "",
    }

    def __post_init__(self) -> None:
        _check_range(self, "detector", above_0=("lr",), from_0=("epochs", "num_scenes", "box_noise"))


def _check_range(settings: Any, group: str, above_0: tuple[str, ...], from_0: tuple[str, ...]) -> None:
    for name in (*above_0, *from_0):
        value = getattr(settings, name)
        words = "above 0" if name in above_0 else "0 or more"
        if not (value > 0 if name in above_0 else value >= 0):
            raise ConfigError(f"{group}.{name} needs to be {words}, but got {value}")


def pathway_phase(network: Sensing, name: str, training: PathwayTraining) -> Phase:
    """Training of all that tracks between frames."""
    trainable = [name for name, part in network.named_children() if next(part.parameters(), None) is not None]
    return Phase(
        name,
        train=tuple(name for name in trainable if name != "finder"),
        objective=partial(tracking_objective, lose_events=training.lose_events, contrast=training.contrast),
        epochs=training.epochs,
        optimizer=partial(pathway_optimizer, lr=training.lr),
        scheduler=partial(CosineAnnealingLR, T_max=training.epochs),
        clip=_MAX_GRADIENT,
    )


def detector_phase(name: str, samples: Dataset, training: DetectorTraining, template_rate: float) -> Phase:
    """Training of the target detector on a `DetectorDataset`; `template_rate` is the share of the newest template."""
    return Phase(
        name,
        train=("finder",),
        objective=partial(_detection_objective, box_noise=training.box_noise, template_rate=template_rate),
        epochs=training.epochs,
        optimizer=partial(torch.optim.AdamW, lr=training.lr, weight_decay=_WEIGHT_DECAY, fused=True),
        scheduler=partial(CosineAnnealingLR, T_max=training.epochs),
        clip=_MAX_GRADIENT,
        data=samples,
    )


def _detection_objective(network: Sensing, batch: Batch, box_noise: float, template_rate: float) -> Result:
    if network.detector is None:
        raise ConfigError("this network has no detector to train")

    return detection_objective(network.detector, batch, box_noise=box_noise, template_rate=template_rate)


def load_parts(network: Sensing, detector: str, pathways: str, child: Run) -> dict[str, Any]:
    """Loads the detector, and all the rest, from the runs of two paths; an empty path leaves a part as it is."""
    paths: dict[_LoadedPart, str] = {"finder": detector, "pathways": pathways}
    loaded: dict[str, Any] = {}
    for part, path in paths.items():
        if path:
            loaded |= load_part(network, part, Path(path), child)

    return loaded


def load_part(network: Sensing, part: _LoadedPart, path: Path, child: Run) -> dict[str, Any]:
    """Loads the detector, or all the rest, from another run of the same network and seed as the training run `child`.

    Gives settings and environment of the part's own training, wherever that was, by the part's name.
    """
    name = "/".join(child.path.parts[-2:])
    others = Run.open(path).children()
    own = network.state_dict()
    wanted = {key for key in own if key.startswith("finder.") == (part == "finder")}
    refused = f"the {'detector' if part == 'finder' else part} of {path} cannot be loaded"

    if name not in others or not wanted:
        raise ConfigError(f"{refused}: {did_you_mean(name, others)}")

    weights = read_weights(others[name].file("weights.safetensors"))
    missing = sorted(wanted - weights.keys() - names_of_floats(network))
    if missing:
        raise ConfigError(f"{refused}: {missing[0]!r} is not there")

    merged = {**own, **{key: weights[key] for key in wanted & weights.keys()}}
    check_compatible(merged, network, str(path))
    network.load_state_dict(merged)

    # a part that was itself loaded names its own training
    results = others[name].results() if others[name].finished else {}
    return {part: results.get(part, {"config": others[name].config, "environment": others[name].environment()})}


def pathway_optimizer(parameters: Any, lr: float) -> Optimizer:
    """Adam, with a rate of their own for scalars of a channel or of the network."""
    everything = list(parameters)
    scalars = [p for p in everything if _is_scalar(p)]
    kernels = [p for p in everything if not _is_scalar(p)]
    return torch.optim.Adam([{"params": kernels, "lr": lr}, {"params": scalars, "lr": _SCALAR_LR}], fused=True)


def _is_scalar(parameter: Parameter) -> bool:
    return parameter.ndim == 0 or parameter.shape[1:] == (1, 1)
