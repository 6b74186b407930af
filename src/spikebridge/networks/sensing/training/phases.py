"""The phases in which a sensing network is trained: joint, alternating, or without labels between frames; the finder.

R. Zhao et al. (Nature Communications 13:3427, 2022) alternate: the ANN on its own objective, then the SNN and the
hybrid unit while the ANN stands still. Each is a list of `Phase`; what a phase does not name is frozen.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.training import objectives
from spikebridge.training.batches import Dataset
from spikebridge.training.phase import Phase
from spikebridge.training.run.run import Run
from spikebridge.training.run.weights import check_compatible, read_weights

Schedule = Literal["joint", "alternate", "label_free"]
RecordingPart = Literal["finder", "pathways"]
ROUNDS = 2
"""How often alternating phases come."""
_SEES, _EXPECTS = ("what", "head"), ("prior", "back", "trust")
_HEARS = ("where", "unit", "membrane")


def tracking_phases(
    network: Sensing,
    name: str,
    schedule: Schedule,
    changes: Dataset | None = None,
    *,
    epochs: int,
    shake: float,
    lr: float,
    lr_scalars: float,
) -> list[Phase]:
    """What follows between frames.

    Args:
        network: to be trained.
        name: begins the names of the phases.
        schedule: `joint`, `alternate` or `label_free`.
        changes: what label_free trains the SNN and its unit on; the samples of all other phases without it.
        epochs: in all, of each part.
        shake: in half of the samples boxes are moved, by up to this standard deviation [px].
        lr: learning rate of kernels.
        lr_scalars: learning rate of what is one number of a channel or of the whole.

    Raises:
        ConfigError: phases of their own need the additive form, its change head and a unit.
    """
    optimizer = partial(_optimizer, lr=lr, lr_scalars=lr_scalars)

    def phase(what: str, train: tuple[str, ...], objective: Any, length: int = epochs) -> Phase:
        scheduler = partial(CosineAnnealingLR, T_max=length)
        return Phase(name + what, train, objective, length, optimizer, scheduler, clip=1.0)

    if schedule == "joint":
        learns = [name for name, part in network.named_children() if next(part.parameters(), None) is not None]
        everything = tuple(name for name in learns if name != "finder")
        return [phase("", everything, partial(objectives.tracking_objective, shake=shake))]
    if "unit" not in network.units or "template" not in network.parts:
        raise ConfigError(
            f"the schedule {schedule} needs the additive form with its change head and a unit; take joint"
        )
    sees, expects, hears = (_there(network, names) for names in (_SEES, _EXPECTS, _HEARS))
    on_frames = partial(objectives.frames_objective, shake=shake)
    if schedule == "label_free":
        # the next frame shows the target so well that a prior beside it would learn to be of no use; it stays as it is
        on_changes = phase(", events", hears, objectives.change_objective)
        return [phase(", frames", sees, on_frames), replace(on_changes, data=changes)]
    phases = []
    for i in range(1, ROUNDS + 1):
        # the first ones have what is left over
        length = max(1, (epochs + ROUNDS - i) // ROUNDS)
        phases.append(phase(f", frames {i}", (*sees, *expects), on_frames, length))
        # the head's own numbers belong to both
        followed = partial(objectives.events_objective, shake=shake)
        phases.append(phase(f", events {i}", (*hears, "head", *expects), followed, length))
    return phases


def detector_phase(
    name: str,
    pairs: Dataset,
    *,
    epochs: int,
    shake: float,
    abroad: float,
    lasting: float,
    renewal: float,
    lr: float,
) -> Phase:
    """What finds the target in a frame.

    Args:
        name: of the phase.
        pairs: of `sensing_sightings.detector_samples`.
        epochs: passes over them.
        shake: how wrong the boxes are that the finder is given.
        abroad: share of the samples whose target stands before what is around another one.
        lasting: the newest template is wrong by up to this share of that.
        renewal: share of the newest template.
        lr: learning rate.
    """
    return Phase(
        name,
        train=("finder",),
        objective=partial(_find, shake=shake, abroad=abroad, lasting=lasting, a=renewal),
        epochs=epochs,
        optimizer=partial(torch.optim.AdamW, lr=lr, weight_decay=1e-2, fused=True),
        scheduler=partial(CosineAnnealingLR, T_max=epochs),
        clip=1.0,
        data=pairs,
    )


def load_parts(network: Sensing, finders: str, pathways: str, child: Run) -> dict[str, Any]:
    """See `load_part`.

    Args:
        network: gets them.
        finders: a run whose finder is taken; none if empty.
        pathways: the same for all the rest.
        child: the training that they are for.
    """
    sources: dict[RecordingPart, str] = {"finder": finders, "pathways": pathways}
    taken: dict[str, Any] = {}
    for part, path in sources.items():
        if path:
            taken |= load_part(network, part, Path(path), child)
    return taken


def load_part(network: Sensing, part: RecordingPart, path: Path, child: Run) -> dict[str, Any]:
    """Gives a network a part that was trained in another run, of the same network and seed.

    Args:
        network: gets it.
        part: its finder, or its pathways, which are all the rest.
        path: of the run.
        child: the training that it is for, such as `learned/seed-0`.

    Returns:
        Where it is from, by the part's name: the settings and the environment of its own training, wherever that was.

    Raises:
        ConfigError: the run has no such training, or one of another network.
    """
    name = "/".join(child.path.parts[-2:])
    known = Run.open(path).children()
    own = network.state_dict()
    mine = {key for key in own if key.startswith("finder.") == (part == "finder")}
    if name not in known or not mine:
        raise ConfigError(f"no {part} can be taken from {path}: {did_you_mean(name, known)}")
    weights = read_weights(known[name].path / "weights.safetensors")
    if missing := sorted(mine - weights.keys()):
        raise ConfigError(f"no {part} can be taken from {path}: {missing[0]!r} is not there")
    merged = {**own, **{key: weights[key] for key in mine}}
    check_compatible(merged, network, str(path))
    network.load_state_dict(merged)
    earlier = known[name].results() if known[name].finished else {}
    record = {"config": known[name].config, "environment": known[name].environment()}
    return {part: earlier.get(part, record)}


def _find(network: Sensing, batch: objectives.Batch, **settings: float) -> objectives.Result:
    if network.finder is None:
        raise ConfigError("this network has no finder to train")
    return objectives.detection_objective(network.finder, batch, **settings)


def _there(network: Sensing, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the names that the network has, as a part, a unit or a module of its own, with weights to train."""
    own = {**dict(network.named_children()), **dict(network.parts.items()), **dict(network.units.items())}
    return tuple(name for name in names if name in own and next(own[name].parameters(), None) is not None)


def _optimizer(parameters: Any, lr: float, lr_scalars: float) -> Optimizer:
    """Adam, with a higher rate for what is one number of a channel or of the whole."""
    given = list(parameters)
    scalars = [p for p in given if _is_scalar(p)]
    kernels = [p for p in given if not _is_scalar(p)]
    return torch.optim.Adam([{"params": kernels, "lr": lr}, {"params": scalars, "lr": lr_scalars}], fused=True)


def _is_scalar(parameter: Parameter) -> bool:
    return parameter.ndim == 0 or parameter.shape[1:] == (1, 1)
