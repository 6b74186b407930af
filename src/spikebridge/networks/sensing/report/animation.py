"""Pictures of a target being followed: boxes over frame and events, one after the other as an animation.

Animations are WebP or GIF by Pillow; MP4 needs the extra `video` (PyAV).
"""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from importlib import import_module
from io import BytesIO
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from markupsafe import escape
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from spikebridge.data.io.atomic import atomic_write
from spikebridge.errors import ConfigError

_ANIMATIONS = (".webp", ".gif", ".mp4")
COLOUR_ON = (79, 143, 240)
COLOUR_OFF = (240, 138, 48)
"""Of events, the colours of the first two series of figures."""
COLOUR_FOUND = (80, 220, 120)
COLOUR_LOST = (240, 70, 90)
COLOUR_TRUE = (255, 255, 255)
"""Of boxes: the tracker's, the same where the target is lost, the true one."""
_WHITE = (255, 255, 255)
_MOST_SIDE = 640


class DrawnBox(NamedTuple):
    """A box with its colour, and whether its line is thin (what is only for comparison)."""

    box: Sequence[float] | NDArray[Any]
    colour: tuple[int, int, int] = _WHITE
    thin: bool = False


class SeenEvents(NamedTuple):
    """Where events were: columns, rows, and whether each was ON."""

    x: NDArray[Any]
    y: NDArray[Any]
    on: Bool[np.ndarray, " N"]


