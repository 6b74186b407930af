"""Live streams put into bins: lines from a pipe or socket, a camera, a recording played at its own speed."""

import io
import socket
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from research.sensing.variants.rotating_disk import RotatingDisk
from spikebridge.data.events.events import make_events
from spikebridge.data.io.safe_open import line_blocks
from spikebridge.data.simulation.render import render_recording
from spikebridge.data.streams import binner as binner
from spikebridge.data.streams._camera import open_camera, sensor_size, start_camera_reader
from spikebridge.data.streams._text import feed_lines, start_line_reader, start_socket_reader
from spikebridge.data.streams.binner import EventBinner, FrameFeed, FrameOptions
from spikebridge.data.streams.replay import ReplaySource
from spikebridge.errors import ConfigError, DataError

BOX = np.array([0.0, 0.0, 2.0, 2.0])


def sensor(dt: float = 0.001) -> EventBinner:
    return EventBinner(dt, height=4, width=6, box=BOX)


def begun(dt: float = 0.001) -> EventBinner:
    stream = sensor(dt)
    stream.add_frame(0, np.zeros((4, 6), np.uint8))
    return stream


def at(*times: int, x: int = 1) -> Any:
    return make_events(list(times), [x] * len(times), [0] * len(times), [1] * len(times))


def test_a_bin_is_complete_once_something_later_has_come() -> None:
    stream = begun()
    stream.add(at(10, 999))

    assert not stream._bins

    stream.add(at(1000))
    assert stream.wait(0) == 1

    inputs = stream.inputs(0, 1)
    assert len(inputs["events"].x) == 2
    assert (inputs["frame_age"], inputs["elapsed"]) == (0.001, 0.001)
    assert inputs["box"] is BOX

    stream.end()
    assert stream.wait(1) == 2
    assert "box" not in stream.inputs(1, 2)
    assert stream.wait(2) is None


def test_nothing_comes_before_the_first_frame() -> None:
    stream = sensor()
    stream.add(at(1, 2))
    stream.add_frame(5000, np.zeros((4, 6), np.uint8))
    stream.add(at(5001, 6001))

    assert len(stream.inputs(0, 1)["events"].x) == 1


@given(st.lists(st.integers(0, 20_000), min_size=1, max_size=40), st.integers(1, 7))
@example([9000], 1)  # 9 * 0.001 s is a little more than 9000 us
def test_no_event_is_lost_or_doubled_however_packets_and_steps_are_cut(times: list[int], size: int) -> None:
    stream = begun()
    ordered = sorted(times)
    for k in range(0, len(ordered), size):
        stream.add(at(*ordered[k : k + size]))

    stream.end()
    taken = []
    done = 0

    while (complete := stream.wait(done)) is not None:
        stop = min(complete, done + size)
        taken.append(len(stream.inputs(done, stop)["events"].x))
        done = stop

    assert sum(taken) == len(times)
    assert done == ordered[-1] // 1000 + 1


def test_events_before_a_frame_are_in_its_picture() -> None:
    stream = begun()
    stream.add(at(1100, 1200))
    stream.add_frame(1500, np.ones((4, 6), np.uint8))
    stream.add(at(1600, 2500))
    inputs = stream.inputs(0, 2)

    assert inputs["frame"].max() == 1
    assert len(inputs["events"].x) == 1
    assert inputs["frame_age"] == pytest.approx(0.0005)


def test_what_cannot_be_meant_is_counted_and_the_stream_continues(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = begun()
    stream.add(at(10, x=6))
    stream.add_frame(20, np.zeros((2, 2), np.uint8))
    stream.add(at(10**15))
    stream.add_frame(10**15, np.zeros((4, 6), np.uint8))

    assert (stream.num_bad, len(stream._bins)) == (4, 0)
    assert stream.first_error == "an event off the sensor of 6 x 4 pixels"

    stream.add(at(2500))
    stream.add(at(100))

    assert stream.num_late == 1

    monkeypatch.setattr(binner, "MAX_QUEUED_EVENTS", 3)
    stream.add(at(2600, 2700, 3100, 3200, 4100))

    assert stream.num_dropped > 0
    assert stream._num_queued <= 3


def test_the_file_of_a_frame_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (6, 4), 9).save(tmp_path / "a.png")
    paths = []
    read = Image.open
    monkeypatch.setattr(Image, "open", lambda file, **options: paths.append(file.name) or read(file, **options))
    feed_lines(f"frame,0,{tmp_path / 'a.png'}\n".encode(), sensor())

    assert paths == [str(tmp_path / "a.png")]


