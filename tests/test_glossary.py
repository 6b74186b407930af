"""The glossary names code that exists."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.untyped

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "glossary.md"
ENTRIES = re.findall(r"^\| (.+?) \| .+ \| \[`(\w+)`\]\((\S+)\) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def test_the_glossary_has_its_terms() -> None:
    assert len(ENTRIES) >= 60
    assert len({term for term, _, _ in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize(("term", "name", "target"), ENTRIES, ids=[term for term, _, _ in ENTRIES])
def test_a_term_leads_to_its_code(term: str, name: str, target: str) -> None:
    path = (PAGE.parent / target).resolve()
    assert path.is_file(), f"{term}: there is no {target}"
    assert name in path.with_suffix("").parts or re.search(rf"\b{name}\b", path.read_text(encoding="utf-8"))
