"""The faults that are planted still stand in the source, so that their script can be run again."""

import ast

import pytest

from fuzz.specimens import FORMATS
from research.project.mutation_testing.source import PACKAGE
from research.project.planted_faults import FAULTS, ROOT, Fault, planted


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_can_be_planted(fault: Fault) -> None:
    content = (ROOT / PACKAGE / fault.file).read_text("utf-8")
    changed = planted(fault, content)
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(content))

    assert set(fault.formats) <= set(FORMATS)
    assert all((ROOT / test).exists() for test in fault.tests)


def test_a_fault_whose_place_is_gone_is_refused() -> None:
    with pytest.raises(SystemExit, match="0 times; expected once"):
        planted(FAULTS["link"], "")


def test_faults_are_of_ten_kinds() -> None:
    assert len({fault.kind for fault in FAULTS.values()}) == len(FAULTS) == 10
