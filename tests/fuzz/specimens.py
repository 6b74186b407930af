"""A valid specimen of every input format, written here in code, and the reader that takes it.

`FORMATS` is the list. A specimen is a folder, of which one file is damaged. Where a format packs or signs its content
(gzip, zip, a checksum in a manifest), `parts` opens the content and closes it again after the damage, so that the
damage gets past the first check. `checks` name what an accepted file must have been read as (`oracles.py`).
"""

import gzip
import hashlib
import importlib.util
import io
import json
import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from fuzz import mutators
from fuzz.mutators import LINKS, Mutator
from fuzz.oracles import Check, after, after_header, at, closed, payload, rows, sealed
from fuzz.parts import (
    Part,
    gzip_part,
    npy_header,
    png_header,
    safetensors_header,
    safetensors_numbers,
    wav_header,
    zip_member,
)


def _unchanged(content: bytes) -> bytes:
    return content


class Damage(NamedTuple):
    """A damaged file: its content, whether it was damaged behind its checksum, and the link in its place."""

    content: bytes
    is_opened: bool = False
    link: str = ""


@dataclass(frozen=True)
class Format:
    """An input format.

    Args:
        name: of the format.
        file: the one that is damaged, in the specimen's folder.
        write: writes the specimen into a folder.
        read: reads it from the folder.
        mutators: ways to damage the file, or the part of it that is opened.
        parts: ways to open a part of the file; half of the files are damaged there.
        mend: called with the folder after the damage, to mend a checksum of the file.
        words: the command that reads the folder.
        needs: packages without which there is no such format.
        checks: what an accepted file must have been read as.
        refuses: false for a format whose damaged files are mostly read, since it has no rules.
        links: false for a stream of bytes, in whose place no link can stand.
    """

    name: str
    file: str
    write: Callable[[Path], None]
    read: Callable[[Path], object]
    mutators: Sequence[Mutator] = mutators.BINARY
    parts: Sequence[Part] = ()
    mend: Callable[[Path], None] = lambda folder: None
    words: Callable[[Path], list[str]] | None = None
    needs: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    refuses: bool = True
    links: bool = True

    @property
    def is_installed(self) -> bool:
        """True if the packages that it needs are installed."""
        return all(importlib.util.find_spec(name) is not None for name in self.needs)

    def damage(self, content: bytes, chance: random.Random) -> Damage:
        """A damaged file.

        Args:
            content: of the specimen.
            chance: of this case.
        """
        if self.links and chance.random() < 0.02:
            return Damage(content, link=chance.choice(LINKS))

        is_opened = bool(self.parts) and chance.random() < 0.5
        inner, close = chance.choice(self.parts)(content, chance) if is_opened else (content, _unchanged)
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            if inner:
                mutate = chance.choice(self.mutators)
                inner = mutate(inner, chance)
                is_opened |= mutate in mutators.RESEALED

        return Damage(close(inner), is_opened)

    def place(self, folder: Path, damage: Damage) -> None:
        """Puts a damaged file into the folder of a specimen, and mends its checksum."""
        path = folder / self.file
        path.unlink(missing_ok=True)
        if not damage.link:
            path.write_bytes(damage.content)
            self.mend(folder)
            return

        elsewhere = folder.parent / "elsewhere" / path.name
        elsewhere.parent.mkdir(exist_ok=True)
        elsewhere.write_bytes(damage.content)
        targets = (elsewhere, elsewhere.with_name("nothing"), path, Path("/dev/zero"), elsewhere.parent)
        path.symlink_to(dict(zip(LINKS, targets, strict=True))[damage.link])


# events and recordings

_T = [0, 500, 1000, 8000, 9500]
_X = [1, 2, 3, 4, 5]
_Y = [5, 4, 3, 2, 1]
_P = [1, 0, 1, 1, 0]
_EVENT_TABLE = "t,x,y,p\n" + "".join(f"{t},{x},{y},{p}\n" for t, x, y, p in zip(_T, _X, _Y, _P, strict=True))


def _events(folder: Path) -> object:
    from spikebridge.data.events.files import buffer_events

    (path,) = folder.glob("events.*")
    return buffer_events(path, 8, 8)


def _save_npz(path: Path, **arrays: Any) -> None:
    np.savez_compressed(path, **{name: np.asarray(value) for name, value in arrays.items()})


def _events_npz(folder: Path) -> None:
    columns = {"t": np.array(_T), "x": np.array(_X), "y": np.array(_Y), "p": np.array(_P, bool)}
    _save_npz(folder / "events.npz", **columns, width=8, height=8)


def _nmnist(folder: Path) -> None:
    rows = [bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255]) for t, x, y, p in zip(_T, _X, _Y, _P, strict=True)]
    (folder / "events.bin").write_bytes(b"".join(rows))


def _event_stream(folder: Path) -> None:
    """Version 2.0.0 of the Event Stream format, kind 1 (DVS)."""
    content = b"Event Stream" + bytes([2, 0, 0, 1]) + struct.pack("<HH", 8, 8)
    last = 0
    for t, x, y, p in zip(_T, _X, _Y, _P, strict=True):
        overflows, step = divmod(t - last, 127)
        content += b"\xff" * overflows + struct.pack("<BHH", step << 1 | p, x, y)
        last = t

    (folder / "events.es").write_bytes(content)


