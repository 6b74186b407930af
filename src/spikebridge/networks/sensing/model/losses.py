"""Losses of tracking networks: presence, box, size of features, and change of features.

| loss | what it measures | equations |
|---|---|---|
| `anchor_presence`, `map_presence` | `L_c`: the place of the target | 9, 10 |
| `anchor_box`, `center_box` | `L_1`: its box | 11, 12 |
| `signed_response` | the loss of the released code: high at the target, low elsewhere | |
| `feature_size` | `L_R`: the size of the features | 8 |
| `feature_change` | `L_F`: the change to the next frame; it needs no labels | 13 |

Boxes are `(x, y, w, h)` with the upper left corner, in pixels. Source: R. Zhao et al., Nature Communications 13:3427
(2022). Two slips of the print are read as meant: offsets are in parts of an anchor's size, and equation 13 is squared.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from spikebridge.errors import ConfigError, ShapeError

_POSITIVE = 0.45
_NEGATIVE = 0.2


def box_overlap(boxes: Float[Tensor, "*S 4"], others: Float[Tensor, "*R 4"]) -> Float[Tensor, "*Q"]:
    """Intersection over union of boxes that broadcast against each other.

    Args:
        boxes: `(x, y, w, h)` [px].
        others: the same.

    Returns:
        From 0 to 1; 0 where both are empty.

    Example:
        >>> box_overlap(torch.tensor([0.0, 0.0, 2.0, 2.0]), torch.tensor([1.0, 0.0, 2.0, 2.0])).item()  # 2 of 6
        0.333...
    """
    corner = torch.maximum(boxes[..., :2], others[..., :2])
    far = torch.minimum(boxes[..., :2] + boxes[..., 2:], others[..., :2] + others[..., 2:])
    shared = (far - corner).clamp(min=0).prod(-1)
    union = boxes[..., 2:].prod(-1) + others[..., 2:].prod(-1) - shared

    return torch.where(union > 0, shared / union.where(union > 0, torch.ones_like(union)), torch.zeros_like(shared))


def anchor_presence(
    logits: Float[Tensor, "B A"],
    anchors: Float[Tensor, "A 4"],
    boxes: Float[Tensor, "B 4"],
    positive_weight: float = 10.0,
) -> Float[Tensor, ""]:
    """`L_c` with anchors (eqs. 9, 10): binary cross-entropy of "the target is at this anchor".

    An anchor counts as positive where it overlaps the box by more than 0.45, as negative below 0.2; between it is left
    out.

    Args:
        logits: of each anchor.
        anchors: where they are [px].
        boxes: where the target is [px].
        positive_weight: weight of a positive anchor relative to a negative one.

    Returns:
        The weighted mean over all anchors that count, 0 if there is none.

    Example:
        >>> anchors = torch.tensor([[0.0, 0.0, 2.0, 2.0], [8.0, 8.0, 2.0, 2.0]])  # on the target, and away from it
        >>> loss = anchor_presence(torch.tensor([[0.0, 30.0]]), anchors, torch.tensor([[0.0, 0.0, 2.0, 2.0]]))
        >>> round(loss.item(), 3)  # (10 ln 2 + 1 * 30) / 11
        3.357
    """
    overlap = box_overlap(anchors, boxes.unsqueeze(1))
    positive = overlap > _POSITIVE
    weight = positive * positive_weight + (overlap < _NEGATIVE).to(logits.dtype)
    each = F.binary_cross_entropy_with_logits(logits, positive.to(logits.dtype), weight, reduction="sum")

    return each / weight.sum().clamp(min=torch.finfo(logits.dtype).tiny)


def anchor_offsets(boxes: Float[Tensor, "*S 4"], anchors: Float[Tensor, "*R 4"]) -> Float[Tensor, "*Q 4"]:
    """Boxes as seen from anchors (eq. 12): `(x - x_a) / w_a, (y - y_a) / h_a, ln(w / w_a), ln(h / h_a)`.

    Args:
        boxes: the target's [px].
        anchors: with sizes above 0 [px].

    Example:
        >>> anchor_offsets(torch.tensor([6.0, 3.0, 4.0, 2.0]), torch.tensor([4.0, 4.0, 4.0, 2.0])).tolist()
        [0.5, -0.5, 0.0, 0.0]
    """
    place = (boxes[..., :2] - anchors[..., :2]) / anchors[..., 2:]
    return torch.cat([place, (boxes[..., 2:] / anchors[..., 2:]).log()], -1)


def anchor_box(
    offsets: Float[Tensor, "B A 4"], anchors: Float[Tensor, "A 4"], boxes: Float[Tensor, "B 4"]
) -> Float[Tensor, ""]:
    """`L_1` with anchors (eqs. 11, 12): smooth-L1 of the four offsets, over positive anchors only.

    Args:
        offsets: prediction for each anchor, as `anchor_offsets`.
        anchors: where they are [px].
        boxes: where the target is [px].

    Returns:
        The sum over the four numbers, mean over positive anchors; 0 if there is none.

    Example:
        >>> anchors = torch.tensor([[0.0, 0.0, 2.0, 2.0], [8.0, 8.0, 2.0, 2.0]])
        >>> offsets = torch.tensor([[[0.5, 0.0, 0.0, -3.0], [9.0, 9.0, 9.0, 9.0]]])  # the second anchor is far away
        >>> anchor_box(offsets, anchors, torch.tensor([[0.0, 0.0, 2.0, 2.0]])).item()  # 0.5 * 0.25 + (3 - 0.5)
        2.625
    """
    positive = box_overlap(anchors, boxes.unsqueeze(1)) > _POSITIVE
    wrong = F.smooth_l1_loss(offsets, anchor_offsets(boxes.unsqueeze(1), anchors), reduction="none").sum(-1)

    return (wrong * positive).sum() / positive.sum().clamp(min=1)


def map_presence(
    response: Float[Tensor, "B H W"], centers: Float[Tensor, "B 2"], sigma: float = 1.0
) -> Float[Tensor, ""]:
    """`L_c` without anchors: cross-entropy between the softmax of a map and a Gaussian at the true place.

    Args:
        response: a score of each cell.
        centers: the true place `(x, y)`, in cells; `(0, 0)` is the middle of the first one.
        sigma: standard deviation of the Gaussian [cells].

    Returns:
        Mean over the samples [nats]. A Gaussian that lies outside of the map counts at the nearest cells.

    Raises:
        ConfigError: sigma is not above 0.

    Example:
        >>> flat = torch.zeros(1, 2, 2)  # no information: ln 4, wherever the target is
        >>> round(map_presence(flat, torch.tensor([[0.0, 1.0]])).item(), 4)
        1.3863
    """
    if not sigma > 0:
        raise ConfigError(f"map_presence needs sigma > 0 cells, but got {sigma}")

    rows, columns = (torch.arange(n, dtype=response.dtype, device=response.device) for n in response.shape[1:])
    away = (rows - centers[:, 1:]).square().unsqueeze(2) + (columns - centers[:, :1]).square().unsqueeze(1)
    wanted = (-away / (2 * sigma**2)).flatten(1).softmax(1)

    return -(wanted * response.flatten(1).log_softmax(1)).sum(1).mean()


def signed_response(response: Float[Tensor, "B H W"], centers: Float[Tensor, "B 2"]) -> Float[Tensor, ""]:
    """The loss of the released code: `-sum g r + 0.1 sum r^2`, over the cells where g is not 0.

    `g` is 1 within one cell of the target, 0 up to two cells, -1 beyond. It is least squares to `5 g`, but for a
    constant.

    Args:
        response: a score of each cell, `r`.
        centers: the true place `(x, y)`, in cells; `(0, 0)` is the middle of the first one.

    Returns:
        The sum over cells, mean over the samples.

    Example:
        >>> row = torch.tensor([[[2.0, 0.0, 9.0, -3.0]]])  # the target is at the first cell; the third does not count
        >>> round(signed_response(row, torch.zeros(1, 2)).item(), 3)  # -(2 + 0 + 3) + 0.1 (4 + 0 + 9)
        -3.7
    """
    rows, columns = (torch.arange(n, dtype=response.dtype, device=response.device) for n in response.shape[1:])
    away = (rows - centers[:, 1:]).square().unsqueeze(2) + (columns - centers[:, :1]).square().unsqueeze(1)
    search_slice = away <= 1
    counts = (away <= 1) | (away > 4)
    sign = torch.where(search_slice, 1.0, -1.0).to(response.dtype)

    return (counts * (0.1 * response.square() - sign * response)).sum((1, 2)).mean()


def center_box(
    centers: Float[Tensor, "B 2"],
    log_sizes: Float[Tensor, "B 2"],
    boxes: Float[Tensor, "B 4"],
    first: Float[Tensor, "B 4"],
    cell: float,
) -> Float[Tensor, ""]:
    """`L_1` without anchors: smooth-L1 of the centre in cells, and of the size relative to that of the first box.

    Args:
        centers: prediction [px].
        log_sizes: prediction of `ln(w / w_0)` and `ln(h / h_0)`.
        boxes: where the target is [px].
        first: the first box, with a size above 0 [px].
        cell: side of a cell [px].

    Returns:
        The sum over the four numbers, mean over the samples.

    Raises:
        ConfigError: a cell without a size.

    Example:
        >>> box = torch.tensor([[0.0, 0.0, 8.0, 8.0]])  # its middle is at (4, 4)
        >>> center_box(torch.tensor([[4.0, 12.0]]), torch.zeros(1, 2), box, box, cell=4.0).item()  # 2 cells off
        1.5
    """
    if not cell > 0:
        raise ConfigError(f"center_box needs a cell above 0 px, but got {cell}")

    middle = boxes[:, :2] + boxes[:, 2:] / 2
    place = F.smooth_l1_loss(centers / cell, middle / cell, reduction="none")
    size = F.smooth_l1_loss(log_sizes, (boxes[:, 2:] / first[:, 2:]).log(), reduction="none")

    return (place + size).sum(1).mean()


def feature_size(features: Float[Tensor, "*S"]) -> Float[Tensor, ""]:
    """`L_R` (eq. 8): the mean of the squared features.

    Args:
        features: of the ANN. Too strong a weight on this makes them die.

    Example:
        >>> feature_size(torch.tensor([1.0, 3.0])).item()
        5.0
    """
    return features.square().mean()


def feature_change(
    change: Float[Tensor, "*S"], features: Float[Tensor, "*S"], next_features: Float[Tensor, "*S"]
) -> Float[Tensor, ""]:
    """`L_F` (eq. 13): how far the unit's change is from that between two frames. It needs no labels.

    The features are a goal and get no gradient; else the best would be features that never change.

    Args:
        change: what the hybrid unit gives at the end of a frame interval.
        features: of the frame at its beginning.
        next_features: of the frame at its end, cut at the same place.

    Raises:
        ShapeError: shapes differ.

    Example:
        >>> feature_change(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0]), torch.tensor([3.0, 1.0])).item()
        0.5
    """
    if not change.shape == features.shape == next_features.shape:
        raise ShapeError(
            f"feature_change needs one shape, but got {tuple(change.shape)}, {tuple(features.shape)} and "
            f"{tuple(next_features.shape)}"
        )

    return (change - (next_features - features).detach()).square().mean()
