"""Every Python block in the documentation runs. The blocks of one page share their names, as a reader types them."""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def run_page(text: str, source: str) -> str:
    """Runs the blocks of a page and gives what went otherwise than it says; a block without prompts just has to run."""
    names: dict[str, object] = {"__name__": "__main__"}
    report: list[str] = []
    for match in BLOCK.finditer(text):
        block, line = match.group(1), text.count("\n", 0, match.start()) + 1
        if block.startswith(">>>"):
            example = doctest.DocTestParser().get_doctest(block, names, source, source, line)
            doctest.DocTestRunner(optionflags=FLAGS).run(example, out=report.append, clear_globs=False)
            names.update(example.globs)
        else:
            exec(compile("\n" * line + block, source, "exec"), names)
    return "".join(report)


@every_page
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_page(page.read_text(), str(page)) == ""


@every_page
def test_links_to_files_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:\s]+)\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_names_live_on_from_block_to_block_and_a_wrong_number_is_seen() -> None:
    page = "```python\nx = 1\n```\n\n```python\n>>> x + 1\n{}\n```\n"
    assert run_page(page.format(2), "page") == ""
    assert "Expected:\n    3\nGot:\n    2" in run_page(page.format(3), "page")
