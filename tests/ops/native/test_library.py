"""The native library: loaded if it fits, on PyTorch's own threads, and absent without harm."""

import ctypes
import platform
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fresh_process import run_fresh
from spikebridge.neurons import Arctan
from spikebridge.ops import selection
from spikebridge.ops.native import layout
from spikebridge.ops.native import library as native_library
from spikebridge.ops.native.library import Library
from spikebridge.ops.sequence import native
from spikebridge.ops.sequence.spec import ForwardArgs, NeuronParams, NeuronSpec, NeuronState

pytestmark = pytest.mark.untyped

needs_library = pytest.mark.skipif(not native.available(), reason=f"no native steps: {native.why_not()}")


def test_a_missing_library_is_said_and_serves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(native_library.VARIABLE, raising=False)
    monkeypatch.setattr(native_library, "NAME", "spikebridge.ops._never_built")
    missing = native_library.library.__wrapped__()

    assert missing.steps is None

    monkeypatch.setattr(native, "library", lambda: missing)
    monkeypatch.setattr(selection, "library", lambda: missing)

    assert not native.available()
    assert native.why_not() == "the native part was not built; install again where there is a C compiler"
    assert native.description() == f"PyTorch alone: {native.why_not()}"
    assert not selection.runs_natively(torch.ones(2, 1, 1), NeuronSpec(Arctan()))


@needs_library
def test_a_variable_chooses_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "copy.so"
    copy.write_bytes(Path(native_library.library().steps._name).read_bytes())
    monkeypatch.setenv(native_library.VARIABLE, str(copy))

    assert native_library.library.__wrapped__().steps._name == str(copy)

    monkeypatch.setenv(native_library.VARIABLE, "off")

    assert native_library.library.__wrapped__() == Library(None, "SPIKEBRIDGE_NATIVE=off")


def test_a_file_that_is_no_library_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.so").write_bytes(b"not a library")
    assert "cannot be loaded" in native_library.load(tmp_path / "broken.so").why_not


def test_a_library_of_another_processor_falls_back_with_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the header of an ELF file is enough: 183 is aarch64, 62 is x86_64
    number, name = (62, "x86_64") if platform.machine() in ("aarch64", "arm64") else (183, "aarch64")
    path = tmp_path / "copied.so"
    path.write_bytes(b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack("<2HI", 3, number, 1) + bytes(104))
    monkeypatch.setenv(native_library.VARIABLE, str(path))

    with pytest.warns(UserWarning, match=f"PyTorch runs alone.* was built for {name}, this is ") as warned:
        loaded = native_library.library.__wrapped__()

    assert len(warned) == 1
    assert loaded.steps is None

    monkeypatch.setattr(native, "library", lambda: loaded)
    assert native.description() == f"PyTorch alone: {loaded.why_not}"


@pytest.mark.skipif(
    shutil.which("gcc") is None or platform.machine() != "x86_64" or sys.platform != "linux",
    reason="needs gcc on an x86 processor under Linux",
)
@pytest.mark.parametrize(("flag", "missing"), [("-mfma4", "FMA4"), ("-mxop", "FMA4"), ("-march=x86-64", "")])
def test_a_library_for_instructions_that_are_missing_is_refused(tmp_path: Path, flag: str, missing: str) -> None:
    if missing and "fma4" in Path("/proc/cpuinfo").read_text(encoding="utf-8").split():
        pytest.skip("this processor has FMA4, as few do")

    headers = Path(native_library.__file__).parent / "csrc"
    path = tmp_path / "built.so"
    version = tmp_path / "version.c"
    version.write_text(
        f"int spikebridge_version(void) {{ return {native_library.VERSION}; }}\n"
        'const char *spikebridge_instructions(void) { return "none"; }\n'
    )
    sources = [str(headers / "processor.c"), str(version)]
    subprocess.run(["gcc", "-O3", flag, "-shared", "-fPIC", *sources, "-o", str(path)], check=True, timeout=60)
    loaded = native_library.load(path)

    assert (loaded.steps is None) == bool(missing)
    reason = f"the native part ({path}) was built for {missing}, which this processor lacks; install again"
    assert loaded.why_not == (reason if missing else "")