def _evt2(folder: Path) -> None:
    words = []
    for t, x, y, p in zip(_T, _X, _Y, _P, strict=True):
        words += [8 << 28 | t >> 6, p << 28 | (t & 63) << 22 | x << 11 | y]

    head = b"% evt 2.0\n% format EVT2;height=8;width=8\n% geometry 8x8\n% end\n"
    (folder / "events.raw").write_bytes(head + struct.pack(f"<{len(words)}I", *words))


def _evt3(folder: Path) -> None:
    words = []
    for t, x, y, p in zip(_T, _X, _Y, _P, strict=True):
        words += [8 << 12 | t >> 12, 6 << 12 | t & 4095, y, 2 << 12 | p << 11 | x]

    head = b"% evt 3.0\n% format EVT3;height=8;width=8\n% geometry 8x8\n% end\n"
    (folder / "events.raw").write_bytes(head + struct.pack(f"<{len(words)}H", *words))


_AEDAT4_STREAMS = """<dv version="2.0"><node name="outInfo" path="/outInfo/"><node name="0" path="/outInfo/0/">
<attr key="compression" type="string">NONE</attr><attr key="typeIdentifier" type="string">EVTS</attr>
<node name="info" path="/outInfo/0/info/"><attr key="sizeX" type="int">8</attr><attr key="sizeY" type="int">8</attr>
</node></node></node></dv>"""


def _aedat4(folder: Path) -> None:
    """A header and one packet of events, as FlatBuffers with a size before each."""
    text = _AEDAT4_STREAMS.encode()
    # a table of the header: compression (none), no table of packets, the text of the streams
    head = struct.pack("<I4s", 32, b"IOHE") + struct.pack("<HHHHH2x", 10, 24, 20, 8, 4) + bytes(12)
    table = struct.pack("<iIqi4x", 32 - 8, 20, -1, 0)
    header = head + table + struct.pack("<I", len(text)) + text + b"\0"
    header += bytes(-len(header) % 8)

    # a table with one vector of events of 16 bytes
    events = [struct.pack("<qhhB3x", t, x, y, p) for t, x, y, p in zip(_T, _X, _Y, _P, strict=True)]
    packet = struct.pack("<I4s", 16, b"EVTS") + struct.pack("<HHH2x", 6, 8, 4)
    packet += struct.pack("<iI", 8, 4 + 4) + struct.pack("<II", 0, len(events)) + b"".join(events)
    packet = struct.pack("<I", len(packet)) + packet
    content = b"#!AER-DAT4.0\r\n" + struct.pack("<I", len(header)) + header
    (folder / "events.aedat4").write_bytes(content + struct.pack("<II", 0, len(packet)) + packet)


def _image(folder: Path, name: str) -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3
    Image.fromarray(pixels).save(folder / name)


def _grey(folder: Path) -> object:
    from spikebridge.data.io.images import read_grey

    (path,) = folder.glob("image.*")
    return read_grey(path)


def _recording_folder(folder: Path) -> None:
    (folder / "frames").mkdir()
    _image(folder / "frames", "0.png")
    _image(folder / "frames", "1.png")
    (folder / "meta.json").write_text('{"width": 8, "height": 8, "name": "small", "event_offset_us": 0}')
    (folder / "frames.csv").write_text("file,t_us\n0.png,0\n1.png,5000\n")
    (folder / "boxes.csv").write_text("t_us,x,y,w,h\n0,1,1,4,4\n5000,2.5,1,4,4\n9000,3,1,4,4\n")
    (folder / "events.csv").write_text(_EVENT_TABLE)


def _recording(folder: Path) -> object:
    from spikebridge.data.recordings.load import load_recording

    recording = load_recording(folder)
    return [recording, recording.inputs(0, recording.num_bins), list(recording.frames)]


def _fe240hz(folder: Path) -> None:
    (folder / "img").mkdir()
    chance = np.random.default_rng(0)
    for k in range(4):
        Image.fromarray(chance.integers(0, 255, (8, 8), dtype=np.uint8)).save(folder / "img" / f"{k:04d}.png")

    bins = np.sort(chance.integers(0, 24, 200))
    x, y = chance.integers(0, 8, (2, 200))
    _save_npz(folder / "events_sparse.npz", bin=bins, x=x, y=y, p=chance.random(200) < 0.5, shape=[4, 6, 8, 8])
    (folder / "groundtruth_rect.txt").write_text("".join(f"{1 + k / 8:g},2,4,3\n" for k in range(24)))
    (folder / "groundtruth_rect40.txt").write_text("".join(f"{1 + 6 * k / 8:g},2,4,3\n" for k in range(4)))


def _load_fe240hz(folder: Path) -> object:
    from spikebridge.data.recordings.fe240hz import load_fe240hz

    recording = load_fe240hz(folder, event_offset=0, box_offset=0)
    return [recording, list(recording.frames)]


def _clip(folder: Path) -> None:
    (folder / "img").mkdir()
    for k in range(3):
        _image(folder / "img", f"{k:04d}.jpg")
    (folder / "groundtruth_rect.txt").write_text("2,2,4,3\n2.5\t2\t4\t3\n1 1 4 1 4 3 1 3\n")


def _lines_of_a_stream(folder: Path) -> None:
    _image(folder, "frame.png")
    lines = ["frame,0,frame.png", *_EVENT_TABLE.splitlines()[1:], "frame,5000,frame.png"]
    (folder / "lines.txt").write_text("\n".join(lines) + "\n")


