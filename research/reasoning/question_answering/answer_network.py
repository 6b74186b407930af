"""An ANN that answers from the same perception without a graph: the twin of the spiking graph.

The perceived objects with values and tracks, the collisions, the hypothetical events and the tokens of the program are
one set of tokens, from which a transformer scores all possible answers. The meaning of a token is learned from
questions with answers.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from spikebridge.errors import DataError, did_you_mean
from spikebridge.networks.reasoning.data.scene import ATTRIBUTES, NUM_OBSERVED_FRAMES, Scene
from spikebridge.networks.reasoning.events.collision_inputs import NUM_SAMPLES, on_grid
from spikebridge.networks.reasoning.parsing.operators import OperatorTable

MAX_OBJECTS = 8
MAX_TOKENS = 48  # of a program; whole ones of CLEVRER have up to 40
VALUES = tuple(value for values in ATTRIBUTES.values() for value in values)
ANSWERS = ("yes", "no", "correct", "wrong", *map(str, range(11)), *VALUES)  # all possible answers
KINDS = ("observed", "predicted", "counterfactual")
_OBJECT = len(VALUES) + 3 * NUM_SAMPLES
_EVENT = len(KINDS) + 1 + MAX_OBJECTS
_MIDDLE = 75.0


class SceneTokens(NamedTuple):
    """The contents of scenes as tokens, padded to the largest scene."""

    objects: Float[Tensor, "B 8 F"]  # values and track of each object, in slots
    events: Float[Tensor, "B E G"]  # kind, time, and the removed object
    members: Float[Tensor, "B E 8"]  # objects that take part
    there: Bool[Tensor, "B N"]  # tokens that are not padding


def scene_tokens(scenes: Sequence[Scene]) -> SceneTokens:
    """Scenes as tokens; raises `DataError` for a scene with more than 8 objects."""
    rows = [_events(scene) for scene in scenes]
    num_events = max((len(row) for row in rows), default=0)
    objects = torch.zeros(len(scenes), MAX_OBJECTS, _OBJECT)
    events = torch.zeros(len(scenes), num_events, _EVENT)
    members = torch.zeros(len(scenes), num_events, MAX_OBJECTS)
    there = torch.zeros(len(scenes), MAX_OBJECTS + num_events, dtype=torch.bool)

    for b, (scene, row) in enumerate(zip(scenes, rows, strict=True)):
        number = scene.num_objects
        if number > MAX_OBJECTS:
            raise DataError(f"video {scene.video} has {number} objects, but the network supports at most {MAX_OBJECTS}")

        objects[b, :number] = _objects(scene)
        there[b, :number] = True
        there[b, MAX_OBJECTS : MAX_OBJECTS + len(row)] = True

        for e, (kind, frame, first, second, removed) in enumerate(row):
            events[b, e, kind] = 1
            events[b, e, len(KINDS)] = frame / NUM_OBSERVED_FRAMES
            if removed >= 0:
                events[b, e, len(KINDS) + 1 + removed] = 1
            members[b, e, [first, second]] = 1

    return SceneTokens(objects, events, members, there)


def _objects(scene: Scene) -> Float[Tensor, "O F"]:
    places, visible = on_grid(scene)
    track = np.concatenate([np.clip(places / _MIDDLE - 1, -3, 3) * visible[..., None], visible[..., None]], -1)
    values = np.array([[float(value in triple) for value in VALUES] for triple in scene.objects])
    track = track.transpose(1, 0, 2).reshape(scene.num_objects, 3 * NUM_SAMPLES)

    return torch.from_numpy(np.concatenate([values.reshape(scene.num_objects, len(VALUES)), track], 1)).float()


def _events(scene: Scene) -> list[tuple[int, int, int, int, int]]:
    rows = [(0, *row, -1) for row in scene.collisions.tolist()] + [(1, *row, -1) for row in scene.predicted.tolist()]
    return rows + [(2, *row, removed) for removed, collisions in scene.what_if.items() for row in collisions.tolist()]


def program_tokens(programs: Sequence[Sequence[str]], table: OperatorTable | None = None) -> Int[Tensor, "B L"]:
    """Whole programs as numbers from 1 on, padded with 0; raises `DataError` for an unknown token, or too many."""
    table = table if table is not None else OperatorTable()
    names = _names(table)
    number = {name: k for k, name in enumerate(names, start=1)}
    padded = torch.zeros(len(programs), max((len(one) for one in programs), default=0), dtype=torch.long)

    for b, program in enumerate(programs):
        if len(program) > MAX_TOKENS:
            raise DataError(f"a program has {len(program)} tokens, but the network supports at most {MAX_TOKENS}")
        for k, token in enumerate(program):
            if token not in number:
                raise DataError(f"unknown token {token!r}; {did_you_mean(token, names)}")
            padded[b, k] = number[token]

    return padded


def _names(table: OperatorTable) -> list[str]:
    return [*table.rows, *table.words]


class AnswerNetwork(nn.Module):
    """A transformer from the tokens of a scene and of a program to scores of all answers."""

    def __init__(self, num_features: int = 64, num_layers: int = 3, num_heads: int = 4) -> None:
        super().__init__()
        self.objects = nn.Linear(_OBJECT, num_features)
        self.events = nn.Linear(len(KINDS) + 1, num_features)
        self.slots = nn.Linear(MAX_OBJECTS, num_features, bias=False)
        self.without = nn.Linear(num_features, num_features, bias=False)
        self.tokens = nn.Embedding(1 + len(_names(OperatorTable())), num_features, padding_idx=0)
        self.places = nn.Parameter(0.02 * torch.randn(MAX_TOKENS, num_features))
        self.ask = nn.Parameter(0.02 * torch.randn(1, 1, num_features))
        layer = nn.TransformerEncoderLayer(
            num_features, num_heads, 2 * num_features, dropout=0.0, batch_first=True, norm_first=True
        )
        self.body = nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False)
        self.answer = nn.Sequential(nn.LayerNorm(num_features), nn.Linear(num_features, len(ANSWERS)))

    def forward(
        self,
        objects: Float[Tensor, "B 8 F"],
        events: Float[Tensor, "B E G"],
        members: Float[Tensor, "B E 8"],
        there: Bool[Tensor, "B N"],
        program: Int[Tensor, "B L"],
    ) -> Float[Tensor, "B A"]:
        """Scores of `ANSWERS`; all but the program is as in `SceneTokens`."""
        batch = len(program)
        slots = torch.eye(MAX_OBJECTS, device=objects.device)
        described, removed = events.split((len(KINDS) + 1, MAX_OBJECTS), -1)

        parts = [
            self.ask.expand(batch, -1, -1),
            self.objects(objects) + self.slots(slots),
            self.events(described) + self.slots(members) + self.without(self.slots(removed)),
            self.tokens(program) + self.places[: program.shape[1]],
        ]

        # the token of the answer is never padding
        always = torch.ones(batch, 1, dtype=torch.bool, device=program.device)
        hidden = ~torch.cat([always, there, program > 0], 1)

        return self.answer(self.body(torch.cat(parts, 1), src_key_padding_mask=hidden)[:, 0])
