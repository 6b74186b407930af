"""A valid specimen of every input format, written here in code, and the reader that takes it.

`FORMATS` is the list. A specimen is a folder, of which one file is damaged. Where a format packs or signs its content
(gzip, zip, a checksum in a manifest), `parts` opens the content and closes it again after the damage, so that the
damage gets past the first check.
"""

import gzip
import hashlib
import importlib.util
import io
import json
import random
import struct
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from fuzz import mutators
from fuzz.mutators import Mutator

Part: TypeAlias = Callable[[bytes, random.Random], tuple[bytes, Callable[[bytes], bytes]]]


def _unchanged(content: bytes) -> bytes:
    return content


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

    @property
    def is_installed(self) -> bool:
        """True if the packages that it needs are installed."""
        return all(importlib.util.find_spec(name) is not None for name in self.needs)

    def damage(self, content: bytes, chance: random.Random) -> bytes:
        """The damaged file.

        Args:
            content: of the specimen.
            chance: of this case.
        """
        if self.parts and chance.random() < 0.5:
            inner, close = chance.choice(self.parts)(content, chance)
        else:
            inner = content
            close = _unchanged

        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            if inner:
                inner = chance.choice(self.mutators)(inner, chance)

        return close(inner)


# ways to open a part of a file


def gzip_part(content: bytes, chance: random.Random) -> tuple[bytes, Callable[[bytes], bytes]]:
    return gzip.decompress(content), lambda inner: gzip.compress(inner, 1)


