"""Scripts of research/ that take no arguments: `--help` shows what they do, and measures nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

RESEARCH = Path(__file__).parents[2] / "research"


@pytest.mark.parametrize("script", ["project/extras", "modulation/similarity", "sensing/between_frames/training"])
def test_help_of_a_script_leaves_its_results(script: str) -> None:
    results = {path: path.read_bytes() for path in (RESEARCH / script).parent.glob("results/*.json")}

    words = [sys.executable, f"research/{script}.py", "--help"]
    done = subprocess.run(words, cwd=RESEARCH.parent, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {Path(script).name}.py [-h]")
    assert {path: path.read_bytes() for path in results} == results
