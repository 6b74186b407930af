"""Files of a user are opened by `data/io/safe_open` alone: the source is searched for every other way."""

import ast
from pathlib import Path

import pytest

import spikebridge

SOURCE = Path(spikebridge.__file__).parent
METHODS = {"read_text", "read_bytes", "fromfile", "tofile", "memmap", "open_memmap", "loadtxt", "genfromtxt", "imread"}
FUNCTIONS = {
    *("open", "io.open", "os.open", "os.fdopen", "gzip.open", "bz2.open", "lzma.open", "tarfile.open", "np.load"),
    *("json.load", "torch.load", "tomllib.load", "Image.open", "av.open", "h5py.File", "nir.read", "zipfile.ZipFile"),
    *("load_file", "safe_open", "InferenceSession", "mmap.mmap", "linecache.getline", "ET.parse", "onnx.load"),
    *("Decoder", "events_stream_from_file"),
}
# a file of the package, a temporary file of our own, or what was opened and checked before
ALLOWED = {
    "_moved.py": {"read_text"},
    "analysis/templates.py": {"read_text"},
    "data/catalog.py": {"read_text"},
    "data/images/photographs.py": {"read_text"},
    "cli/main.py": {"os.open"},  # the null device
    "data/events/formats/_decoders.py": {"os.open"},  # the null device
    "data/events/formats/aedat4.py": {"Decoder"},  # after a check of the first bytes and of all sizes
    "data/events/formats/csv.py": {"loadtxt"},
    "data/events/formats/faery.py": {"events_stream_from_file"},  # after a check of the first bytes
    "cli/train.py": {"read_text"},
    "data/io/atomic.py": {"os.open", "os.fdopen"},
    "data/io/hdf5.py": {"h5py.File", "mmap.mmap"},
    "data/io/images.py": {"Image.open"},
    "data/io/npz.py": {"zipfile.ZipFile"},
    "data/io/safe_open.py": {"open", "os.open"},
    "data/streams/_camera.py": {"open"},  # a camera
    "data/streams/_text.py": {"loadtxt"},
    "deploy/bundle/export.py": {"read_bytes"},  # of the folder that it writes
    "data/io/templates.py": {"read_text"},
    "deploy/web/compiler.py": {"read_bytes"},  # of the compiler, or kept before
    "deploy/web/page.py": {"read_text"},
    "deploy/nir/file.py": {"h5py.File", "nir.read"},
    "deploy/onnx/session.py": {"InferenceSession"},  # from bytes
    "networks/sensing/report/animation.py": {"av.open"},  # for writing
    "ops/native/library.py": {"open"},
    "recipes/outline.py": {"read_text"},
    "training/run/environment.py": {"read_text"},  # of the system, about its processor
    "training/run/lock.py": {"read_text"},  # of the system, about processes
}


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def is_checked(call: ast.Call) -> bool:
    """True for a call on a file that was just opened and checked: `load_file(checked_file(path, "weights"))`."""
    return any(
        isinstance(inner, ast.Call) and dotted(inner.func) == "checked_file"
        for argument in call.args[:1]
        for inner in ast.walk(argument)
    )


def opens(call: ast.Call) -> str | None:
    """The name of a way to open a file for reading, or None."""
    name = dotted(call.func)
    last = name.rpartition(".")[2]
    known = {one for one in FUNCTIONS if name == one or (name.endswith(f".{one}") and one != "open")}
    if last in METHODS:
        return last if name.count(".") else None
    if known:
        return known.pop()

    # Path.open: without a mode, or with one for reading; Run.open and the like take a path
    mode = [one.value for one in call.args if isinstance(one, ast.Constant)]
    if last == "open" and (not call.args or (mode and str(mode[0]).startswith("r"))):
        return "open"

    return None


@pytest.mark.untyped
def test_files_are_opened_for_reading_in_one_place() -> None:
    found: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and (name := opens(node)) and not is_checked(node):
                found.setdefault(path.relative_to(SOURCE).as_posix(), set()).add(name)

    assert found == ALLOWED


def test_the_search_finds_the_ways_to_open_a_file() -> None:
    for text in (
        "open(p)",
        "p.open('rb')",
        "p.open()",
        "p.read_text()",
        "np.load(p)",
        "h5py.File(p)",
        "load_file(p)",
    ):
        assert opens(ast.parse(text).body[0].value) is not None, text  # type: ignore[attr-defined]

    for text in ("Run.open(p)", "open_binary(p)", "archive.open(name)", "read_text(p, 'x')", "load(content)"):
        assert opens(ast.parse(text).body[0].value) is None, text  # type: ignore[attr-defined]

    assert is_checked(ast.parse("av.open(str(checked_file(p, 'x')))").body[0].value)  # type: ignore[attr-defined]
