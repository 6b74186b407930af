"""Faults of the graph and copies of its neurons, in research."""

import pytest

from research.reasoning.graphs.faulty_graph import FaultyOptions, GraphFaults
from spikebridge.errors import ConfigError
from spikebridge.networks.reasoning.data.scene import Question, Scene
from spikebridge.networks.reasoning.graph.layout import PRESETS
from spikebridge.networks.reasoning.graph.readout import GraphAnswer
from spikebridge.networks.reasoning.graph.run import answer, run_questions

BLUE = "objects blue filter_color unique"
PARTNER = f"events {BLUE} filter_collision first filter_order {BLUE} query_collision_partner query_color"


def meeting_scene(video: int) -> Scene:
    """A blue cube that meets a red sphere, then a green cylinder."""
    return Scene.from_lists(
        video,
        objects=[["blue", "metal", "cube"], ["red", "rubber", "sphere"], ["green", "metal", "cylinder"]],
        trajectory=[[frame, [[o, 10.0 * o, 5.0] for o in range(3)]] for frame in (0, 50, 100, 125)],
        collisions=[[100, 0, 2], [50, 0, 1]],
    )


SCENES = [meeting_scene(video) for video in range(60)]
QUESTIONS = [Question(video, "descriptive", tuple(PARTNER.split())) for video in range(60)]


def num_right(copies: int = 1, **faults: float) -> int:
    options = FaultyOptions(PRESETS["compartment"], faults=GraphFaults(seed=1, **faults), copies=copies)
    return sum(one.value == "red" for (one,) in run_questions(SCENES, QUESTIONS, options))


def test_copies_outvote_a_lost_neuron_where_one_neuron_alone_would_be_missed() -> None:
    assert num_right() == num_right(copies=3) == 60
    assert num_right(lost=0.02) < 50 < num_right(copies=5, lost=0.02)


@pytest.mark.untyped
def test_all_faults_are_injected() -> None:
    assert num_right(lost=1.0) == num_right(deleted=1.0) == 0
    assert num_right(bits=8) == 60
    assert num_right(bits=2) < 60
    assert num_right(copies=5, weight_noise=0.01) == 60
    assert num_right(weight_noise=0.5) < 30


def noisy_answer(weight_noise: float) -> GraphAnswer:
    options = FaultyOptions(PRESETS["compartment"], faults=GraphFaults(weight_noise=weight_noise))
    return run_questions(SCENES[:1], QUESTIONS[:1], options)[0][0]


def test_one_percent_of_weight_noise_is_within_the_margin_and_faults_are_drawn_by_their_seed() -> None:
    quiet = noisy_answer(0.0)
    noisy = noisy_answer(0.01)

    assert quiet == answer(SCENES[0], QUESTIONS[:1])[0][0]
    assert noisy.value == quiet.value == "red"
    assert noisy.margin < quiet.margin == 0.5
    assert noisy_answer(0.01) == noisy
    assert noisy.confidence == pytest.approx(2 * noisy.margin)


def test_faults_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="shares from 0 to 1"):
        GraphFaults(lost=1.5)
    with pytest.raises(ConfigError, match="at least 2 bits"):
        GraphFaults(bits=1)