def _read_lines(folder: Path) -> object:
    from spikebridge.data.io.safe_open import line_blocks
    from spikebridge.data.streams._text import feed_lines
    from spikebridge.data.streams.binner import EventBinner, FrameOptions

    feed = EventBinner(0.001, 8, 8, frames=FrameOptions())
    for block in line_blocks(io.BytesIO((folder / "lines.txt").read_bytes())):
        feed_lines(block, feed)

    feed.end()
    return feed.wait(0)


# trials of several sensors


def _trials(folder: Path) -> None:
    np.savez(
        folder / "trials.npz",
        wrist=np.arange(24, dtype=np.float32).reshape(12, 2),
        wrist_starts=np.array([0, 6, 12]),
        wrist_rate_hz=np.array(50.0),
        eye=np.arange(32, dtype=np.uint8).reshape(2, 4, 4),
        eye_starts=np.array([0, 1, 2]),
        eye_s=np.array([0.1, 0.1]),
        label=np.array(["rest", "wave"]),
        person=np.array([1, 2]),
    )


def _read_trials(folder: Path) -> object:
    from spikebridge.networks.senses.data.trials import read_trials

    return read_trials(folder / "trials.npz")


# images and digits


def _idx(folder: Path) -> None:
    (folder / "digits.idx").write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, 2, 4, 4) + bytes(range(32)))


def _packed_idx(folder: Path) -> None:
    _idx(folder)
    content = (folder / "digits.idx").read_bytes()
    (folder / "digits.idx").write_bytes(gzip.compress(content, mtime=0))


def _read_idx(folder: Path) -> object:
    from spikebridge.data.images.mnist import read_idx

    return read_idx(folder / "digits.idx")


def _digits(folder: Path) -> None:
    _save_npz(folder / "digits.npz", images=np.arange(2 * 784, dtype=np.uint8).reshape(2, 28, 28), labels=[7, 1])


def _read_digits(folder: Path) -> object:
    from spikebridge.data.images.labelled import read_digit_file

    return read_digit_file(folder / "digits.npz")


def _mnist(folder: Path) -> None:
    images = np.arange(2 * 784, dtype=np.uint8).reshape(2, 28, 28)
    (folder / "mnist").mkdir()
    _save_npz(
        folder / "mnist" / "digits.npz",
        train_images=images,
        train_labels=[7, 1],
        test_images=images,
        test_labels=[2, 3],
    )


def _read_mnist(folder: Path) -> object:
    from spikebridge.data.images.mnist import load_mnist

    return load_mnist(folder, num_validation=1)


# scenes, questions, videos

_CUBE = ["red", "metal", "cube"]
_SPHERE = ["blue", "rubber", "sphere"]
_SCENE: dict[str, Any] = {
    "video": 7,
    "objects": [_CUBE, _SPHERE],
    "collisions": [[60, 0, 1]],
    "trajectory": [[0, [[0, 10.0, 20.5], [1, 30, 40]]], [5, [[0, 11.0, 20.5]]]],
    "counterfactual": {"0": [[80, 1, 0]]},
}
_NAMES = [dict(zip(("color", "material", "shape"), one, strict=True)) for one in (_CUBE, _SPHERE)]
_ORIGINAL = {
    "scene_index": 3,
    "video_filename": "video_00003.mp4",
    "object_property": [{"object_id": 4 + i, **one} for i, one in enumerate(_NAMES)],
    "motion_trajectory": [
        {"frame_id": 0, "objects": [{"object_id": 4, "location": [1.0, -0.5, 0.2], "inside_camera_view": True}]}
    ],
    "collision": [{"frame_id": 61, "object_ids": [5, 4], "location": [0, 0, 0]}],
}
_SIMULATED = {
    "objects": [{"id": i, **one} for i, one in enumerate(_NAMES)],
    "predictions": [
        {
            "what_if": -1,
            "trajectory": [{"frame_index": 5, "objects": [{"id": 1, **_NAMES[1], "x": 3.0, "y": 4.0}]}],
            "collisions": [{"frame": 30, "objects": [{"id": 0, **_NAMES[0]}, {"id": 1, **_NAMES[1]}]}],
        },
        {"what_if": 1, "trajectory": [], "collisions": []},
    ],
}
_QUESTIONS: list[dict[str, Any]] = [
    {"video": 7, "question": "How many?", "question_type": "descriptive", "program": ["objects", "count"], "answer": 2},
    {
        "video": 7,
        "question": "What is responsible?",
        "question_type": "explanatory",
        "program": ["events", "filter_ancestor", "belong_to"],
        "choices": [{"choice": "the cube", "program": "objects red filter_color unique", "answer": "correct"}],
    },
]


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")


def _write_lines(path: Path, values: Sequence[Any]) -> None:
    text = "".join(json.dumps(one) + "\n" for one in values)
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())


def _scenes(folder: Path) -> object:
    from spikebridge.networks.reasoning.data.clevrer_scenes import read_scenes

    return read_scenes(folder)


def _questions(folder: Path) -> object:
    from spikebridge.networks.reasoning.data.clevrer_questions import read_questions

    (path,) = folder.glob("questions*")
    return read_questions(path)


def _ask(name: str) -> Callable[[Path], list[str]]:
    return lambda folder: ["ask", str(folder / name), "How many red objects are there?"]


def _frames() -> list[Image.Image]:
    chance = np.random.default_rng(0)
    return [Image.fromarray(chance.integers(0, 255, (8, 12, 3), dtype=np.uint8)) for _ in range(3)]


def _animation(folder: Path, name: str) -> None:
    first, *others = _frames()
    options = {"lossless": True} if name.endswith("webp") else {}
    first.save(folder / name, save_all=True, append_images=others, duration=40, **options)


