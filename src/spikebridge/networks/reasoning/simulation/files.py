"""Videos of rolling objects as files: npz, animated webp or gif, a folder of pictures, or mp4 (extra `video`).

An npz holds `pictures`, bytes `(F, H, W, 3)`, and `rate`, pictures per second. Lossy formats change colours slightly;
npz and lossless webp do not.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageSequence

from spikebridge.data.io.atomic import atomic_write, make_parents
from spikebridge.data.io.images import SUFFIXES, list_images, open_image
from spikebridge.data.io.npz import read_npz
from spikebridge.data.io.safe_open import MAX_BYTES, checked_file, decoding
from spikebridge.errors import ConfigError, DataError, import_extra

_RATE = 25.0
_MAX_FRAMES = 2048
_ANIMATIONS = (".webp", ".gif")
_ANIMATION_FORMATS = ("WEBP", "GIF")
VIDEO_SUFFIXES = (".npz", *_ANIMATIONS, ".mp4")


class VideoFile(NamedTuple):
    """Pictures of a video, and their rate [1/s] if the file has it."""

    pictures: UInt8[np.ndarray, "F H W 3"]
    rate: float | None


def check_video_name(path: Path) -> None:
    """Raises `ConfigError` for a name under which no video is written, before anything is rendered."""
    if path.suffix.lower() not in (".npz", ".webp"):
        raise ConfigError(f"a video is written as .npz or .webp, but got {path.name!r}")


def write_video(path: Path, pictures: UInt8[np.ndarray, "F H W 3"], rate: float = _RATE) -> None:
    """Writes a video as `.npz` or as lossless `.webp`; an existing file is replaced only when the new one is complete.

    Args:
        path: a name that ends in `.npz` or `.webp`.
        pictures: red, green and blue from 0 to 255.
        rate: pictures per second.

    Raises:
        ConfigError: another ending.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "black.npz"
        >>> write_video(path, np.zeros((4, 8, 12, 3), np.uint8))
        >>> read_video(path).pictures.shape, read_video(path).rate
        ((4, 8, 12, 3), 25.0)
    """
    check_video_name(path)
    suffix = path.suffix.lower()
    make_parents(path)

    with atomic_write(path) as file:
        if suffix == ".npz":
            np.savez_compressed(file, pictures=pictures, rate=np.array(rate))
        else:
            first, *others = [Image.fromarray(picture) for picture in pictures]
            duration = round(1000 / rate)
            first.save(file, "webp", save_all=True, append_images=others, duration=duration, lossless=True)


def read_video(path: Path) -> VideoFile:
    """Reads a video.

    Args:
        path: an `.npz`, `.webp`, `.gif` or `.mp4` file, or a folder of pictures.

    Raises:
        DataError: a missing, damaged or too large file, or not a video.
        ConfigError: an mp4 without the extra `video`.
    """
    if path.is_dir():
        return VideoFile(_stack([_open_picture(file) for file in list_images(path)], path), None)

    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _read_npz(path)
    if suffix in _ANIMATIONS:
        return _read_animation(path)
    if suffix == ".mp4":
        return _read_mp4(path)

    kinds = ", ".join(VIDEO_SUFFIXES)
    raise DataError(f"{path}: expected a video ({kinds}, or a folder of {', '.join(SUFFIXES)}), but got another format")


def _read_npz(path: Path) -> VideoFile:
    arrays = read_npz(path, ["pictures", "rate"])
    pictures = arrays["pictures"]
    rate = arrays["rate"]
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3 or rate.size != 1:
        raise DataError(
            f"{path}: expected pictures as bytes (F, H, W, 3) and one rate, but got {pictures.dtype} {pictures.shape} "
            f"and {rate.shape}"
        )

    return VideoFile(pictures, float(rate.reshape(())))


def _read_animation(path: Path) -> VideoFile:
    with open_image(path, "a video", _ANIMATION_FORMATS) as image:
        _check_size(getattr(image, "n_frames", 1), image.width, image.height, path)
        durations = []
        frames = []

        for frame in ImageSequence.Iterator(image):
            frames.append(np.asarray(frame.convert("RGB")))
            durations.append(float(frame.info.get("duration", 0)))

    mean = float(np.mean(durations))
    return VideoFile(_stack(frames, path), 1000 / mean if mean > 0 else None)


def _read_mp4(path: Path) -> VideoFile:
    av = import_extra("av", "video", "reading .mp4 needs", advice=", or take .webp")
    # the format is named, or FFmpeg would look for one that reads other files or addresses
    with decoding(path, "a video"), av.open(str(checked_file(path, "a video")), format="mp4") as container:
        stream = container.streams.video[0]
        _check_size(min(stream.frames or 1, _MAX_FRAMES), stream.width, stream.height, path)
        frames = []

        for frame in container.decode(stream):
            frames.append(frame.to_ndarray(format="rgb24"))
            _check_size(len(frames), stream.width, stream.height, path)

        rate = float(stream.average_rate) if stream.average_rate else None

    return VideoFile(_stack(frames, path), rate)


def _open_picture(path: Path) -> np.ndarray:
    with open_image(path, "a picture") as image:
        _check_size(1, image.width, image.height, path)
        return np.asarray(image.convert("RGB"))


def _check_size(number: int, width: int, height: int, path: Path) -> None:
    if number > _MAX_FRAMES or number * width * height * 3 > MAX_BYTES:
        raise DataError(
            f"{path}: expected at most {_MAX_FRAMES} pictures and {MAX_BYTES} bytes, but it declares {number} of "
            f"{width} x {height}"
        )


def _stack(pictures: list[np.ndarray], path: Path) -> np.ndarray:
    if not pictures or len(pictures) > _MAX_FRAMES or len({picture.shape for picture in pictures}) != 1:
        raise DataError(f"{path}: expected 1 to {_MAX_FRAMES} pictures of one size, but got {len(pictures)} of several")
    return np.stack(pictures)
