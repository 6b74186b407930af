"""Differences of methods in pairs, worked by hand."""

import numpy as np
import pytest

from spikebridge.analysis.comparison import PairedDifference, paired_difference
from spikebridge.errors import ShapeError


def test_paired_differences_are_free_of_the_spread_that_seeds_share() -> None:
    result = paired_difference([0.5, 0.7, 0.9], [0.4, 0.6, 0.7])
    assert result.mean == pytest.approx(0.4 / 3)
    assert result.sd == pytest.approx(0.057735)
    assert np.isnan(paired_difference([0.5], [0.4]).sd)


def test_a_verdict_needs_two_standard_errors() -> None:
    # two standard errors of four pairs are one standard deviation
    assert PairedDifference(1.0, 0.9, 4).verdict() == "ahead"
    assert PairedDifference(-1.0, 0.9, 4).verdict() == "behind"
    assert PairedDifference(1.0, 1.0, 4).verdict() == "level"
    assert PairedDifference(0.0, 0.0, 4).verdict() == "level"


def test_one_pair_has_neither_a_verdict_nor_a_deviation() -> None:
    one = paired_difference([0.75], [0.5])
    assert one.verdict("people") == "n/a (needs 2 people)"
    assert one.rounded(2) == (0.25, None)


def test_other_numbers_of_scores_are_refused() -> None:
    with pytest.raises(ShapeError, match="the same seeds, but there are 2 and 1"):
        paired_difference([0.1, 0.2], [0.3])
