"""Boxes in text files and on the command line: counted from 0, NaN if unknown."""

import numpy as np
import pytest

from spikebridge.data.recordings.recording import parse_box, read_boxes, valid_boxes
from spikebridge.errors import ConfigError, DataError


@pytest.mark.parametrize(
    "text", ["11,21,5,6\n2,3,4,5\n", "11\t21\t5\t6\r\n2\t3\t4\t5\r\n", "11 21 5 6\n 2 3, 4;5 \n\n\n"]
)
def test_commas_tabs_and_spaces_are_read_alike_and_counted_from_one(tmp_path, text):
    path = tmp_path / "boxes.txt"
    path.write_bytes(text.encode())
    assert read_boxes(path, origin=1).tolist() == [[10, 20, 5, 6], [1, 2, 4, 5]]
    assert read_boxes(path).tolist() == [[11, 21, 5, 6], [2, 3, 4, 5]]


def test_a_polygon_becomes_the_box_around_it(tmp_path):
    """A square that stands on its corner: x from 0 to 4, y from 1 to 5; its points are taken as they are."""
    path = tmp_path / "polygons.txt"
    path.write_text("2,1,4,3,2,5,0,3")
    assert read_boxes(path, origin=1).tolist() == [[0, 1, 4, 4]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("\n \n", "expected boxes, but the file holds none"),
        ("1,2,3,4\n1,2,3\n", r"line 2: expected 4 numbers x,y,w,h or 8 numbers of a polygon, but found '1,2,3'"),
        ("1,2,3,four", "line 1: expected 4 numbers"),
        ("1,2,3,4\n\n5,6,7,8\n", "line 2: expected 4 numbers"),
    ],
)
def test_a_line_that_is_no_box_is_named(tmp_path, text, message):
    path = tmp_path / "boxes.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_boxes(path)

    assert str(path) in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "boxes.txt"
    path.write_bytes(bytes(range(128, 256)))
    with pytest.raises(DataError, match="byte 0: expected a text file of boxes in UTF-8"):
        read_boxes(path)


def test_boxes_that_cannot_be_a_label_are_unknown_and_others_unchanged():
    boxes = np.array(
        [
            [1.5, 2, 3, 4],
            [1, 2, 0, 4],
            [1, 2, 3, -4],
            [np.nan] * 4,
            [1, np.inf, 2, 2],
            [10, 0, 2, 2],
            [-2, 0, 2, 2],
            [-1, 0, 2, 2],
            [0, 8, 2, 2],
        ]
    )

    usable = valid_boxes(boxes, height=8, width=10)
    assert np.isnan(usable).any(axis=1).tolist() == [False, True, True, True, True, True, True, False, True]
    assert usable[0].tolist() == [1.5, 2, 3, 4] and usable[7].tolist() == [-1, 0, 2, 2]
    assert boxes[1].tolist() == [1, 2, 0, 4]


def test_four_words_are_a_box():
    assert parse_box("10,20,5.5,6").tolist() == [10, 20, 5.5, 6]


@pytest.mark.parametrize("words", ["1,2,3", "1,2,3,4,5", "1,2,0,4", "1,2,3,-4", "1,2,nan,4", "a,b,c,d", ""])
def test_words_that_are_no_box_are_refused(words):
    with pytest.raises(ConfigError, match=r"expected a box x,y,w,h: four numbers in pixels with w and h above 0"):
        parse_box(words)


@pytest.mark.parametrize("words", ["10,10,1e-300,1", "10,10,1,1e-9", "10,10,1e300,1", "-1e300,10,1,1"])
def test_a_box_of_no_size_a_camera_has_is_refused(words):
    with pytest.raises(ConfigError, match=r"with w and h above 0\.01, but got"):
        parse_box(words)

    assert np.isnan(valid_boxes(np.array([[float(word) for word in words.split(",")]]), 20, 20)).all()


def test_a_last_line_without_an_end_may_be_cut_in_its_number(tmp_path):
    path = tmp_path / "boxes.txt"
    path.write_text("1,2,3,4.5\n1,2,3,4.2")
    with pytest.warns(UserWarning, match="boxes.txt: the last line has no end of line; was the file cut"):
        assert len(read_boxes(path)) == 2
