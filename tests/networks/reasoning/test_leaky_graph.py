"""Leaky membranes of the graph, in research: the arithmetic of `lif_step`, and no answer that changes below a bound."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from random_reasoning import Programs, random_scene

from research.reasoning.graphs.leaky_graph import LeakyGraph, LeakyOptions
from spikebridge.errors import ConfigError
from spikebridge.networks.reasoning.data.scene import Question, Scene
from spikebridge.networks.reasoning.graph.layout import PRESETS
from spikebridge.networks.reasoning.graph.run import RunOptions, run_questions
from spikebridge.networks.reasoning.graph.spiking_graph import StimulusSpikes
from spikebridge.networks.reasoning.graph.wiring import neuron_indices
from spikebridge.networks.reasoning.graph.worlds import World
from spikebridge.neurons.lif import LIFState, lif_step

DECAY = 0.301


def test_a_neuron_of_the_leaky_graph_is_a_lif_neuron_that_forgets_inhibition() -> None:
    options = RunOptions()
    scene = Scene.from_lists(1, [["red", "metal", "cube"]], [[0, [[0, 1.0, 1.0]]]], [])
    worlds = options.build_worlds([scene], [World(0)])
    connections = options.connections(worlds)
    unconnected = replace(connections, weight=np.zeros_like(connections.weight))
    graph = LeakyGraph(DECAY, unconnected, neuron_indices(worlds, options.layout), options.preset)

    neuron = options.layout.shared_index["compare"]
    charges = torch.tensor([1.2, 0.3, 1.6, 0.1, -2.0, 1.4, 1.1])
    stimuli = [StimulusSpikes(torch.tensor([neuron]), torch.tensor([0]), charge[None]) for charge in charges]
    spikes = [state.spikes[neuron] for state in graph.run(stimuli, 1)]

    lif = LIFState(torch.zeros(1))
    for charge, fired in zip(charges, spikes, strict=True):
        held = LIFState(lif.v.clamp(min=0))
        expected, lif = lif_step(charge[None], held, decay=DECAY, v_threshold=options.preset.v_threshold)
        assert torch.equal(fired, expected)

    # 1.4 + 0.301 * 0 is below 1.5; 1.1 + 0.301 * 1.4 is above
    assert [int(fired) for fired in spikes] == [0, 0, 1, 0, 0, 0, 1]


@pytest.mark.untyped
def test_a_leak_within_the_bound_changes_no_answer_and_one_past_it_is_refused() -> None:
    rng = np.random.default_rng(2)
    scenes = [random_scene(rng, video) for video in range(4)]
    questions = [
        Question(scene.video, "descriptive", tuple(Programs(rng, scene).whole())) for scene in scenes for _ in range(40)
    ]
    forms = (RunOptions(), LeakyOptions(decay=DECAY))
    plain, leaky = ([a.value for (a,) in run_questions(scenes, questions, form)] for form in forms)

    assert plain == leaky
    with pytest.raises(ConfigError, match=r"below 0.333"):
        LeakyOptions(decay=0.37)

    with pytest.raises(ConfigError, match=r"below 0.0417"):
        LeakyOptions(PRESETS["scaled"], decay=0.05)
