"""Perception: the environment, the objects in view, and the place of each at every event bin.

A slot is an object by its colour: no two objects of a scene share one. Once a frame, the ANN's maps give the place and
the attributes of each slot, and its template. Between frames, events move it: the change of features that the hybrid
unit sums is compared with the template, as in the sensing network.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.networks.modulation import Backbone
from spikebridge.networks.modulation.model.network import CentredBody
from spikebridge.networks.reasoning.data.scene import COLORS, MATERIALS, SHAPES
from spikebridge.networks.reasoning.perception.detector import STRIDE, Detector
from spikebridge.networks.reasoning.simulation.table import RADIUS
from spikebridge.networks.reasoning.simulation.video import HEIGHT, WIDTH
from spikebridge.networks.sensing.model.backbones import STRIDE as CELL
from spikebridge.networks.sensing.model.heads import ChangeHead, Template, cell_places
from spikebridge.networks.sensing.model.motion_prior import soft_argmax
from spikebridge.neurons import Stateful

NUM_SLOTS = len(COLORS)
PAIRS = torch.combinations(torch.arange(NUM_SLOTS))
"""The pairs of slots, `(28, 2)`."""
_BLOCK = 16  # pixels of a block of the environment's view
_CONTRAST = 5.0  # of the view, whose values differ by about a fifth
NUM_VIEW = 3 * (HEIGHT // _BLOCK) * (WIDTH // _BLOCK)
"""Values of the environment's view."""
MAP_SIZES = (1, 2, 2, len(COLORS), len(MATERIALS), len(SHAPES))
"""Maps of the read-out, those of the detector: centre, place in the cell, size, colour, material, shape."""
_SEEN = 0.4  # scores above which a new slot, and one that is known, is in view
_STILL_SEEN = 0.12
_OTHER_COLOR = 0.25  # weight of a centre of another colour where a known slot was
_FADING = 0.9  # of a slot's evidence from frame to frame
_ONE_PLACE = 10.0  # centres of two objects are never so close [px]
_SIDE = 19  # cells of a crop around a slot
_REACH = 4
"""Displacements are evaluated up to this number of cells of two pixels."""


class EnvironmentView(nn.Module):
    """The ANN of the modulation network: block means of a frame to features of its environment."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.blocks = nn.AvgPool2d(_BLOCK)
        self.body = CentredBody(backbone)

    def view(self, frames: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B N"]:
        """Input of the body: block means over the mean of the frame, independent of the brightness."""
        light = frames.mean((1, 2, 3), keepdim=True).clamp(min=1e-6)
        return _CONTRAST * self.blocks(frames / light).flatten(1)

    def forward(self, frames: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C"]:
        """Frames to features."""
        features: Tensor = self.body(self.view(frames))
        return features


class NearestGate(nn.Module):
    """F of the gating units: preactivations to the stored gate of the environment with the most similar signal.

    Signals are compared by their cosine, the similarity that the units are trained on.
    """

    gates: Tensor
    signals: Tensor

    def __init__(self, gates: Float[Tensor, "K C"]) -> None:
        super().__init__()
        self.register_buffer("gates", gates.float().clone())
        self.register_buffer("signals", gates.float().clone())

    def similarity(self, preactivations: Float[Tensor, "B C"]) -> Float[Tensor, "B K"]:
        """The cosine with each stored signal, times the length of the row's own."""
        return preactivations.sigmoid() @ (self.signals / self.signals.norm(dim=1, keepdim=True)).T

    def forward(self, preactivations: Float[Tensor, "B C"]) -> Float[Tensor, "B C"]:
        """The gate of each row, 0 and 1."""
        nearest = self.similarity(preactivations).argmax(1)
        chosen: Tensor = nn.functional.one_hot(nearest, len(self.gates)).to(self.gates.dtype) @ self.gates
        return chosen