def test_lines_are_events_and_frames(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 6), 7, np.uint8)).save(tmp_path / "a.png")
    stream = sensor()
    feed_lines(f"frame,0,{tmp_path / 'a.png'}\n100,1,2,1\n\n200,3,3,0\n1500,5,3,1\n".encode(), stream)
    inputs = stream.inputs(0, 1)

    assert inputs["frame"].tolist() == [[7] * 6] * 4
    assert [column.tolist() for column in inputs["events"]] == [[1, 3], [2, 3], [True, False]]
    assert stream.num_bad == 0


def test_bad_lines_are_counted_one_by_one() -> None:
    stream = begun()
    feed_lines(b"100,1,2,1\nhello\n200,1,2\n300,1,2,5\n-4,1,2,1\nframe,x,y\nframe,9\n400,1,1,1\n1500,0,0,1\n", stream)

    assert len(stream.inputs(0, 1)["events"].x) == 2
    assert stream.num_bad == 6
    assert "'hello'" in stream.first_error


def test_lines_are_put_together_from_chunks() -> None:
    class Chunks(io.RawIOBase):
        def __init__(self) -> None:
            self.left = [b"1,2,", b"3,1\n4,", b"5,6,0\n7"]

        def read(self, size: int = -1) -> bytes:
            return self.left.pop(0) if self.left else b""

    assert list(line_blocks(Chunks())) == [b"1,2,3,1\n", b"4,5,6,0\n", b"7"]


def test_a_sender_on_this_machine_is_heard(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(tmp_path / "a.png")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def send() -> None:
        for _ in range(200):
            try:
                with socket.create_connection(("127.0.0.1", port)) as connection:
                    connection.sendall(f"frame,0,{tmp_path / 'a.png'}\n10,1,1,1\n1200,1,1,1\n".encode())
                    return
            except ConnectionRefusedError:
                time.sleep(0.01)

    sender = threading.Thread(target=send)
    sender.start()
    stream = sensor()
    start_socket_reader(port, stream).join(timeout=10)
    sender.join(timeout=10)

    assert stream.wait(0) == 2
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="choose another one"):
        start_socket_reader(taken.getsockname()[1], stream)


@pytest.mark.parametrize("clock", [0, 2_500, 9_000_000_000], ids=["from zero", "the same", "another"])
@pytest.mark.parametrize("gap", [0.002, 0.5, 3600.0])
def test_a_sender_that_comes_back_continues_the_stream_whatever_its_clock(clock: int, gap: float) -> None:
    stream = EventBinner(0.001, 4, 6, frames=FrameOptions(required=False))
    stream.add(make_events([100, 1_500, 2_100], [1, 1, 1], [1, 1, 1], [1, 1, 1]))
    complete = stream.wait(0)
    assert complete == 2

    stream.resume(gap)
    stream.add(make_events([clock, clock + 1_000], [2, 3], [2, 2], [0, 0]))
    stream.add(make_events([clock + 2_000], [4], [3], [0]))
    stream.end()

    found = []
    bins = 0
    while (complete := stream.wait(bins)) is not None:
        found += [(bin_, len(stream.inputs(bin_, bin_ + 1)["events"].x)) for bin_ in range(bins, complete)]
        bins = complete

    assert sum(number for _, number in found) == 6
    assert (stream.num_bad, stream.num_late, stream.num_gaps) == (0, 0, 1)
    # at most a second of empty bins; times that continue stay
    assert bins <= 3 + 1000 + 3
    if clock == 2_500:
        assert [number for _, number in found] == [1, 1, 2, 1, 1]


def test_a_camera_program_that_restarts_finds_the_stream_waiting() -> None:
    reported: list[str] = []
    stream = EventBinner(0.001, 4, 6, frames=FrameOptions(required=False))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    start_socket_reader(port, stream, reconnect=True, report=reported.append)
    for number in (1, 2, 3):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"0,1,1,1\n1500,1,1,1\n")

        limit = time.monotonic() + 10
        while sum("is gone" in line for line in reported) < number:
            assert time.monotonic() < limit
            time.sleep(0.005)

    assert stream.num_gaps == 2
    assert sum("is back after" in line for line in reported) == 2
    assert stream.num_late == stream.num_bad == 0


def test_a_stream_that_breaks_off_is_counted_and_ends() -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise ConnectionResetError("reset by the sender")

    stream = begun()
    start_line_reader(Broken(), stream).join(timeout=10)

    assert stream.wait(0) == 1  # the open bin with the frame

    stream.inputs(0, 1)
    assert stream.wait(1) is None
    assert (stream.num_bad, stream.first_error) == (1, "the stream broke off (reset by the sender)")


def test_a_waiting_reader_wakes_up_to_check_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binner, "POLL_SECONDS", 0.001)
    assert begun().wait(0) == 0


