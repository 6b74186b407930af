"""The shipped object detector, question parser and prediction unit, in eval mode."""

from functools import lru_cache
from typing import Any

from spikebridge.errors import DataError
from spikebridge.networks.reasoning.events.prediction_unit import PredictionUnit
from spikebridge.networks.reasoning.events.predictor import load_predictor
from spikebridge.networks.reasoning.parsing.parser import Parser, load_parser
from spikebridge.networks.reasoning.perception.detector import Detector
from spikebridge.pretrained import shipped_run
from spikebridge.training.run.run import Run


@lru_cache(maxsize=1)
def shipped_detector() -> Detector:
    """The detector of rolling objects."""
    run = _shipped("reasoning_detector", "detector")
    detector = Detector(_integer(run, "num_features")).eval()
    run.load_weights(detector)

    return detector


@lru_cache(maxsize=1)
def shipped_parser() -> Parser:
    """The parser of questions."""
    return load_parser(_shipped("reasoning_parser", "parser"))


@lru_cache(maxsize=1)
def shipped_predictor() -> PredictionUnit:
    """The prediction unit of collisions to come."""
    run = _shipped("reasoning_predictor", "predictor")
    _integer(run, "num_features")

    return load_predictor(run)


def _shipped(name: str, module: str) -> Run:
    run = shipped_run(name)
    if run is None:
        raise DataError(
            f"the package came without the weights {name}; python research/reasoning/training/{module}.py trains them"
        )

    return run


def _integer(run: Run, name: str) -> int:
    value: Any = run.config.get(name)
    if not isinstance(value, int):
        raise DataError(f"{run.path / 'config.json'} is damaged: it needs an integer {name}, but has {value!r}")
    return value
