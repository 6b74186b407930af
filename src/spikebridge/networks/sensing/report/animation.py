"""Pictures of a tracked target: boxes over frame and events, and animations of such pictures.

Animations are WebP or GIF by Pillow; MP4 needs the extra `video` (PyAV).
"""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from io import BytesIO
from itertools import chain
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import UInt8
from markupsafe import escape
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from spikebridge.data.events.binned import BinEvents, Crop
from spikebridge.errors import ConfigError, import_extra

_ANIMATIONS = (".webp", ".gif", ".mp4")
# events have the colours of the first two series of figures
COLOUR_ON = (79, 143, 240)
COLOUR_OFF = (240, 138, 48)
# boxes: the tracker's, the same where the target is lost, and the true one
COLOUR_TRACKED = (80, 220, 120)
COLOUR_LOST = (240, 70, 90)
COLOUR_TRUE = (255, 255, 255)
_WHITE = (255, 255, 255)
_BLACK = (0, 0, 0)
_MAX_SIDE = 640
# brightness of frames, so that boxes and events stand out
_DIMMED = 0.7
_PAGE_QUALITY = {"quality": 45, "method": 4}
_FILE_QUALITY: dict[str, dict[str, Any]] = {".webp": {"quality": 40, "method": 4}, ".gif": {"optimize": True}}


class DrawnBox(NamedTuple):
    """A box with its colour; the line of one that is shown for comparison is thin."""

    box: Sequence[float] | NDArray[Any]
    colour: tuple[int, int, int] = _WHITE
    thin: bool = False


def tracking_picture(
    frame: UInt8[np.ndarray, "H W"],
    events: BinEvents | None = None,
    boxes: Sequence[DrawnBox] = (),
    caption: str = "",
    scale: float = 1.0,
    window: Crop | None = None,
) -> Image.Image:
    """One moment: the brightened frame, ON events in blue and OFF in orange, boxes, and a line of text.

    `window` is the part of the frame that is shown, inside of it. A picture that `scale` makes larger than 640 pixels
    is made smaller.
    """
    window = window or (0, 0, frame.shape[1], frame.shape[0])
    picture = _brightened(frame, window)
    if events is not None:
        _color_events(picture, events, window)

    image = Image.fromarray(picture)
    factor = min(scale, _MAX_SIDE / max(image.size))
    if factor != 1:
        width, height = (max(1, round(side * factor)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.NEAREST)

    draw = ImageDraw.Draw(image)
    for drawn in boxes:
        left = (float(drawn.box[0]) - window[0]) * factor
        top = (float(drawn.box[1]) - window[1]) * factor
        # a rectangle without a size is drawn as a point
        w, h = (max(float(side) * factor, 0) for side in drawn.box[2:])
        draw.rectangle((left, top, left + w, top + h), outline=drawn.colour, width=1 if drawn.thin else 2)

    if caption:
        font = ImageFont.load_default(12)
        draw.text((5, image.height - 17), caption, fill=_WHITE, font=font, stroke_width=1, stroke_fill=_BLACK)

    return image


def _brightened(frame: UInt8[np.ndarray, "H W"], window: Crop) -> UInt8[np.ndarray, "h w 3"]:
    """A part of a frame in colours, dark levels lifted."""
    left, top, width, height = window
    part = frame[top : top + height, left : left + width]
    # the square root lifts the dark levels
    grey = np.sqrt(part.astype(np.float32) * 255).astype(np.uint8)
    return np.repeat((grey * _DIMMED).astype(np.uint8)[:, :, None], 3, axis=2)


def _color_events(picture: UInt8[np.ndarray, "h w 3"], events: BinEvents, window: Crop) -> None:
    """Colours the pixels with events, in place."""
    left, top, width, height = window
    x = events.x.astype(int) - left
    y = events.y.astype(int) - top
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)

    for colour, chosen in ((COLOUR_ON, inside & events.on), (COLOUR_OFF, inside & ~events.on)):
        # a third of the frame shines through
        under = picture[y[chosen], x[chosen]] // 3
        picture[y[chosen], x[chosen]] = under + (np.array(colour) * 2 // 3).astype(np.uint8)


def encode_animation(file: BinaryIO, pictures: Iterable[Image.Image], seconds_each: float, suffix: str) -> None:
    """Writes pictures of one size as an endless animation into an open file: `.webp`, `.gif` or `.mp4`.

    WebP and GIF keep all pictures in memory meanwhile.
    """
    suffix = check_animation(suffix)
    rest = iter(pictures)
    first = next(rest, None)
    if first is None:
        raise ConfigError("an animation needs at least one picture.")

    if suffix == ".mp4":
        _write_mp4(file, first, rest, seconds_each)
    else:
        _save_animation(file, [first, *rest], seconds_each, suffix[1:], _FILE_QUALITY[suffix])


def animation_svg(pictures: Iterable[Image.Image], seconds_each: float, title: str = "") -> str:
    """The animation inside an SVG element for a page, without an address outside of it."""
    shown = list(pictures)
    if not shown:
        raise ConfigError("an animation needs at least one picture.")

    content = BytesIO()
    _save_animation(content, shown, seconds_each, "webp", _PAGE_QUALITY)
    width, height = shown[0].size
    data = b64encode(content.getvalue()).decode("ascii")

    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="sb-figure" role="img" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}"><title>{escape(title)}</title>'
        f'<image width="{width}" height="{height}" href="data:image/webp;base64,{data}"/></svg>'
    )


def check_animation(suffix: str) -> str:
    """The suffix in small letters, if such an animation can be written here."""
    if suffix.lower() not in _ANIMATIONS:
        raise ConfigError(f"an animation ends in {', '.join(_ANIMATIONS)}, but got {suffix or 'no suffix'!r}.")

    if suffix.lower() == ".mp4":
        _encoder()

    return suffix.lower()


def _save_animation(
    file: BinaryIO, pictures: Sequence[Image.Image], seconds_each: float, kind: str, quality: dict[str, Any]
) -> None:
    milliseconds = max(1, round(1000 * seconds_each))
    pictures[0].save(
        file, format=kind, save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0, **quality
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


def _encoder() -> Any:
    return import_extra("av", "video", "an animation in .mp4 needs", advice=", or take .webp")
