"""Grey images of files: levels, order, and files that are refused."""

import subprocess
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from spikebridge.data.io.images import ImageFiles, check_consecutive, list_images, read_grey
from spikebridge.errors import DataError


def save(path, image):
    Image.fromarray(np.asarray(image)).save(path)
    return path


def test_grey_levels_are_read_as_they_are(tmp_path):
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert read_grey(save(tmp_path / "a.png", image)).tolist() == image.tolist()


def test_of_sixteen_bits_the_upper_eight_are_read(tmp_path):
    image = np.array([[0, 255, 256, 65535]], np.uint16)
    assert read_grey(save(tmp_path / "a.png", image)).tolist() == [[0, 0, 1, 255]]


def test_colours_are_weighed(tmp_path):
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    assert read_grey(save(tmp_path / "a.png", colours)).tolist() == [[76, 150, 29, 255]]


def test_colours_are_given_where_the_first_image_has_any(tmp_path):
    colour = np.array([[[200, 10, 30], [0, 0, 90]]], np.uint8)
    for name, picture in {"colour": colour, "grey": np.repeat(colour[..., :1], 3, 2)}.items():
        Image.fromarray(picture).save(tmp_path / f"{name}.png")

    coloured = ImageFiles([tmp_path / "colour.png", tmp_path / "grey.png"])
    assert np.array_equal(coloured.colours(0), colour) and coloured.colours(1).shape == (1, 2, 3)
    assert ImageFiles([tmp_path / "grey.png"]).colours(0).tolist() == [[200, 0]]
    assert coloured[0].shape == (1, 2)


def test_images_come_in_the_order_of_their_numbers(tmp_path):
    for name in ("frame_10.png", "frame_9.png", "frame_1.PNG", "frame_2.txt", "cover.png"):
        (tmp_path / name).touch()
    assert [path.name for path in list_images(tmp_path)] == ["cover.png", "frame_1.PNG", "frame_9.png", "frame_10.png"]


def test_a_gap_in_the_numbers_is_refused():
    check_consecutive([Path("00007.png"), Path("00008.png")])
    with pytest.raises(DataError, match=r"00009\.png: expected an image of number 8 after 00007\.png; is one missing"):
        check_consecutive([Path("00007.png"), Path("00009.png")])


def test_images_are_read_on_access_and_may_be_subsampled(tmp_path):
    paths = [save(tmp_path / f"{k}.png", np.full((2, 3), k, np.uint8)) for k in range(5)]
    images = ImageFiles(paths)

    assert [int(image[0, 0]) for image in images] == [0, 1, 2, 3, 4]
    assert [int(image[0, 0]) for image in images[1::2]] == [1, 3]
    assert int(images[-1][0, 0]) == 4

    paths[3].unlink()
    assert int(images[4][0, 0]) == 4
    with pytest.raises(DataError, match=r"3\.png: expected an image, but there is no such file"):
        images[3]


def test_an_image_of_another_size_is_refused(tmp_path):
    paths = [save(tmp_path / "0.png", np.zeros((2, 3), np.uint8)), save(tmp_path / "1.png", np.zeros((3, 2), np.uint8))]
    with pytest.raises(DataError, match=r"1\.png: expected 3 x 2 pixels as in 0\.png, but got 2 x 3"):
        ImageFiles(paths)[1]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_cut_image_is_refused(tmp_path, suffix):
    path = save(tmp_path / f"a.{suffix}", np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match="expected an image, but it is damaged or of another kind"):
        read_grey(path)


def test_what_is_no_image_is_refused(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"plain words")
    with pytest.raises(DataError, match="damaged or of another kind"):
        read_grey(path)

    with pytest.raises(DataError, match="mode 'F'; save it as 8-bit grey first"):
        read_grey(save(tmp_path / "a.tif", np.zeros((2, 2), np.float32)))


def test_a_header_that_declares_too_much_is_refused_before_memory_is_taken(tmp_path):
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 10000 8000 255\n")
    with pytest.raises(DataError, match="at most 33554432 pixels, but it has 10000 x 8000"):
        read_grey(path)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected images"):
        list_images(tmp_path)

    with pytest.raises(DataError, match="expected a folder of images"):
        list_images(tmp_path / "none")

    with pytest.raises(DataError, match="at least one image file"):
        ImageFiles([])


def test_a_file_of_another_format_is_refused_whatever_its_name_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow starts Ghostscript for PostScript."""
    for name in ("Popen", "run", "call", "check_call", "check_output"):
        monkeypatch.setattr(subprocess, name, lambda *words, **options: pytest.fail("a program was started"))

    (tmp_path / "script.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n(x) run showpage\n%%EOF\n"
    )
    for format_, suffix in (("GIF", ".png"), ("ICO", ".jpg"), ("PCX", ".bmp"), ("TGA", ".tif"), ("PDF", ".pgm")):
        Image.new("RGB", (32, 32)).save(tmp_path / f"{format_}{suffix}", format_)

    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(DataError, match=f"{path.name}: expected an image, but it is damaged or of another kind"):
            read_grey(path)


@pytest.mark.parametrize("failure", [IndexError("3"), MemoryError(), RuntimeError("x"), BaseException("panic")])
def test_whatever_a_decoder_raises_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    Image.new("L", (3, 2)).save(path := tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "convert", Mock(side_effect=failure))
    why = str(failure) or "MemoryError"

    with pytest.raises(DataError, match=rf"a\.png: expected an image, but it is damaged or of another kind \({why}\)"):
        read_grey(path)


@pytest.mark.parametrize("wish", [KeyboardInterrupt(), SystemExit(3)])
def test_a_wish_to_stop_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wish: BaseException) -> None:
    Image.new("L", (3, 2)).save(path := tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "convert", Mock(side_effect=wish))
    with pytest.raises(type(wish)):
        read_grey(path)
