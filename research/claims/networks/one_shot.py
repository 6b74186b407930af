"""Claim: the reasoning network takes a new concept from one example and keeps the old ones.

    python research/claims/networks/one_shot.py           # writes results/claims/one_shot.json
    python research/claims/networks/one_shot.py --quick   # one seed, two new colours; printed only

The shipped detector knows 8 colours and 3 shapes. N new ones are shown in 1, 2 or 5 pictures each, one object a
picture, beside 200 pictures of known objects (24 keep less of the old; chosen on other seeds and videos). Then all
values, old and new, are told apart in other pictures, half of whose objects are new. New colours of a seed are drawn as
far from each other and from the old as 40 draws give; new shapes are five of seven. The ways, on the same features of
the same cells:

- new row (`learn_value`): one new row of weights a value, nothing else is changed; a neuron and a word follow.
- nearest mean: the value with the nearest mean of the features.
- fine-tuned: all rows of the kind and the new ones, 300 steps of Adam on what was shown, known pictures included.
- fine-tuned on new alone: the same without the known pictures.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from research.claims.experiment import Results, kept, main, spread, steps_of
from spikebridge.networks.reasoning.data.scene import ATTRIBUTES, Scene
from spikebridge.networks.reasoning.graph.layout import PRESETS
from spikebridge.networks.reasoning.graph.run import RunOptions
from spikebridge.networks.reasoning.graph.wiring import wire
from spikebridge.networks.reasoning.graph.worlds import World, build_worlds
from spikebridge.networks.reasoning.parsing.operators import OperatorTable
from spikebridge.networks.reasoning.perception.detector import STRIDE, Detector
from spikebridge.networks.reasoning.perception.one_shot import (
    LabeledPicture,
    imprinted_row,
    object_features,
    rows_of,
)
from spikebridge.networks.reasoning.simulation.render import PALETTE, RGB, Shader, render_frames
from spikebridge.networks.reasoning.simulation.table import RADIUS
from spikebridge.networks.reasoning.simulation.video import RollingVideo, generate_video, in_view
from spikebridge.pretrained.perception import shipped_detector

WAYS = ("new row", "nearest mean", "fine-tuned", "fine-tuned on new alone")
KINDS = tuple(ATTRIBUTES)


def _outline(inside: np.ndarray, across: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    covered = np.clip(inside * RADIUS + 0.5, 0, 1)
    return covered, 0.55 + 0.45 * np.clip(2 * inside, 0, 1), np.exp(-(((across - down) / 0.22) ** 2)) * covered


def _polygon(sides: int) -> Shader:
    def shader(across: np.ndarray, down: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        turns = angle + 2 * np.pi * np.arange(sides) / sides
        away = np.stack([across * np.cos(turn) + down * np.sin(turn) for turn in turns]).max(0)
        return _outline(1.1 * np.cos(np.pi / sides) - away, across, down)

    return shader


def _lobes(number: int) -> Shader:
    def shader(across: np.ndarray, down: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        edge = 0.72 + 0.36 * np.cos(number * (np.arctan2(down, across) - angle))
        return _outline(edge - np.hypot(across, down), across, down)

    return shader


def _turned(across: np.ndarray, down: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    return across * np.cos(angle) + down * np.sin(angle), down * np.cos(angle) - across * np.sin(angle)


def _bar(across: np.ndarray, down: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    u, v = _turned(across, down, angle)
    return _outline(np.minimum(1.1 - abs(u), 0.42 - abs(v)), across, down)


def _cross(across: np.ndarray, down: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    u, v = _turned(across, down, angle)
    arms = np.maximum(np.minimum(1.1 - abs(u), 0.32 - abs(v)), np.minimum(1.1 - abs(v), 0.32 - abs(u)))
    return _outline(arms, across, down)


def _ring(across: np.ndarray, down: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    radius = np.hypot(across, down)
    return _outline(np.minimum(1.05 - radius, radius - 0.5), across, down)


SHAPES: dict[str, Shader] = {
    "triangle": _polygon(3),
    "bar": _bar,
    "cross": _cross,
    "ring": _ring,
    "trefoil": _lobes(3),
    "star": _lobes(5),
    "flower": _lobes(7),
}


class Sizes(NamedTuple):
    """How much is shown and scored."""

    shots: tuple[int, ...] = (1, 2, 5)
    known: int = 200
    scored: int = 60
    steps: int = 300


class Shown(NamedTuple):
    """Pictures with the place and the value of each visible object."""

    pictures: list[LabeledPicture]
    values: list[list[str]]


class Told(NamedTuple):
    """Scores of values at cells: features `(N, C)`, the values, and which were found by the detector."""

    features: Tensor
    values: list[str]
    found: Tensor


def colors_of(seed: int, number: int) -> dict[str, RGB]:
    """New colours, each the farthest of 40 draws from all before."""
    generator = np.random.default_rng([7, seed])
    taken = [np.array(rgb) for rgb in PALETTE.values()]
    for _ in range(number):
        drawn = generator.uniform(0.05, 0.95, (40, 3))
        away = np.min([np.linalg.norm(drawn - one, axis=1) for one in taken], axis=0)
        taken.append(drawn[away.argmax()])

    new = taken[len(PALETTE) :]
    return {f"new{n}": (float(r), float(g), float(b)) for n, (r, g, b) in enumerate(new)}


class Episode:
    """New values of one kind: what is shown of them, of known ones, and what is scored."""

    def __init__(self, kind: str, number: int, seed: int, sizes: Sizes) -> None:
        self.kind = kind
        self.old = ATTRIBUTES[kind]
        self.generator = np.random.default_rng([8, seed])

        if kind == "color":
            self.palette = {**PALETTE, **colors_of(seed, number)}
            self.shaders = None
            self.new = [name for name in self.palette if name not in PALETTE]
        else:
            self.palette = PALETTE
            self.shaders = SHAPES
            self.new = [str(name) for name in self.generator.permutation(list(SHAPES))[:number]]

        self.shots = {value: self._shots(value, max(sizes.shots)) for value in self.new}
        self.known = self._shown([self._picture("train", n, 0.0) for n in range(sizes.known)])
        self.scored = self._shown([self._picture("test", n, 0.5) for n in range(sizes.scored)])

    def with_values(self, video: RollingVideo, share: float, values: Sequence[str]) -> RollingVideo:
        """The video with new values at a share of its objects."""
        at = KINDS.index(self.kind)
        objects = [list(one) for one in video.objects]
        for one in objects:
            if self.generator.random() < share:
                one[at] = str(self.generator.choice(list(values)))

        named = tuple((color, material, shape) for color, material, shape in objects)
        return replace(video, objects=named)

    def render(self, video: RollingVideo, frames: np.ndarray | None = None) -> np.ndarray:
        """Its pictures."""
        return render_frames(video, frames, self.palette, self.shaders)

    def _picture(self, split: str, number: int, share: float) -> tuple[LabeledPicture, list[str]]:
        video = self.with_values(generate_video(split, number), share, self.new)
        return self._labeled(video, int(self.generator.integers(20, 120)))

    def _labeled(self, video: RollingVideo, frame: int) -> tuple[LabeledPicture, list[str]]:
        there = np.flatnonzero(visible(video, frame))
        picture = self.render(video, np.array([frame]))[0]
        at = KINDS.index(self.kind)
        return LabeledPicture(picture, video.positions[frame, there]), [video.objects[i][at] for i in there]

    def _shown(self, pairs: Iterable[tuple[LabeledPicture, list[str]]]) -> Shown:
        pictures, values = zip(*pairs, strict=True)
        return Shown(list(pictures), list(values))

    def _shots(self, value: str, number: int) -> list[LabeledPicture]:
        """Pictures with one object of the value, the others unlabelled."""
        shots: list[LabeledPicture] = []
        while len(shots) < number:
            video = generate_video("validation", int(self.generator.integers(400)))
            frame = int(self.generator.integers(20, 120))
            there = np.flatnonzero(visible(video, frame))
            if len(there):
                objects = [list(one) for one in video.objects]
                at = KINDS.index(self.kind)
                objects[there[0]][at] = value
                shown = replace(video, objects=tuple((a, b, c) for a, b, c in objects))
                picture = self.render(shown, np.array([frame]))[0]
                shots.append(LabeledPicture(picture, video.positions[frame, there[:1]]))

        return shots


def visible(video: RollingVideo, frame: int) -> np.ndarray:
    """Which objects are in view and not behind the occluder."""
    places = video.positions[frame]
    occluder = video.appearance.occluder
    seen = in_view(places)
    if occluder is not None:
        from_left = places[:, 0] - occluder.left - occluder.velocity * frame
        seen &= ~((from_left >= 0) & (from_left <= occluder.width))

    return np.asarray(seen)


@torch.no_grad()
def told(detector: Detector, shown: Shown) -> Told:
    """Features at the cell of the highest centre score beside each object."""
    rows = []
    values = []
    found = []

    for (picture, points), names in zip(shown.pictures, shown.values, strict=True):
        features = detector.features(torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255)
        centre = detector.heads(features)[0, 0].sigmoid()
        height, width = centre.shape

        for (x, y), name in zip((points / STRIDE).astype(int).tolist(), names, strict=True):
            cells = [(r, c) for r in (y - 1, y, y + 1) for c in (x - 1, x, x + 1) if 0 <= r < height and 0 <= c < width]
            row, column = max(cells, key=lambda cell: float(centre[cell]))
            rows.append(features[0, :, row, column])
            values.append(name)
            found.append(float(centre[row, column]) >= 0.3)

    return Told(torch.stack(rows), values, torch.tensor(found))


def weights_of(detector: Detector, kind: str) -> tuple[Tensor, Tensor]:
    """Weights and biases of the values of a kind."""
    first, last = rows_of(detector, kind)
    bias = detector.heads.bias
    assert bias is not None
    return detector.heads.weight.detach()[first:last, :, 0, 0], bias.detach()[first:last]


class Examples(NamedTuple):
    """Features of shown objects and the numbers of their values."""

    features: Tensor
    labels: Tensor


class Features(NamedTuple):
    """Of all that an episode shows: new values shot by shot, known ones, and what is scored."""

    shots: dict[str, list[Tensor]]
    known: Examples
    test: Told


def features_of(detector: Detector, episode: Episode) -> Features:
    """The features of the cells that `learn_value` reads."""
    shots = {v: [object_features(detector, [one], STRIDE**2) for one in some] for v, some in episode.shots.items()}
    features = []
    labels = []

    for (picture, points), values in zip(*episode.known, strict=True):
        found = [object_features(detector, [LabeledPicture(picture, point[None])]) for point in points]
        features += found
        labels += [torch.full((len(one),), episode.old.index(v)) for one, v in zip(found, values, strict=True)]

    return Features(shots, Examples(torch.cat(features), torch.cat(labels)), told(detector, episode.scored))


def tuned(weight: Tensor, bias: Tensor, sides: Sequence[Examples], steps: int) -> tuple[Tensor, Tensor]:
    """All rows after steps of Adam on the cross-entropy, each side with the same weight."""
    rows = weight.clone().requires_grad_()
    offsets = bias.clone().requires_grad_()
    optimizer = torch.optim.Adam([rows, offsets], lr=0.01)

    for _ in range(steps):
        losses = [F.cross_entropy(side.features @ rows.T + offsets, side.labels) for side in sides]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()

    return rows.detach(), offsets.detach()


def scored(scores: Tensor, test: Told, names: Sequence[str], old: Sequence[str]) -> dict[str, float]:
    """Accuracy on objects of new and of old values, told apart among all."""
    best = [names[i] for i in scores.argmax(1).tolist()]
    right = {"new": [], "old": []}  # type: dict[str, list[float]]
    for name, answered in zip(test.values, best, strict=True):
        right["old" if name in old else "new"].append(float(name == answered))

    return {side: fmean(values) for side, values in right.items()}


def run_episode(detector: Detector, episode: Episode, features: Features, shots: int, steps: int) -> dict[str, Any]:
    """All ways after a number of shots."""
    names = [*episode.old, *episode.new]
    test = features.test
    weight, bias = weights_of(detector, episode.kind)
    extra = len(episode.new)
    old = features.known
    new = Examples(
        torch.cat([one for value in episode.new for one in features.shots[value][:shots]]),
        torch.cat([torch.full((sum(map(len, features.shots[v][:shots])),), names.index(v)) for v in episode.new]),
    )

    found = {}
    seconds = {}

    def keep(way: str, began: float, scores: Tensor) -> None:
        seconds[way] = (time.process_time() - began) / extra
        found[way] = scored(scores, test, names, episode.old)

    began = time.process_time()
    rows = weight
    offsets = bias
    known = old.features

    for number in range(len(weight), len(names)):
        shown = new.features[new.labels == number]
        row, offset = imprinted_row(rows, offsets, shown, known)
        rows = torch.cat([rows, row[None]])
        offsets = torch.cat([offsets, offset[None]])
        known = torch.cat([known, shown])

    keep("new row", began, test.features @ rows.T + offsets)
    began = time.process_time()
    seen = torch.cat([new.features, old.features])
    labels = torch.cat([new.labels, old.labels])
    means = torch.stack([seen[labels == n].mean(0) for n in range(len(names))])
    keep("nearest mean", began, -torch.cdist(test.features, means.nan_to_num(1e6)))
    start = torch.cat([weight, weight.mean(0).expand(extra, -1)]), torch.cat([bias, bias.mean().expand(extra)])

    for way, sides in (("fine-tuned", (new, old)), ("fine-tuned on new alone", (new,))):
        began = time.process_time()
        rows, offsets = tuned(*start, sides, steps)
        keep(way, began, test.features @ rows.T + offsets)

    is_new = torch.tensor([value in episode.new for value in test.values])
    return {
        "before": scored(test.features @ weight.T + bias, test, episode.old, episode.old)["old"],
        "found": {"new": float(test.found[is_new].float().mean()), "old": float(test.found[~is_new].float().mean())},
        "ways": found,
        "seconds": seconds,
    }


def grown(attributes: dict[str, tuple[str, ...]], scene: Scene) -> tuple[int, int]:
    """Neurons and connections of the graph of a scene."""
    options = RunOptions(PRESETS["compartment"], OperatorTable(attributes=attributes))
    worlds = build_worlds([scene], [World(0)], attributes=attributes)
    number = options.layout.num_neurons(int(worlds.num_objects.sum()), int(worlds.num_events.sum()))
    return number, len(wire(worlds, options.layout, options.preset).weight)


def row_of(kind: str, number: int, shots: int, way: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """A way with a number of shots, over seeds."""
    return {
        "kind": kind,
        "values": number,
        "shots": shots,
        "way": way,
        "new": spread([one["ways"][way]["new"] for one in found]),
        "old": spread([one["ways"][way]["old"] for one in found]),
        "old_lost": spread([one["before"] - one["ways"][way]["old"] for one in found]),
        "cpu_ms_a_value": round(1e3 * fmean(one["seconds"][way] for one in found), 1),
    }


def run(quick: bool) -> Results:
    """All episodes, and what a value costs; a long run that was stopped resumes."""
    detector = shipped_detector()
    sizes = Sizes()
    plan = (("color", 5, 10), ("color", 20, 10), ("shape", 5, 5))
    if quick:
        sizes = Sizes((1,), 6, 4, 20)
        plan = (("color", 2, 1), ("shape", 1, 1))

    steps = None if quick else steps_of("one_shot")
    cpu_s = 0.0

    def episode(kind: str, number: int, seed: int) -> list[dict[str, Any]]:
        shown = Episode(kind, number, seed, sizes)
        features = features_of(detector, shown)
        return [run_episode(detector, shown, features, shots, sizes.steps) for shots in sizes.shots]

    rows = []
    detected = {}

    for kind, number, seeds in plan:
        name = f"{kind}, {number}"
        paths = [steps / f"{kind}-{number}-seed{seed}.pt" if steps else None for seed in range(seeds)]
        done = [kept(path, partial(episode, kind, number, seed)) for seed, path in enumerate(paths)]
        seen = [one["found"] for one in done]
        cpu_s = cpu_s + sum(one["cpu_s"] for one in done)

        for at, shots in enumerate(sizes.shots):
            rows += [row_of(kind, number, shots, way, [one[at] for one in seen]) for way in WAYS]
        detected[name] = {side: spread([one[0]["found"][side] for one in seen]) for side in ("new", "old")}

    scene = generate_video("test", 0).scene()
    without = grown(dict(ATTRIBUTES), scene)
    more = grown({**ATTRIBUTES, "color": (*ATTRIBUTES["color"], "orange")}, scene)

    return {
        "rows": rows,
        "detected": detected,
        "added": {
            "neurons": more[0] - without[0],
            "connections": more[1] - without[1],
            "weights_of_the_detector": detector.heads.in_channels + 1,
            "to": {
                "neurons": without[0],
                "connections": without[1],
                "weights_of_the_detector": sum(weights.numel() for weights in detector.parameters()),
            },
        },
        "seeds": {f"{kind}, {number}": seeds for kind, number, seeds in plan},
        "cpu_s": round(cpu_s),
    }


if __name__ == "__main__":
    main("one_shot", __doc__, run)
