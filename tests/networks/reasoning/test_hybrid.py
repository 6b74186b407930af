"""The engine gives the spikes of the hybrid network that is made of the core's units, links and layers."""

import numpy as np
import pytest
import torch
from random_reasoning import Programs, random_scene

from spikebridge.errors import ConfigError
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.graph.compiler import compile_as_published, compile_program
from spikebridge.networks.reasoning.graph.hybrid import network_inputs, reasoning_network
from spikebridge.networks.reasoning.graph.layout import PRESETS
from spikebridge.networks.reasoning.graph.run import Query, RunOptions, assign_slots, batch_stimuli
from spikebridge.networks.reasoning.graph.worlds import World
from spikebridge.networks.reasoning.parsing.operators import OperatorTable

TABLE = OperatorTable()


@pytest.mark.parametrize("preset", ["paper", "scaled"])
def test_the_engine_fires_as_the_hybrid_network_of_the_core_does(preset: str) -> None:
    scene = Scene.from_lists(
        1,
        objects=[["blue", "metal", "cube"], ["red", "rubber", "sphere"], ["green", "metal", "cylinder"]],
        trajectory=[[frame, [[o, 10.0 * o + frame * (o == 1), 5.0] for o in range(3)]] for frame in (0, 5, 10)],
        collisions=[[5, 0, 1], [10, 0, 2]],
    )

    rng = np.random.default_rng(0)
    compiler = compile_as_published if preset == "paper" else compile_program
    drawn = (compiler(Programs(rng, scene).whole(), TABLE) for _ in range(40))
    programs = [program for program in drawn if program.world == "observed"][:12]
    network = reasoning_network(scene, preset).eval()

    with torch.no_grad():
        outputs, _ = network(network_inputs(scene, programs, network))

    options = RunOptions(PRESETS[preset])
    batch = assign_slots([scene], [Query(World(0), program) for program in programs], options)
    moments = batch.graph.run(batch_stimuli(batch, options), batch.columns)
    spikes = torch.stack([moment.spikes.T for moment in moments])

    # rungs of the counting ladder have thresholds of their own
    counted = [n for n, name in enumerate(options.layout.shared) if "_count[" in name]
    spikes[:, :, counted] = 0
    outputs["graph"][:, :, counted] = 0

    assert spikes.sum() > 1000
    assert torch.equal(outputs["graph"][1:], spikes)


def test_the_hybrid_network_refuses_presets_with_branches() -> None:
    with pytest.raises(ConfigError, match="but got 'compartment'"):
        reasoning_network(random_scene(np.random.default_rng(0)), "compartment")
