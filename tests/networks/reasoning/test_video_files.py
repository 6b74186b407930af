"""Videos as files: what is written is read again, what is no video is refused with its place."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.reasoning.simulation.files import read_video, write_video

PICTURES = np.random.default_rng(0).integers(0, 256, (5, 8, 12, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["a.npz", "a.webp"])
def test_a_video_comes_back_as_it_was(tmp_path: Path, name: str) -> None:
    write_video(tmp_path / name, PICTURES, rate=20.0)
    back = read_video(tmp_path / name)

    assert np.array_equal(back.pictures, PICTURES)
    assert back.rate == pytest.approx(20.0)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_of_pictures_is_a_video(tmp_path: Path) -> None:
    for number, picture in enumerate(PICTURES):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")

    back = read_video(tmp_path)

    assert np.array_equal(back.pictures, PICTURES)
    assert back.rate is None


def test_a_gif_is_read_in_color(tmp_path: Path) -> None:
    first, *others = [Image.fromarray(picture) for picture in PICTURES]
    first.save(tmp_path / "a.gif", save_all=True, append_images=others, duration=40)
    back = read_video(tmp_path / "a.gif")

    assert back.pictures.shape == PICTURES.shape
    assert back.rate == pytest.approx(25.0)


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.webp").write_bytes(b"RIFF no")
    (tmp_path / "b.txt").write_text("x")
    np.savez(tmp_path / "c.npz", pictures=PICTURES.astype(np.float32), rate=np.array(25.0))
    np.savez(tmp_path / "d.npz", pictures=PICTURES)
    np.savez(tmp_path / "e.npz", pictures=np.array([object()]), rate=np.array(25.0))

    for name, message in {
        "a.webp": "damaged or of another kind",
        "b.txt": "got another format",
        "c.npz": r"expected pictures as bytes \(F, H, W, 3\)",
        "d.npz": "expected an array 'rate'",
        "e.npz": "expected numbers",
        "f.npz": "no such file",
    }.items():
        with pytest.raises(DataError, match=message):
            read_video(tmp_path / name)

    Image.new("RGB", (4, 4)).save(tmp_path / "1.png")
    Image.new("RGB", (5, 4)).save(tmp_path / "2.png")
    with pytest.raises(DataError, match="pictures of one size"):
        read_video(tmp_path)

    with pytest.raises(ConfigError, match=r"written as .npz or .webp, but got 'a.mov'"):
        write_video(tmp_path / "a.mov", PICTURES)


@pytest.mark.parametrize("name", ["script.gif", "script.webp", "pictures/script.png"])
def test_postscript_is_no_video_whatever_its_name_says(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n%%EOF\n")

    with pytest.raises(DataError, match=r"script\.\w+: expected a (video|picture), but it is damaged"):
        read_video(path.parent if name.startswith("pictures/") else path)
