"""Pictures of a tracked target, and animations of them."""

import base64
import re
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from spikebridge.data.events.binned import BinEvents
from spikebridge.errors import ConfigError
from spikebridge.networks.sensing.report.animation import (
    DrawnBox,
    animation_svg,
    check_animation,
    encode_animation,
    tracking_picture,
)

pytestmark = pytest.mark.untyped


def shades(num):
    return [Image.new("RGB", (12, 8), (20 * k, 0, 0)) for k in range(num)]


def events_at(x, y, on):
    return BinEvents(np.array(x, np.uint16), np.array(y, np.uint16), np.array(on))


def test_events_lie_over_the_frame_where_they_were():
    frame = np.full((6, 8), 100, np.uint8)
    events = events_at([2, 5], [1, 4], [True, False])
    picture = np.asarray(tracking_picture(frame, events)).astype(int)

    assert picture.shape == (6, 8, 3)

    on = picture[1, 2]
    off = picture[4, 5]

    # blue and orange
    assert on[2] > on[0] and off[0] > off[2]

    others = np.delete(picture.reshape(-1, 3), [1 * 8 + 2, 4 * 8 + 5], axis=0)
    assert (others == others[0]).all() and len(set(others[0].tolist())) == 1


def test_a_window_shows_its_part_and_moves_events_and_boxes_along():
    frame = np.zeros((20, 30), np.uint8)
    events = events_at([12, 29], [6, 19], [True, True])
    box = DrawnBox((14, 8, 4, 4), thin=True)
    picture = tracking_picture(frame, events, [box], window=(10, 5, 12, 10))

    assert picture.size == (12, 10)
    # the event at (12, 6)
    assert picture.getpixel((2, 1))[2] > 0
    assert picture.getpixel((4, 3)) == picture.getpixel((8, 7)) == (255, 255, 255)
    # one event, and 16 pixels around the box
    assert (np.asarray(picture).sum(axis=2) > 0).sum() == 1 + 16


def test_a_large_picture_is_made_smaller_and_a_box_without_area_is_a_point():
    assert tracking_picture(np.zeros((100, 400), np.uint8), scale=4.0).size == (640, 160)
    assert tracking_picture(np.zeros((9, 9), np.uint8), boxes=[DrawnBox((4, 4, 0, -1))]).getpixel((4, 4))[0] == 255


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_an_animation_has_every_picture_and_its_time(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with path.open("wb") as file:
        encode_animation(file, iter(shades(5)), 0.05, suffix)

    with Image.open(path) as picture:
        assert picture.n_frames == 5 and picture.size == (12, 8)
        picture.seek(1)
        picture.load()
        assert picture.info["duration"] == 50


def test_an_mp4_has_every_picture(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "half.tmp"
    with path.open("wb") as file:
        encode_animation(file, shades(5), 0.04, ".mp4")

    with av.open(str(path)) as container:
        assert len(list(container.decode(video=0))) == 5
        assert container.streams.video[0].average_rate == 25


def test_the_suffix_may_have_capital_letters():
    assert check_animation(".WEBP") == ".webp"


def test_without_its_encoder_an_mp4_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError, match=r"needs the package av: pip install -e '\.\[video\]' .*, or take \.webp"):
        check_animation(".mp4")

    with pytest.raises(ConfigError, match=r"ends in \.webp, \.gif, \.mp4, but got '\.avi'"):
        check_animation(".avi")

    with pytest.raises(ConfigError, match="at least one picture"):
        animation_svg([], 0.1)


def test_an_animation_inside_a_page_asks_for_no_other_file():
    svg = animation_svg(shades(3), 0.1, title="a < b")
    # the one address is the name of SVG itself
    assert "<title>a &lt; b</title>" in svg and svg.count("http") == 1

    content = base64.b64decode(re.search(r"base64,([^\"]+)", svg).group(1))
    with Image.open(BytesIO(content)) as picture:
        assert picture.n_frames == 3
