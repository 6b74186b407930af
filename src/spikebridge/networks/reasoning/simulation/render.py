"""Renders videos of rolling objects from above: shape, colour, gloss, brightness, noise, and an occluder."""

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from spikebridge.networks.reasoning.data.scene import NUM_OBSERVED_FRAMES
from spikebridge.networks.reasoning.simulation.table import RADIUS
from spikebridge.networks.reasoning.simulation.video import CUBE, HEIGHT, WIDTH, Appearance

RGB: TypeAlias = tuple[float, float, float]
Shader: TypeAlias = Callable[[np.ndarray, np.ndarray, float], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Columns and rows around the centre [radii] and an angle [rad] to coverage, diffuse and specular shading."""

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
"""Red, green and blue of each colour in full light."""
_LIGHT = np.array([-0.50, -0.60, 0.62])
_GLOSS = {"metal": 0.75, "rubber": 0.08}
_OCCLUDER_SHADE = 0.30


@runtime_checkable
class _Renderable(Protocol):
    """What pictures are rendered from: a `RollingVideo`, or other objects on a table."""

    @property
    def seed(self) -> int:
        """Of the noise."""

    @property
    def objects(self) -> tuple[tuple[str, str, str], ...]:
        """Colour, material and shape of each."""

    @property
    def appearance(self) -> Appearance:
        """Parameters of the rendering."""

    @property
    def positions(self) -> Float[np.ndarray, "F O 2"]:
        """x and y of every centre in every frame, NaN where there is none [px]."""


def render_frames(
    video: _Renderable,
    frames: np.ndarray | None = None,
    palette: Mapping[str, RGB] = PALETTE,
    shaders: Mapping[str, Shader] | None = None,
) -> UInt8[np.ndarray, "F 96 144 3"]:
    """The frames of a video as pictures, each with its own noise.

    Args:
        video: to render.
        frames: to render; None: all 128 observed frames.
        palette: red, green and blue of each colour in full light.
        shaders: of further shapes, by name.

    Returns:
        Red, green and blue from 0 to 255.

    Example:
        >>> from spikebridge.networks.reasoning.simulation.video import generate_video
        >>> render_frames(generate_video("train", 0), np.array([0, 60])).shape
        (2, 96, 144, 3)
    """
    chosen = np.arange(NUM_OBSERVED_FRAMES) if frames is None else np.asarray(frames)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    # the table is a little darker away from the light
    table = video.appearance.table * (1 - 0.15 * (rows / HEIGHT + columns / WIDTH) / 2)
    image = np.repeat(table.astype(np.float32)[None, :, :, None], len(chosen), axis=0) * np.ones(3, np.float32)

    for where, frame in zip(image, chosen, strict=True):
        for i in np.flatnonzero(~np.isnan(video.positions[frame, :, 0])):
            _draw(where, video, int(i), video.positions[frame, i], palette, {**_SHADERS, **(shaders or {})})
        _hide(where, video, int(frame))

    image *= video.appearance.brightness
    if video.appearance.noise > 0:
        for where, frame in zip(image, chosen, strict=True):
            generator = np.random.default_rng([video.seed, int(frame)])
            where += video.appearance.noise * generator.standard_normal(where.shape, dtype=np.float32)

    return (image.clip(0, 1) * 255).round().astype(np.uint8)


def _draw(
    image: np.ndarray,
    video: _Renderable,
    number: int,
    centre: np.ndarray,
    palette: Mapping[str, RGB],
    shaders: Mapping[str, Shader],
) -> None:
    x, y = centre
    reach = RADIUS * 1.4 + 3
    left = max(0, int(x - reach))
    right = min(WIDTH, int(x + reach) + 1)
    top = max(0, int(y - reach))
    bottom = min(HEIGHT, int(y + reach) + 1)

    if left >= right or top >= bottom:
        return

    across = (np.arange(left, right) + 0.5 - x)[None, :] / RADIUS
    down = (np.arange(top, bottom) + 0.5 - y)[:, None] / RADIUS
    color, material, shape = video.objects[number]
    part = image[top:bottom, left:right]
    shadow = np.clip(1.3 - np.hypot(across - 0.3, down - 0.3), 0, 1)
    part *= (1 - 0.45 * np.minimum(shadow * 2, 1))[..., None]
    covered, shade, shine = shaders[shape](across, down, video.appearance.angles[number])
    lit = np.array(palette[color]) * shade[..., None] + _GLOSS[material] * shine[..., None]

    if material == "metal":
        lit = 0.85 * lit + 0.08

    part += covered[..., None] * (lit - part)


def _sphere(across: np.ndarray, down: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    radius = np.hypot(across, down)
    up = np.sqrt(np.clip(1 - radius**2, 0, 1))
    lit = np.clip(across * _LIGHT[0] + down * _LIGHT[1] + up * _LIGHT[2], 0, 1)
    return _covered(1 - radius), 0.35 + 0.75 * lit, lit**14


def _cylinder(across: np.ndarray, down: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    radius = np.hypot(across, down)
    top = _covered(0.70 - radius)
    streak = np.exp(-(((across - down) / 0.22) ** 2)) * top
    return _covered(1 - radius), 0.55 + 0.45 * top, streak


def _cube(across: np.ndarray, down: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
"""Coverage, diffuse and specular shading of each shape around its centre, in radii."""


def _covered(inside: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Antialiased coverage of a pixel, from its distance inside the outline [radii]."""
    return np.clip(inside * RADIUS + 0.5, 0, 1)


def _hide(image: np.ndarray, video: _Renderable, frame: int) -> None:
    occluder = video.appearance.occluder
    if occluder is None:
        return

    left = occluder.left + occluder.velocity * frame
    first = max(0, round(left))
    last = min(WIDTH, round(left + occluder.width))
    if first < last:
        image[:, first:last] = _OCCLUDER_SHADE
