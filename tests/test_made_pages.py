"""Tables of figures in pages are made from the committed results, or copied from them without a mistake."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from fresh_process import run_fresh
from page_figures import Table, typed_tables, unfounded, unmarked

pytestmark = pytest.mark.untyped

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COPIED = [(page, table) for page in PAGES for table in typed_tables(page.read_text(encoding="utf-8")) if table.sources]


@pytest.mark.parametrize(
    "script",
    [
        *(f"pages/{path.stem}" for path in (ROOT / "research" / "pages").glob("*_page.py") if path.stem != "made_page"),
        "reasoning/targets",
        "project/extras",
        "deploy/residual_delays",
        "hybrids/page",
    ],
)
def test_tables_are_made_from_the_results(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [script, "--check"])
    assert import_module(f"research.{script.replace('/', '.')}").main() == 0, (
        f"python research/{script}.py writes them again"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_table_of_figures_names_its_source(page: Path) -> None:
    assert unmarked(page.read_text(encoding="utf-8")) == [], (
        "a script makes the table, or one of these marks stands in front: "
        "<!-- copied from research/x/results/y.json -->, <!-- not measured: the reason -->"
    )


@pytest.mark.parametrize(("page", "table"), COPIED, ids=[f"{page.stem}-{table.line}" for page, table in COPIED])
def test_a_copied_table_agrees_with_its_results(page: Path, table: Table) -> None:
    results = [json.loads((ROOT / source).read_text(encoding="utf-8")) for source in table.sources]
    assert unfounded(table, results) == [], f"{page}, table of line {table.line}"


def test_a_wrong_figure_and_a_table_without_a_source_are_seen() -> None:
    page = (
        "<!-- {} -->\n\n| x | y |\n|---|---|\n| a | 93.9 ± 0.5, of 1,234 |\n| b | 0.049 ms |\n| 7 runs | **2e-6** |\n"
    )
    results = [{"rows": [{"share": 0.9389, "sd": 0.0048, "n": 1234}, {"s": 4.9e-5}], "weights": [1.9e-6, 2.1e-6]}]

    assert unmarked(page.format("a comment")) == [3]
    assert unmarked(page.format("not measured: sizes")) == unmarked(page.format("copied from a.json b.json")) == []
    assert typed_tables(page.format("copied from a.json b.json"))[0].sources == ["a.json", "b.json"]

    (table,) = typed_tables(page)
    assert unfounded(table, results) == []
    for right, wrong in (("93.9", "93.8"), ("0.5,", "0.6,"), ("1,234", "1,235"), ("0.049", "0.050"), ("2e-6", "3e-6")):
        (changed,) = typed_tables(page.replace(right, wrong))
        assert len(unfounded(changed, results)) == 1

    # each number is a result, but not of the same measurement
    (mixed,) = typed_tables(page.replace("93.9 ± 0.5", "93.9 ± 0.049"))
    assert unfounded(mixed, results) == ["93.9 ± 0.049"]


def test_tables_of_scripts_and_code_are_no_typed_tables() -> None:
    rows = "| x | y | z | w |\n|---|---|---|---|\n| a | 1.5 | 2.5 | 3.5 |\n"
    assert unmarked(f"<!-- t: made by research/x.py -->\n\n{rows}\n<!-- end of t -->\n") == []
    assert unmarked(f"```\n{rows}```\n") == []
    assert unmarked(rows) == [1]
    assert unmarked(rows.replace("1.5", "`1.5`")) == []


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