@needs_library
@pytest.mark.skipif(sys.platform != "linux", reason="files of another format")
def test_a_library_that_is_cut_off_is_refused_and_ends_no_process(tmp_path: Path) -> None:
    whole = Path(native_library.library().steps._name).read_bytes()
    # in the header of the file, at its end, behind it, and one byte short
    lengths = (10, 64, 4_000, 100_000, len(whole) - 1)
    paths = [tmp_path / f"cut{length}.so" for length in lengths]

    for path, length in zip(paths, lengths, strict=True):
        path.write_bytes(whole[:length])

    # in a process of its own, which a broken library may end
    script = (
        "import sys, pathlib; from spikebridge.ops.native import library as n\n"
        "for path in sys.argv[1:]: print(n.load(pathlib.Path(path)))"
    )

    lines = run_fresh(script, *map(str, paths)).strip().splitlines()
    assert len(lines) == len(paths)
    for path, length, line in zip(paths, lengths, lines, strict=True):
        damaged = "is damaged" in line and f"{path.name} is cut off); install again where there is a C compiler" in line
        assert damaged or (length < 64 and "cannot be loaded" in line)


@needs_library
def test_a_library_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(native_library.library().steps._name)
    own = native_library.VERSION
    monkeypatch.setattr(native_library, "VERSION", 0)
    refused = native_library.load(path)

    assert refused.steps is None
    assert refused.why_not == f"the native part is of version {own}, not 0; install again"


@needs_library
def test_structures_have_the_sizes_of_the_library() -> None:
    sizes = (ctypes.c_int64 * 4)()
    native_library.library().steps.spikebridge_sizes(sizes)

    assert list(sizes) == [
        ctypes.sizeof(kind)
        for kind in (native_library.Forward, native_library.Backward, native_library.Respond, native_library.LeakySum)
    ]


@needs_library
def test_what_runs_is_said() -> None:
    assert native.description().startswith("native steps with ")


@needs_library
def test_without_a_team_one_thread_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(5, 1, 9000)
    memory = NeuronState(torch.zeros(1, 9000))
    expected = native.forward_steps(ForwardArgs(NeuronSpec(Arctan()), x, memory, NeuronParams(0.5), keep=False))
    alone = native_library.library()._replace(team=None)
    monkeypatch.setattr(native, "library", lambda: Library(*alone))
    monkeypatch.setattr(layout, "library", lambda: Library(*alone))
    native._plan_of_numbers.cache_clear()
    layout.plan_of.cache_clear()
    got = native.forward_steps(ForwardArgs(NeuronSpec(Arctan()), x, memory, NeuronParams(0.5), keep=False))
    native._plan_of_numbers.cache_clear()
    layout.plan_of.cache_clear()

    assert torch.equal(got.y, expected.y)
    assert native.description().endswith("on one thread")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux shows them")
@needs_library
def test_no_threads_are_made_beside_those_of_pytorch() -> None:
    program = """
import os, torch
from spikebridge.neurons import Arctan
from spikebridge.ops.sequence import native
from spikebridge.ops.sequence.spec import ForwardArgs, NeuronState, NeuronSpec, NeuronParams
torch.set_num_threads(2)
torch.ones(2**20).mul(2.0)
before = len(os.listdir("/proc/self/task"))
x = torch.ones(9, 1, 2**16)
native.forward_steps(ForwardArgs(NeuronSpec(Arctan()), x, NeuronState(torch.zeros(1, 2**16)), NeuronParams(0.5)))
print(native.library().team is not None, before, len(os.listdir("/proc/self/task")))
"""

    has_team, before, after = run_fresh(program).split()
    assert (has_team, after) == ("True", before)
    assert int(before) > 1


def test_nothing_is_loaded_at_import() -> None:
    program = "import spikebridge.neurons, spikebridge.ops.native.library as n; print(n.library.cache_info().currsize)"
    assert run_fresh(program).strip() == "0"
