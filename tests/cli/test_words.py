"""Words that cannot be meant, and the values that are needed before the words are parsed."""

import pytest

from spikebridge.cli.command import Command, option_value, own_options
from spikebridge.cli.words import unknown_option

pytestmark = pytest.mark.untyped


def test_an_option_of_a_group_is_found_by_its_last_word() -> None:
    line = unknown_option("--lr=1", ["--optimizer.lr"], {}, "spikebridge train my.py", "my.py")
    assert line == "the option --lr is now --optimizer.lr (see spikebridge train my.py --help)"


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--preset", "quick", "--out", "run"], "quick"),
        (["--preset=quick"], "quick"),
        (["--preset", "quick", "--preset", "default"], "default"),
        (["--preset", "--out"], None),
        (["--preset"], None),
        (["quick"], None),
    ],
)
def test_the_last_value_of_an_option_counts(words: list[str], value: str | None) -> None:
    assert option_value(words, "preset") == value


def test_the_options_of_a_command_are_those_that_are_typed() -> None:
    assert own_options(Command) == ["json", "threads"]