def test_a_network_without_frames_begins_with_the_first_event() -> None:
    stream = EventBinner(0.001, 4, 6, frames=FrameOptions(required=False))
    stream.add_frame(0, np.zeros((9, 9), np.uint8))  # of no use, and no fault
    stream.add(at(5000, 5999, 6000))

    assert stream.wait(0) == 1
    assert len(stream.inputs(0, 1)["events"].x) == 2
    assert stream.num_bad == 0


def test_frames_of_another_source_act_in_the_bin_of_their_time_and_delay_no_event() -> None:
    stream = EventBinner(0.001, 4, 6, frames=FrameOptions(size=(1, 1), separate_source=True, buffer_events=False))
    feed = FrameFeed(stream)
    stream.add(at(0))  # before the first frame
    feed.add_frame(1000, np.array([[1]], np.uint8))
    feed.add_frame(10**15, np.array([[9]], np.uint8))  # a damaged time holds nothing up
    feed.add_frame(3500, np.array([[2]], np.uint8))
    feed.add_frame(3600, np.zeros((4, 6), np.uint8))
    feed.add(at(1))
    feed.end()
    stream.add(at(900, 1100, 2100, 3100, 4100))
    stream.add_frame(1200, np.array([[3]], np.uint8))  # late: into the open bin
    stream.add(at(5200))
    frames = []

    for bin_ in range(4):
        inputs = stream.inputs(bin_, bin_ + 1)
        assert len(inputs["events"].x) == 1
        frames.append(inputs["frame"].item() if "frame" in inputs else None)

    assert frames == [1, None, 2, 3]
    assert (stream.num_bad, stream.num_late) == (2, 0)
    assert stream.first_error == "a frame of 6 x 4 pixels"


def test_a_camera_is_read_through_dv_processing(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = np.array(
        [(1000, 1, 1, 1), (2500, 2, 2, 0)],
        np.dtype([("timestamp", "<i8"), ("x", "<i2"), ("y", "<i2"), ("polarity", "i1")]),
    )

    frames = [SimpleNamespace(image=np.full((4, 6, 3), 9, np.uint8), timestamp=900)]
    batches = [SimpleNamespace(numpy=lambda: columns)]
    camera = SimpleNamespace(
        isEventStreamAvailable=lambda: True,
        isFrameStreamAvailable=lambda: True,
        getEventResolution=lambda: (6, 4),
        isRunning=lambda: bool(frames or batches),
        getNextFrame=lambda: frames.pop() if frames else None,
        getNextEventBatch=lambda: batches.pop() if batches else None,
    )

    package = SimpleNamespace(io=SimpleNamespace(camera=SimpleNamespace(open=lambda: camera)))
    monkeypatch.setitem(sys.modules, "dv_processing", package)
    device = open_camera()
    stream = EventBinner(0.001, *sensor_size(device), BOX)
    start_camera_reader(device, stream)

    while not stream.wait(0):
        pass

    inputs = stream.inputs(0, 1)
    assert inputs["frame"].max() == 9
    assert inputs["events"].x.tolist() == [1]


def test_what_is_missing_for_a_camera_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dv_processing", None)
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[camera\]'"):
        open_camera()

    def nothing() -> None:
        raise RuntimeError("no device")

    package = SimpleNamespace(io=SimpleNamespace(camera=SimpleNamespace(open=nothing)))
    monkeypatch.setitem(sys.modules, "dv_processing", package)
    with pytest.raises(DataError, match="no event camera answers"):
        open_camera()

    blind = SimpleNamespace(isEventStreamAvailable=lambda: True, isFrameStreamAvailable=lambda: False)
    with pytest.raises(DataError, match="lacks events or frames"):
        start_camera_reader(blind, sensor())

    deaf = SimpleNamespace(isEventStreamAvailable=lambda: False)
    with pytest.raises(DataError, match="gives no events"):
        sensor_size(deaf)


def test_a_recording_is_played_at_its_own_speed_and_over_again() -> None:
    recording = render_recording(RotatingDisk(height=32, width=32), duration=0.1, dt=0.005)
    played = ReplaySource(recording, 0, recording.frame_boxes[0], loop=True)
    begin = time.perf_counter()
    done = 0
    boxes = []

    while done < recording.num_bins + 3:
        assert played.wait(done) > done
        boxes.append("box" in played.inputs(done, done + 1))
        done += 1

    assert time.perf_counter() - begin >= done * 0.005 - 0.001
    assert [k for k, given in enumerate(boxes) if given] == [0, recording.num_bins]

    once = ReplaySource(recording, 0, recording.frame_boxes[0], speed=1000)
    assert once.wait(recording.num_bins) is None
    with pytest.raises(ConfigError, match="times its speed"):
        ReplaySource(recording, 0, recording.frame_boxes[0], speed=0)
