"""Training of the creature: phase after phase, the read-outs environment after environment.

| phase | trained | data |
|---|---|---|
| environments | environment, gating units | block means of frames; alike within an environment, unlike between two |
| objects | objects, with a read-out that is thrown away | frames under random lights; apparent colours |
| read-out | readout, in one environment after the other | frames with the objects of the scene |
| tracks | what, where, unit, head | clips of a frame and the events until the next |
| collisions | taps, collisions, in one environment after the other | courses of two discs, with the errors of tracks |

In the second and the last row each environment comes once and never again: without gates, later ones overwrite earlier
ones. Nothing is trained in the concept graph.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from research.creature.model import Creature, Luminance
from research.creature.perception import (
    MAP_SIZES,
    NUM_SLOTS,
    EnvironmentView,
    NearestGate,
    SlotTemplates,
    Tracks,
)
from research.creature.scene import (
    BINS_A_FRAME,
    ENVIRONMENTS,
    CreatureScene,
    Environment,
    SceneRanges,
    draw_scene,
    simulate_table,
)
from research.reasoning.training.detector import detection_loss
from spikebridge.errors import ConfigError
from spikebridge.hybrid import KWinners
from spikebridge.networks.modulation.model.gating import sample_mean_unit
from spikebridge.networks.modulation.training.units import cosines, density_floor_loss, dissimilarity_loss
from spikebridge.networks.reasoning.data.scene import COLORS, MATERIALS, SHAPES
from spikebridge.networks.reasoning.perception.detector import Maps
from spikebridge.networks.reasoning.simulation.render import PALETTE
from spikebridge.networks.reasoning.simulation.table import RADIUS
from spikebridge.networks.reasoning.simulation.video import HEIGHT, WIDTH
from spikebridge.ops.modes import evaluating
from spikebridge.training import Batches, Phase, Settings, fit
from spikebridge.training.run.weights import load_weights, save_weights

_OPEN = (0.25, 0.25)
"""Shares of open neurons of the read-out and of the collision SNN."""
_TAKEN = 1e3  # more than preactivations differ by
_MARGIN = 12  # bins after a contact in which a spike is right
_STILL = SceneRanges(seconds=0.0, num_objects=(3, 5), margin=-6.0)
_CLIP = SceneRanges(seconds=0.1, margin=2.0)
_BEYOND = 4.0
"""How far outside a centre still is labelled, so that places near the border are not drawn inwards [px]."""


@dataclass(frozen=True)
class TrainingSizes:
    """Samples and epochs of each phase."""

    stills: int = 800
    still_epochs: int = 12
    frames: int = 480
    frame_epochs: int = 24
    clips: int = 160
    clip_epochs: int = 6
    windows: int = 512
    window_epochs: int = 25

    def __post_init__(self) -> None:
        if min(vars(self).values()) <= 0:
            raise ConfigError(f"a training needs sizes above 0, but got {self}")


class _Labelled(NamedTuple):
    """Frames and their objects, as the detector's loss takes them."""

    frames: Float[Tensor, "B 3 H W"]
    truths: Float[Tensor, "B K 7"]
    there: Float[Tensor, "B K"]
    apparent: Float[Tensor, "B K 3"]


@dataclass(frozen=True, eq=False)
class _TrainingScenes:
    """All that a training sees, generated once."""

    stills: _Labelled
    frames: tuple[_Labelled, ...]
    clips: tuple[CreatureScene, ...]
    environments: tuple[str, ...] = field(default=tuple(ENVIRONMENTS))


FIRST_UNSEEN_SEED = 100_000
"""From here on no scene of a training has the seed."""


def training_scenes(sizes: TrainingSizes, seed: int = 0) -> _TrainingScenes:
    """Generates the scenes of a training."""
    generator = np.random.default_rng([seed, 1])
    stills = [draw_scene("still", k, _random_look(generator), _STILL, generator) for k in range(sizes.stills)]
    frames = [
        [draw_scene("still", k, look, _STILL, generator) for k in range(sizes.frames)] for look in ENVIRONMENTS.values()
    ]
    looks = list(ENVIRONMENTS.values())
    clips = [draw_scene("clip", k, looks[k % len(looks)], _CLIP, generator) for k in range(sizes.clips)]

    return _TrainingScenes(_labelled(stills), tuple(_labelled(few) for few in frames), tuple(clips))