def _video_npz(folder: Path) -> None:
    _save_npz(folder / "video.npz", pictures=np.stack([np.asarray(one) for one in _frames()]), rate=25.0)


def _video(folder: Path) -> object:
    from spikebridge.networks.reasoning.simulation.files import read_video

    (path,) = folder.glob("video.*")
    return read_video(path)


def _pictures(folder: Path) -> None:
    (folder / "video.pictures").mkdir()
    for number, picture in enumerate(_frames()):
        picture.save(folder / "video.pictures" / f"{number}.png")


def _mp4(folder: Path) -> None:
    import av

    with av.open(str(folder / "video.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = 16
        stream.height = 16
        stream.pix_fmt = "yuv420p"

        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())


# runs


def _run(folder: Path) -> None:
    import torch
    from torch import nn

    from spikebridge.networks.digits import recipe
    from spikebridge.training.run.checkpoint import save_checkpoint
    from spikebridge.training.run.run import Run

    run = Run.create(folder / "run", "digits", recipe.PRESETS["quick"])
    # of no machine, so that the specimen is the same everywhere
    _write_json(folder / "run" / "environment.json", {"python": "3.11.7", "torch": "2.0", "num_cores": 2, "seed": 0})
    run.log({"kind": "epoch", "phase": "one", "epoch": 1, "step": 3, "loss": 0.5, "best": float("inf")})
    run.log({"kind": "epoch", "phase": "one", "epoch": 2, "step": 6, "loss": 0.25, "best": 0.5})
    run.save_results({"accuracy": {"hybrid": [0.5, 0.6]}, "notes": ["a", None]})
    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    run.save_weights(network)
    tree = {"epoch": 3, "optimizer": {"state": {0: {"step": torch.tensor(4.0)}}, "lr": (0.1, None)}, "loss": [0.5]}
    save_checkpoint(run.checkpoint, 12, {"weights": dict(network.state_dict()), **tree})
    (path,) = run.checkpoint.glob("step-*")
    _sort_header(path)


def _sort_header(path: Path) -> None:
    """Puts the metadata of safetensors, whose order is by chance, in order."""
    content = path.read_bytes()
    start = after_header(content)
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[start:])


def _read_run(folder: Path) -> object:
    from torch import nn

    from spikebridge.networks.digits import recipe
    from spikebridge.training.run.checkpoint import load_checkpoint
    from spikebridge.training.run.run import Run

    run = Run.open(folder / "run")
    network = nn.Linear(3, 2)
    run.load_weights(network)

    return [
        network.state_dict(),
        *(run.config_as(recipe.Config), run.metrics.rows(), run.results(), run.environment(), run.children()),
        load_checkpoint(run.checkpoint),
    ]


def _mend_checkpoint(folder: Path) -> None:
    """The digest of the damaged tree and tensors, where it can still be read as safetensors."""
    from safetensors import SafetensorError
    from safetensors.torch import load, save

    from spikebridge.training.run.checkpoint import _digest

    (path,) = folder.rglob("step-*")
    content = path.read_bytes()

    try:
        tensors = load(content)
        head = json.loads(content[8 : after_header(content)]).get("__metadata__", {})
        text = head.get("tree", "")
        path.write_bytes(save(tensors, {**head, "digest": _digest(text, tensors)}))
    except (SafetensorError, ValueError, TypeError, AttributeError, KeyError, struct.error):
        return


def _lock(folder: Path) -> None:
    lock = {"pid": 4194303, "started": "1", "host": "a", "place": ["a", "b"], "begun": "2026-01-01 00:00:00"}
    _write_json(folder / "run.lock", lock)


def _read_lock(folder: Path) -> object:
    from spikebridge.training.run.lock import _holder

    path = folder / "run.lock"
    return _holder(path, path.lstat().st_mtime)


def _sweep(folder: Path) -> None:
    (folder / "sweep").mkdir()
    _new_sweep(folder / "sweep-draft").begin()
    (folder / "sweep-draft" / "sweep.json").rename(folder / "sweep" / "sweep.json")
    (folder / "sweep-draft").rmdir()
    rows = [{"cell": name, "seconds": 1.5, "cpu_seconds": 1.0, "failed": None} for name in ("lr=0.1", "lr=0.2")]
    _write_lines(folder / "sweep" / "cells.jsonl", rows)


def _new_sweep(folder: Path) -> Any:
    from spikebridge.recipes.sweep.sweep import Sweep

    return Sweep(folder, "digits", {}, threads="1")


def _resume_sweep(folder: Path) -> object:
    sweep = _new_sweep(folder / "sweep")
    sweep.begin(resume=True)
    return sweep.ended.rows()


def _state(folder: Path) -> None:
    import torch

    from spikebridge.neurons import LIF, save_state

    layer = LIF(tau=0.02, dt=1e-3)
    state = layer(torch.rand(3, 2, 4, generator=torch.Generator().manual_seed(0)))[1]
    save_state(folder / "state.safetensors", state)
    _sort_header(folder / "state.safetensors")


def _read_state(folder: Path) -> object:
    from spikebridge.neurons import load_state

    return load_state(folder / "state.safetensors")


def _chip(folder: Path) -> None:
    text = "memory = 1e6\noperations = 1e9\nevents = 1e6\nlatency = 1e-6\npower = 0.5\nsource = 'mine'\n"
    (folder / "chip.toml").write_text(text)


