"""A report holds the figures of its own run: the texts around them state none."""

import ast
import re
from pathlib import Path

import pytest

import spikebridge

NETWORKS = Path(spikebridge.__file__).parent / "networks"
PAGES = [*NETWORKS.glob("*/*report.py"), *NETWORKS.glob("*/report/*.py")]
# an accuracy, a share, an error or a count of wins
FIGURE = re.compile(r"\d\s?%|\d+ (of|in) \d+ (cells|cases|scenes|folds)|\d\s?points|\d times (as|more|less|faster)")


def texts(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)]
    docstrings = {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docstrings]

    return [node.value for node in constants if isinstance(node.value, str)]


def test_every_network_with_a_report_is_read() -> None:
    assert {path.relative_to(NETWORKS).parts[0] for path in PAGES} >= {"digits", "modulation", "reasoning", "sensing"}
    assert FIGURE.search("above in 12 of 12 cells") and FIGURE.search("98.5 % of the options")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(NETWORKS)))
def test_the_texts_of_a_report_state_no_figure(path: Path) -> None:
    assert not [text for text in texts(path) if FIGURE.search(text)]