def _random_look(generator: np.random.Generator) -> Environment:
    """A light and camera of no environment: mixed channels, another table."""
    mixing = 0.6 * np.eye(3)[generator.permutation(3)] + 0.4 * generator.dirichlet((1, 1, 1), 3)
    mixing *= generator.uniform(0.5, 1.1, (3, 1))
    rows = tuple(tuple(float(x) for x in row) for row in mixing)
    pattern = str(generator.choice(["plain", "stripes", "checks", "spots"]))
    table = float(generator.uniform(0.35, 0.8))
    noise = float(generator.uniform(0.0, 0.03))

    return Environment(rows, table, pattern, noise, 0.2, 0.0)  # type: ignore[arg-type]


def _labelled(scenes: Sequence[CreatureScene]) -> _Labelled:
    """The first frame of each scene with its objects."""
    frames = []
    truths = torch.zeros(len(scenes), 5, 7)
    there = torch.zeros(len(scenes), 5)
    apparent = []

    for k, scene in enumerate(scenes):
        noise = np.random.default_rng([scene.seed, 2]).standard_normal((96, 144, 3))
        seen = scene.render(np.zeros(1, dtype=np.int64))[0] + scene.look.noise * noise
        frames.append(torch.from_numpy(seen.clip(0, 1).astype(np.float32)).permute(2, 0, 1))
        colors = torch.zeros(5, 3)

        for o, (color, material, shape) in enumerate(scene.objects):
            x, y = scene.positions[0, o]
            kinds = (COLORS.index(color), MATERIALS.index(material), SHAPES.index(shape))
            truths[k, o] = torch.tensor([x, y, 2 * RADIUS, 2 * RADIUS, *kinds])
            there[k, o] = float(-_BEYOND < x < WIDTH + _BEYOND and -_BEYOND < y < HEIGHT + _BEYOND)
            colors[o] = torch.tensor(np.array(scene.look.mixing) @ np.array(PALETTE[color])).float()

        apparent.append(colors)

    return _Labelled(torch.stack(frames), truths, there, torch.stack(apparent))


def train_senses(
    creature: Creature, scenes: _TrainingScenes, sizes: TrainingSizes, seed: int = 0, quiet: bool = True
) -> dict[str, float]:
    """Trains the phases before the read-outs, in place: environments, objects, tracks."""
    settings = Settings(seed=seed, batch_size=16, accelerator="cpu", quiet=quiet)
    losses: dict[str, float] = {}
    if creature.options.is_gated:
        losses["environments"] = _train_environments(creature, scenes, settings)

    losses["objects"] = _train_objects(creature, scenes.stills, sizes, settings)
    if creature.options.has_events:
        losses["tracks"] = _train_tracks(creature, scenes.clips, sizes, seed, quiet)

    return losses


def train_readouts(
    creature: Creature, scenes: _TrainingScenes, sizes: TrainingSizes, seed: int = 0, quiet: bool = True
) -> dict[str, float]:
    """Trains the read-outs of objects and collisions, in one environment after the other."""
    settings = Settings(seed=seed, batch_size=16, accelerator="cpu", quiet=quiet)
    losses = {}
    for name, frames in zip(scenes.environments, scenes.frames, strict=True):
        losses[f"read-out, {name}"] = _train_readout(creature, frames, sizes, settings)

    for number, (name, few) in enumerate(zip(scenes.environments, scenes.frames, strict=True)):
        # what all environments share is learned in the first one
        paths = ("parts.collisions.fc1.weight", "parts.collisions.fc1.bias", "parts.collisions.fc2.weight")
        trained = ("distances", "collisions") if name == scenes.environments[0] else paths
        gate = _gate_of(creature, "gate2", few.frames[:1])
        pairs = _pair_windows(sizes.windows, [seed, number])
        epochs = sizes.window_epochs * (2 if number == 0 else 1)
        losses[f"collisions, {name}"] = _train_collisions(creature, pairs, gate, epochs, trained, settings)

    losses["threshold of collisions"] = _choose_threshold(creature, scenes, sizes, seed)
    return losses