def _read_chip(folder: Path) -> object:
    from spikebridge.analysis.chips import read_chip

    return read_chip(folder / "chip.toml")


def _repository(folder: Path) -> None:
    (folder / "repository" / "weights").mkdir(parents=True)
    _write_json(folder / "repository" / "card.json", {"about": "a network", "weights_licence": "CC0"})
    (folder / "repository" / "weights" / "a.bin").write_bytes(b"numbers")
    _mend_list(folder)


def _mend_list(folder: Path) -> None:
    """The list of files with the digests of those that are there."""
    from spikebridge.pretrained.hub import _FORMAT

    names = ("card.json", "weights/a.bin")
    digests = {name: hashlib.sha256((folder / "repository" / name).read_bytes()).hexdigest() for name in names}
    _write_json(folder / "repository" / "files.json", {"format": _FORMAT, "sha256": digests})


def _read_repository(folder: Path) -> object:
    from spikebridge.pretrained.hub import _checked_names, _licence

    return [_checked_names(folder / "repository", "a repository"), _licence(folder / "repository")]


# bundles and networks for other machines


def _network(modulated: str = "r") -> Any:
    import torch
    from torch import nn

    from spikebridge.hybrid import (
        FIR,
        HybridNetwork,
        HybridUnit,
        Mean,
        Modulation,
        Transmission,
        Tumbling,
        every,
        ticks,
    )
    from spikebridge.neurons import IF, Sequential

    torch.manual_seed(2)
    first = Sequential(fc=nn.Linear(3, 4), fire=IF(v_threshold=0.5))

    return HybridNetwork(
        dt=1e-3,
        inputs={"events": every(1e-3)},
        parts={"first": first, "second": Sequential(fire=IF(v_threshold=0.75))},
        links=[
            Transmission("events", "first"),
            Transmission("first", "second", HybridUnit(Tumbling(2), FIR(2, (4,)))),
            Modulation("second", f"first.fire.{modulated}", HybridUnit(None, Mean()), by="add", delay=ticks(2)),
        ],
        outputs=["second"],
    ).eval()


def _bundle(folder: Path) -> None:
    import torch

    from spikebridge.deploy import export

    events = torch.rand(12, 2, 3, generator=torch.Generator().manual_seed(3))
    export(_network(), {"events": events}, folder / "bundle")
    np.savez(folder / "inputs.npz", events=events.numpy())


def _open_bundle(folder: Path) -> None:
    _bundle(folder)
    path = folder / "bundle" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["sha256"]  # it would refuse every damage before the reader meets it
    path.write_text(json.dumps(manifest, indent=2) + "\n")


def _run_bundle(folder: Path) -> object:
    from spikebridge.deploy.bundle.bundle import Bundle
    from spikebridge.deploy.run import run_bundle

    bundle = Bundle.open(folder / "bundle")
    outputs = run_bundle(bundle, folder / "inputs.npz").outputs
    return [bundle.manifest, {name: bundle.read(name) for name in bundle.manifest.files}, outputs]


def _mend_bundle(folder: Path) -> None:
    """Sizes and hashes of the manifest, as of somebody who wants the damage to be read."""
    path = folder / "bundle" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest.pop("sha256", None)
    for name in manifest["files"]:
        content = (folder / "bundle" / name).read_bytes()
        manifest["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    path.write_text(json.dumps(manifest))


def _integer_model(folder: Path) -> None:
    import torch

    from spikebridge.deploy import integer_model, quantize

    events = {"events": torch.rand(12, 2, 3, generator=torch.Generator().manual_seed(3))}
    integer_model(quantize(_network("v_threshold"), events), events).save(folder / "integers")


def _run_integers(folder: Path) -> object:
    from spikebridge.deploy.integer.model import IntegerModel

    model = IntegerModel.open(folder / "integers")
    return model.run(model.quantize({name: np.ones((4, 1, 3), np.float32) for name in model.record.inputs}))


def _mend_integers(folder: Path) -> None:
    """Size and hash of the numbers, as of somebody who wants the damage to be read."""
    words = folder / "integers" / "integer.json"
    content = (folder / "integers" / "integer.safetensors").read_bytes()
    known = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    words.write_text(json.dumps({**json.loads(words.read_text()), "numbers": known}))


def _inputs(folder: Path) -> None:
    from safetensors.numpy import save_file

    values = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    np.savez(folder / "inputs.npz", events=values, frames=values.astype(np.float64))
    save_file({"events": values}, folder / "inputs.safetensors")


def _read_inputs(name: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        from spikebridge.deploy.run import read_arrays

        return read_arrays(folder / name)

    return read


def _onnx(folder: Path) -> None:
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((3, 2), np.float32), "weight")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
        "part",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [weight],
    )

    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (folder / "part.onnx").write_bytes(model.SerializeToString())


def _run_onnx(folder: Path) -> object:
    from spikebridge.data.io.safe_open import read_bytes
    from spikebridge.deploy.onnx.session import OnnxSession

    session = OnnxSession(read_bytes(folder / "part.onnx", "a network"), "part.onnx")
    return session.run({name: np.ones((1, 3), np.float32) for name in session.inputs})


_WEIGHT = np.array([[0.5, -1.25, 3], [2.75, 0.125, -4]], np.float32)


