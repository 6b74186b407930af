"""Numbers in text are ASCII digits alone: Python's own parsers take more."""

import math

import pytest

from spikebridge.data.io.number_text import parse_integer, parse_port, parse_real
from spikebridge.errors import ConfigError


def test_words_of_ascii_digits_are_numbers() -> None:
    assert parse_integer(" -12 ") == -12
    assert parse_real("1.5e-3") == 0.0015
    assert parse_real(".5") == 0.5
    assert parse_real("-inf") == -math.inf
    assert math.isnan(parse_real("NaN"))


@pytest.mark.parametrize("word", ["1_3", "", "١٢", "0x1f", "1" * 1001])
def test_other_words_are_no_numbers(word: str) -> None:
    with pytest.raises(ValueError, match="expected an integer, but found"):
        parse_integer(word)
    with pytest.raises(ValueError, match="expected a number, but found"):
        parse_real(word)


def test_a_port_is_a_number_from_1_or_0_to_65535() -> None:
    assert parse_port("5000") == 5000
    assert parse_port(65535) == 65535
    assert parse_port(0, min_port=0) == 0


@pytest.mark.parametrize("port", ["x", "+5", " 5", "0", "65536", 0, True])
def test_an_impossible_port_is_refused_in_the_form_of_the_user(port: str | int) -> None:
    with pytest.raises(ConfigError, match=r"tcp:PORT takes a number from 1 to 65535, such as tcp:5000, but got"):
        parse_port(port, "tcp:PORT")
