"""A killed training ends as if nothing had happened; two and four processes compute what one does."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fresh_process import run_fresh
from spikebridge.training import Run
from spikebridge.training.rng import preserve_rng_state
from spikebridge.training.run.weights import read_weights

pytestmark = pytest.mark.untyped


ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


def start(*words: str) -> None:
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=120, env={**os.environ, **ENVIRONMENT}
    )
    assert done.returncode == 0, done.stderr


def run_script(name: str, *words: str) -> str:
    """Runs a program of this folder where PyTorch is loaded, and gives its output and its messages."""
    path = Path(__file__).with_name(name)
    program = (
        "import os, runpy, sys; os.dup2(1, 2); "
        f"sys.path.insert(0, {str(path.parent)!r}); runpy.run_path({str(path)!r}, None, '__main__')"
    )
    return run_fresh(program, *words, environment={**os.environ, **ENVIRONMENT})


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process, made in this one."""
    path = Path(__file__).with_name("tiny_training.py")
    spec = importlib.util.spec_from_file_location("tiny_training", path)

    assert spec is not None
    assert spec.loader is not None

    module: Any = importlib.util.module_from_spec(spec)
    sys.modules["tiny_training"] = module
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("one") / "run"
    num_threads = torch.get_num_threads()

    with preserve_rng_state():
        module.main(str(folder), devices=1, dropout=0.0, delay=0.0)

    torch.set_num_threads(num_threads)
    return folder


def assert_same_numbers(path: Path, other: Path) -> None:
    weights = read_weights(path / "weights.safetensors")
    others = read_weights(other / "weights.safetensors")
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, others[name], rtol=0, atol=1e-5)

    rows = Run.open(path).metrics.rows()
    other_rows = Run.open(other).metrics.rows()
    assert [list(row) for row in rows] == [list(row) for row in other_rows]
    for row, other_row in zip(rows, other_rows, strict=True):
        assert row == pytest.approx(other_row, abs=1e-5)


def test_a_training_killed_at_random_moments_ends_with_the_same_bits(tmp_path: Path) -> None:
    output = run_script("killed_often.py", str(tmp_path))
    assert "killed 6 times" in output, output
    for file in ("weights.safetensors", "metrics.jsonl"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()

    assert len(Run.open(tmp_path / "killed").metrics.rows()) == 7


def test_two_processes_started_by_the_settings_compute_what_one_does(
    tiny: Path, one_process: Path, tmp_path: Path
) -> None:
    start(str(tiny), str(tmp_path / "run"), "2", "0", "0")
    assert Run.open(tmp_path / "run").environment()["num_processes"] == 2
    assert_same_numbers(tmp_path / "run", one_process)


def test_a_job_of_four_under_torchrun_outlives_a_killed_process(one_process: Path, tmp_path: Path) -> None:
    output = run_script("killed_under_elastic.py", str(tmp_path / "run"))
    # the other processes fail, too, once a peer is gone: any may be seen first
    assert "failed (exitcode:" in output, output
    assert_same_numbers(tmp_path / "run", one_process)


def test_a_network_spread_over_processes_is_gathered_and_spread_again() -> None:
    run_script("spread_over_two.py")