def _nir(folder: Path) -> None:
    import nir

    weight = nir.Affine(weight=_WEIGHT, bias=np.zeros(2, np.float32))
    ones = np.ones(2, np.float32)
    neuron = nir.LIF(tau=0.01 * ones, r=ones, v_leak=0 * ones, v_threshold=ones, v_reset=0 * ones)
    nodes = {"input": nir.Input(np.array([3])), "fc": weight, "lif": neuron, "output": nir.Output(np.array([2]))}
    nir.write(str(folder / "part.nir"), nir.NIRGraph(nodes, [("input", "fc"), ("fc", "lif"), ("lif", "output")]))


def _read_nir(folder: Path) -> object:
    from spikebridge.deploy.nir.reader import from_nir

    return from_nir(folder / "part.nir", dt=1e-3)


_TEXT = (*mutators.BINARY, *mutators.TEXT)
_PACKED = (*mutators.BINARY, mutators.gzip_growth)
_ARCHIVE = (*_TEXT, mutators.zip_growth)
_JSON = (*_TEXT, *mutators.JSON, *mutators.JSON)
_CSV = (*_TEXT, *mutators.CSV, *mutators.CSV)
_NPZ = (zip_member, npy_header)


_CLOSED = (closed,)


def _track(folder: Path) -> list[str]:
    return ["track", str(folder), "--quiet"]


def _recordings() -> list[Format]:
    aedat = ("aedat",)
    faery = ("faery",)
    all_rows = (rows(lambda events: len(events.t)),)
    words = (payload(after(b"% end\n")),)
    event_files = [
        Format("events, npz", "events.npz", _events_npz, _events, _ARCHIVE, _NPZ, checks=(sealed,)),
        Format(
            "events, csv", "events.csv", lambda f: _put(f / "events.csv", _EVENT_TABLE), _events, _CSV, checks=all_rows
        ),
        Format("events, N-MNIST", "events.bin", _nmnist, _events, checks=(payload(at(0)),)),
        Format("events, Event Stream", "events.es", _event_stream, _events, needs=faery),
        Format("events, EVT2", "events.raw", _evt2, _events, needs=faery, checks=words),
        Format("events, EVT3", "events.raw", _evt3, _events, needs=faery, checks=words),
        Format("events, AEDAT4", "events.aedat4", _aedat4, _events, needs=aedat),
    ]

    num_frames = (rows(lambda read: read[0].num_frames),)
    folder_files = [
        Format(f"recording, {name}", name, _recording_folder, _recording, kinds, words=_track, checks=checks)
        for name, kinds, checks in (
            ("meta.json", _JSON, ()),
            ("frames.csv", _CSV, num_frames),
            ("boxes.csv", _CSV, ()),
            ("events.csv", _CSV, ()),
            ("frames/1.png", mutators.BINARY, (sealed,)),
        )
    ]
    return [
        *event_files,
        *folder_files,
        Format("FE240hz, events", "events_sparse.npz", _fe240hz, _load_fe240hz, _ARCHIVE, _NPZ, checks=(sealed,)),
        Format("FE240hz, boxes", "groundtruth_rect.txt", _fe240hz, _load_fe240hz, _CSV),
        Format("FE240hz, boxes of frames", "groundtruth_rect40.txt", _fe240hz, _load_fe240hz, _CSV),
        Format("FE240hz, frame", "img/0001.png", _fe240hz, _load_fe240hz, parts=(png_header,), checks=(sealed,)),
        Format("clip, boxes", "groundtruth_rect.txt", _clip, _recording, _CSV, words=_track),
        Format("clip, frame", "img/0001.jpg", _clip, _recording),
        Format("lines of a stream", "lines.txt", _lines_of_a_stream, _read_lines, _CSV, refuses=False, links=False),
    ]


def _put(path: Path, text: str) -> None:
    path.write_text(text)


def _images() -> list[Format]:
    checks = {"png": (sealed,), "bmp": (payload(at(1078)),), "pgm": (payload(after(b"255\n")),)}
    parts = {"png": (png_header,)}
    return [
        *(
            Format(
                f"image, {suffix}", f"image.{suffix}", lambda f, name=f"image.{suffix}": _image(f, name), _grey,
                parts=parts.get(suffix, ()), checks=checks.get(suffix, ()),
            )
            for suffix in ("png", "jpg", "bmp", "pgm", "tif")
        ),
        Format("trials, npz", "trials.npz", _trials, _read_trials, _ARCHIVE, _NPZ, checks=(sealed,)),
        Format("digits, idx", "digits.idx", _idx, _read_idx, _PACKED, checks=(payload(at(16)),)),
        Format("digits, packed idx", "digits.idx", _packed_idx, _read_idx, _PACKED, (gzip_part,), checks=(sealed,)),
        Format("digits, npz", "digits.npz", _digits, _read_digits, _ARCHIVE, _NPZ, checks=(sealed,)),
        Format("digits, MNIST", "mnist/digits.npz", _mnist, _read_mnist, _ARCHIVE, _NPZ, checks=(sealed,)),
    ]  # fmt: skip


