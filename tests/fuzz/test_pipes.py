"""A pipe in the place of a file is refused by every reader at once: nothing waits for a writer."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spikebridge.data.events.events import make_events
from spikebridge.data.events.files import read_events
from spikebridge.data.images.labelled import read_digit_file
from spikebridge.data.images.mnist import read_idx
from spikebridge.data.io.images import read_grey
from spikebridge.data.io.npz import read_npz
from spikebridge.data.recordings.load import load_recording
from spikebridge.data.recordings.recording import read_boxes
from spikebridge.data.streams._text import feed_lines
from spikebridge.data.streams.binner import EventBinner, FrameOptions
from spikebridge.deploy.bundle.bundle import Bundle
from spikebridge.deploy.integer.file import read_integer
from spikebridge.deploy.nir.file import open_graph
from spikebridge.deploy.run import read_arrays
from spikebridge.errors import DataError, SpikebridgeError
from spikebridge.networks.reasoning.data.clevrer_questions import read_questions
from spikebridge.networks.reasoning.data.clevrer_scenes import read_scenes
from spikebridge.networks.reasoning.simulation.files import read_video
from spikebridge.training.run.checkpoint import load_checkpoint
from spikebridge.training.run.metrics import MetricsFile
from spikebridge.training.run.run import Run
from spikebridge.training.run.weights import read_weights

pytestmark = pytest.mark.untyped

READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    **{f"events{suffix}": (f"a{suffix}", lambda p: read_events(p, 8, 8)) for suffix in (".npz", ".csv", ".bin")},
    **{f"camera{suffix}": (f"a{suffix}", lambda p: read_events(p, 8, 8)) for suffix in (".es", ".raw", ".aedat4")},
    "digits": ("a.npz", read_digit_file),
    "idx": ("a.idx", read_idx),
    "image": ("a.png", read_grey),
    "arrays": ("a.npz", read_npz),
    "boxes": ("a.txt", read_boxes),
    "scenes": ("a.jsonl", read_scenes),
    "a folder of scenes": ("a.jsonl", lambda p: read_scenes(p.parent)),
    "questions": ("a.jsonl", read_questions),
    **{f"video{suffix}": (f"a{suffix}", read_video) for suffix in (".npz", ".webp", ".mp4")},
    "a folder of pictures": ("a.png", lambda p: read_video(p.parent)),
    "inputs of a bundle": ("a.safetensors", read_arrays),
    "NIR": ("a.nir", lambda p: open_graph(p, ())),
    "bundle": ("manifest.json", lambda p: Bundle.open(p.parent)),
    "integers": ("integer.json", lambda p: read_integer(p.parent)),
    "run": ("config.json", lambda p: Run.open(p.parent)),
    "results": ("results.json", lambda p: Run(p.parent, "digits", {}).results()),
    "metrics": ("metrics.jsonl", lambda p: MetricsFile(p).rows()),
    "weights": ("weights.safetensors", read_weights),
    "checkpoint": ("step-00000001.safetensors", lambda p: load_checkpoint(p.parent)),
}


@pytest.fixture(autouse=True)
def _stop_after_five_seconds() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError("a reader waits for a pipe")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(("name", "read"), READERS.values(), ids=READERS)
def test_a_reader_refuses_a_pipe(tmp_path: Path, name: str, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(SpikebridgeError):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["meta.json", "frames.csv", "events.csv", "boxes.csv", "frames/0.png"])
def test_a_recording_refuses_a_pipe_in_the_place_of_any_of_its_files(tmp_path: Path, name: str) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "meta.json").write_text('{"width": 8, "height": 8}')
    (tmp_path / "frames.csv").write_text("file,t_us\n0.png,0\n")
    (tmp_path / "events.csv").write_text("t,x,y,p\n0,1,1,1\n9000,1,1,1\n")
    (tmp_path / "boxes.csv").write_text("t_us,x,y,w,h\n0,1,1,4,4\n")
    Image.new("L", (8, 8)).save(tmp_path / "frames" / "0.png")

    assert load_recording(tmp_path).num_frames == 1

    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="pipe"):
        load_recording(tmp_path)


def test_a_line_that_names_a_pipe_as_its_frame_is_counted_as_bad(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    feed = EventBinner(0.001, 8, 8, frames=FrameOptions())
    feed_lines(f"frame,0,{tmp_path / 'pipe'}\nframe,1,/dev/zero\n".encode(), feed)

    assert feed.num_bad == 2
    assert "this is a pipe" in feed.first_error

    feed.add(make_events(t=np.array([0]), x=[1], y=[1], p=[1]))
