"""A new colour or shape from one picture: one more row of weights in the detector, and nothing else changes.

The new row is the mean of the old ones, changed by as little as makes it right in the pictures: above all others at the
new objects, below the right one at objects of known values (imprinting, after H. Qi et al., CVPR 2018). The parser and
the graph need no weights for it: a word in a table, and a neuron with its connections.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.networks.reasoning.perception.detector import STRIDE, Detector

_MARGIN = 3.0  # of logits
_STIFFNESS = 1e-3
_NUM_ROUNDS = 8


class LabeledPicture(NamedTuple):
    """A picture with x and y of objects [px]."""

    picture: UInt8[np.ndarray, "H W 3"]
    points: Float[np.ndarray, "N 2"]


@torch.no_grad()
def learn_value(
    detector: Detector,
    kind: str,
    value: str,
    examples: LabeledPicture | Sequence[LabeledPicture],
    known_examples: Sequence[LabeledPicture],
) -> Detector:
    """A detector with one more attribute value, learned from one picture or a few with objects of it.

    Objects in the pictures of known values keep their classification. The detector, in eval mode, is not modified.
    """
    attributes = _with_value(detector.attributes, kind, value)
    pictures = [examples] if isinstance(examples, LabeledPicture) else examples
    # shifts stand for other positions on the stride, of which one picture shows one
    new = object_features(detector, pictures, num_shifts=STRIDE**2)
    if len(new) == 0:
        raise ConfigError(f"{value!r} is to be learned from pictures with objects of it, but none is shown")

    state = dict(detector.state_dict())
    weight = state["heads.weight"][:, :, 0, 0]
    bias = state["heads.bias"]
    # the row of the new value follows those of its kind
    first, last = rows_of(detector, kind)
    row, offset = imprinted_row(weight[first:last], bias[first:last], new, object_features(detector, known_examples))

    state["heads.weight"] = torch.cat([weight[:last], row[None], weight[last:]])[:, :, None, None]
    state["heads.bias"] = torch.cat([bias[:last], offset[None], bias[last:]])
    learned = Detector(detector.heads.in_channels, attributes)
    learned.load_state_dict(state)

    return learned.eval()


def _with_value(attributes: Mapping[str, tuple[str, ...]], kind: str, value: str) -> dict[str, tuple[str, ...]]:
    if kind not in attributes:
        raise ConfigError(f"no kind of attribute {kind!r}; {did_you_mean(kind, attributes)}")
    if any(value in values for values in attributes.values()):
        raise ConfigError(f"{value!r} exists already")

    return {name: (*values, value) if name == kind else values for name, values in attributes.items()}


@torch.no_grad()
def imprinted_row(
    rows: Float[Tensor, "V C"], offsets: Float[Tensor, " V"], new: Float[Tensor, "N C"], old: Float[Tensor, "M C"]
) -> tuple[Float[Tensor, " C"], Float[Tensor, ""]]:
    """Weights and bias of one more value, from those of known values and from features of new and of known values."""
    features = torch.cat([new, old])
    sign = torch.cat([torch.ones(len(new)), -torch.ones(len(old))])
    share = torch.cat([torch.full((len(new),), 1 / len(new)), torch.full((len(old),), 1 / max(1, len(old)))])
    targets = (features @ rows.T + offsets).amax(1) + _MARGIN * sign
    mean = rows.mean(0)
    offset = offsets.mean()
    row = mean

    for _ in range(_NUM_ROUNDS):
        # only margins that are violated count
        violated = sign * (targets - (features @ row + offset)) > 0
        x = features[violated]
        pull = x.T * share[violated]
        gap = targets[violated] - (x @ mean + offset)
        row = mean + torch.linalg.solve(pull @ x + _STIFFNESS * torch.eye(len(row)), pull @ gap)

    return row, offset


def rows_of(detector: Detector, kind: str) -> tuple[int, int]:
    """The range of the rows of a kind in the last layer."""
    kinds = list(detector.attributes)
    # the first rows are those of centre, offset and size
    first = 5 + sum(len(detector.attributes[name]) for name in kinds[: kinds.index(kind)])
    return first, first + len(detector.attributes[kind])


@torch.no_grad()
def object_features(
    detector: Detector, pictures: Sequence[LabeledPicture], num_shifts: int = 1
) -> Float[Tensor, "F C"]:
    """Features at the cells of objects and at their neighbours, picture by picture, shift by shift."""
    rows = []
    # 16 shifts, of 0 to 3 px in both directions, are all on a stride of 4
    for picture, points in pictures:
        for down, right in list(product(range(STRIDE), repeat=2))[:num_shifts]:
            shifted = np.roll(picture, (down, right), axis=(0, 1))
            features = detector.features(torch.from_numpy(shifted).permute(2, 0, 1)[None].float() / 255)[0]
            for x, y in ((points + np.array([right, down])) / STRIDE).tolist():
                rows += _neighbourhood(features, int(x), int(y))

    return torch.stack(rows) if rows else torch.zeros(0, detector.heads.in_channels)


def _neighbourhood(features: Float[Tensor, "C h w"], column: int, row: int) -> list[Tensor]:
    height, width = features.shape[1:]
    offsets = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
    cells = [(row + down, column + right) for right, down in offsets]
    return [features[:, y, x] for y, x in cells if 0 <= y < height and 0 <= x < width]
