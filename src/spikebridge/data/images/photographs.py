"""Photographs that may be used freely, as textures of generated scenes: they have more structure than drawn ones.

They come with scikit-image (the extra `photographs`), scikit-learn and matplotlib; nothing is downloaded, and none of
them is part of this package. Each is of one split by its name, so that a validated network was never trained on it.
`photographs.json` lists them with their licences.

| split | photographs |
|---|---|
| train | astronaut, brick, china, coffee, coins, grace_hopper, grass, hubble_deep_field, ihc, rocket, text |
| validation | camera, chelsea, flower, gravel |
| test | cell, clock_motion, retina |
"""

import json
from functools import cache
from importlib.util import find_spec
from math import exp, log
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from spikebridge.data.io.images import open_image
from spikebridge.errors import ConfigError, install_command

_MAX_PIXELS = 1024  # along the longer side
_MIN_RATIO = 0.5  # pixels of a photograph for one of a texture
_GAMMA = 0.3


class _Photograph(NamedTuple):
    package: str
    file: str  # inside the package
    split: str
    licence: str  # as the package states it


def _read_table() -> dict[str, _Photograph]:
    rows = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return {name: _Photograph(**row) for name, row in rows.items()}


PHOTOGRAPHS = _read_table()


@cache
def load_photographs(split: str) -> tuple[UInt8[np.ndarray, "_ _ 3"], ...]:
    """The photographs of a split, in the order of the table, at most 1024 px along the longer side."""
    photographs = [one for one in PHOTOGRAPHS.values() if one.split == split]
    if not photographs:
        raise ConfigError(f"photographs are for train, validation, test, but got {split!r}.")

    return tuple(_read(_path(one)) for one in photographs)


def photograph_texture(
    split: str, height: int, width: int, generator: np.random.Generator
) -> Float[np.ndarray, "{height} {width}"]:
    """A random part of a random photograph: mirrored, turned, enlarged twice at most, grey in [0, 1]."""
    photographs = load_photographs(split)
    picture = photographs[generator.integers(len(photographs))]
    if generator.random() < 0.5:
        picture = picture.transpose(1, 0, 2)

    picture = picture[:: generator.choice([-1, 1]), :: generator.choice([-1, 1])]
    rows, columns = picture.shape[:2]
    max_ratio = min(rows / height, columns / width)
    ratio = exp(generator.uniform(log(min(max_ratio, _MIN_RATIO)), log(max_ratio)))
    top = generator.uniform(0, rows - ratio * height)
    left = generator.uniform(0, columns - ratio * width)
    part = (left, top, left + ratio * width, top + ratio * height)

    grey = Image.fromarray((picture @ generator.dirichlet(np.ones(3))).round().clip(0, 255).astype(np.uint8))
    texture = grey.resize((width, height), Image.Resampling.BILINEAR, part)

    return (np.asarray(texture) / 255.0) ** exp(generator.uniform(-_GAMMA, _GAMMA))


def _path(photograph: _Photograph) -> Path:
    spec = find_spec(photograph.package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"scenes of photographs need scikit-image: {install_command('photographs')}")

    return Path(spec.submodule_search_locations[0]) / photograph.file


def _read(path: Path) -> UInt8[np.ndarray, "_ _ 3"]:
    with open_image(path, "a photograph") as image:
        colours = image.convert("RGB")
        colours.thumbnail((_MAX_PIXELS, _MAX_PIXELS))
        return np.array(colours)