def _reasoning() -> list[Format]:
    return [
        Format(
            "scenes, JSON lines", "scenes.jsonl",
            lambda f: _write_lines(f / "scenes.jsonl", [_SCENE, {**_SCENE, "video": 8}]),
            _scenes, (*_JSON, mutators.gzip_growth), words=_ask("scenes.jsonl"), checks=(rows(len, header=0),),
        ),
        Format(
            "scenes, packed", "scenes.jsonl.gz", lambda f: _write_lines(f / "scenes.jsonl.gz", [_SCENE]),
            _scenes, (*_JSON, mutators.gzip_growth), (gzip_part,), words=_ask("scenes.jsonl.gz"), checks=(sealed,),
        ),
        Format("scenes, original", "3.json", lambda f: _write_json(f / "3.json", _ORIGINAL), _scenes, _JSON),
        Format("scenes, simulated", "3.json", lambda f: _write_json(f / "3.json", _SIMULATED), _scenes, _JSON),
        Format(
            "questions, JSON lines", "questions.jsonl",
            lambda f: _write_lines(f / "questions.jsonl", _QUESTIONS), _questions, _JSON,
            checks=(rows(len, header=0),),
        ),
        Format(
            "questions, original", "questions.json",
            lambda f: _write_json(f / "questions.json", [{"scene_index": 7, "questions": _QUESTIONS}]),
            _questions, _JSON,
        ),
        Format(
            "video, npz", "video.npz", _video_npz, _video, _ARCHIVE, _NPZ, words=_ask("video.npz"), checks=(sealed,)
        ),
        Format("video, webp", "video.webp", lambda f: _animation(f, "video.webp"), _video, words=_ask("video.webp")),
        Format("video, gif", "video.gif", lambda f: _animation(f, "video.gif"), _video),
        Format("video, mp4", "video.mp4", _mp4, _video, needs=("av",)),
        Format(
            "video, pictures", "video.pictures/1.png", _pictures, _video, parts=(png_header,), checks=(sealed,)
        ),
    ]  # fmt: skip


def _runs() -> list[Format]:
    json_files = [
        Format(f"run, {name}", f"run/{name}", _run, _read_run, _JSON, checks=_CLOSED)
        for name in ("config.json", "results.json", "metrics.jsonl", "environment.json")
    ]

    header = (safetensors_header,)
    checkpoint = "run/checkpoint/step-00000012.safetensors"
    # the command needs a run of trained networks; a damaged config.json is refused before
    json_files[0] = replace(json_files[0], words=lambda folder: ["report", str(folder / "run")])
    numbers = (payload(after_header), *_CLOSED)
    repository = (_repository, _read_repository, _JSON)

    return [
        *json_files,
        Format("run, weights", "run/weights.safetensors", _run, _read_run, parts=header, checks=numbers),
        Format("run, checkpoint", checkpoint, _run, _read_run, checks=(sealed, *_CLOSED)),
        Format(
            "run, checkpoint with its digest",
            checkpoint,
            _run,
            _read_run,
            _JSON,
            header * 3,
            _mend_checkpoint,
            checks=_CLOSED,
        ),
        Format("run, lock", "run.lock", _lock, _read_lock, _JSON, refuses=False),
        Format("sweep, sweep.json", "sweep/sweep.json", _sweep, _resume_sweep, _JSON, checks=_CLOSED),
        Format("sweep, cells.jsonl", "sweep/cells.jsonl", _sweep, _resume_sweep, _JSON, checks=_CLOSED),
        Format("state", "state.safetensors", _state, _read_state, parts=header * 3, checks=(payload(after_header),)),
        Format("chip", "chip.toml", _chip, _read_chip, _TEXT),
        Format("repository, files.json", "repository/files.json", *repository, checks=_CLOSED),
        Format("repository, card.json", "repository/card.json", *repository, mend=_mend_list, checks=_CLOSED),
    ]


def _bundles() -> list[Format]:
    def words(folder: Path) -> list[str]:
        return ["run", str(folder / "bundle"), "--input", str(folder / "inputs.npz")]

    nir = ("nir",)
    manifest = "bundle/manifest.json"
    part = "bundle/snn/first.nir"
    numbers = "bundle/units/first_to_second.safetensors"
    sample = "bundle/sample/sample.safetensors"
    parts = (safetensors_header, *(safetensors_numbers,) * 3)
    integers = ("integers/integer.safetensors", _integer_model, _run_integers)
    seal = (sealed, closed)

    return [
        Format(
            "bundle, manifest", manifest, _open_bundle, _run_bundle, _JSON, words=words, needs=nir, checks=_CLOSED
        ),
        Format("bundle, sealed manifest", manifest, _bundle, _run_bundle, _JSON, needs=nir, checks=seal),
        Format(
            "bundle, NIR", part, _open_bundle, _run_bundle, mend=_mend_bundle, words=words, needs=nir, checks=_CLOSED
        ),
        Format("bundle, sealed NIR", part, _bundle, _run_bundle, needs=nir, checks=seal),
        Format(
            "bundle, numbers of a unit", numbers, _open_bundle, _run_bundle, parts=parts, mend=_mend_bundle, needs=nir,
            checks=(payload(after_header), closed),
        ),
        Format("bundle, sealed numbers", numbers, _bundle, _run_bundle, needs=nir, checks=seal),
        Format(
            "bundle, sample", sample, _open_bundle, _run_bundle, parts=parts, mend=_mend_bundle, needs=nir,
            checks=_CLOSED,
        ),
        Format("integer model, words", "integers/integer.json", _integer_model, _run_integers, _JSON, checks=_CLOSED),
        Format("integer model, numbers", *integers, parts=parts, mend=_mend_integers, checks=_CLOSED),
        Format("integer model, sealed numbers", *integers, checks=seal),
        Format("inputs, npz", "inputs.npz", _inputs, _read_inputs("inputs.npz"), _ARCHIVE, _NPZ, checks=(sealed,)),
        Format("inputs of a bundle", "inputs.npz", _bundle, _run_bundle, _TEXT, _NPZ, words=words, needs=nir),
        Format(
            "inputs, safetensors", "inputs.safetensors", _inputs, _read_inputs("inputs.safetensors"),
            parts=(safetensors_header,), checks=(payload(after_header),),
        ),
        Format("ONNX", "part.onnx", _onnx, _run_onnx, needs=("onnx", "onnxruntime")),
        Format("NIR", "part.nir", _nir, _read_nir, needs=nir),
    ]  # fmt: skip


