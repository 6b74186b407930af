"""Every Python block and every shell command of the documentation runs, page by page, from an empty folder.

The blocks of one page run in order and share their names and files, as a reader types them.
"""

import doctest
import re
from pathlib import Path

import pytest

from page_commands import run_commands

pytestmark = pytest.mark.untyped

ROOT = Path(__file__).resolve().parent.parent
# pages that `make docs` writes from scripts, which have tests of their own, are left out
WRITTEN = [page for page in sorted((ROOT / "docs").rglob("*.md")) if not page.with_suffix(".py").exists()]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *WRITTEN]
NOTES = sorted((ROOT / "research").rglob("NOTES.md"))
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MAX_WORDS = 900
MAX_README_LINES = 120
MAX_README_WIDTH = 95
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def run_page(text: str, source: str, with_commands: bool = True) -> str:
    """Runs the blocks of a page and gives a report of failures; a block without prompts only has to run."""
    names: dict[str, object] = {"__name__": "__main__"}
    report: list[str] = []

    for match in BLOCK.finditer(text):
        block = match.group(2)
        line = text.count("\n", 0, match.start()) + 1

        if match.group(1) == "sh" and with_commands:
            report.extend(f"{source}, {failure}\n" for failure in run_commands(block, line + 1))
        elif match.group(1) == "sh":
            continue
        elif block.startswith(">>>"):
            # an example has a copy of the names
            example = doctest.DocTestParser().get_doctest(block, names, source, source, line)
            doctest.DocTestRunner(optionflags=FLAGS).run(example, out=report.append, clear_globs=False)
            names.update(example.globs)
        else:
            exec(compile("\n" * line + block, source, "exec"), names)

    return "".join(report)


@every_page
def test_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config) -> None:
    monkeypatch.chdir(tmp_path)
    # commands run in processes of their own, which the checker of annotations does not reach
    checked = bool(pytestconfig.getoption("jaxtyping_packages", default=None))
    assert run_page(page.read_text(), str(page), with_commands=not checked) == ""


@pytest.mark.parametrize("page", [*PAGES, *NOTES], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_to_files_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:\s]+)\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_a_page_of_explanations_is_short() -> None:
    pages = (ROOT / "docs" / "explanation").glob("*.md")
    words = {page.name: len(page.read_text(encoding="utf-8").split()) for page in pages}
    long = {name for name, number in words.items() if number > MAX_WORDS}
    assert long == set(), "history and attempts go to research/*/NOTES.md"


def test_the_readme_is_short_and_its_code_narrow() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = [line for match in BLOCK.finditer(text) for line in match.group(2).splitlines()]

    assert len(text.splitlines()) <= MAX_README_LINES
    assert [line for line in code if len(line) > MAX_README_WIDTH] == []


def test_no_text_installs_the_package_by_a_name_that_is_not_published() -> None:
    files = [*(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.py"), *(ROOT / "research").rglob("*.md")]
    by_name = re.compile(r"spikebridge\[\w|pip install '?spikebridge\b")
    texts = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *files]

    assert [str(path) for path in texts if by_name.search(path.read_text(encoding="utf-8"))] == []


def test_blocks_share_their_names_and_a_wrong_number_is_reported() -> None:
    page = "```python\nx = 1\n```\n\n```python\n>>> x + 1\n{}\n```\n"
    assert run_page(page.format(2), "page") == ""
    assert "Expected:\n    3\nGot:\n    2" in run_page(page.format(3), "page")


def test_a_command_that_fails_is_named_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = "A page.\n\n```sh\nspikebridge list\nspikebridge eval runs/first\nspikebridge report runs/first | cat\n```\n"
    report = run_page(page, "page")

    assert "page, line 5: spikebridge eval runs/first: exit code 2: spikebridge: error: 'runs/first'" in report
    assert "page, line 6: spikebridge report" in report
    assert "line 4" not in report


@pytest.mark.parametrize(
    ("block", "why"),
    [
        ("spikebridge train modulation   # minutes", "a slow command needs a quick form"),
        ("spikebridge train modulation   # minutes\nspikebridge list", "a slow command needs a quick form"),
        ("spikebridge live sensing --event camera  # needs a camera", "no option --event"),
        ("make dmo", "No rule to make target"),
        ("python research/nothing.py", "there is no such script"),
        ("pip install 'spikebridge[nothing]'", "no such extra: nothing"),
        ("curl example.org", "no rule for 'curl'"),
        ("spikebridge frobnicate &", "no command 'frobnicate'"),
    ],
)
def test_a_wrong_line_is_reported_without_running_it(block: str, why: str) -> None:
    assert [failure for failure in run_commands(block) if why in failure]


def test_a_command_reads_the_files_of_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    block = "spikebridge copy digits \\\n  my.py\nspikebridge train ./my.py --help  # options\npip install spikebridge"
    assert run_commands(block) == []
    assert (tmp_path / "my.py").exists()
