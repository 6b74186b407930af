"""Pages whose tables are made from the committed results say what the results say."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from fresh_process import run_fresh

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    "script",
    [
        *(f"pages/{path.stem}" for path in (ROOT / "research" / "pages").glob("*_page.py") if path.stem != "made_page"),
        "reasoning/targets",
        "project/extras",
        "deploy/residual_delays",
    ],
)
def test_tables_are_made_from_the_results(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [script, "--check"])
    assert import_module(f"research.{script.replace('/', '.')}").main() == 0, (
        f"python research/{script}.py writes them again"
    )


def test_every_peer_of_the_speed_page_has_its_version() -> None:
    results = json.loads((ROOT / "research" / "speed" / "results" / "peers.json").read_text(encoding="utf-8"))
    rows = {row["name"].split(",")[0].lower() for table in results["layers"] for row in table["rows"]}
    assert rows - {"native", "pytorch", "loop", "floor"} <= results["environment"]["versions"].keys()


def test_unknown_works_are_refused() -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.stderr = sys.stdout\n"
        "from research.speed import peers\n"
        "for letters in ('Z', 'a', ''):\n"
        "    sys.argv = ['peers.py', '--only', letters]\n"
        "    try: peers.main()\n"
        "    except SystemExit as stop: assert stop.code == 2"
    )

    assert run_fresh(script, str(ROOT)).count("needs letters out of ABCEFS+") == 3


def test_make_bench_measures_speed_before_what_needs_data() -> None:
    output = subprocess.run(["make", "-n", "bench"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    scripts = [word.rstrip(";") for word in output.split() if word.startswith("research/")]

    assert scripts[:2] == ["research/speed/peers.py", "research/speed/live.py"]
    assert "research/claims/units/approximation.py" in scripts
    assert "research/sensing/closed_loop/clips.py" in scripts
    assert "research/project/mutation_testing/measure.py" not in scripts
