"""C built by zig for aarch64, which qemu-aarch64 emulates, and for this processor, by the same compiler.

`python tests/aarch64.py` builds the native library ahead, since zig keeps what it has built.
"""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = [ROOT / "src/spikebridge" / part / "native/csrc" for part in ("ops", "networks/sensing")]
DRIVER = ROOT / "tests/ops/native/replay.c"
EMULATOR = "qemu-aarch64"
# no product is fused with a sum, as in setup.py
_FLAGS = ["-O1", "-static", "-w", "-std=gnu11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]


def _zig() -> str | None:
    """The path of zig: on the search path, or in the package `ziglang`."""
    spec = importlib.util.find_spec("ziglang")
    inside = None if spec is None or spec.origin is None else str(Path(spec.origin).parent)
    return shutil.which("zig") or shutil.which("zig", path=inside)


IS_MISSING = _zig() is None or shutil.which(EMULATOR) is None
# the tests are skipped without the tools, unless they are required
IS_SKIPPED = IS_MISSING and os.environ.get("SPIKEBRIDGE_REQUIRE_AARCH64") != "1"
REASON = f"needs zig (the package ziglang) and {EMULATOR} (the Debian package qemu-user)"


def build(processor: str, sources: Iterable[Path], program: Path, folders: Iterable[Path] = ()) -> None:
    """Builds a static program for Linux on a processor."""
    zig = _zig()
    assert zig is not None, REASON
    includes = [f"-I{folder}" for folder in folders]
    command = [zig, "cc", "-target", f"{processor}-linux-musl", *_FLAGS, *includes, *map(str, sources)]
    subprocess.run([*command, "-o", str(program)], check=True, timeout=600)


def build_library(processor: str, program: Path) -> None:
    """Builds the native library with the driver that replays calls."""
    sources = sorted(file for folder in FOLDERS for file in folder.glob("*.c"))
    build(processor, [*sources, DRIVER], program, FOLDERS)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for name in ("aarch64", "x86_64"):
            build_library(name, Path(folder) / name)