# series of sensors


def _series(folder: Path) -> object:
    from spikebridge.data.signals.checks import check_series
    from spikebridge.data.signals.files import read_series

    (path,) = folder.glob("series*")
    series = read_series(path, checked=False)
    return [check_series(series), *(series[index] for index in range(len(series)))]


def _series_npz(folder: Path) -> None:
    samples = np.arange(40, dtype=np.int16).reshape(20, 2)
    texts = {"label": np.array(["a", "b", "a"]), "channel_names": np.array(["x", "y"])}
    _save_npz(folder / "series.npz", samples=samples, starts=[0, 6, 14, 20], group=[0, 1, 1], rate_hz=50, **texts)


def _series_csv(folder: Path) -> None:
    rows = [f"{i // 4},{'ab'[i // 4 % 2]},{i // 8},{i / 50:g},{i * i % 7},{i % 5 - 2.5}" for i in range(16)]
    (folder / "series.csv").write_text("series,label,group,time,ax,ay\n" + "\n".join(rows) + "\n")


def _wav_bytes(number: int) -> bytes:
    head = struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)
    samples = struct.pack("<12h", *(i * number * 997 % 4001 - 2000 for i in range(12)))
    body = b"WAVEfmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _wav(folder: Path) -> None:
    (folder / "series.wav").write_bytes(_wav_bytes(1))


def _wav_folder(folder: Path) -> None:
    (folder / "series").mkdir()
    for number in range(3):
        (folder / "series" / f"{number}.wav").write_bytes(_wav_bytes(number + 1))
    (folder / "series" / "labels.csv").write_text("file,label,group\n0.wav,yes,anna\n1.wav,no,anna\n2.wav,no,ben\n")


def _wav_words(folder: Path) -> None:
    for word in ("no", "yes"):
        (folder / "series" / word).mkdir(parents=True)
        for number in range(2):
            (folder / "series" / word / f"a{number}_nohash_0.wav").write_bytes(_wav_bytes(number + 1))

    (folder / "series" / "testing_list.txt").write_text("no/a1_nohash_0.wav\nyes/a0_nohash_0.wav\n")


def _spike_trains(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "series.h5", "w") as h5:
        for name, kind, values in (
            ("spikes/times", np.float16, [[0.0, 0.01, 0.02], [0.03]]),
            ("spikes/units", np.uint16, [[0, 5, 699], [7]]),
        ):
            column = h5.create_dataset(name, (2,), h5py.vlen_dtype(np.dtype(kind)))
            for index, one in enumerate(values):
                column[index] = np.array(one, kind)

        h5["labels"] = np.array([0, 1], np.uint16)
        h5["extra/speaker"] = np.array([4, 9], np.uint16)
        h5["extra/keys"] = np.array([b"zero", b"one"])


def _aedat3(folder: Path) -> None:
    rows = zip(_T, _X, _Y, _P, strict=True)
    content = b"".join(struct.pack("<II", x << 17 | y << 2 | p << 1 | 1, t) for t, x, y, p in rows)
    packet = struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, 5, 5, 5) + content
    header = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"
    (folder / "user01.aedat").write_bytes(header + packet + packet)


def _gestures(folder: Path) -> None:
    _aedat3(folder)
    (folder / "user01_labels.csv").write_text("class,startTime_usec,endTime_usec\n1,0,600\n4,600,9600\n")


def _read_aedat3(folder: Path) -> object:
    from spikebridge.data.events.files import read_events

    return read_events(folder / "user01.aedat", repair=True)


def _read_gesture_table(folder: Path) -> object:
    from spikebridge.data.events.dvs_gesture import read_gesture_labels

    return read_gesture_labels(folder / "user01_labels.csv")


def _signals() -> list[Format]:
    packed = (zip_member, npy_header)
    wav = (wav_header, wav_header)
    gestures = ("user01_labels.csv", _gestures, _read_gesture_table, _CSV)
    num_samples = rows(lambda read: sum(len(series) for series in read[1:]))

    return [
        Format("series, npz", "series.npz", _series_npz, _series, _ARCHIVE, packed, checks=(sealed,)),
        Format("series, csv", "series.csv", _series_csv, _series, _CSV, checks=(num_samples,)),
        Format("series, spike trains", "series.h5", _spike_trains, _series, needs=("h5py",)),
        Format("events, aedat 3.1", "user01.aedat", _aedat3, _read_aedat3),
        Format("gestures, labels", *gestures, checks=(rows(len),)),
        Format("sound, wav", "series.wav", _wav, _series, parts=wav, checks=(payload(at(44)),)),
        Format(
            "folder of sound, labels.csv", "series/labels.csv", _wav_folder, _series, _CSV,
            checks=(rows(lambda read: len(read) - 1),),
        ),
        Format("folder of sound, wav", "series/1.wav", _wav_folder, _series, parts=wav, checks=(payload(at(44)),)),
        Format("folder of sound, list", "series/testing_list.txt", _wav_words, _series, _TEXT, refuses=False),
    ]  # fmt: skip


FORMATS: dict[str, Format] = {
    one.name: one for one in (*_recordings(), *_images(), *_reasoning(), *_runs(), *_bundles(), *_signals())
}