class ObjectFeatures(nn.Module):
    """The ANN of the frame camera: the detector's features, `(B, C, 24, 36)`."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        detector = Detector(num_features)
        self.stem = detector.stem
        self.blocks = detector.blocks

    def forward(self, frames: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """Frames, divided by their mean, to features."""
        light = frames.mean((1, 2, 3), keepdim=True).clamp(min=1e-6)
        features: Tensor = self.blocks(self.stem(frames / light - 1))
        return features


class GatedReadout(nn.Module):
    """Features to maps of objects through a hidden layer whose neurons the environment opens and closes."""

    def __init__(self, num_features: int, num_hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(num_features, num_hidden, 1)
        self.maps = nn.Conv2d(num_hidden, sum(MAP_SIZES), 1)

        with torch.no_grad():
            self.maps.state_dict()["bias"][0] = -4.0  # centres are rare

    def forward(
        self, features: Float[Tensor, "B C h w"], gate: Float[Tensor, "B H"] | None = None
    ) -> Float[Tensor, "B M h w"]:
        """The maps; without a gate all neurons are open."""
        hidden = self.hidden(features).relu()
        maps: Tensor = self.maps(hidden if gate is None else hidden * gate[:, :, None, None])
        return maps


class _SlotsState(NamedTuple):
    """State of the slots."""

    place: Tensor  # x and y in the last frame, (B, 8, 2) [px]
    evidence: Tensor  # fading sum of the scores, (B, 8)
    seen: Tensor  # frames in which a slot was in view, (B, 8)
    attributes: Tensor  # sums of the scores of material and shape, (B, 8, 5)


class Slots(Stateful):
    """Maps of a frame to slots: place [px], in view, known, and mean scores of material and shape.

    A slot is known from the third frame on in which it is in view. Of slots at one place, only that with the most
    evidence so far is in view: an object whose colour is mistaken in some frames is no second object.
    """

    def initial_state(self, x_t: Tensor) -> _SlotsState:
        batch = x_t.shape[0]
        return _SlotsState(
            x_t.new_zeros(batch, NUM_SLOTS, 2),
            x_t.new_zeros(batch, NUM_SLOTS),
            x_t.new_zeros(batch, NUM_SLOTS),
            x_t.new_zeros(batch, NUM_SLOTS, 5),
        )

    def step(self, x_t: Tensor, state: _SlotsState, **modulation: Any) -> tuple[Tensor, _SlotsState]:
        centre, place, _, color, material, shape = x_t.split(MAP_SIZES, 1)
        likely = color.softmax(1)
        rows = torch.arange(x_t.shape[2], dtype=x_t.dtype, device=x_t.device)[:, None] + 0.5
        columns = torch.arange(x_t.shape[3], dtype=x_t.dtype, device=x_t.device)[None, :] + 0.5

        # one object has one colour; what is known and near its last place may look like another one in a frame
        away_x = columns - state.place[:, :, 0, None, None] / STRIDE
        away_y = rows - state.place[:, :, 1, None, None] / STRIDE
        near = (away_x.square() + away_y.square() < (_ONE_PLACE / STRIDE) ** 2) & (state.seen > 2.5)[:, :, None, None]
        share = torch.where(near, _OTHER_COLOR + (1 - _OTHER_COLOR) * likely, likely * (likely > 0.5).to(x_t.dtype))
        score = centre.sigmoid() * share
        peak = score.amax((2, 3))

        # maps are valid in the cell of a centre alone
        share = (score >= peak[:, :, None, None]).to(x_t.dtype)
        share = share / share.sum((2, 3), keepdim=True)
        x = (share * (columns + place[:, :1])).sum((2, 3)) * STRIDE
        y = (share * (rows + place[:, 1:])).sum((2, 3)) * STRIDE
        scores = torch.cat([material.softmax(1), shape.softmax(1)], 1)
        found = (share.unsqueeze(2) * scores.unsqueeze(1)).sum((3, 4))
        limit = torch.where(state.seen > 2.5, _STILL_SEEN, _SEEN)
        is_seen = (peak > limit).to(x_t.dtype)
        here = torch.stack([x, y], 2)
        evidence = _FADING * state.evidence + peak

        # where it is not seen it is taken to be where it was
        last = is_seen.unsqueeze(2) * here + (1 - is_seen).unsqueeze(2) * state.place
        rival = ((here.unsqueeze(2) - last.unsqueeze(1)).norm(dim=-1) < _ONE_PLACE) & (
            evidence.unsqueeze(2) < evidence.unsqueeze(1)
        )
        alone = 1 - (rival & (state.seen + is_seen > 0.5).unsqueeze(1)).to(x_t.dtype).amax(2)
        is_seen = is_seen * alone
        there = is_seen.unsqueeze(2)
        now = there * here + (1 - there) * state.place
        state = _SlotsState(now, evidence, state.seen + is_seen, state.attributes + there * found)
        known = (state.seen > 2.5).to(x_t.dtype)
        mean = state.attributes / state.seen.clamp(min=1).unsqueeze(2)

        return torch.cat([now, there, known.unsqueeze(2), mean], 2), state


def _crops_at(maps: Float[Tensor, "B C h w"], places: Float[Tensor, "B S 2"]) -> Float[Tensor, "BS C k k"]:
    """Crops of maps of stride 2 around each slot, `(B * 8, C, 19, 19)`."""
    middle = torch.tensor([(maps.shape[3] * CELL - 1) / 2, (maps.shape[2] * CELL - 1) / 2], dtype=maps.dtype)
    away = (places - middle.to(maps.device) - 0.5).flatten(0, 1)
    steps = cell_places(_SIDE, maps)
    each = maps.unsqueeze(1).expand(-1, NUM_SLOTS, -1, -1, -1).flatten(0, 1)

    return read_at(each, away[:, :1] + steps, away[:, 1:] + steps, CELL)


class SlotTemplates(nn.Module):
    """The features of each slot in the frame, inside its outline: `(B, 8, C, 19, 19)`."""

    def __init__(self) -> None:
        super().__init__()
        self.template = Template(stride=CELL)

    def forward(self, features: Float[Tensor, "B C h w"], slots: Float[Tensor, "B S F"]) -> Float[Tensor, "B S C k k"]:
        """Cut at the places of the slots."""
        crops = _crops_at(features, slots[..., :2])
        box = torch.tensor([0.0, 0.0, 2 * RADIUS, 2 * RADIUS], dtype=crops.dtype, device=crops.device)
        cut: Tensor = self.template(crops, box.expand(crops.shape[0], 4))
        return cut.unflatten(0, (-1, NUM_SLOTS))


class Tracks(nn.Module):
    """Places of the slots: those in the frame, moved by the change that the events show.

    Gives x and y [px], whether it is in view, and whether it is known, `(B, 8, 4)`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.head = ChangeHead(_REACH, CELL)
        with torch.no_grad():
            self.head.log_scale.fill_(-0.5)

    def forward(
        self,
        slots: Float[Tensor, "B S F"],
        template: Float[Tensor, "B S C k k"],
        change: Float[Tensor, "B C h w"] | None = None,
    ) -> Float[Tensor, "B S 4"]:
        """Places; without a change the slots stay where they were in the frame."""
        places = slots[..., :2]
        if change is not None:
            response = self.head(template.flatten(0, 1), _crops_at(change, places))
            around = torch.zeros_like(places).flatten(0, 1)
            moved, _ = soft_argmax(response, around, float(CELL * _REACH))
            places = places + moved.unflatten(0, (-1, NUM_SLOTS))

        return torch.cat([places, slots[..., 2:4]], -1)


