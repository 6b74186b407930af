"""The phases of training a sensing network: the pathways by one of three schedules, then the target detector.

| schedule | phases |
|---|---|
| joint | everything at once |
| alternate | the ANN on frames, then the SNN and its unit with the ANN frozen; twice |
| label_free | the ANN on frames with boxes, then the SNN and its unit without any box |

R. Zhao et al. (Nature Communications 13:3427, 2022) alternate. A schedule is a list of `Phase`; parameters that a phase
does not name are frozen.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.training import objectives
from spikebridge.neurons.quantity import names_of_floats
from spikebridge.training.batches import Dataset
from spikebridge.training.phase import Phase
from spikebridge.training.run.run import Run
from spikebridge.training.run.weights import check_compatible, read_weights

Schedule = Literal["joint", "alternate", "label_free"]
_Source = Literal["finder", "pathways"]
_ROUNDS = 2  # of alternating phases
_ANN_MODULES = ("what", "head")
_PRIOR_MODULES = ("prior", "back", "trust")
_SNN_MODULES = ("where", "unit", "membrane")


@dataclass(frozen=True)
class PathwayTraining:
    """Training of the pathways, the unit, the head and the prior: all that tracks between frames."""

    epochs: int = 5
    """Passes over the training samples, each forwards and backwards in time."""
    batch_size: int = 16
    """Samples of a step."""
    lr: float = 3e-3
    """Learning rate of kernels."""
    lr_scalars: float = 2e-2
    """Learning rate of time constants, gains and other scalars of a channel or of the network."""
    box_noise: float = 2.0
    """Largest standard deviation of the displacement of boxes; half of them are displaced [px]."""
    num_scenes: int = 2
    """Generated scenes for the pathways with --recording both; more of them lower the accuracy on the real one."""
    lose_events: float = 0.0
    """joint: the largest share of the events of a sample that are removed at random, as another camera would."""
    contrast: float = 0.0
    """joint: the largest change of the contrast of the frames of a sample, as a logarithm."""
    weights_from: str = ""
    """A run folder from which all parts but the detector are loaded for each seed, instead of trained."""

    ADDED_FIELDS: ClassVar[tuple[str, ...]] = ("lose_events", "contrast")
    """Fields that run folders of before do not have."""

    def __post_init__(self) -> None:
        """Refuses values out of range."""
        from_0 = ("box_noise", "num_scenes", "lose_events", "contrast")
        _check_range(self, "pathways", ("epochs", "batch_size", "lr", "lr_scalars"), from_0)
        if self.lose_events > 1:
            raise ConfigError(f"pathways.lose_events is a share, from 0 to 1, but got {self.lose_events}")


@dataclass(frozen=True)
class DetectorTraining:
    """Training of the target detector."""

    epochs: int = 10
    """Passes over pairs of frames; 0 builds a network without a detector."""
    lr: float = 3e-3
    """Learning rate."""
    num_scenes: int = 4
    """Generated scenes that are hard to track, for the detector only."""
    num_films: int = 0
    """Films of photographs, frames alone, for the detector only; needs the extra `photographs`."""
    box_noise: float = 1.0
    """Noise of the predicted boxes in training; 1 is about a sixth of the target's size."""
    background_swaps: float = 0.4
    """Share of the samples in which the target is pasted onto the background of another sample."""
    template_error: float = 1.0
    """Largest error of the newest template, relative to that of the predicted box, as in a closed loop."""
    absent_share: float = 0.2
    """Additional samples without the target, as a share of the other samples."""
    fit_spread: bool = False
    """Scale the claimed standard deviation to the errors on generated validation scenes, after the training."""
    weights_from: str = ""
    """A run folder from which the detector is loaded for each seed, instead of trained."""
    start_from: str = ""
    """A run folder whose detector is trained further for each seed, instead of a new one."""

    ADDED_FIELDS: ClassVar[tuple[str, ...]] = ("fit_spread", "num_films", "start_from")
    """Fields that run folders of before do not have."""

    def __post_init__(self) -> None:
        """Refuses values out of range."""
        _check_range(self, "detector", ("lr",), ("epochs", "num_scenes", "num_films", "box_noise"))
        for name in ("background_swaps", "template_error", "absent_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"detector.{name} is a share, from 0 to 1, but got {getattr(self, name)}")

        if self.weights_from and self.start_from:
            raise ConfigError(
                "a detector is loaded from detector.weights_from or trained further from detector.start_from: "
                "leave out one of them"
            )


def _check_range(settings: Any, group: str, above_0: tuple[str, ...], from_0: tuple[str, ...]) -> None:
    for name in (*above_0, *from_0):
        value = getattr(settings, name)
        words = "above 0" if name in above_0 else "0 or more"
        if not (value > 0 if name in above_0 else value >= 0):
            raise ConfigError(f"{group}.{name} needs to be {words}, but got {value}")


def tracking_phases(
    network: Sensing, name: str, schedule: Schedule, training: PathwayTraining, unlabelled: Dataset | None = None
) -> list[Phase]:
    """Training of all that tracks between frames.

    Args:
        network: to be trained.
        name: the first part of the names of the phases.
        schedule: see the table above.
        training: its settings; `epochs` are those of each part in all phases together.
        unlabelled: what label_free trains the SNN and its unit on.

    Raises:
        ConfigError: a schedule of several phases needs the additive form with its change head and a unit.
    """
    optimizer = partial(_optimizer, lr=training.lr, lr_scalars=training.lr_scalars)

    def phase(what: str, train: tuple[str, ...], objective: Any, length: int = training.epochs) -> Phase:
        scheduler = partial(CosineAnnealingLR, T_max=length)
        return Phase(name + what, train, objective, length, optimizer, scheduler, clip=1.0)

    if schedule == "joint":
        trainable = [name for name, part in network.named_children() if next(part.parameters(), None) is not None]
        all_but_detector = tuple(name for name in trainable if name != "finder")
        camera: dict[str, Any] = {"lose_events": training.lose_events, "contrast": training.contrast}
        joint = partial(objectives.tracking_objective, box_noise=training.box_noise, **camera)

        return [phase("", all_but_detector, joint)]

    if "unit" not in network.units or "template" not in network.parts:
        raise ConfigError(
            f"the schedule {schedule} needs the additive form with its change head and a unit; take joint"
        )

    ann, prior, snn = (_present(network, names) for names in (_ANN_MODULES, _PRIOR_MODULES, _SNN_MODULES))
    on_frames = partial(objectives.frames_objective, box_noise=training.box_noise)
    if schedule == "label_free":
        # the next frame shows the target so well that a prior trained with it would be ignored; it stays as it is
        on_changes = phase(", events", snn, objectives.change_objective)
        return [phase(", frames", ann, on_frames), replace(on_changes, data=unlabelled)]

    phases = []
    for i in range(1, _ROUNDS + 1):
        # the first rounds get the remainder
        length = max(1, (training.epochs + _ROUNDS - i) // _ROUNDS)
        phases.append(phase(f", frames {i}", (*ann, *prior), on_frames, length))
        # the head's scale belongs to both
        on_events = partial(objectives.events_objective, box_noise=training.box_noise)
        phases.append(phase(f", events {i}", (*snn, "head", *prior), on_events, length))

    return phases


def detector_phase(name: str, pairs: Dataset, training: DetectorTraining, template_rate: float) -> Phase:
    """Training of the target detector.

    Args:
        name: of the phase.
        pairs: a `DetectorDataset`.
        training: its settings.
        template_rate: share of the newest template.
    """
    return Phase(
        name,
        train=("finder",),
        objective=partial(_detect, training=training, template_rate=template_rate),
        epochs=training.epochs,
        optimizer=partial(torch.optim.AdamW, lr=training.lr, weight_decay=1e-2, fused=True),
        scheduler=partial(CosineAnnealingLR, T_max=training.epochs),
        clip=1.0,
        data=pairs,
    )


def load_parts(network: Sensing, detector: DetectorTraining, pathways: str, child: Run) -> dict[str, Any]:
    """Loads parts of a network that were trained in other runs; see `load_part`.

    Args:
        network: gets the weights.
        detector: names the run from which the detector is loaded, or from which its training starts.
        pathways: a run from which all the rest is loaded; none if empty.
        child: the training run of the network.
    """
    sources: dict[_Source, str] = {"finder": detector.weights_from, "pathways": pathways}
    loaded: dict[str, Any] = {}
    if detector.start_from:
        loaded["start"] = load_part(network, "finder", Path(detector.start_from), child)["finder"]

    for part, path in sources.items():
        if path:
            loaded |= load_part(network, part, Path(path), child)

    return loaded


def load_part(network: Sensing, part: _Source, path: Path, child: Run) -> dict[str, Any]:
    """Loads the detector, or all the rest, from another run of the same network and seed.

    Args:
        network: gets the weights.
        part: that of the detector, by the prefix of its weights' names, or `pathways`, all others.
        path: of the other run.
        child: the training run of the network, such as `learned/seed-0`.

    Returns:
        The source by the part's name: settings and environment of its own training, wherever that was.

    Raises:
        ConfigError: the run has no such training, or one of another network.
    """
    name = "/".join(child.path.parts[-2:])
    known = Run.open(path).children()
    own = network.state_dict()
    mine = {key for key in own if key.startswith("finder.") == (part == "finder")}

    if name not in known or not mine:
        raise ConfigError(f"the {part} of {path} cannot be loaded: {did_you_mean(name, known)}")

    weights = read_weights(known[name].path / "weights.safetensors")
    if missing := sorted(mine - weights.keys() - names_of_floats(network)):
        raise ConfigError(f"the {part} of {path} cannot be loaded: {missing[0]!r} is not there")

    merged = {**own, **{key: weights[key] for key in mine & weights.keys()}}
    check_compatible(merged, network, str(path))
    network.load_state_dict(merged)
    earlier = known[name].results() if known[name].finished else {}
    record = {"config": known[name].config, "environment": known[name].environment()}

    return {part: earlier.get(part, record)}


def _detect(
    network: Sensing, batch: objectives.Batch, training: DetectorTraining, template_rate: float
) -> objectives.Result:
    if network.finder is None:
        raise ConfigError("this network has no detector to train")

    return objectives.detection_objective(
        network.finder,
        batch,
        box_noise=training.box_noise,
        background_swaps=training.background_swaps,
        template_error=training.template_error,
        a=template_rate,
    )


def _present(network: Sensing, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the names that are a part, a unit or a module of the network with weights to train."""
    own = {**dict(network.named_children()), **dict(network.parts.items()), **dict(network.units.items())}
    return tuple(name for name in names if name in own and next(own[name].parameters(), None) is not None)


def _optimizer(parameters: Any, lr: float, lr_scalars: float) -> Optimizer:
    """Adam, with a rate of their own for scalars of a channel or of the network."""
    given = list(parameters)
    scalars = [p for p in given if _is_scalar(p)]
    kernels = [p for p in given if not _is_scalar(p)]
    return torch.optim.Adam([{"params": kernels, "lr": lr}, {"params": scalars, "lr": lr_scalars}], fused=True)


def _is_scalar(parameter: Parameter) -> bool:
    return parameter.ndim == 0 or parameter.shape[1:] == (1, 1)
