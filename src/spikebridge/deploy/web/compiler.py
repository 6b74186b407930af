"""C to WebAssembly by the compiler of the package `ziglang`; modules are kept by the hash of their C.

The first compilation of a machine takes about 15 s of processor time, in which the compiler builds its C library.
"""

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from spikebridge.data.io.atomic import write_bytes, write_text
from spikebridge.errors import ConfigError, ExportError

_OPTIONS = (
    "-target",
    "wasm32-wasi",
    "-std=c99",
    "-O2",
    "-ffp-contract=off",
    "-mexec-model=reactor",
    "-Wl,--strip-all",
    "-Wl,-z,stack-size=262144",
)
_SECONDS = 300


def check_compiler() -> None:
    """Raises a `ConfigError` if there is no compiler."""
    if importlib.util.find_spec("ziglang") is None:
        raise ConfigError("a web page needs the compiler of ziglang: pip install ziglang")


def compile_module(c: str) -> bytes:
    """The WebAssembly of a C text, compiled once.

    Raises:
        ConfigError: there is no compiler.
        ExportError: it failed.
    """
    check_compiler()
    version = importlib.metadata.version("ziglang")
    key = sha256("\n".join([version, *_OPTIONS, c]).encode()).hexdigest()
    kept = _cache_folder() / f"{key}.wasm"
    if kept.is_file():
        return kept.read_bytes()

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "module.c"
        write_text(source, c)
        compiled = Path(folder) / "module.wasm"
        command = [sys.executable, "-m", "ziglang", "cc", *_OPTIONS, str(source), "-o", str(compiled)]
        try:
            ran = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise ExportError(f"the compiler of ziglang {version} took more than {_SECONDS} s") from None

        if ran.returncode != 0 or not compiled.is_file():
            said = next((line for line in ran.stderr.splitlines() if "error" in line), ran.stderr.strip()[:200])
            raise ExportError(f"the compiler of ziglang {version} refused the C of the network: {said}")
        content = compiled.read_bytes()

    kept.parent.mkdir(parents=True, exist_ok=True)
    # two exports at a time may write one module
    write_bytes(kept, content)

    return content


def _cache_folder() -> Path:
    """The folder of compiled modules."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spikebridge" / "modules"
