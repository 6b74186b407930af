"""Claim: the reasoning network learns a new concept from one example and keeps the old ones.

    python research/claims/networks/one_shot.py           # writes results/one_shot.json
    python research/claims/networks/one_shot.py --quick   # one seed, two new colours; printed only

The shipped detector classifies 8 colours and 3 shapes. It learns N new values from 1, 2 or 5 pictures each, one object
a picture, and from 200 pictures of old values (24 keep less of the old ones; chosen on other seeds and videos). Then
all values, old and new, are classified in other pictures, half of whose objects are new. Each new colour of a seed is
the one of 40 draws that is farthest from the others; new shapes are five of seven. The ways, on the same features of
the same cells:

- new row (`learn_value`): one new row of weights for each value, without any other change; a neuron and a word follow.
- nearest mean: the value with the nearest mean of the features.
- fine-tuned: all rows of the kind and the new ones, 300 steps of Adam on the examples of new and old values.
- fine-tuned on new alone: the same without the examples of old values.
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


# a shader gives coverage, brightness and highlight of the pixels around an object
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
    """Numbers of pictures and of training steps."""

    shots: tuple[int, ...] = (1, 2, 5)
    old: int = 200
    scored: int = 60
    steps: int = 300


class LabeledPictures(NamedTuple):
    """Pictures with the place and the value of each visible object."""

    pictures: list[LabeledPicture]
    values: list[list[str]]


class TestObjects(NamedTuple):
    """Objects of the test: features `(N, C)`, values, and a mark of those that the detector finds."""

    features: Tensor
    values: list[str]
    is_detected: Tensor


def colors_of(seed: int, number: int) -> dict[str, RGB]:
    """New colours, each of 40 draws the farthest from all earlier ones."""
    generator = np.random.default_rng([7, seed])
    colors = [np.array(rgb) for rgb in PALETTE.values()]
    for _ in range(number):
        draws = generator.uniform(0.05, 0.95, (40, 3))
        distance = np.min([np.linalg.norm(draws - color, axis=1) for color in colors], axis=0)
        colors.append(draws[distance.argmax()])

    new = colors[len(PALETTE) :]
    return {f"new{n}": (float(r), float(g), float(b)) for n, (r, g, b) in enumerate(new)}


class Episode:
    """New values of one kind: pictures of them, of old values, and of the test."""

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
        self.old_pictures = self._joined([self._picture("train", n, 0.0) for n in range(sizes.old)])
        self.test_pictures = self._joined([self._picture("test", n, 0.5) for n in range(sizes.scored)])

    def with_values(self, video: RollingVideo, share: float, values: Sequence[str]) -> RollingVideo:
        """The video with new values at a share of its objects."""
        column = KINDS.index(self.kind)
        objects = [list(attributes) for attributes in video.objects]
        for attributes in objects:
            if self.generator.random() < share:
                attributes[column] = str(self.generator.choice(list(values)))

        named = tuple((color, material, shape) for color, material, shape in objects)
        return replace(video, objects=named)

    def render(self, video: RollingVideo, frames: np.ndarray | None = None) -> np.ndarray:
        """The pictures of a video."""
        return render_frames(video, frames, self.palette, self.shaders)

    def _picture(self, split: str, number: int, share: float) -> tuple[LabeledPicture, list[str]]:
        video = self.with_values(generate_video(split, number), share, self.new)
        return self._labeled(video, int(self.generator.integers(20, 120)))

    def _labeled(self, video: RollingVideo, frame: int) -> tuple[LabeledPicture, list[str]]:
        indices = np.flatnonzero(visible(video, frame))
        picture = self.render(video, np.array([frame]))[0]
        column = KINDS.index(self.kind)
        return LabeledPicture(picture, video.positions[frame, indices]), [video.objects[i][column] for i in indices]

    def _joined(self, pairs: Iterable[tuple[LabeledPicture, list[str]]]) -> LabeledPictures:
        pictures, values = zip(*pairs, strict=True)
        return LabeledPictures(list(pictures), list(values))

    def _shots(self, value: str, number: int) -> list[LabeledPicture]:
        """Pictures with one object of the value, the others unlabelled."""
        shots: list[LabeledPicture] = []
        while len(shots) < number:
            video = generate_video("validation", int(self.generator.integers(400)))
            frame = int(self.generator.integers(20, 120))
            indices = np.flatnonzero(visible(video, frame))
            if len(indices):
                objects = [list(attributes) for attributes in video.objects]
                objects[indices[0]][KINDS.index(self.kind)] = value
                changed = replace(video, objects=tuple((a, b, c) for a, b, c in objects))
                picture = self.render(changed, np.array([frame]))[0]
                shots.append(LabeledPicture(picture, video.positions[frame, indices[:1]]))

        return shots


def visible(video: RollingVideo, frame: int) -> np.ndarray:
    """True for objects in view that are not behind the occluder."""
    places = video.positions[frame]
    occluder = video.appearance.occluder
    is_visible = in_view(places)
    if occluder is not None:
        from_left = places[:, 0] - occluder.left - occluder.velocity * frame
        is_visible &= ~((from_left >= 0) & (from_left <= occluder.width))

    return np.asarray(is_visible)


@torch.no_grad()
def test_objects(detector: Detector, test: LabeledPictures) -> TestObjects:
    """Features at the cell with the highest centre score among those around each object."""
    rows = []
    values = []
    is_detected = []

    for (picture, points), names in zip(test.pictures, test.values, strict=True):
        features = detector.features(torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255)
        centre = detector.heads(features)[0, 0].sigmoid()
        height, width = centre.shape

        for (x, y), name in zip((points / STRIDE).astype(int).tolist(), names, strict=True):
            cells = [(r, c) for r in (y - 1, y, y + 1) for c in (x - 1, x, x + 1) if 0 <= r < height and 0 <= c < width]
            row, column = max(cells, key=lambda cell: float(centre[cell]))
            rows.append(features[0, :, row, column])
            values.append(name)
            is_detected.append(float(centre[row, column]) >= 0.3)

    return TestObjects(torch.stack(rows), values, torch.tensor(is_detected))


def weights_of(detector: Detector, kind: str) -> tuple[Tensor, Tensor]:
    """Weights and biases of the values of a kind."""
    first, last = rows_of(detector, kind)
    bias = detector.heads.bias
    assert bias is not None
    return detector.heads.weight.detach()[first:last, :, 0, 0], bias.detach()[first:last]


class Examples(NamedTuple):
    """Features of labelled objects and the numbers of their values."""

    features: Tensor
    labels: Tensor


class Features(NamedTuple):
    """Features of an episode: new values shot by shot, old values, and the test."""

    shots: dict[str, list[Tensor]]
    old: Examples
    test: TestObjects


def features_of(detector: Detector, episode: Episode) -> Features:
    """The features of the cells that `learn_value` reads."""
    shots = {
        value: [object_features(detector, [picture], STRIDE**2) for picture in pictures]
        for value, pictures in episode.shots.items()
    }
    features = []
    labels = []

    for (picture, points), values in zip(*episode.old_pictures, strict=True):
        for point, value in zip(points, values, strict=True):
            rows = object_features(detector, [LabeledPicture(picture, point[None])])
            features.append(rows)
            labels.append(torch.full((len(rows),), episode.old.index(value)))

    old = Examples(torch.cat(features), torch.cat(labels))
    return Features(shots, old, test_objects(detector, episode.test_pictures))


def tuned(weight: Tensor, bias: Tensor, sets: Sequence[Examples], steps: int) -> tuple[Tensor, Tensor]:
    """All rows after steps of Adam on the cross-entropy, each set with the same weight."""
    rows = weight.clone().requires_grad_()
    offsets = bias.clone().requires_grad_()
    optimizer = torch.optim.Adam([rows, offsets], lr=0.01)

    for _ in range(steps):
        losses = [F.cross_entropy(examples.features @ rows.T + offsets, examples.labels) for examples in sets]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()

    return rows.detach(), offsets.detach()


def scored(scores: Tensor, test: TestObjects, names: Sequence[str], old: Sequence[str]) -> dict[str, float]:
    """Accuracy on objects of new and of old values, classified among all values."""
    predicted = [names[i] for i in scores.argmax(1).tolist()]
    is_right: dict[str, list[float]] = {"new": [], "old": []}
    for name, answer in zip(test.values, predicted, strict=True):
        is_right["old" if name in old else "new"].append(float(name == answer))

    return {age: fmean(values) for age, values in is_right.items()}


def run_episode(detector: Detector, episode: Episode, features: Features, shots: int, steps: int) -> dict[str, Any]:
    """Scores of all ways after a number of shots."""
    names = [*episode.old, *episode.new]
    test = features.test
    weight, bias = weights_of(detector, episode.kind)
    num_new = len(episode.new)
    old = features.old
    examples = {value: torch.cat(features.shots[value][:shots]) for value in episode.new}
    labels = [torch.full((len(rows),), names.index(value)) for value, rows in examples.items()]
    new = Examples(torch.cat(list(examples.values())), torch.cat(labels))
    scores: dict[str, dict[str, float]] = {}
    seconds: dict[str, float] = {}

    def keep(way: str, start: float, values: Tensor) -> None:
        seconds[way] = (time.process_time() - start) / num_new
        scores[way] = scored(values, test, names, episode.old)

    start = time.process_time()
    rows, offsets = with_new_rows(weight, bias, new, old, len(names))
    keep("new row", start, test.features @ rows.T + offsets)

    start = time.process_time()
    means = class_means(new, old, len(names))
    keep("nearest mean", start, -torch.cdist(test.features, means.nan_to_num(1e6)))

    first_rows = torch.cat([weight, weight.mean(0).expand(num_new, -1)])
    first_offsets = torch.cat([bias, bias.mean().expand(num_new)])
    for way, sets in (("fine-tuned", (new, old)), ("fine-tuned on new alone", (new,))):
        start = time.process_time()
        rows, offsets = tuned(first_rows, first_offsets, sets, steps)
        keep(way, start, test.features @ rows.T + offsets)

    is_new = torch.tensor([value in episode.new for value in test.values])
    detected = {"new": test.is_detected[is_new], "old": test.is_detected[~is_new]}
    return {
        "before": scored(test.features @ weight.T + bias, test, episode.old, episode.old)["old"],
        "found": {age: float(marks.float().mean()) for age, marks in detected.items()},
        "ways": scores,
        "seconds": seconds,
    }


def with_new_rows(weight: Tensor, bias: Tensor, new: Examples, old: Examples, num_values: int) -> tuple[Tensor, Tensor]:
    """The rows of old values, unchanged, and a row for each new value."""
    others = old.features
    for number in range(len(weight), num_values):
        examples = new.features[new.labels == number]
        row, offset = imprinted_row(weight, bias, examples, others)
        weight = torch.cat([weight, row[None]])
        bias = torch.cat([bias, offset[None]])
        # later values are told apart from this one too
        others = torch.cat([others, examples])

    return weight, bias


def class_means(new: Examples, old: Examples, num_values: int) -> Tensor:
    """The mean features of each value."""
    features = torch.cat([new.features, old.features])
    labels = torch.cat([new.labels, old.labels])
    return torch.stack([features[labels == number].mean(0) for number in range(num_values)])


def graph_size(attributes: dict[str, tuple[str, ...]], scene: Scene) -> tuple[int, int]:
    """Neurons and connections of the graph of a scene."""
    options = RunOptions(PRESETS["compartment"], OperatorTable(attributes=attributes))
    worlds = build_worlds([scene], [World(0)], attributes=attributes)
    number = options.layout.num_neurons(int(worlds.num_objects.sum()), int(worlds.num_events.sum()))
    return number, len(wire(worlds, options.layout, options.preset).weight)


def row_of(kind: str, number: int, shots: int, way: str, episodes: list[dict[str, Any]]) -> dict[str, Any]:
    """A way with a number of shots, over seeds."""
    return {
        "kind": kind,
        "values": number,
        "shots": shots,
        "way": way,
        "new": spread([episode["ways"][way]["new"] for episode in episodes]),
        "old": spread([episode["ways"][way]["old"] for episode in episodes]),
        "old_lost": spread([episode["before"] - episode["ways"][way]["old"] for episode in episodes]),
        "cpu_ms_a_value": round(1e3 * fmean(episode["seconds"][way] for episode in episodes), 1),
    }


def run(quick: bool) -> Results:
    """Scores of all episodes, and the cost of a value; a stopped run resumes."""
    detector = shipped_detector()
    sizes = Sizes()
    plan = (("color", 5, 10), ("color", 20, 10), ("shape", 5, 5))
    if quick:
        sizes = Sizes((1,), 6, 4, 20)
        plan = (("color", 2, 1), ("shape", 1, 1))

    steps = None if quick else steps_of("one_shot")
    cpu_s = 0.0

    def by_shots(kind: str, number: int, seed: int) -> list[dict[str, Any]]:
        episode = Episode(kind, number, seed, sizes)
        features = features_of(detector, episode)
        return [run_episode(detector, episode, features, shots, sizes.steps) for shots in sizes.shots]

    rows = []
    detected = {}

    for kind, number, seeds in plan:
        paths = [steps / f"{kind}-{number}-seed{seed}.pt" if steps else None for seed in range(seeds)]
        finished = [kept(path, partial(by_shots, kind, number, seed)) for seed, path in enumerate(paths)]
        results = [step["result"] for step in finished]
        cpu_s += sum(step["cpu_s"] for step in finished)

        for index, shots in enumerate(sizes.shots):
            episodes = [result[index] for result in results]
            rows += [row_of(kind, number, shots, way, episodes) for way in WAYS]

        # the test objects are the same for all numbers of shots
        detected[f"{kind}, {number}"] = {
            age: spread([result[0]["found"][age] for result in results]) for age in ("new", "old")
        }

    scene = generate_video("test", 0).scene()
    without = graph_size(dict(ATTRIBUTES), scene)
    more = graph_size({**ATTRIBUTES, "color": (*ATTRIBUTES["color"], "orange")}, scene)

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
