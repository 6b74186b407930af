"""Programs that run without torch: with torch blocked by an import hook, and in an environment without its package."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import DT
from torch import nn

import spikebridge
from spikebridge.deploy import Bundle, export
from spikebridge.hybrid import HybridNetwork, Transmission, every
from spikebridge.neurons import IF, Sequential

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
    with np.load(tmp_path / "out.npz") as outputs:
        assert np.array_equal(outputs["answer"], whole.numbers("integers/sample.safetensors")["parts.answer"])


@pytest.mark.untyped
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
    with np.load(tmp_path / "out.npz") as outputs:
        np.testing.assert_allclose(outputs["answer"], wanted, atol=1e-5)


# an import hook that refuses torch, also where it is installed
BLOCKED = """
import sys
from importlib.machinery import ModuleSpec


class NoTorch:
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if name.partition(".")[0] == "torch" else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        raise ImportError("torch is blocked")


sys.meta_path.insert(0, NoTorch())
from spikebridge.cli.main import main

try:
    code = main(sys.argv[1:])
except SystemExit as left:
    code = left.code
sys.exit(code)
"""


def blocked(*words: str) -> subprocess.CompletedProcess[str]:
    root = Path(spikebridge.__file__).parent.parent
    return subprocess.run(
        [sys.executable, "-c", BLOCKED, *words],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("words", [["--help"], ["list"]], ids=" ".join)
def test_help_and_list_need_no_torch(words: list[str]) -> None:
    done = blocked(*words)
    assert done.returncode == 0, done.stderr
    assert "digits" in done.stdout or "quantize" in done.stdout


@pytest.mark.parametrize("words", [["run"], ["run", "--integers"]], ids=" ".join)
def test_a_bundle_runs_where_torch_is_blocked(words: list[str], whole: Bundle) -> None:
    done = blocked(words[0], str(whole.path), *words[1:], "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ticks"] == whole.manifest.sample.ticks


@pytest.mark.untyped
def test_a_bundle_runs_live_where_torch_is_blocked(tmp_path: Path) -> None:
    network = HybridNetwork(
        dt=DT,
        inputs={"events": every(DT)},
        parts={"snn": Sequential(cut=nn.Flatten(), fc=nn.Linear(24, 3), fire=IF(v_threshold=0.5))},
        links=[Transmission("events", "snn")],
        outputs=["snn"],
    ).eval()

    nn.init.constant_(network.parts["snn"][1].weight, 0.2)
    bundle = export(network, {"events": torch.ones(8, 1, 2, 3, 4)}, tmp_path / "live.bundle")
    events = tmp_path / "events.csv"
    events.write_text("t,x,y,p\n" + "".join(f"{1000 * tick},{tick % 4},{tick % 3},{tick % 2}\n" for tick in range(40)))
    done = blocked("live", str(bundle.path), "--events", str(events), "--speed", "10", "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["num_bins"] == 40
