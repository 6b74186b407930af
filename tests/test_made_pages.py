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
        "busy_page.py",
        "first_hour_page.py",
        "claims_page.py",
        "speed_page.py",
        "tracking_page.py",
        "events_page.py",
        "modulation_page.py",
        "quantise_page.py",
        "reasoning_page.py",
        "reasoning_targets.py",
        "architecture_page.py",
        "models_page.py",
        "neurobench_page.py",
        "extras.py",
        "residual_delays.py",
    ],
)
def test_the_tables_are_those_of_the_results(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [script, "--check"])
    assert import_module(script.removesuffix(".py")).main() == 0, f"python benchmarks/{script} writes them again"


def test_every_peer_of_the_speed_page_has_its_version() -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "peers.json").read_text(encoding="utf-8"))
    rows = {row["name"].split(",")[0].lower() for table in results["layers"] for row in table["rows"]}
    assert rows - {"native", "pytorch", "loop", "floor"} <= results["environment"]["versions"].keys()


def test_works_that_are_not_there_are_refused() -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.stderr = sys.stdout\n"
        "import peers\n"
        "for letters in ('Z', 'a', ''):\n"
        "    sys.argv = ['peers.py', '--only', letters]\n"
        "    try: peers.main()\n"
        "    except SystemExit as stop: assert stop.code == 2"
    )
    assert run_fresh(script, str(ROOT / "benchmarks")).count("needs letters out of ABCEFS+") == 3


def test_make_bench_measures_speed_before_what_needs_data() -> None:
    told = subprocess.run(["make", "-n", "bench"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    scripts = [word for word in told.split() if word.startswith("benchmarks/")]
    assert scripts[:2] == ["benchmarks/peers.py", "benchmarks/live.py"]
    names = (
        "busy",
        "mutations",
        "source_mutations",
        "slowdown",
        "same_answers",
        "layout",
        "entered_files",
        "public_api",
        "killed_trainings",
        "live_soak",
        "first_hour",
        "typed_tests",
        "beside_nengo",
        "signals_people",
        "signals_plane",
        "signals_integers",
        "signals_wearer",
        "signals_choice",
        "signals_early",
        "signals_training",
        "signals_digit_delays",
        "sensing_confidence",
        "neurobench_networks",
        "neurobench_harness",
        "extras",
        "gpu",
        "residual_delays",
        "sensing_families",
        "equivalent_frame_rate",
        "sweep_cost",
    )
    slow = {f"benchmarks/{name}.py" for name in names}
    all_scripts = {str(path.relative_to(ROOT)) for path in ROOT.glob("benchmarks/*.py")}
    claims = {str(path.relative_to(ROOT)) for path in ROOT.glob("benchmarks/claims/*.py")}
    no_experiments = ("experiment", "balanced_network", "chip_process", "task_scaling")
    claims -= {f"benchmarks/claims/{name}.py" for name in no_experiments}
    assert (all_scripts - slow) | claims <= {script.rstrip(";") for script in scripts}
