"""The engine gives the spikes of the hybrid network that is made of the core's units, links and layers."""

import numpy as np
import pytest
import torch
from random_reasoning import Programs, random_scene

from research.reasoning.graphs.hybrid_graph import attribute_unit, network_inputs, reasoning_network
from research.reasoning.graphs.published_graph import FORMS
from spikebridge.errors import ConfigError
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.graph.run import Query, assign_slots, batch_stimuli
from spikebridge.networks.reasoning.graph.worlds import World


@pytest.mark.parametrize("form", ["paper", "scaled"])
def test_the_engine_fires_as_the_hybrid_network_of_the_core_does(form: str) -> None:
    scene = Scene.from_lists(
        1,
        objects=[["blue", "metal", "cube"], ["red", "rubber", "sphere"], ["green", "metal", "cylinder"]],
        trajectory=[[frame, [[o, 10.0 * o + frame * (o == 1), 5.0] for o in range(3)]] for frame in (0, 5, 10)],
        collisions=[[5, 0, 1], [10, 0, 2]],
    )

    options = FORMS[form]
    rng = np.random.default_rng(0)
    drawn = (options.compile(Programs(rng, scene, is_published=True).whole()) for _ in range(40))
    programs = [program for program in drawn if program.world == "observed"][:12]
    network = reasoning_network(scene, options).eval()

    with torch.no_grad():
        outputs, _ = network(network_inputs(scene, programs, network, options))

    batch = assign_slots([scene], [Query(World(0), program) for program in programs], options)
    states = batch.graph.run(batch_stimuli(batch, options), batch.num_columns)
    spikes = torch.stack([state.spikes.T for state in states])

    # the neurons of the thermometer codes have thresholds of their own
    counted = [n for n, name in enumerate(options.layout.shared) if "_count[" in name]
    spikes[:, :, counted] = 0
    outputs["graph"][:, :, counted] = 0

    assert spikes.sum() > 1000
    assert torch.equal(outputs["graph"][1:], spikes)


def test_the_hybrid_network_refuses_presets_with_branches() -> None:
    with pytest.raises(ConfigError, match="but got 'compartment'"):
        reasoning_network(random_scene(np.random.default_rng(0)), FORMS["compartment"])


def test_attributes_become_connections_by_the_mean_over_visible_samples() -> None:
    unit = attribute_unit({"color": ("red", "blue"), "shape": ("cube", "ball", "cone")}, step=8.0)
    scores = torch.tensor([[0.9, 0.1, 0.2, 0.5, 0.3], [0.1, 0.9, 0.6, 0.3, 0.1], [0.0, 0.0, 0.0, 0.0, 0.0]])
    visible = torch.tensor([[1.0], [1.0], [0.0]])
    redder = scores + torch.tensor([[0.1, 0, 0, 0, 0]])
    connections, _ = unit(torch.cat([redder, visible], 1).unsqueeze(1))

    # red: (1.0 + 0.2) / 2 beats (0.1 + 0.9) / 2; ball: 0.4 ties with cube 0.4, the first one is taken
    assert connections[-1].tolist() == [[8.0, 0.0, 8.0, 0.0, 0.0]]

    means = unit.stages(torch.cat([scores, visible], 1).unsqueeze(1))[0].kernel
    assert np.allclose(means[-1, 0, 0, :2], 0.5)
