"""Results as text: columns, four significant digits, tables under their names."""

import textwrap

import pytest

from spikebridge.cli import formatting

pytestmark = pytest.mark.untyped


def lines(text: str) -> str:
    return textwrap.dedent(text).strip()


def test_numbers_of_a_table_stand_to_the_right_and_words_to_the_left() -> None:
    rows = [{"network": "hybrid", "accuracy": 0.95123}, {"network": "ann", "accuracy": 0.9}]
    expected = """
        network  accuracy
        hybrid     0.9512
        ann           0.9
    """

    assert formatting.table(rows) == lines(expected)
    assert formatting.table([]) == "nothing"


def test_values_that_are_no_numbers_have_words() -> None:
    row = {"missing": None, "sd": None, "sd of px": None, "flag": True, "several": (0.123456, "a"), "none": ()}
    values = formatting.table([row]).splitlines()[1].split("  ")
    assert [value.strip() for value in values if value] == [
        "-",
        "n/a (needs 2 seeds)",
        "n/a (needs 2 seeds)",
        "yes",
        "0.1235, a",
        "-",
    ]


def test_results_are_single_values_and_then_tables() -> None:
    expected = """
        accuracy  0.95

        table
        network  accuracy
        ann           0.9
    """

    results = {"accuracy": 0.95, "table": [{"network": "ann", "accuracy": 0.9}]}
    assert formatting.results(results) == lines(expected)
    assert formatting.results({}) == "no results"


def test_facts_with_names_of_their_own_are_indented() -> None:
    expected = """
        python  3.11
        extras
          docs  no
    """

    assert formatting.facts({"python": "3.11", "extras": {"docs": False}, "rows": [{"a": 1}]}) == lines(expected)


def test_a_finding_has_its_remedy() -> None:
    finding = {"network": "snn", "severity": "warning", "where": "lif", "kind": "dead", "what": "no spike"}
    text = formatting.findings([finding | {"remedy": "lower v_threshold"}])
    assert text == "warning: snn: lif is dead: no spike\n  remedy: lower v_threshold"