def train_creature(path: Path, seed: int = 0, sizes: TrainingSizes | None = None, quiet: bool = True) -> Creature:
    """A newly trained creature, whose weights are written."""
    if path.exists():
        raise ConfigError(f"{path} is there: leave out the training to load it, or name a new file")

    sizes = sizes or TrainingSizes()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        creature = Creature()

    scenes = training_scenes(sizes, seed)
    train_senses(creature, scenes, sizes, seed, quiet)
    train_readouts(creature, scenes, sizes, seed, quiet)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(path, creature)

    return creature.eval()


def load_creature(path: Path) -> Creature:
    """A creature with the weights of a file."""
    creature = Creature()
    load_weights(path, creature)

    return creature.eval()


def _adam(lr: float) -> Any:
    return partial(torch.optim.AdamW, lr=lr, weight_decay=1e-3)


def _one_cycle(lr: float, epochs: int) -> Any:
    return partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=lr, total_steps=epochs + 1)


def _train_environments(creature: Creature, scenes: _TrainingScenes, settings: Settings) -> float:
    """The backbone on pairs of environments, then the stored gates."""
    environment = creature.parts["environment"]
    if not isinstance(environment, EnvironmentView):
        raise ConfigError("a gated creature needs an EnvironmentView as its part 'environment'")

    heads = [_gating(creature.units[name])[0] for name in ("gate1", "gate2")]
    with torch.no_grad():
        views = torch.stack([environment.view(few.frames) for few in scenes.frames])
        environment.body.centre.copy_(views.mean())

    number = len(views)
    size = 8
    pairs = list(product(range(number), repeat=2)) * 6
    generator = torch.Generator().manual_seed(settings.seed)
    draw = torch.randint(views.shape[1], (len(pairs), 2, size), generator=generator)
    first = torch.stack([views[i, draw[k, 0]] for k, (i, _) in enumerate(pairs)])
    second = torch.stack([views[j, draw[k, 1]] for k, (_, j) in enumerate(pairs)])
    alike = torch.tensor([float(i == j) for i, j in pairs])
    data = Batches({"first": first, "second": second, "alike": alike}, {"first": 0, "second": 0, "alike": 0})

    def objective(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        sides = [[head(environment.body(batch[side])).sigmoid() for head in heads] for side in ("first", "second")]
        losses = [
            dissimilarity_loss(cosines(a, b), batch["alike"]) + 10 * density_floor_loss([a, b], 0.2)
            for a, b in zip(*sides, strict=True)
        ]

        return torch.stack(losses).sum()

    epochs = 60
    trained = ("environment", "gate1", "gate2")
    phase = Phase("environments", trained, objective, epochs, _adam(1e-2), _one_cycle(1e-2, epochs), clip=1.0)
    rows = fit(creature, [phase], data, settings=settings)

    with torch.no_grad():
        features = environment.body(views.flatten(0, 1))
        for name, rho in zip(("gate1", "gate2"), _OPEN, strict=True):
            head, nearest = _gating(creature.units[name])
            samples = head(features).unflatten(0, (number, -1)).transpose(0, 1)
            # each environment opens its strongest neurons among those that no earlier one has opened
            means = samples.mean(0, keepdim=True)
            taken = torch.zeros_like(samples[0, 0])
            gates = torch.zeros_like(means)

            for k in range(number):
                gates[0, k] = sample_mean_unit(1, KWinners(rho))(means[:, k : k + 1] - _TAKEN * taken)[0][0, 0]
                taken = (taken + gates[0, k]).clamp(max=1)

            nearest.gates.copy_(gates[0])
            nearest.signals.copy_(samples.sigmoid().mean(0))

    return float(rows[-1]["loss"])


def _gating(unit: nn.Module) -> tuple[nn.Module, NearestGate]:
    """The head and the stored gates of a gating unit."""
    stages = [module for module in unit.modules() if isinstance(module, nn.Linear | NearestGate)]
    return stages[0], stages[1]  # type: ignore[return-value]


def _train_objects(creature: Creature, stills: _Labelled, sizes: TrainingSizes, settings: Settings) -> float:
    """Features from which place, material, shape and apparent colour can be read."""
    number = creature.options.num_objects
    readout = nn.Sequential(nn.Conv2d(number, 64, 1), nn.ReLU(), nn.Conv2d(64, sum(MAP_SIZES) + 3, 1))
    with torch.no_grad():
        readout[2].state_dict()["bias"][0] = -4.0

    whole = nn.ModuleDict({"objects": creature.parts["objects"], "readout": readout})
    data = Batches(stills._asdict(), dict.fromkeys(_Labelled._fields, 0))

    def objective(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        maps = readout(creature.parts["objects"](batch["frames"]))
        own, colors = maps.split([sum(MAP_SIZES), 3], 1)
        loss, parts = detection_loss(_as_maps(own), batch["truths"], batch["there"])

        # the name of the colour means nothing under a random light
        return loss - parts["color"] + 10 * _color_error(colors, batch)

    epochs = sizes.still_epochs
    phase = Phase("objects", ("",), objective, epochs, _adam(4e-3), _one_cycle(4e-3, epochs), clip=5.0)

    return float(fit(whole, [phase], data, settings=settings)[-1]["loss"])


def _as_maps(maps: Tensor) -> Maps:
    centre, *others = maps.split(MAP_SIZES, 1)
    return Maps(centre[:, 0], *others)


def _color_error(colors: Tensor, batch: dict[str, Tensor]) -> Tensor:
    picture, which = batch["there"].nonzero(as_tuple=True)
    cell = (batch["truths"][picture, which, :2] / 4).long()
    x = cell[:, 0].clamp(0, colors.shape[3] - 1)
    y = cell[:, 1].clamp(0, colors.shape[2] - 1)

    # the frame is divided by its mean, so is the colour
    light = batch["frames"].mean((1, 2, 3))[picture, None]
    return (colors[picture, :, y, x] - batch["apparent"][picture, which] / light).square().mean()


def _train_readout(creature: Creature, frames: _Labelled, sizes: TrainingSizes, settings: Settings) -> float:
    """The read-out of objects in one environment, with the gate that the environment opens."""
    parts = creature.parts
    with evaluating(creature), torch.no_grad():
        features = torch.cat([parts["objects"](some) for some in frames.frames.split(16)])
        gate = _gate_of(creature, "gate1", frames.frames)

    tensors = {"features": features, "gate": gate, "truths": frames.truths, "there": frames.there}

    def objective(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        maps = parts["readout"](batch["features"], batch["gate"])
        return detection_loss(_as_maps(maps), batch["truths"], batch["there"])[0]

    epochs = sizes.frame_epochs
    # no weight decay, and a fixed bias: both would change what other environments have learned
    optimizer = partial(torch.optim.Adam, lr=1e-2)
    trained = ("parts.readout.hidden", "parts.readout.maps.weight")
    phase = Phase("read-out", trained, objective, epochs, optimizer, _one_cycle(1e-2, epochs), clip=5.0)

    return float(fit(creature, [phase], Batches(tensors, dict.fromkeys(tensors, 0)), settings=settings)[-1]["loss"])


def _gate_of(creature: Creature, unit: str, frames: Tensor) -> Tensor:
    """The gates of frames; all neurons are open without an environment."""
    options = creature.options
    number = options.num_readout if unit == "gate1" else options.num_collisions
    if not options.is_gated:
        return frames.new_ones(len(frames), number)

    nonlinearity: Any = creature.units[unit].nonlinearity
    gates: Tensor = nonlinearity(creature.parts["environment"](frames))

    return gates.flatten(1)


def _train_tracks(
    creature: Creature, clips: Sequence[CreatureScene], sizes: TrainingSizes, seed: int, quiet: bool
) -> float:
    """Pathways, unit and head on the way of each object from one frame to the next."""
    tensors = {
        "frames": torch.cat([clip.frames()[:1] for clip in clips]),
        "events": torch.stack([clip.events() for clip in clips], 1),
        "course": torch.stack([_course_of_slots(clip) for clip in clips], 1),
    }

    axes = {"frames": 0, "events": 1, "course": 1}
    parts = creature.parts
    unit = creature.units["unit"]
    settings = Settings(seed=seed, batch_size=2, accelerator="cpu", quiet=quiet)
    luminance = Luminance()
    templates = SlotTemplates()
    tracks = parts["tracks"]

    if not isinstance(tracks, Tracks):
        raise ConfigError("a creature needs Tracks as its part 'tracks'")

    def objective(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        course = batch["course"]
        start = course[0].clone()
        start[..., :2] += 0.4 * torch.randn_like(start[..., :2]) * start[..., 2:3]
        slots = F.pad(start, (0, 6))
        features = parts["what"](luminance(batch["frames"]))
        template = templates(features, slots)
        starts = torch.zeros(len(batch["events"]), dtype=torch.bool)
        starts[0] = True
        change, _ = unit(parts["where"](batch["events"])[0], starts=starts)
        picked = torch.arange(2, len(change), 3)
        places = torch.stack([tracks(slots, template, change[t]) for t in picked])
        moved = course[picked + 1, ..., :2] - course[0, ..., :2]
        error = (places[..., :2] - slots[..., :2] - moved).square().sum(-1).add(0.04).sqrt()
        there = course[picked + 1, ..., 2] * course[0, ..., 2]

        return (error * there).sum() / there.sum()

    epochs = sizes.clip_epochs
    trained = ("what", "where", "unit", "tracks")
    phase = Phase("tracks", trained, objective, epochs, _adam(4e-3), _one_cycle(4e-3, epochs), clip=1.0)

    return float(fit(creature, [phase], Batches(tensors, axes), settings=settings)[-1]["loss"])


def _course_of_slots(scene: CreatureScene) -> Float[Tensor, "T S 3"]:
    """x, y and 1 if in view, of each slot at the start and after each bin."""
    course = torch.zeros(scene.num_bins + 1, NUM_SLOTS, 3)
    left = {o: last for last, o in scene.exits}
    for o, (color, _, _) in enumerate(scene.objects):
        slot = COLORS.index(color)
        course[:, slot, :2] = torch.from_numpy(scene.positions[:, o])
        course[: left.get(o, scene.num_bins + 1), slot, 2] = 1.0

    return course


class _PairWindows(NamedTuple):
    """Stretches of the tracks of two objects as the creature sees them."""

    places: Float[Tensor, "T B 2 2"]
    target: Float[Tensor, "T B"]
    weight: Float[Tensor, "T B"]


def _pair_windows(number: int, seed: Sequence[int], length: int = 144) -> _PairWindows:
    """Pairs of discs that touch, pass each other, or lie side by side, with the errors of tracks.

    A track has an error of its own from each frame to the next, of the place in the frame and of the speed.
    """
    generator = np.random.default_rng([*seed, 4])
    places = []
    target = torch.zeros(length, number)
    weight = torch.ones(length, number)

    for b in range(number):
        start = generator.uniform(20, 60, (1, 2))
        angle = generator.uniform(0, 2 * np.pi)
        distance = 2 * RADIUS + generator.uniform(3, 35)
        starts = np.concatenate([start, start + distance * np.array([[np.cos(angle), np.sin(angle)]])])
        speeds = generator.uniform(15, 80, (2, 1)) * (generator.random((2, 1)) < (1.0, 0.4))

        # towards the other one, slightly off, or away
        aside = angle + generator.normal(0, 0.5, 2) + np.array([0, np.pi])
        velocities = speeds * np.stack([np.cos(aside), np.sin(aside)], 1) * generator.choice([1, 1, 1, -1])
        course, touches = simulate_table(starts + 30, velocities, 0.15, length)
        places.append(_as_tracked(course[1:], generator))

        for touch in touches:
            first = touch.bin - 1
            weight[max(0, first - 2) : first, b] = 0.3
            target[first : first + _MARGIN, b] = 1.0
            weight[first + _MARGIN : first + 4 * _MARGIN, b] = 0.0

        gap = np.linalg.norm(course[1:, 0] - course[1:, 1], axis=1) - 2 * RADIUS
        if not touches and gap.min() < 1.5:
            weight[torch.from_numpy(gap < 2.0), b] = 0.0

    stacked = torch.from_numpy(np.stack(places, 1)).float()
    return _PairWindows(stacked, target, weight)


def _as_tracked(course: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A true course `(T, 2, 2)` with the errors of a track."""
    seen = course.copy()
    phase = int(generator.integers(BINS_A_FRAME))
    for first in range(-phase, len(course), BINS_A_FRAME):
        begin = max(first, 0)
        end = min(first + BINS_A_FRAME, len(course))
        moved = course[begin:end] - course[begin]
        gain = 1 + generator.normal(0, 0.08, (1, 2, 1))
        seen[begin:end] = course[begin] + gain * moved + generator.normal(0, 0.35, (1, 2, 2))

    noisy: np.ndarray = seen + generator.normal(0, 0.1, seen.shape)
    return noisy


def _train_collisions(
    creature: Creature, pairs: _PairWindows, gate: Tensor, epochs: int, trained: tuple[str, ...], settings: Settings
) -> float:
    """Taps and SNN of the collision unit, with the gate of one environment."""
    tensors = {"signals": _signals(creature, pairs), "target": pairs.target, "weight": pairs.weight}

    def objective(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        odds = _odds(creature, batch["signals"], gate)
        loss = F.binary_cross_entropy_with_logits(odds, batch["target"], reduction="none")
        # the first bins have no past
        weight = batch["weight"] * (torch.arange(len(loss)) >= BINS_A_FRAME).unsqueeze(1)
        return (loss * weight).sum() / weight.sum()

    optimizer = partial(torch.optim.Adam, lr=1e-2)
    phase = Phase("collisions", trained, objective, epochs, optimizer, _one_cycle(1e-2, epochs), clip=1.0)
    own = replace(settings, batch_size=64)
    data = Batches(tensors, dict.fromkeys(tensors, 1))

    return float(fit(creature, [phase], data, settings=own)[-1]["loss"])


def _signals(creature: Creature, pairs: _PairWindows) -> Float[Tensor, "T B M 1 1"]:
    """Input of the collision unit for each stretch."""
    tracks = torch.zeros(*pairs.places.shape[:2], NUM_SLOTS, 4)
    tracks[:, :, :2, :2] = pairs.places
    tracks[:, :, :2, 2:] = 1.0

    with torch.no_grad():
        signals: Tensor = creature.parts["pairs"](tracks.flatten(0, 1))

    return signals.unflatten(0, pairs.places.shape[:2])[:, :, :, :1]


def _odds(creature: Creature, signals: Tensor, gate: Tensor) -> Float[Tensor, "T B"]:
    """The membrane of the collision SNN under a gate."""
    taps, _ = creature.units["distances"](signals)
    odds, _ = creature.parts["collisions"](taps, **{"gate.gate": gate[:, :, None, None]})
    return odds[:, :, 0, 0, 0]


def _choose_threshold(creature: Creature, scenes: _TrainingScenes, sizes: TrainingSizes, seed: int) -> float:
    """Sets the threshold of the collision spike to the one with the fewest errors on other stretches.

    An error is a contact whose first spike is more than 50 ms away, or a spike without one.
    """
    thresholds = torch.arange(-2.0, 3.0, 0.25)
    errors = torch.zeros(len(thresholds))

    for number, few in enumerate(scenes.frames):
        pairs = _pair_windows(sizes.windows // 2, [seed, 100 + number])
        with evaluating(creature), torch.no_grad():
            odds = _odds(creature, _signals(creature, pairs), _gate_of(creature, "gate2", few.frames[:1]))

        touches = pairs.target.amax(0) > 0
        first = pairs.target.argmax(0)
        kept = ~touches | (first > 2 * BINS_A_FRAME)  # the first bins have no past

        for k, threshold in enumerate(thresholds):
            spikes = (odds > threshold) & (pairs.weight > 0) & (torch.arange(len(odds)) >= BINS_A_FRAME).unsqueeze(1)
            away = (spikes.int().argmax(0) - first).abs()
            wrong = torch.where(touches, ~spikes.any(0) | (away >= _MARGIN), spikes.any(0))
            errors[k] += (wrong & kept).sum()

    best = thresholds[errors == errors.min()]
    chosen = float(best[len(best) // 2])
    discretizer: Any = creature.units["spikes"].discretizer
    discretizer.v_threshold.fill_(chosen)

    return chosen
