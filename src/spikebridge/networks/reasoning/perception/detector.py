"""The object detector: a small convolutional network for centre, size and attributes of objects in pictures.

One map scores centres, two pairs of maps give the sub-cell offset and the size, and three groups of maps classify
colour, material and shape, all read at the peaks of the first (X. Zhou et al., "Objects as Points", 2019). Each picture
is divided by its mean, for invariance to brightness.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from spikebridge.errors import ShapeError
from spikebridge.networks.reasoning.data.scene import ATTRIBUTES

STRIDE = 4  # pixels from one cell of the maps to the next


class Maps(NamedTuple):
    """The output of the network for each cell; all but `centre` are valid only at centres."""

    centre: Float[Tensor, "B h w"]  # logit of the centre of an object
    place: Float[Tensor, "B 2 h w"]  # x and y of the centre from the middle of the cell, in cells
    size: Float[Tensor, "B 2 h w"]  # width and height in cells
    color: Float[Tensor, "B 8 h w"]
    material: Float[Tensor, "B 2 h w"]
    shape: Float[Tensor, "B 3 h w"]


class Detections(NamedTuple):
    """Detected objects, one row each, in the order of their pictures."""

    frame: Int[np.ndarray, "D"]  # number of the picture
    position: Float[np.ndarray, "D 2"]  # x and y of the centre [px]
    size: Float[np.ndarray, "D 2"]  # width and height [px]
    score: Float[np.ndarray, "D"]  # score of the detection, 0 to 1
    color: Float[np.ndarray, "D 8"]  # logarithms of probabilities, in the order of `ATTRIBUTES`
    material: Float[np.ndarray, "D 2"]
    shape: Float[np.ndarray, "D 3"]


class _Block(nn.Module):
    """Residual block of two convolutions."""

    def __init__(self, num_features: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_features, num_features, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm1 = nn.BatchNorm2d(num_features)
        self.conv2 = nn.Conv2d(num_features, num_features, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(num_features)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm2(self.conv2(self.norm1(self.conv1(x)).relu())).relu()


class Detector(nn.Module):
    """Detects objects in pictures (red, green and blue of any positive scale)."""

    def __init__(self, num_features: int = 40, attributes: Mapping[str, tuple[str, ...]] | None = None) -> None:
        super().__init__()
        self.attributes = dict(ATTRIBUTES if attributes is None else attributes)
        self._sizes = (1, 2, 2, *(len(values) for values in self.attributes.values()))

        self.stem = nn.Sequential(
            nn.Conv2d(3, num_features // 2, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(num_features // 2),
            nn.ReLU(),
            nn.Conv2d(num_features // 2, num_features, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(num_features),
            nn.ReLU(),
        )

        self.blocks = nn.Sequential(_Block(num_features, 1), _Block(num_features, 2))
        self.heads = nn.Conv2d(num_features, sum(self._sizes), 1)
        with torch.no_grad():
            self.heads.state_dict()["bias"][0] = -4.0  # centres are rare

    def forward(self, pictures: Float[Tensor, "B 3 H W"]) -> Maps:
        """Maps of pictures; raises `ShapeError` for sides that are not multiples of 4, or not three colours."""
        maps = self.heads(self.features(pictures))
        centre, *others = maps.split(self._sizes, dim=1)

        return Maps(centre[:, 0], *others)

    def features(self, pictures: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """The features from which the maps are computed."""
        if pictures.ndim != 4 or pictures.shape[1] != 3 or pictures.shape[2] % STRIDE or pictures.shape[3] % STRIDE:
            raise ShapeError(
                f"Detector needs pictures (B, 3, H, W) with sides that are multiples of {STRIDE}, but got "
                f"{tuple(pictures.shape)}"
            )

        # a brighter light multiplies all pixels
        brightness = pictures.mean((1, 2, 3), keepdim=True).clamp(min=1e-6)
        features: Tensor = self.blocks(self.stem(pictures / brightness - 1))

        return features


@torch.no_grad()
def detect(
    detector: Detector, pictures: UInt8[np.ndarray, "F H W 3"], min_score: float = 0.3, batch_size: int = 32
) -> Detections:
    """The objects in the pictures of a video; the detector is in eval mode."""
    parts = []
    for first in range(0, len(pictures), batch_size):
        batch = torch.from_numpy(np.ascontiguousarray(pictures[first : first + batch_size]))
        maps = detector(batch.permute(0, 3, 1, 2).float() / 255)
        parts.append(_peaks(maps, first, min_score))

    return Detections(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _peaks(maps: Maps, first: int, min_score: float) -> Detections:
    """The local maxima of the scores of centres; `first` is the number of the first picture."""
    score = maps.centre.sigmoid()
    # a peak is its own maximum among the nine cells around it
    highest = F.max_pool2d(score[:, None], 3, stride=1, padding=1)[:, 0]
    picture, row, column = ((score == highest) & (score >= min_score)).nonzero(as_tuple=True)
    at = (picture, slice(None), row, column)
    place = torch.stack([column, row], -1) + 0.5 + maps.place[at]
    attributes = [getattr(maps, name)[at].log_softmax(-1) for name in ATTRIBUTES]
    columns = [place * STRIDE, maps.size[at] * STRIDE, score[picture, row, column], *attributes]

    return Detections((picture + first).numpy(), *(values.double().numpy() for values in columns))