def tracking_picture(
    frame: UInt8[np.ndarray, "H W"],
    events: SeenEvents | None = None,
    boxes: Sequence[DrawnBox] = (),
    caption: str = "",
    scale: float = 1.0,
    window: tuple[int, int, int, int] | None = None,
) -> Image.Image:
    """One moment: the frame, brightened, events in colour over it, boxes, and a line of text.

    Args:
        frame: grey levels 0 to 255.
        events: blue for ON, orange for OFF.
        boxes: `x, y, w, h` in pixels of the frame.
        caption: at the lower edge.
        scale: of the picture; large ones are made smaller, to 640 pixels.
        window: left, top, width and height of the part that is shown, inside the frame; all of it without it.

    Example:
        >>> picture = tracking_picture(np.zeros((20, 30), np.uint8), boxes=[DrawnBox((5, 5, 10, 8))])
        >>> picture.size, picture.getpixel((5, 5))
        ((30, 20), (255, 255, 255))
    """
    # the square root lifts what the camera saw in the dark
    left, top, width, height = window or (0, 0, frame.shape[1], frame.shape[0])
    shown = frame[top : top + height, left : left + width]
    grey = np.sqrt(shown.astype(np.float32) * 255).astype(np.uint8)
    picture = np.repeat((grey * 0.7).astype(np.uint8)[:, :, None], 3, axis=2)

    if events is not None:
        x = events.x.astype(int) - left
        y = events.y.astype(int) - top
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)

        for colour, chosen in ((COLOUR_ON, inside & events.on), (COLOUR_OFF, inside & ~events.on)):
            # a share of the frame shines through
            under = picture[y[chosen], x[chosen]] // 3
            picture[y[chosen], x[chosen]] = under + (np.array(colour) * 2 // 3).astype(np.uint8)

    image = Image.fromarray(picture)
    factor = min(scale, _MOST_SIDE / max(image.size))
    if factor != 1:
        size = tuple(max(1, round(side * factor)) for side in image.size)
        image = image.resize(size, Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.NEAREST)  # type: ignore[arg-type]

    draw = ImageDraw.Draw(image)
    for one in boxes:
        x1 = (float(one.box[0]) - left) * factor
        y1 = (float(one.box[1]) - top) * factor
        w, h = (max(float(side) * factor, 0) for side in one.box[2:])
        draw.rectangle((x1, y1, x1 + w, y1 + h), outline=one.colour, width=1 if one.thin else 2)

    if caption:
        draw.text((5, image.height - 17), caption, fill=_WHITE, font=ImageFont.load_default(12), stroke_width=1,
                  stroke_fill=(0, 0, 0))  # fmt: skip

    return image


def write_animation(path: Path, pictures: Iterable[Image.Image], seconds_each: float) -> None:
    """Writes pictures as an endless animation, in whole or not at all.

    Args:
        path: the file (`.webp`, `.gif` or `.mp4`).
        pictures: of one size, at least one.
        seconds_each: how long each is shown [s].

    Raises:
        ConfigError: another suffix, no picture, or MP4 without its encoder.
    """
    check_animation(path.suffix)
    with atomic_write(path) as file:
        encode_animation(file, pictures, seconds_each, path.suffix)


def encode_animation(file: BinaryIO, pictures: Iterable[Image.Image], seconds_each: float, suffix: str) -> None:
    """Writes pictures as an endless animation into an open file.

    Args:
        file: open for writing; WebP and GIF keep all pictures in memory while they are written.
        pictures: of one size, at least one.
        seconds_each: how long each is shown [s].
        suffix: `.webp`, `.gif` or `.mp4`.

    Raises:
        ConfigError: another suffix, no picture, or MP4 without its encoder.
    """
    suffix = check_animation(suffix)
    rest = iter(pictures)
    first = next(rest, None)
    if first is None:
        raise ConfigError("an animation needs at least one picture.")

    if suffix == ".mp4":
        _write_mp4(file, first, rest, seconds_each)
        return

    quality: dict[str, Any] = {"quality": 40, "method": 4} if suffix == ".webp" else {"optimize": True}
    milliseconds = max(1, round(1000 * seconds_each))
    first.save(
        file, format=suffix[1:], save_all=True, append_images=list(rest), duration=milliseconds, loop=0, **quality
    )


def check_animation(suffix: str) -> str:
    """The suffix, if such an animation can be written here.

    Args:
        suffix: of a file.

    Raises:
        ConfigError: it is none of the known ones, or its encoder is missing.

    Example:
        >>> check_animation(".WEBP")
        '.webp'
    """
    if suffix.lower() not in _ANIMATIONS:
        raise ConfigError(f"an animation ends in {', '.join(_ANIMATIONS)}, but got {suffix or 'no suffix'!r}.")

    if suffix.lower() == ".mp4":
        _encoder()

    return suffix.lower()


def animation_svg(pictures: Iterable[Image.Image], seconds_each: float, title: str = "") -> str:
    """The animation inside an SVG element, for a report: one file, no address outside it.

    Args:
        pictures: of one size, at least one.
        seconds_each: how long each is shown [s].
        title: for readers who cannot see it.

    Example:
        >>> svg = animation_svg([Image.new("RGB", (8, 4))] * 2, 0.1, title="two")
        >>> svg[:32], "data:image/webp;base64," in svg
        ('<svg xmlns="http://www.w3.org/20', True)
    """
    shown = list(pictures)
    if not shown:
        raise ConfigError("an animation needs at least one picture.")

    content = BytesIO()
    shown[0].save(
        content,
        format="webp",
        save_all=True,
        append_images=shown[1:],
        duration=max(1, round(1000 * seconds_each)),
        loop=0,
        quality=45,
        method=4,
    )

    width, height = shown[0].size
    data = b64encode(content.getvalue()).decode("ascii")

    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="sb-figure" role="img" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}"><title>{escape(title)}</title>'
        f'<image width="{width}" height="{height}" href="data:image/webp;base64,{data}"/></svg>'
    )


def _write_mp4(file: BinaryIO, first: Image.Image, rest: Iterator[Image.Image], seconds_each: float) -> None:
    av = _encoder()
    # H.264 needs even sides
    width, height = (side - side % 2 for side in first.size)

    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(1 / seconds_each).limit_denominator(1000))
        stream.width = width
        stream.height = height
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "23"}

        for picture in chain([first], rest):
            frame = av.VideoFrame.from_image(picture.crop((0, 0, width, height)))
            container.mux(stream.encode(frame))

        container.mux(stream.encode())


def _encoder() -> ModuleType:
    try:
        return import_module("av")
    except ImportError as error:
        raise ConfigError(
            "an animation in .mp4 needs an encoder: install spikebridge[video], or take .webp."
        ) from error
