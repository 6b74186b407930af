"""A new colour or shape by one shown: one more row of weights in the detector, and nothing else is changed.

The new row is the mean of the old ones, changed by as little as makes it right in what was shown: above all others at
the new objects, below the right one at objects that are known (imprinting, after H. Qi et al., CVPR 2018). The parser
and the graph need no weights for it: a word in a table, and a neuron with its connections.
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
_ROUNDS = 8


def _with_value(attributes: Mapping[str, tuple[str, ...]], kind: str, value: str) -> dict[str, tuple[str, ...]]:
    """The attributes with one more value.

    Raises:
        ConfigError: an unknown kind, or a value that exists.

    Example:
        >>> _with_value({"color": ("red",), "shape": ("cube",)}, "color", "orange")
        {'color': ('red', 'orange'), 'shape': ('cube',)}
    """
    if kind not in attributes:
        raise ConfigError(f"no kind of attribute {kind!r}; {did_you_mean(kind, attributes)}")

    taken = [known for values in attributes.values() for known in values]
    if value in taken:
        raise ConfigError(f"{value!r} exists already")

    return {name: (*values, value) if name == kind else values for name, values in attributes.items()}


class LabeledPicture(NamedTuple):
    """A picture with the positions of objects."""

    picture: UInt8[np.ndarray, "H W 3"]
    points: Float[np.ndarray, "N 2"]


@torch.no_grad()
def learn_value(
    detector: Detector,
    kind: str,
    value: str,
    shown: LabeledPicture | Sequence[LabeledPicture],
    known: Sequence[LabeledPicture],
) -> Detector:
    """A detector with one more attribute value, learned from one picture or a few.

    Args:
        detector: in eval mode; it is not modified.
        kind: of attribute, such as `color`.
        value: its name.
        shown: a picture, and x and y of the objects of the new value in it [px]; or several of them.
        known: pictures with objects of known values, whose classification is kept.

    Raises:
        ConfigError: an unknown kind, a value that exists, or no object of the new value.
    """
    attributes = _with_value(detector.attributes, kind, value)
    first, last = rows_of(detector, kind)
    state = dict(detector.state_dict())
    weight = state["heads.weight"][:, :, 0, 0]
    bias = state["heads.bias"]
    rows = weight[first:last]
    offsets = bias[first:last]
    pictures = [shown] if isinstance(shown, LabeledPicture) else shown
    new = object_features(detector, pictures, STRIDE**2)
    old = object_features(detector, known)

    if len(new) == 0:
        raise ConfigError(f"{value!r} is to be learned from pictures with objects of it, but none is shown")

    row, offset = imprinted_row(rows, offsets, new, old)
    learned = Detector(detector.heads.in_channels, attributes)
    state["heads.weight"] = torch.cat([weight[:last], row[None], weight[last:]])[:, :, None, None]
    state["heads.bias"] = torch.cat([bias[:last], offset[None], bias[last:]])
    learned.load_state_dict(state)

    return learned.eval()


@torch.no_grad()
def imprinted_row(
    rows: Float[Tensor, "V C"], offsets: Float[Tensor, " V"], new: Float[Tensor, "N C"], old: Float[Tensor, "M C"]
) -> tuple[Float[Tensor, " C"], Float[Tensor, ""]]:
    """Weights and bias of one more value: the mean of the others, changed as little as what was shown demands.

    Args:
        rows: weights of the known values.
        offsets: their biases.
        new: features of the new value.
        old: features of known values.

    Example:
        >>> row, offset = imprinted_row(torch.zeros(1, 2), torch.zeros(1), torch.eye(2)[:1], torch.eye(2)[1:])
        >>> [round(float(x @ row + offset)) for x in torch.eye(2)]  # the margins asked for are 3 and -3
        [3, -3]
    """
    seen = torch.cat([new, old])
    sign = torch.cat([torch.ones(len(new)), -torch.ones(len(old))])
    wanted = (seen @ rows.T + offsets).amax(1) + _MARGIN * sign
    row = rows.mean(0)
    offset = offsets.mean()
    share = torch.cat([torch.full((len(new),), 1 / len(new)), torch.full((len(old),), 1 / max(1, len(old)))])
    usual = row

    for _ in range(_ROUNDS):
        # only margins that are violated count
        open_ = sign * (wanted - (seen @ row + offset)) > 0
        pull = seen[open_].T * share[open_]
        away = wanted[open_] - (seen[open_] @ usual + offset)
        row = usual + torch.linalg.solve(pull @ seen[open_] + _STIFFNESS * torch.eye(len(row)), pull @ away)

    return row, offset


def rows_of(detector: Detector, kind: str) -> tuple[int, int]:
    """The range of the rows of a kind in the last layer."""
    kinds = list(detector.attributes)
    first = 5 + sum(len(detector.attributes[name]) for name in kinds[: kinds.index(kind)])
    return first, first + len(detector.attributes[kind])


@torch.no_grad()
def object_features(
    detector: Detector, pictures: Sequence[LabeledPicture], num_shifts: int = 1
) -> Float[Tensor, "F C"]:
    """Features at the cells of objects and beside them, picture by picture, shift by shift, object by object.

    Args:
        detector: in eval mode.
        pictures: with the positions of objects.
        num_shifts: of each picture, by 0 to 3 px in both directions; 16 are all.

    Returns:
        Five rows an object and shift, fewer at an edge.
    """
    found = []
    for picture, points in pictures:
        for down, right in list(product(range(STRIDE), repeat=2))[:num_shifts]:
            moved = np.roll(picture, (down, right), axis=(0, 1))
            features = detector.features(torch.from_numpy(moved).permute(2, 0, 1)[None].float() / 255)[0]
            for x, y in ((points + np.array([right, down])) / STRIDE).tolist():
                found += _beside(features, x, y)

    return torch.stack(found) if found else torch.zeros(0, detector.heads.in_channels)


def _beside(features: Tensor, x: float, y: float) -> list[Tensor]:
    height, width = features.shape[1:]
    cells = [(int(y) + down, int(x) + right) for right, down in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))]
    return [features[:, row, column] for row, column in cells if 0 <= row < height and 0 <= column < width]
