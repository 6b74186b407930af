"""The page on speed says what the committed results say."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_tables_on_speed_are_those_of_the_results() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "speed_page.py"), "--check"]
    assert subprocess.run(command, check=False).returncode == 0, "python benchmarks/speed_page.py writes them again"
