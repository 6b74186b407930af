"""Pages whose tables are made from the committed results say what the results say."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    "script",
    [
        "speed_page.py",
        "tracking_page.py",
        "modulation_page.py",
        "quantise_page.py",
        "reasoning_page.py",
        "reasoning_targets.py",
    ],
)
def test_the_tables_are_those_of_the_results(script: str) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / script), "--check"]
    assert subprocess.run(command, check=False).returncode == 0, f"python benchmarks/{script} writes them again"
