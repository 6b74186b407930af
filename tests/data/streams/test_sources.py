"""The source of a live stream, by the word that names it, as a tracker or a network takes it."""

import io
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from spikebridge.data.events.events import make_events
from spikebridge.data.events.files import write_events
from spikebridge.data.streams.binner import EventBinner
from spikebridge.data.streams.replay import EventFrameSource, ReplaySource
from spikebridge.data.streams.sources import LiveSource, StreamRequest, parse_sensor_size
from spikebridge.errors import ConfigError, DataError

NETWORK = StreamRequest(dt=0.001, sensor=(4, 6))
SEEING = StreamRequest(dt=0.001, sensor=(4, 6), frame=(2, 3))
TRACKER = StreamRequest(dt=0.001, tracks_target=True)
BOX = np.array([0.0, 0.0, 2.0, 2.0])


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four events, and two frames beside them."""
    monkeypatch.chdir(tmp_path)
    events = make_events(t=[5000, 5100, 6000, 8999], x=[1, 1, 5, 0], y=[0, 0, 3, 2], p=[1, 1, 0, 1])
    write_events(tmp_path / "events.npz", events, 4, 6)
    (tmp_path / "seen" / "frames").mkdir(parents=True)

    for name, grey in (("a.png", 0), ("b.png", 255)):
        Image.fromarray(np.full((2, 3), grey, np.uint8)).save(tmp_path / "seen" / "frames" / name)

    (tmp_path / "seen" / "frames.csv").write_text("file,t_us\na.png,5000\nb.png,7000\n")
    return tmp_path


def taken(source: Any) -> list[Any]:
    """All bins of a source, one by one."""
    bins: list[Any] = []
    while (complete := source.wait(len(bins))) is not None:
        for _ in range(complete - len(bins)):
            bins += source.inputs(len(bins), len(bins) + 1)

    return bins


def test_a_file_of_events_is_played_from_its_first_event(files: Path) -> None:
    bins = taken(LiveSource("events.npz", speed=100.0).open(NETWORK))
    assert [float(one.events.sum()) for one in bins] == [1, 1, 0, 1]  # two events of one pixel and bin are one
    assert bins[1].events[1, 3, 5] == 1  # OFF

    counted = LiveSource("events.npz", speed=100.0).open(StreamRequest(dt=0.001, sensor=(4, 6), counts=True))
    assert taken(counted)[0].events[0, 0, 1] == 2


def test_frames_of_a_folder_come_with_the_events_of_a_file(files: Path) -> None:
    bins = taken(LiveSource("events.npz", "seen", speed=100.0).open(SEEING))
    greys = [None if one.frame is None else float(one.frame.max()) for one in bins]
    assert greys == [0, None, 1, None]
    assert sum(float(one.events.sum()) for one in bins) == 3  # none is given twice


def test_a_file_is_played_at_its_own_speed_and_over_again(files: Path) -> None:
    source = LiveSource("events.npz", loop=True).open(NETWORK)
    begin = time.perf_counter()

    assert source.wait(5) >= 6
    assert time.perf_counter() - begin >= 0.006
    assert [source.newest_restart(*bins) for bins in ((0, 1), (1, 4), (1, 5), (0, 14))] == [0, None, 4, 12]


def test_a_tracker_takes_single_events_and_is_reported_the_box(files: Path) -> None:
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(files / "seen" / "frames" / "a.png")
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(files / "seen" / "frames" / "b.png")
    source = LiveSource("events.npz", "seen", BOX).open(TRACKER)

    assert isinstance(source, ReplaySource)
    assert sorted(source.inputs(0, 1)) == ["box", "elapsed", "events", "frame", "frame_age"]
    with pytest.raises(DataError, match="no frame has a box"):
        LiveSource("events.npz", "seen").open(TRACKER)


def test_a_file_of_a_camera_brings_its_own_frames() -> None:
    pytest.importorskip("aedat")
    fixture = str(Path(__file__).parent.parent / "fixtures" / "dv.aedat4")
    source = LiveSource(fixture, box=np.array([0.0, 0.0, 3.0, 3.0])).open(TRACKER)
    assert "frame" in source.inputs(0, 1)


def test_lines_of_standard_input_fill_a_network(files: Path) -> None:
    lines = io.BytesIO(b"frame,0,seen/frames/a.png\n10,1,0,1\nnoise\n1500,2,3,0\n")
    source = LiveSource("-", lines=lines).open(SEEING)

    assert isinstance(source, EventFrameSource)

    bins = taken(source)
    assert [float(one.events.sum()) for one in bins] == [1, 1]
    assert source.source.num_bad == 1


def test_a_camera_brings_the_events_and_lines_the_frames(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = np.array(
        [(1000, 1, 1, 1), (2500, 2, 2, 0)],
        np.dtype([("timestamp", "<i8"), ("x", "<i2"), ("y", "<i2"), ("polarity", "i1")]),
    )

    ready: list[bool] = []
    batches = [SimpleNamespace(numpy=lambda: columns)]
    camera = SimpleNamespace(
        isEventStreamAvailable=lambda: True,
        isFrameStreamAvailable=lambda: False,
        getEventResolution=lambda: (6, 4),
        isRunning=lambda: bool(batches),
        getNextEventBatch=lambda: batches.pop() if ready and batches else None,
    )

    package = SimpleNamespace(io=SimpleNamespace(camera=SimpleNamespace(open=lambda: camera)))
    monkeypatch.setitem(sys.modules, "dv_processing", package)
    source = LiveSource("camera", "-", lines=io.BytesIO(b"frame,1000,seen/frames/b.png\n")).open(SEEING)
    arriving = source.source

    assert isinstance(arriving, EventBinner)
    while not arriving._future_frames:
        time.sleep(0.001)

    ready.append(True)
    bins = taken(source)

    assert bins[0].frame is not None
    assert [float(one.events.sum()) for one in bins] == [1, 1]
    with pytest.raises(DataError, match="a camera of 6 x 4 pixels, but this network takes 9 x 9 pixels"):
        LiveSource("camera").open(StreamRequest(dt=0.001, sensor=(9, 9)))


@pytest.mark.parametrize(
    ("source", "wanted", "words"),
    [
        (LiveSource("events.npz", "seen"), NETWORK, "takes no frames"),
        (LiveSource("events.npz", box=BOX), NETWORK, "not a tracker"),
        (LiveSource("events.npz", sensor=(3, 3)), NETWORK, "leave --sensor out"),
        (LiveSource("events.npz"), SEEING, "--frames names their folder"),
        (LiveSource("events.npz", "-"), SEEING, "its frames are a folder, not '-'"),
        (LiveSource("events.npz"), StreamRequest(dt=0.001, sensor=(9, 9)), "a sensor of height 9, but the file says 4"),
        (
            LiveSource("events.npz", "seen"),
            StreamRequest(0.001, sensor=(4, 6), frame=(8, 8)),
            "frames of 3 x 2 pixels, but",
        ),
        (LiveSource("events.npz", "lost"), SEEING, "there is no such file"),
        (LiveSource("events.npz", speed=0.0), NETWORK, "times its speed"),
        (LiveSource("events.txt"), NETWORK, "no such folder"),
        (LiveSource("lost.npz"), NETWORK, "there is no such file"),
        (LiveSource("seen", "seen"), SEEING, "brings its own frames"),
        (LiveSource("-", loop=True), NETWORK, "--loop and --speed apply to recordings"),
        (LiveSource("-", "seen"), SEEING, "come from -, tcp:PORT or camera"),
        (LiveSource("-"), TRACKER, "--init x,y,w,h"),
        (LiveSource("-", box=BOX), TRACKER, "--sensor 346x260"),
        (LiveSource("tcp:x"), NETWORK, "tcp:PORT takes a number from 1 to 65535, such as tcp:5000, but got 'x'"),
        (LiveSource("tcp:99999"), NETWORK, "from 1 to 65535"),
        (LiveSource("-"), NETWORK, "no standard input"),
    ],
)
def test_words_that_do_not_fit_are_refused(files: Path, source: LiveSource, wanted: StreamRequest, words: str) -> None:
    with pytest.raises((ConfigError, DataError), match=words):
        source.open(wanted)


def test_events_that_cannot_be_played_are_refused(files: Path) -> None:
    empty = make_events([], [], [], [])
    write_events(files / "none.npz", empty, 4, 6)
    with pytest.raises(DataError, match="expected events to replay"):
        LiveSource("none.npz").open(NETWORK)

    write_events(files / "far.npz", make_events([0, 10**12], [0, 0], [0, 0], [1, 1]), 4, 6)
    with pytest.raises(DataError, match="not in microseconds"):
        LiveSource("far.npz").open(NETWORK)


def test_sizes_are_width_times_height() -> None:
    assert parse_sensor_size("346x260") == (260, 346)
    for words in ("346", "0x5", "axb", "346x-1"):
        with pytest.raises(ConfigError, match="such as 346x260"):
            parse_sensor_size(words)


def test_of_bins_that_no_step_takes_only_the_newest_frame_is_read(files: Path) -> None:
    whole = LiveSource("events.npz", "seen").open(SEEING).inputs(0, 4)
    last = LiveSource("events.npz", "seen").open(replace(SEEING, max_together=1)).inputs(0, 4)

    assert [one.num_bins for one in last] == [3, 1]
    assert not last[0].events.any()
    assert np.array_equal(last[1].events, whole[3].events)

    newest = [one.frame for one in whole[:3] if one.frame is not None][-1:]
    assert [one.frame is None for one in last[:1]] == [not newest]
    assert all(np.array_equal(last[0].frame, frame) for frame in newest)
