"""Recordings are found by path and name, and read by their layout."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spikebridge.data.events.events import make_events
from spikebridge.data.events.files import write_events
from spikebridge.data.io.column import FileColumn
from spikebridge.data.recordings.folder import load_recording_folder
from spikebridge.data.recordings.load import (
    find_recording,
    find_recordings,
    is_part_of_recording,
    load_camera_file,
    load_events,
    load_recording,
)
from spikebridge.data.recordings.video_clips import clip_recording
from spikebridge.errors import ConfigError, DataError


def own(folder):
    """Two frames, an event each millisecond, a box at the first frame; time begins at 5 ms."""
    (folder / "frames").mkdir(parents=True)
    for k in range(2):
        Image.fromarray(np.full((6, 8), 10 * k, np.uint8)).save(folder / "frames" / f"{k}.png")

    t = 5000 + 1000 * np.arange(20)
    write_events(folder / "events.npz", make_events(t=t, x=np.arange(20) % 8, y=t * 0, p=t % 2), 6, 8)
    (folder / "meta.json").write_text(json.dumps({"width": 8, "height": 6}))
    (folder / "frames.csv").write_text("file,t_us\n0.png,5000\n1.png,15000\n")
    (folder / "boxes.csv").write_text("t_us,x,y,w,h\n5000,1,1,2,3\n")

    return folder


def clip(folder, num_frames=4):
    """A box that moves by a pixel a frame; files count pixels from 1."""
    (folder / "img").mkdir(parents=True)
    for k in range(num_frames):
        Image.fromarray(np.full((6, 8), k, np.uint8)).save(folder / "img" / f"{k:04d}.png")

    (folder / "groundtruth_rect.txt").write_text("".join(f"{k + 1},1,3,2\n" for k in range(num_frames)))
    return folder


def test_a_recordings_own_folder_is_taken_and_so_is_one_that_holds_it_alone(tmp_path):
    folder = own(tmp_path / "data" / "tracking" / "mine")
    for path in (folder, folder.parent, folder.parent.parent):
        assert find_recording(path) == folder
        assert load_recording(path, dt=0.002).summary().startswith("mine: 8 x 6 pixels, 2 frames")


def test_a_clip_is_meant_where_there_is_nothing_else_or_by_name(tmp_path):
    clip(tmp_path / "biker")
    assert find_recording(tmp_path).name == "biker"

    own(tmp_path / "mine")
    assert find_recording(tmp_path).name == "mine"
    assert find_recording(tmp_path, "biker").name == "biker"
    assert [folder.name for folder in find_recordings(tmp_path)] == ["biker", "mine"]


def test_files_that_a_layout_reads_are_part_of_a_recording(tmp_path):
    folder = tmp_path / "mine"
    assert is_part_of_recording(folder, folder)
    assert is_part_of_recording(folder, folder / "boxes.csv")
    assert is_part_of_recording(folder, folder / "frames" / "0.png")
    assert not is_part_of_recording(folder, folder / "result.csv")
    assert not is_part_of_recording(folder, tmp_path / "boxes.csv")


def test_one_of_several_has_to_be_named(tmp_path):
    own(tmp_path / "a")
    own(tmp_path / "b")
    with pytest.raises(DataError, match=r"expected one recording, but it holds 2 \(a, b\); name one"):
        find_recording(tmp_path)

    assert find_recording(tmp_path, "b").name == "b"
    with pytest.raises(ConfigError, match=r"no recording 'c'; .*Known: a, b"):
        find_recording(tmp_path, "c")


def test_what_is_no_recording_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=r"expected the folder of a recording or .* but this is another file"):
        find_recording(tmp_path / "file")

    with pytest.raises(DataError, match="there is no such folder"):
        find_recording(tmp_path / "nowhere")

    with pytest.raises(DataError, match=r"expected a recording \(events_sparse\.npz, or meta\.json"):
        find_recording(tmp_path)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    own(tmp_path / "elsewhere" / "mine")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(DataError, match="found neither"):
        find_recording(tmp_path / "data")


def test_settings_of_another_layout_are_refused_not_ignored(tmp_path):
    with pytest.raises(ConfigError, match="event_offset does not go with this layout"):
        load_recording(own(tmp_path / "mine"), event_offset=0)

    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "events_sparse.npz").write_bytes(b"x")

    with pytest.raises(ConfigError, match="repair does not go with FE240hz"):
        load_recording(tmp_path / "set", repair=True)


def test_the_clock_remembers_what_the_files_called_its_beginning(tmp_path):
    assert load_recording(own(tmp_path / "mine")).start_us == 5000
    assert load_recording(clip(tmp_path / "biker")).start_us == 0


def test_a_clip_is_a_recording_without_events(tmp_path):
    """30 frames a second on bins of 1/240 s: a frame each 8 bins, its box at the end of the bin before."""
    recording = clip_recording(clip(tmp_path / "biker"))
    assert recording.frame_bins.tolist() == [0, 8, 16, 24] and recording.num_bins == 32
    assert recording.events.num_events == 0 and recording.inputs(8, 9)["frame"][0, 0] == 1

    labelled = np.flatnonzero(np.isfinite(recording.boxes).all(axis=1))
    assert labelled.tolist() == [7, 15, 23] and recording.boxes[labelled, 0].tolist() == [1, 2, 3]
    assert recording.frame_boxes[:, 0].tolist() == [0, 1, 2, 3]


def test_a_clip_faster_than_the_bins_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="at most one frame a bin"):
        clip_recording(clip(tmp_path / "biker"), dt=0.1)


FIXTURE = Path(__file__).parent.parent / "fixtures" / "dv.aedat4"


def test_a_cameras_file_is_a_recording(tmp_path):
    pytest.importorskip("aedat")
    recording = load_recording(FIXTURE, dt=0.0005)

    # frames at 1.5 and 2.5 ms: the events at 2 and 3 ms are after the first one
    assert recording.frame_bins.tolist() == [0, 2]
    assert recording.events.slice_bins(0, 4).x.tolist() == [5, 1]
    assert (recording.name, recording.start_us) == ("dv.aedat4", 1500)
    assert recording.num_unlabelled == recording.num_bins


@pytest.mark.parametrize("dt", [0.0, -1.0, float("nan"), float("inf")])
def test_bins_that_are_none_are_refused_before_anything_is_read(tmp_path, dt):
    for load in (load_recording_folder, load_camera_file, load_events):
        with pytest.raises(ConfigError, match=f"bins of dt = 1e-6 s or more, but got {dt}"):
            load(tmp_path / "not there", dt=dt)


@pytest.mark.parametrize("layout", ["folder", "camera"])
def test_a_recording_longer_than_memory_gives_the_same_inputs(tmp_path, monkeypatch, layout):
    if layout == "camera":
        pytest.importorskip("aedat")

    path = own(tmp_path / "mine") if layout == "folder" else FIXTURE
    recordings = []
    for most in (2**24, 0):
        monkeypatch.setattr("spikebridge.data.io.column.MAX_MEMORY_BYTES", most)
        recordings.append(load_recording(path))

    short, long = recordings
    assert isinstance(long.events.x, FileColumn) and not isinstance(short.events.x, FileColumn)
    assert np.array_equal(short.events.edges, long.events.edges) and short.summary() == long.summary()

    for b in range(short.num_bins):
        ours = short.inputs(b, b + 1)
        theirs = long.inputs(b, b + 1)
        assert all(np.array_equal(a, c) for a, c in zip(ours["events"], theirs["events"], strict=True))
        assert np.array_equal(ours.get("frame"), theirs.get("frame"))

    assert [frame[0, 0] for frame in long.subsample_frames(2).frames] == [frame[0, 0] for frame in short.frames][::2]


def test_a_file_that_is_no_recording_is_refused(tmp_path):
    words = tmp_path / "notes.txt"
    words.write_text("nothing")
    with pytest.raises(DataError, match=r"or an \.aedat4 file, but this is another file"):
        load_recording(words)

    with pytest.raises(ConfigError, match="a file is one recording; leave out its name, 'mine'"):
        load_recording(FIXTURE, name="mine")

    with pytest.raises(ConfigError, match="box_offset does not go with this layout"):
        load_recording(FIXTURE, box_offset=1)

    cut = tmp_path / "cut.aedat4"
    cut.write_bytes(b"#!AER-DAT2.0\r\n")
    with pytest.raises(DataError, match=r"byte 0: expected b'#!AER-DAT4\.0'"):
        load_recording(cut)
