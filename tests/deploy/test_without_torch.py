"""A bundle runs where torch is not installed: in an environment that holds every other package, but not that one."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import spikebridge
from spikebridge.deploy import Bundle

# what is torch, and what comes with it alone
WITHOUT = ("torch", "functorch", "torchgen", "torchvision", "torchaudio", "lightning", "nvidia", "triton")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of links to the installed packages but torch."""
    folder = tmp_path_factory.mktemp("packages")
    for path in Path(np.__file__).parent.parent.iterdir():
        name = path.name.lower()
        if not name.startswith(WITHOUT) and path.suffix not in (".pth", ".so") and not name.startswith("__"):
            (folder / path.name).symlink_to(path)
    (folder / "spikebridge").unlink(missing_ok=True)
    (folder / "spikebridge").symlink_to(Path(spikebridge.__file__).parent)
    return folder


def python(packages: Path, code: str, *words: str) -> subprocess.CompletedProcess[str]:
    # -S: no site-packages but those in the path
    return subprocess.run(
        [sys.executable, "-S", "-c", code, *words],
        env={"PYTHONPATH": str(packages), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_whole_numbers_need_numpy_and_safetensors_alone(whole: Bundle, packages: Path, tmp_path: Path) -> None:
    code = """
import sys
from spikebridge.cli.main import main
code = main(["run", sys.argv[1], "--integers", "--out", sys.argv[2]])
assert not {"torch", "onnxruntime", "nir"} & set(sys.modules), set(sys.modules)
sys.exit(code)
"""
    done = python(packages, code, str(whole.path), str(tmp_path / "out.npz"))
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out.npz") as given:
        assert np.array_equal(given["answer"], whole.numbers("integers/sample.safetensors")["parts.answer"])


def test_the_command_runs_a_bundle_without_torch(small: Bundle, packages: Path, tmp_path: Path) -> None:
    code = """
import importlib.util, sys
assert importlib.util.find_spec("torch") is None
from spikebridge.cli.main import main
code = main(["run", sys.argv[1], "--out", sys.argv[2], "--json"])
assert "torch" not in sys.modules
sys.exit(code)
"""
    done = python(packages, code, str(small.path), str(tmp_path / "out.npz"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ticks"] == small.manifest.sample.ticks
    wanted = small.numbers(small.manifest.sample.file)["parts.answer"]
    with np.load(tmp_path / "out.npz") as given:
        np.testing.assert_allclose(given["answer"], wanted, atol=1e-5)
