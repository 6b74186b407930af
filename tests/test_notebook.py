"""The notebook of the tutorial is made from its page, and is what a notebook program reads."""

import ast
import json
import re
from pathlib import Path

import pytest

from docs.tutorials import notebook as tutorial_notebook

pytestmark = pytest.mark.untyped

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "docs" / "tutorials" / "train-your-own.ipynb"


def test_prompts_and_outputs_are_left_out_and_text_is_kept() -> None:
    loop = ">>> for k in range(2):\n...     x += k\n>>> x\n2\n\n"
    page = f"# Title\n\nText.\n\n```python\nx = 1\n```\n\n```python\n{loop}```\nEnd.\n"

    assert [(cell["cell_type"], "".join(cell["source"])) for cell in tutorial_notebook.cells(page)] == [
        ("markdown", "# Title\n\nText."),
        ("code", "x = 1"),
        ("code", "for k in range(2):\n    x += k\nx"),
        ("markdown", "End."),
    ]


def test_every_cell_of_the_notebook_is_python_with_an_id_of_its_own() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)

    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(code) > 8
    for source in code:
        ast.parse(source)

    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)


def test_the_notebook_is_made_from_the_page() -> None:
    text = tutorial_notebook.notebook(tutorial_notebook.PAGE.read_text(encoding="utf-8"))
    assert NOTEBOOK.read_text(encoding="utf-8") == text, "python docs/tutorials/notebook.py writes it again"


def shown_by_cells(sources: list[str]) -> list[object]:
    """The values of cells that end in an expression, as a notebook shows them; one namespace for all cells."""
    names: dict[str, object] = {"__name__": "__main__"}
    shown = []

    for source in sources:
        tree = ast.parse(source)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "cell", "exec"), names)
        if isinstance(last, ast.Expr):
            shown.append(eval(compile(ast.Expression(last.value), "cell", "eval"), names))

    return shown


def test_the_notebook_runs_and_draws_the_network_the_run_and_a_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    sources = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    # less of everything, since numbers are tested with the page
    quick = [re.sub(r"\b(512|256)\b", "32", source).replace("epochs=8", "epochs=1") for source in sources]
    shown = shown_by_cells(quick)
    html = [value._repr_html_() for value in shown if hasattr(value, "_repr_html_")]

    assert [text[:7] for text in html] == ["<svg xm", "<iframe", "<iframe"]
    network, run, replay = html
    assert ">what</text>" in network
    assert "shapes and motion" in run and "loss against epoch" in run
    assert "where.lif: spikes" in replay and "slider" in replay
