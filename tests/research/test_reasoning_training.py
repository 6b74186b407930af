"""Trainings of the shipped detector, parser and prediction unit, at quick size."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from research.reasoning.training import predictor
from research.reasoning.training.detector import DETECTORS, train_detector
from research.reasoning.training.parser import PARSERS, train_parser
from research.reasoning.training.predictor import KINDS, PredictorConfig, train_predictor
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.training import Run

pytestmark = pytest.mark.untyped


def test_detector_and_parser_are_trained_and_scored(tmp_path: Path) -> None:
    detector = Run.create(tmp_path / "detector", "reasoning_detector", DETECTORS["quick"])
    parser = Run.create(tmp_path / "parser", "reasoning_parser", PARSERS["quick"])

    assert 0 <= train_detector(DETECTORS["quick"], detector, quiet=True)["recall"] <= 1
    assert set(train_parser(PARSERS["quick"], parser, quiet=True)) == {"num_parameters", "generated"}

    rows = parser.metrics.rows()
    assert rows[-1]["loss"] < rows[0]["loss"]


def rolling(video: int) -> Scene:
    """A cube that rolls into a sphere, as perceived and in truth; the truth lists the two the other way round."""
    objects = [["red", "metal", "cube"], ["blue", "rubber", "sphere"]]
    speed = 0.5 + 0.02 * video
    samples = [[frame, [[0, 50.0, 20 + speed * frame], [1, 50.0, 90.0]]] for frame in range(0, 126, 5)]
    truth = Scene.from_lists(video, objects[::-1], [], [[int(57 / speed), 0, 1]])
    return replace(Scene.from_lists(video, objects, samples, []), truth=truth)


@pytest.mark.parametrize("kind", ["ann", "spiking"])
def test_prediction_units_are_trained_and_their_threshold_is_chosen(
    kind: Literal["ann", "spiking"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "training_scenes", lambda: [rolling(video) for video in range(12)])
    monkeypatch.setattr(predictor, "NUM_HELD_OUT", 4)
    monkeypatch.setattr(predictor, "THRESHOLDS", predictor.THRESHOLDS[::6])
    config = PredictorConfig(num_features=8, epochs=8, batch_size=4, lr=1e-2, seed=0, kind=kind)
    run = Run.create(tmp_path / "run", "reasoning_predictor", config)
    results = train_predictor(config, run, quiet=True)

    assert results["tried"][f"{results['threshold']:g}"] == max(results["tried"].values())
    rows = run.metrics.rows()
    assert rows[-1]["loss"] < rows[0]["loss"]
    again = KINDS[kind](8)
    run.load_weights(again)
    assert float(again.discretizer.v_threshold) == results["threshold"]
