"""Parts of a bundle on another target; the page "from training to a chip" has one that agrees."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from spikebridge.deploy import Bundle, Tolerance, compare_bundle, target_level
from spikebridge.errors import ConfigError


class Deaf:
    """A target on which nothing ever happens; it counts its ticks in its state."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.ticks: list[int] = []

    def step(self, reads: Mapping[str, Any], effects: Any, state: Any) -> tuple[Any, Any]:
        (x,) = reads.values()
        self.ticks.append(0 if state is None else state)
        return np.zeros((len(x), *self.shape), np.float32), self.ticks[-1] + 1


def test_what_another_target_does_differently_is_found_there_and_downstream(spiking: Bundle) -> None:
    deaf = Deaf(spiking.manifest.parts["first"].shape)
    level = target_level(spiking, {"first": deaf})
    rows = compare_bundle(spiking, further={"deaf": (level, Tolerance())}).rows
    wrong = {row.name for row in rows if row.level == "deaf" and not row.passed}

    assert {"first", "second"} <= wrong
    assert all(row.passed for row in rows if row.level != "deaf")
    assert deaf.ticks == list(range(spiking.manifest.sample.ticks))


def test_a_part_that_is_not_there_is_guessed(spiking: Bundle) -> None:
    with pytest.raises(ConfigError, match="has no part 'frst'; did you mean 'first'"):
        target_level(spiking, {"frst": Deaf((1,))})
