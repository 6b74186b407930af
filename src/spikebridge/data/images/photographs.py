"""Photographs that may be used freely, as textures of generated scenes: real pictures have what drawn ones lack.

They come with scikit-image (the extra `photographs`), scikit-learn and matplotlib; nothing is downloaded, and none of
them is part of this package. Each is of one split by its name, so that what is validated on was never trained on.

| split | photographs |
|---|---|
| train | astronaut, brick, china, coffee, coins, grace_hopper, grass, hubble_deep_field, ihc, rocket, text |
| validation | camera, chelsea, flower, gravel |
| test | cell, clock_motion, retina |
"""

from functools import cache
from importlib.util import find_spec
from math import exp, log
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from spikebridge.data.io.images import open_image
from spikebridge.errors import ConfigError

_LARGEST = 1024  # pixels along the longer side that are kept
_LEAST_RATIO = 0.5  # pixels of a photograph for one of a texture
_GAMMA = 0.3


class _Photograph(NamedTuple):
    """Where a photograph lies, and on what terms.

    Args:
        package: that it comes with.
        file: inside the package.
        split: train, validation or test.
        licence: as its package states it.
    """

    package: str
    file: str
    split: str
    licence: str


def _skimage(file: str, split: str, licence: str) -> _Photograph:
    return _Photograph("skimage", f"data/{file}", split, licence)


_CC0 = "CC0"
_UNRESTRICTED = "no known copyright restrictions"
PHOTOGRAPHS = {
    "astronaut": _skimage("astronaut.png", "train", "public domain (NASA)"),
    "brick": _skimage("brick.png", "train", _CC0),
    "china": _Photograph("sklearn", "datasets/images/china.jpg", "train", "CC BY 2.0 (danielbuechele)"),
    "coffee": _skimage("coffee.png", "train", _CC0),
    "coins": _skimage("coins.png", "train", _UNRESTRICTED),
    "grace_hopper": _Photograph(
        "matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "train", "public domain (US Navy)"
    ),
    "grass": _skimage("grass.png", "train", _CC0),
    "hubble_deep_field": _skimage("hubble_deep_field.jpg", "train", "public domain (NASA)"),
    "ihc": _skimage("ihc.png", "train", _UNRESTRICTED),
    "rocket": _skimage("rocket.jpg", "train", "public domain (SpaceX)"),
    "text": _skimage("text.png", "train", "public domain"),
    "camera": _skimage("camera.png", "validation", _CC0),
    "chelsea": _skimage("chelsea.png", "validation", _CC0),
    "flower": _Photograph("sklearn", "datasets/images/flower.jpg", "validation", "CC BY 2.0 (vultilion)"),
    "gravel": _skimage("gravel.png", "validation", _CC0),
    "cell": _skimage("cell.png", "test", _CC0),
    "clock_motion": _skimage("clock_motion.png", "test", "public domain"),
    "retina": _skimage("retina.jpg", "test", _CC0),
}
"""By their names."""


@cache
def load_photographs(split: str) -> tuple[UInt8[np.ndarray, "_ _ 3"], ...]:
    """The photographs of a split, in the order of the table, at most 1024 px along the longer side.

    Args:
        split: train, validation or test.

    Raises:
        ConfigError: there is no such split, or a package is not installed.
        DataError: a file is missing or damaged.

    Example:
        >>> len([one for one in PHOTOGRAPHS.values() if one.split == "train"])
        11
    """
    chosen = [one for one in PHOTOGRAPHS.values() if one.split == split]
    if not chosen:
        raise ConfigError(f"photographs are for train, validation, test, but got {split!r}.")

    return tuple(_read(_path(one)) for one in chosen)


def photograph_texture(
    split: str, height: int, width: int, generator: np.random.Generator
) -> Float[np.ndarray, "{height} {width}"]:
    """A random part of a random photograph, mirrored or turned, enlarged twice at most, grey from a mixture of colours.

    Args:
        split: train, validation or test.
        height: rows.
        width: columns.
        generator: draws it.

    Returns:
        Intensities in [0, 1].

    Raises:
        ConfigError: as `load_photographs`.
    """
    photographs = load_photographs(split)
    picture = photographs[generator.integers(len(photographs))]
    if generator.random() < 0.5:
        picture = picture.transpose(1, 0, 2)

    picture = picture[:: generator.choice([-1, 1]), :: generator.choice([-1, 1])]
    rows, columns = picture.shape[:2]
    largest = min(rows / height, columns / width)
    ratio = exp(generator.uniform(log(min(largest, _LEAST_RATIO)), log(largest)))
    top, left = (generator.uniform(0, whole - ratio * n) for whole, n in ((rows, height), (columns, width)))
    grey = Image.fromarray((picture @ generator.dirichlet(np.ones(3))).round().clip(0, 255).astype(np.uint8))
    seen = grey.resize(
        (width, height), Image.Resampling.BILINEAR, (left, top, left + ratio * width, top + ratio * height)
    )

    return (np.asarray(seen) / 255.0) ** exp(generator.uniform(-_GAMMA, _GAMMA))


def _path(photograph: _Photograph) -> Path:
    found = find_spec(photograph.package)
    if found is None or not found.submodule_search_locations:
        raise ConfigError("scenes of photographs need scikit-image: pip install 'spikebridge[photographs]'")

    return Path(found.submodule_search_locations[0]) / photograph.file


def _read(path: Path) -> UInt8[np.ndarray, "_ _ 3"]:
    with open_image(path, "a photograph") as image:
        colours = image.convert("RGB")
        colours.thumbnail((_LARGEST, _LARGEST))
        return np.array(colours)
