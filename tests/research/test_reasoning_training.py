"""Trainings of the shipped detector and parser, at quick size."""

from pathlib import Path

import pytest

from research.reasoning.training.detector import DETECTORS, train_detector
from research.reasoning.training.parser import PARSERS, train_parser
from spikebridge.training import Run

pytestmark = pytest.mark.untyped


def test_detector_and_parser_are_trained_and_scored(tmp_path: Path) -> None:
    detector = Run.create(tmp_path / "detector", "reasoning_detector", DETECTORS["quick"])
    parser = Run.create(tmp_path / "parser", "reasoning_parser", PARSERS["quick"])

    assert 0 <= train_detector(DETECTORS["quick"], detector, quiet=True)["recall"] <= 1
    assert set(train_parser(PARSERS["quick"], parser, quiet=True)) == {"num_parameters", "generated"}

    rows = parser.metrics.rows()
    assert rows[-1]["loss"] < rows[0]["loss"]
