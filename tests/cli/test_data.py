"""`spikebridge data make` writes examples that the other commands take, `data send` sends them as a stream."""

import io
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from spikebridge.cli.main import main
from spikebridge.data import load_recording, read_digit_file
from spikebridge.data.recordings.write import write_recording
from spikebridge.data.simulation.examples import moving_digit, moving_object
from spikebridge.data.streams.send import send_recording
from spikebridge.errors import ConfigError
from spikebridge.networks.reasoning import read_video

pytestmark = pytest.mark.untyped


@pytest.fixture(scope="module")
def digit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a recording of a digit."""
    folder = tmp_path_factory.mktemp("data") / "digit"
    write_recording(moving_digit(), folder)
    return folder


def test_a_recording_that_is_written_is_read_as_it_was(tmp_path: Path) -> None:
    made = moving_object(seconds=0.1, seed=3)
    write_recording(made, tmp_path / "object")
    read = load_recording(tmp_path / "object", dt=made.dt)

    assert (read.name, read.num_bins, read.num_frames) == ("moving object", 24, 4)
    assert read.events.edges.tolist() == made.events.edges.tolist()
    assert np.array_equal(read.frames[3], made.frames[3])
    assert np.allclose(read.boxes, made.boxes, atol=1e-4)
    assert np.allclose(read.frame_boxes, made.frame_boxes, atol=1e-4)


def test_a_recording_without_boxes_has_no_file_of_boxes(digit: Path) -> None:
    assert not (digit / "boxes.csv").exists()
    assert load_recording(digit, dt=0.025).num_frames == 4


def test_one_seed_gives_one_recording() -> None:
    one, same, other = (moving_digit(0.6, seed) for seed in (1, 1, 2))
    assert (one.num_bins, one.num_frames) == (24, 8)
    assert one.events.x.tolist() == same.events.x.tolist() != other.events.x.tolist()


def test_digits_are_written_in_the_format_of_mnist(tmp_path: Path) -> None:
    assert main(["data", "make", "tasks", str(tmp_path / "digits.npz"), "--images", "5"]) == 0
    digits = read_digit_file(tmp_path / "digits.npz")
    assert digits.images.shape == (5, 28, 28)
    assert digits.images[:, :4].max() == 0 < digits.images.max()


def test_a_video_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pymunk")
    assert main(["data", "make", "rolling", str(tmp_path / "video.npz")]) == 0
    assert "blue rubber cube" in capsys.readouterr().out
    assert len(read_video(tmp_path / "video.npz").pictures) == 128


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["make"], "the first argument must be a kind of data"),
        (["make", "task", "x.npz"], "did you mean 'tasks'?"),
        (["make", "tasks", "x.csv"], "digits are written as .npz, but got 'x.csv'"),
        (["make", "tasks", "x.npz", "--images", "401"], "there are 400 test digits"),
        (["make", "tasks", "x.npz", "--seed", "-1"], "seed is an integer from 0"),
        (["make", "rolling", "x.mp4"], "a video is written as .npz or .webp, but got 'x.mp4'"),
        (["make", "moving-object", ".", "--seconds", "1"], ". is there already"),
        (["make", "moving-object", "x", "--seconds", "nan"], "0.1 to 60 seconds long, but got nan"),
        (["make", "moving-digit", "x", "--seconds", "61"], "0.1 to 60 seconds long, but got 61"),
        (["send", "nothing"], "expected the folder of a recording"),
    ],
)
def test_words_that_cannot_be_meant_are_one_line(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["data", *words]) == 2

    error = capsys.readouterr().err
    assert why in error
    assert error.count("\n") == 1


def test_lines_hold_every_event_and_frame_in_order_of_time(digit: Path) -> None:
    output = io.BytesIO()
    count = send_recording(digit, "-", speed=100, output=output)
    lines = output.getvalue().decode().splitlines()
    recording = load_recording(digit, dt=0.025)

    assert count == len(lines) == recording.num_frames + recording.events.edges[-1]

    times = [int(line.split(",")[1] if line.startswith("frame") else line.split(",")[0]) for line in lines]
    assert times == sorted(times)
    assert lines[0] == f"frame,0,{(digit / 'frames' / '0.png').resolve()}"


@pytest.fixture
def receiver() -> Iterator[tuple[int, list[bytes]]]:
    """A port of this machine, and what arrives there."""
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def receive() -> None:
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as lines:
                got.append(lines.read())

        thread = threading.Thread(target=receive)
        thread.start()
        yield server.getsockname()[1], got
        thread.join(10)


def test_frames_have_a_receiver_of_their_own(digit: Path, receiver: tuple[int, list[bytes]]) -> None:
    port, got = receiver
    output = io.BytesIO()
    send_recording(digit, "-", f"tcp:{port}", speed=100, output=output)

    assert b"frame" not in output.getvalue()
    for _ in range(1000):
        if got:
            break
        threading.Event().wait(0.01)

    assert got[0].count(b"frame,") == 4


@pytest.mark.parametrize("word", ["tcp:", "tcp:0", "tcp:99999", "udp:1", "5000"])
def test_a_receiver_that_is_none_is_refused(word: str, digit: Path) -> None:
    with pytest.raises(ConfigError, match=r"a receiver is - or tcp:PORT|^tcp:PORT takes a number"):
        send_recording(digit, word)


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_a_speed_that_is_none_is_refused(speed: float, digit: Path) -> None:
    with pytest.raises(ConfigError, match="speed is a number above 0"):
        send_recording(digit, "-", speed=speed, output=io.BytesIO())
