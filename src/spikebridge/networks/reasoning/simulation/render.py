"""Renders videos of rolling objects from above: shape, colour, gloss, brightness, noise, and an occluder."""

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from spikebridge.networks.reasoning.data.scene import NUM_OBSERVED_FRAMES
from spikebridge.networks.reasoning.simulation.table import RADIUS
from spikebridge.networks.reasoning.simulation.video import CUBE, HEIGHT, WIDTH, Appearance

RGB: TypeAlias = tuple[float, float, float]
_Shading: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]  # coverage, diffuse and specular shading of each pixel
# Shading from columns and rows around the centre [radii] and an angle [rad].
Shader: TypeAlias = Callable[[np.ndarray, np.ndarray, float], _Shading]

# Red, green and blue of each colour in full light.
PALETTE: dict[str, RGB] = {
    "gray": (0.40, 0.40, 0.40),
    "red": (0.72, 0.12, 0.12),
    "blue": (0.15, 0.28, 0.80),
    "green": (0.10, 0.52, 0.14),
    "brown": (0.46, 0.27, 0.10),
    "yellow": (0.92, 0.82, 0.16),
    "cyan": (0.16, 0.76, 0.78),
    "purple": (0.52, 0.16, 0.66),
}
_LIGHT = np.array([-0.50, -0.60, 0.62])
_GLOSS = {"metal": 0.75, "rubber": 0.08}
_OCCLUDER_SHADE = 0.30


@runtime_checkable
class _Renderable(Protocol):
    """A `RollingVideo`, or other objects on a table, as it is rendered."""

    @property
    def seed(self) -> int: ...

    @property
    def objects(self) -> tuple[tuple[str, str, str], ...]: ...

    @property
    def appearance(self) -> Appearance: ...

    @property
    def positions(self) -> Float[np.ndarray, "F O 2"]: ...


def render_frames(
    video: _Renderable,
    frames: np.ndarray | None = None,
    palette: Mapping[str, RGB] = PALETTE,
    shaders: Mapping[str, Shader] | None = None,
) -> UInt8[np.ndarray, "F 96 144 3"]:
    """The frames of a video as pictures; shaders draw further shapes by name, a palette further colours."""
    numbers = np.arange(NUM_OBSERVED_FRAMES) if frames is None else np.asarray(frames)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    # the table is a little darker away from the light
    table = video.appearance.table * (1 - 0.15 * (rows / HEIGHT + columns / WIDTH) / 2)
    images = np.repeat(table.astype(np.float32)[None, :, :, None], len(numbers), axis=0) * np.ones(3, np.float32)

    for image, frame in zip(images, numbers, strict=True):
        for i in np.flatnonzero(~np.isnan(video.positions[frame, :, 0])):
            _draw(image, video, int(i), video.positions[frame, i], palette, {**_SHADERS, **(shaders or {})})
        _draw_occluder(image, video, int(frame))

    images *= video.appearance.brightness
    if video.appearance.noise > 0:
        # a generator for each frame, so that a picture does not depend on which others are rendered
        for image, frame in zip(images, numbers, strict=True):
            generator = np.random.default_rng([video.seed, int(frame)])
            image += video.appearance.noise * generator.standard_normal(image.shape, dtype=np.float32)

    return (images.clip(0, 1) * 255).round().astype(np.uint8)


def _draw(
    image: np.ndarray,
    video: _Renderable,
    number: int,
    centre: np.ndarray,
    palette: Mapping[str, RGB],
    shaders: Mapping[str, Shader],
) -> None:
    """Draws an object and its shadow into a picture."""
    x, y = centre
    # the box of a turned cube with its shadow; the rest of the picture stays as it is
    reach = RADIUS * 1.4 + 3
    left = max(0, int(x - reach))
    right = min(WIDTH, int(x + reach) + 1)
    top = max(0, int(y - reach))
    bottom = min(HEIGHT, int(y + reach) + 1)
    if left >= right or top >= bottom:
        return

    across = (np.arange(left, right) + 0.5 - x)[None, :] / RADIUS
    down = (np.arange(top, bottom) + 0.5 - y)[:, None] / RADIUS
    part = image[top:bottom, left:right]
    shadow = np.clip(1.3 - np.hypot(across - 0.3, down - 0.3), 0, 1)
    part *= (1 - 0.45 * np.minimum(shadow * 2, 1))[..., None]

    color, material, shape = video.objects[number]
    coverage, diffuse, specular = shaders[shape](across, down, video.appearance.angles[number])
    shaded = np.array(palette[color]) * diffuse[..., None] + _GLOSS[material] * specular[..., None]
    # metal reflects a little of the surroundings
    if material == "metal":
        shaded = 0.85 * shaded + 0.08

    part += coverage[..., None] * (shaded - part)


def _sphere(across: np.ndarray, down: np.ndarray, angle: float) -> _Shading:
    radius = np.hypot(across, down)
    up = np.sqrt(np.clip(1 - radius**2, 0, 1))
    lit = np.clip(across * _LIGHT[0] + down * _LIGHT[1] + up * _LIGHT[2], 0, 1)
    return _covered(1 - radius), 0.35 + 0.75 * lit, lit**14


def _cylinder(across: np.ndarray, down: np.ndarray, angle: float) -> _Shading:
    radius = np.hypot(across, down)
    top = _covered(0.70 - radius)
    streak = np.exp(-(((across - down) / 0.22) ** 2)) * top
    return _covered(1 - radius), 0.55 + 0.45 * top, streak


def _cube(across: np.ndarray, down: np.ndarray, angle: float) -> _Shading:
    u = across * np.cos(angle) + down * np.sin(angle)
    v = down * np.cos(angle) - across * np.sin(angle)
    outside = np.maximum(abs(u), abs(v))
    top = _covered(0.62 - outside)

    # each of the four sides faces the light in its own way
    facing = np.where(abs(u) > abs(v), np.sign(u) * np.cos(angle), -np.sign(v) * np.sin(angle)) * _LIGHT[0]
    facing += np.where(abs(u) > abs(v), np.sign(u) * np.sin(angle), np.sign(v) * np.cos(angle)) * _LIGHT[1]
    streak = np.exp(-(((u - v) / 0.22) ** 2)) * top

    return _covered(CUBE - outside), (0.55 + 0.3 * facing) * (1 - top) + top, streak


_SHADERS: dict[str, Shader] = {"sphere": _sphere, "cylinder": _cylinder, "cube": _cube}


def _covered(inside: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Antialiased coverage of a pixel, from its distance inside the outline [radii]."""
    return np.clip(inside * RADIUS + 0.5, 0, 1)


def _draw_occluder(image: np.ndarray, video: _Renderable, frame: int) -> None:
    occluder = video.appearance.occluder
    if occluder is None:
        return

    left = occluder.left + occluder.velocity * frame
    first = max(0, round(left))
    last = min(WIDTH, round(left + occluder.width))
    if first < last:
        image[:, first:last] = _OCCLUDER_SHADE