class PairDistances(nn.Module):
    """Signals of pairs for the collision unit: copies of the gap between outlines, and whether both are in view."""

    pairs: Tensor

    def __init__(self, num_copies: int) -> None:
        super().__init__()
        self.num_copies = num_copies
        self.register_buffer("pairs", PAIRS)

    def forward(self, tracks: Float[Tensor, "B S 4"]) -> Float[Tensor, "B M P 1"]:
        """The gap is cut off at 21 px; a pair that is not in view is far apart."""
        first = tracks[:, self.pairs[:, 0]]
        second = tracks[:, self.pairs[:, 1]]
        gap = (first[..., :2] - second[..., :2]).square().sum(-1).add(1e-6).sqrt() - 2 * RADIUS
        both = first[..., 2] * second[..., 2]
        gap = (1 - (gap / RADIUS).clamp(-1, 3)) * both

        return torch.cat([gap.unsqueeze(1).expand(-1, self.num_copies, -1), both.unsqueeze(1)], 1).unsqueeze(-1)


def read_at(
    maps: Float[Tensor, "B C H W"], x: Float[Tensor, "B N"], y: Float[Tensor, "B M"], stride: int
) -> Float[Tensor, "B C M N"]:
    """Maps at positions between cells, bilinear, relative to the centre of the crop [px]; outside, the nearest cell."""
    down, across = (_between(place, n, stride) for place, n in zip((y, x), maps.shape[2:], strict=True))
    # two products of matrices: they take any modulated batch, which grid_sample does not
    return torch.einsum("bmh,bchw,bnw->bcmn", down, maps, across)


def _between(places: Float[Tensor, "B N"], num_cells: int, stride: int) -> Float[Tensor, "B N H"]:
    """The weight of each cell at each position: 1 on it, 0 at its neighbours and beyond."""
    cell = ((places + (num_cells * stride - 1) / 2) / stride).clamp(0, num_cells - 1)
    return (1 - (cell.unsqueeze(2) - torch.arange(num_cells, dtype=cell.dtype, device=cell.device)).abs()).clamp(min=0)