def zip_member(content: bytes, chance: random.Random) -> tuple[bytes, Callable[[bytes], bytes]]:
    """A member of an archive, which gets the checksum of its new content."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}

    chosen = chance.choice(list(members))

    def close(inner: bytes) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, member in members.items():
                archive.writestr(name, inner if name == chosen else member)

        return out.getvalue()

    return members[chosen], close


def npy_header(content: bytes, chance: random.Random) -> tuple[bytes, Callable[[bytes], bytes]]:
    """The text of the header of an array in an archive."""
    member, close = zip_member(content, chance)
    length = int.from_bytes(member[8:10], "little")

    return member[10 : 10 + length], lambda inner: close(
        member[:8] + len(inner).to_bytes(8, "little")[:2] + inner + member[10 + length :]
    )


def safetensors_header(content: bytes, chance: random.Random) -> tuple[bytes, Callable[[bytes], bytes]]:
    """The JSON text before the numbers, which may get another length."""
    (length,) = struct.unpack_from("<Q", content)
    rest = content[8 + length :]
    changed = chance.choice((mutators.json_value, mutators.odd_number, mutators.separators_changed))
    return content[8 : 8 + length], lambda inner: struct.pack("<Q", len(text := changed(inner, chance))) + text + rest


def safetensors_numbers(content: bytes, chance: random.Random) -> tuple[bytes, Callable[[bytes], bytes]]:
    """The numbers after the header, which keep their length."""
    start = 8 + struct.unpack_from("<Q", content)[0]
    length = len(content) - start
    return content[start:], lambda inner: content[:start] + inner[:length].ljust(length, b"\0")


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
    return [recording.inputs(0, recording.num_bins), recording.frames[0]]


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

    return load_fe240hz(folder, event_offset=0, box_offset=0)


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

    feed = EventBinner(0.001, 8, 8, frames=FrameOptions(required=False))
    for block in line_blocks(io.BytesIO((folder / "lines.txt").read_bytes())):
        feed_lines(block, feed)

    feed.end()
    return feed.wait(0)


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
    run.save_environment(seed=0)
    run.log({"kind": "epoch", "phase": "one", "epoch": 1, "step": 3, "loss": 0.5, "best": float("inf")})
    run.log({"kind": "epoch", "phase": "one", "epoch": 2, "step": 6, "loss": 0.25, "best": 0.5})
    run.save_results({"accuracy": {"hybrid": [0.5, 0.6]}, "notes": ["a", None]})
    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    run.save_weights(network)
    tree = {"epoch": 3, "optimizer": {"state": {0: {"step": torch.tensor(4.0)}}, "lr": (0.1, None)}, "loss": [0.5]}
    save_checkpoint(run.checkpoint, 12, {"weights": dict(network.state_dict()), **tree})


def _read_run(folder: Path) -> object:
    from torch import nn

    from spikebridge.networks.digits import recipe
    from spikebridge.training.run.checkpoint import load_checkpoint
    from spikebridge.training.run.run import Run

    run = Run.open(folder / "run")
    run.load_weights(nn.Linear(3, 2))

    return [
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
        (length,) = struct.unpack_from("<Q", content)
        head = json.loads(content[8 : 8 + length]).get("__metadata__", {})
        text = head.get("tree", "")
        path.write_bytes(save(tensors, {**head, "digest": _digest(text, tensors)}))
    except (SafetensorError, ValueError, TypeError, AttributeError, KeyError, struct.error):
        return


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
    path = folder / "bundle" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["sha256"]  # it would refuse every damage before the reader meets it
    path.write_text(json.dumps(manifest, indent=2) + "\n")
    np.savez(folder / "inputs.npz", events=events.numpy())


def _run_bundle(folder: Path) -> object:
    from spikebridge.deploy.bundle.bundle import Bundle
    from spikebridge.deploy.run import run_bundle

    return run_bundle(Bundle.open(folder / "bundle"), folder / "inputs.npz")


def _mend_bundle(folder: Path) -> None:
    """Sizes and hashes of the manifest, as of somebody who wants the damage to be read."""
    path = folder / "bundle" / "manifest.json"
    manifest = json.loads(path.read_text())
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


def _nir(folder: Path) -> None:
    import nir

    weight = nir.Affine(weight=np.ones((2, 3), np.float32), bias=np.zeros(2, np.float32))
    ones = np.ones(2, np.float32)
    neuron = nir.LIF(tau=0.01 * ones, r=ones, v_leak=0 * ones, v_threshold=ones, v_reset=0 * ones)
    nodes = {"input": nir.Input(np.array([3])), "fc": weight, "lif": neuron, "output": nir.Output(np.array([2]))}
    nir.write(str(folder / "part.nir"), nir.NIRGraph(nodes, [("input", "fc"), ("fc", "lif"), ("lif", "output")]))


def _read_nir(folder: Path) -> object:
    from spikebridge.deploy.nir.reader import from_nir

    return from_nir(folder / "part.nir", dt=1e-3)


_TEXT = (*mutators.BINARY, *mutators.TEXT)
_JSON = (*_TEXT, *mutators.JSON, *mutators.JSON)
_CSV = (*_TEXT, *mutators.CSV, *mutators.CSV)
_NPZ = (zip_member, npy_header)


def _track(folder: Path) -> list[str]:
    return ["track", str(folder), "--quiet"]


def _recordings() -> list[Format]:
    aedat = ("aedat",)
    faery = ("faery",)
    event_files = [
        Format("events, npz", "events.npz", _events_npz, _events, _TEXT, _NPZ),
        Format("events, csv", "events.csv", lambda f: _put(f / "events.csv", _EVENT_TABLE), _events, _CSV),
        Format("events, N-MNIST", "events.bin", _nmnist, _events),
        Format("events, Event Stream", "events.es", _event_stream, _events, needs=faery),
        Format("events, EVT2", "events.raw", _evt2, _events, needs=faery),
        Format("events, EVT3", "events.raw", _evt3, _events, needs=faery),
        Format("events, AEDAT4", "events.aedat4", _aedat4, _events, needs=aedat),
    ]

    folder_files = [
        Format(f"recording, {name}", name, _recording_folder, _recording, kinds, words=_track)
        for name, kinds in (
            ("meta.json", _JSON),
            ("frames.csv", _CSV),
            ("boxes.csv", _CSV),
            ("frames/1.png", mutators.BINARY),
        )
    ]
    return [
        *event_files,
        *folder_files,
        Format("FE240hz, events", "events_sparse.npz", _fe240hz, _load_fe240hz, _TEXT, _NPZ),
        Format("FE240hz, boxes", "groundtruth_rect.txt", _fe240hz, _load_fe240hz, _CSV),
        Format("clip, boxes", "groundtruth_rect.txt", _clip, _recording, _CSV, words=_track),
        Format("lines of a stream", "lines.txt", _lines_of_a_stream, _read_lines, _CSV),
    ]


def _put(path: Path, text: str) -> None:
    path.write_text(text)


def _images() -> list[Format]:
    suffixes = ("png", "jpg", "bmp", "pgm", "tif")
    return [
        *(
            Format(f"image, {suffix}", f"image.{suffix}", lambda f, name=f"image.{suffix}": _image(f, name), _grey)
            for suffix in suffixes
        ),
        Format("digits, idx", "digits.idx", _idx, _read_idx),
        Format("digits, packed idx", "digits.idx", _packed_idx, _read_idx, parts=(gzip_part,)),
        Format("digits, npz", "digits.npz", _digits, _read_digits, _TEXT, _NPZ),
    ]


def _reasoning() -> list[Format]:
    return [
        Format(
            "scenes, JSON lines", "scenes.jsonl",
            lambda f: _write_lines(f / "scenes.jsonl", [_SCENE, {**_SCENE, "video": 8}]),
            _scenes, _JSON, words=_ask("scenes.jsonl"),
        ),
        Format(
            "scenes, packed", "scenes.jsonl.gz", lambda f: _write_lines(f / "scenes.jsonl.gz", [_SCENE]),
            _scenes, _JSON, (gzip_part, gzip_part, gzip_part), words=_ask("scenes.jsonl.gz"),
        ),
        Format("scenes, original", "3.json", lambda f: _write_json(f / "3.json", _ORIGINAL), _scenes, _JSON),
        Format("scenes, simulated", "3.json", lambda f: _write_json(f / "3.json", _SIMULATED), _scenes, _JSON),
        Format(
            "questions, JSON lines", "questions.jsonl",
            lambda f: _write_lines(f / "questions.jsonl", _QUESTIONS), _questions, _JSON,
        ),
        Format(
            "questions, original", "questions.json",
            lambda f: _write_json(f / "questions.json", [{"scene_index": 7, "questions": _QUESTIONS}]),
            _questions, _JSON,
        ),
        Format("video, npz", "video.npz", _video_npz, _video, _TEXT, _NPZ, words=_ask("video.npz")),
        Format("video, webp", "video.webp", lambda f: _animation(f, "video.webp"), _video, words=_ask("video.webp")),
        Format("video, gif", "video.gif", lambda f: _animation(f, "video.gif"), _video),
        Format("video, mp4", "video.mp4", _mp4, _video, needs=("av",)),
    ]  # fmt: skip


def _put_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _runs() -> list[Format]:
    json_files = [
        Format(f"run, {name}", f"run/{name}", _run, _read_run, _JSON)
        for name in ("config.json", "results.json", "metrics.jsonl", "environment.json")
    ]

    header = (safetensors_header,)
    checkpoint = "run/checkpoint/step-00000012.safetensors"
    # the command needs a run of trained networks; a damaged config.json is refused before
    json_files[0] = replace(json_files[0], words=lambda folder: ["report", str(folder / "run")])

    return [
        *json_files,
        Format("run, weights", "run/weights.safetensors", _run, _read_run, parts=header),
        Format("run, checkpoint", checkpoint, _run, _read_run, parts=header),
        Format("run, checkpoint with its digest", checkpoint, _run, _read_run, _JSON, header * 3, _mend_checkpoint),
    ]


def _bundles() -> list[Format]:
    def words(folder: Path) -> list[str]:
        return ["run", str(folder / "bundle"), "--input", str(folder / "inputs.npz")]

    nir = ("nir",)
    return [
        Format("bundle, manifest", "bundle/manifest.json", _bundle, _run_bundle, _JSON, words=words, needs=nir),
        Format("bundle, NIR", "bundle/snn/first.nir", _bundle, _run_bundle, mend=_mend_bundle, words=words, needs=nir),
        Format("integer model, words", "integers/integer.json", _integer_model, _run_integers, _JSON),
        Format(
            "integer model, numbers", "integers/integer.safetensors", _integer_model, _run_integers,
            parts=(safetensors_header, *(safetensors_numbers,) * 3), mend=_mend_integers,
        ),
        Format("inputs, npz", "inputs.npz", _inputs, _read_inputs("inputs.npz"), _TEXT, _NPZ),
        Format("inputs of a bundle", "inputs.npz", _bundle, _run_bundle, _TEXT, _NPZ, words=words, needs=nir),
        Format(
            "inputs, safetensors", "inputs.safetensors", _inputs, _read_inputs("inputs.safetensors"),
            parts=(safetensors_header,),
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


def _wav_header(content: bytes, chance: random.Random) -> tuple[bytes, Callable[[bytes], bytes]]:
    return content[:44], lambda inner: inner + content[44:]


def _wav(folder: Path) -> None:
    (folder / "series.wav").write_bytes(_wav_bytes(1))


def _wav_folder(folder: Path) -> None:
    (folder / "series").mkdir()
    for number in range(3):
        (folder / "series" / f"{number}.wav").write_bytes(_wav_bytes(number + 1))
    (folder / "series" / "labels.csv").write_text("file,label,group\n0.wav,yes,anna\n1.wav,no,anna\n2.wav,no,ben\n")


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
    return [
        Format("series, npz", "series.npz", _series_npz, _series, parts=packed),
        Format("series, csv", "series.csv", _series_csv, _series, (*mutators.TEXT, *mutators.CSV)),
        Format("series, spike trains", "series.h5", _spike_trains, _series, needs=("h5py",)),
        Format("events, aedat 3.1", "user01.aedat", _aedat3, _read_aedat3),
        Format(
            "gestures, labels", "user01_labels.csv", _gestures, _read_gesture_table, (*mutators.TEXT, *mutators.CSV)
        ),
        Format("sound, wav", "series.wav", _wav, _series, parts=(_wav_header, _wav_header)),
        Format(
            "folder of sound, labels.csv", "series/labels.csv", _wav_folder, _series, (*mutators.TEXT, *mutators.CSV)
        ),
    ]


FORMATS: dict[str, Format] = {
    one.name: one for one in (*_recordings(), *_images(), *_reasoning(), *_runs(), *_bundles(), *_signals())
}
