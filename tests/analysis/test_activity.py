"""Recording what layers do."""

import pytest
import torch
from torch import Tensor, nn

from spikebridge.analysis import membrane_trace, record_activity
from spikebridge.errors import ConfigError
from spikebridge.hybrid import (
    Bernoulli,
    HybridNetwork,
    HybridUnit,
    Mean,
    Modulation,
    Transmission,
    Tumbling,
    every,
)
from spikebridge.neurons import IF, LIF, Integrator, Memoryless, Recurrent, Sequential


def test_spikes_are_counted_by_hand() -> None:
    layers = Sequential(relu=nn.ReLU(), fire=Memoryless(v_threshold=1.0))
    x = torch.tensor([[0.5, 1.0, 2.0], [-1.0, 3.0, 0.0]]).reshape(2, 1, 3)
    with record_activity(layers) as activity:
        layers(x)

    fire = activity["fire"]
    relu = activity["relu"]

    assert (fire.kind, fire.num_spikes, fire.num_values) == ("spikes", 3, 6)
    assert fire.rate == 0.5
    assert fire.share_active == pytest.approx(2 / 3)  # the first neuron never spikes
    assert relu.kind == "values"
    assert relu.rate == 0
    assert relu.mean_magnitude == pytest.approx(6.5 / 6)
    assert relu.share_nonzero == pytest.approx(4 / 6)


def test_recording_changes_no_result_and_leaves_nothing_behind(
    network: HybridNetwork, inputs: dict[str, Tensor]
) -> None:
    before, _ = network(inputs)
    with record_activity(network):
        during, _ = network(inputs)

    assert all(torch.equal(before[name], during[name]) for name in before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_a_block_that_fails_leaves_no_hooks(network: HybridNetwork) -> None:
    with pytest.raises(RuntimeError, match="stop"), record_activity(network):
        raise RuntimeError("stop")
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_paths_name_parts_and_units(network: HybridNetwork, inputs: dict[str, Tensor]) -> None:
    with record_activity(network) as activity:
        network(inputs)

    assert set(activity.layers) == {
        "where.fc",
        "where.lif",
        "what.features",
        "what.answer",
        "units.where_to_what.nonlinearity",
        "units.what_to_where.nonlinearity.0",
        "units.what_to_where.nonlinearity.1",
    }


def test_whole_and_steps_count_the_same(network: HybridNetwork, inputs: dict[str, Tensor]) -> None:
    with record_activity(network) as whole:
        network(inputs)

    with record_activity(network) as steps:
        network(inputs, exact=True)

    assert {path: one.num_spikes for path, one in whole.layers.items()} == {
        path: one.num_spikes for path, one in steps.layers.items()
    }
    assert {path: one.num_values for path, one in whole.layers.items()} == {
        path: one.num_values for path, one in steps.layers.items()
    }


def test_signals_that_only_show_shapes_are_not_counted() -> None:
    # a threshold of 0 would spike on the zeros that a shape is found with
    layer = Recurrent(Sequential(fire=Memoryless(v_threshold=0.0)), nn.Linear(2, 2, bias=False))
    with record_activity(layer) as activity:
        layer(torch.zeros(0, 3, 2))
        layer.initial_state(torch.zeros(3, 2))

    assert activity.layers == {}
    with record_activity(layer) as activity:
        layer(torch.zeros(4, 3, 2))

    assert activity["layer.fire"].num_values == 4 * 3 * 2
    assert activity["weight"].num_values == 4 * 3 * 2


def test_layers_under_modulated_weights_are_counted() -> None:
    linear = nn.Linear(2, 2, bias=False)
    nn.init.eye_(linear.weight)
    network = HybridNetwork(
        dt=1.0,
        inputs={"x": every(1.0), "w": every(1.0)},
        parts={"ann": nn.Sequential(linear, nn.ReLU())},
        links=[Transmission("x", "ann"), Modulation("w", "ann.0.weight")],
        outputs=["ann"],
    )

    x = torch.tensor([1.0, -1.0]).expand(3, 2, 2)
    w = torch.tensor([1.0, 2.0]).reshape(1, 2, 1, 1).expand(3, 2, 1, 1)  # a factor a sample
    with record_activity(network) as activity:
        network({"x": x, "w": w})

    assert activity["ann.0"].num_values == 3 * 2 * 2
    assert activity["ann.0"].mean_magnitude == pytest.approx(1.5)
    assert activity["ann.1"].mean_magnitude == pytest.approx(0.75)
    assert activity["ann.1"].share_active == 0.5


def test_a_unit_s_discretizer_speaks_in_spikes() -> None:
    unit = HybridUnit(Tumbling(2), Mean(), None, Bernoulli())
    with record_activity(unit) as activity:
        unit(torch.ones(4, 3, 2))
    assert activity["discretizer"].num_spikes == 2 * 3 * 2


def test_the_last_membrane_of_a_trace_is_that_of_the_state() -> None:
    layer = LIF(dt=0.001, v_threshold=0.5)
    x = torch.rand(24, 3, 4, generator=torch.Generator().manual_seed(0))
    v_threshold = torch.tensor([0.5, 0.2, 0.9]).reshape(3, 1).expand(24, 3, 1)
    spikes, state = layer(x, v_threshold=v_threshold)

    trace = membrane_trace(layer, x, v_threshold=v_threshold)
    assert trace.shape == spikes.shape
    assert torch.equal(trace[-1], state.v)
    assert bool((trace[spikes == 1] == 0).all())  # a hard reset to 0

    _, halfway = layer(x[:9], v_threshold=v_threshold[:9])
    assert torch.equal(membrane_trace(layer, x[9:], halfway, v_threshold=v_threshold[9:]), trace[9:])


def test_a_membrane_is_what_it_is_after_each_step() -> None:
    y = membrane_trace(Integrator(tau=float("inf"), dt=0.001), torch.ones(3, 1, 1))
    assert y.flatten().tolist() == [1.0, 2.0, 3.0]
    v_threshold = torch.tensor([5.0, 5.0, 3.0]).reshape(3, 1, 1)
    assert membrane_trace(IF(), torch.ones(3, 1, 1), v_threshold=v_threshold).flatten().tolist() == [1.0, 2.0, 0.0]


def test_a_layer_without_a_membrane_is_refused() -> None:
    layer = Recurrent(IF(), nn.Linear(1, 1, bias=False))
    with pytest.raises(ConfigError, match="Recurrent has no membrane to trace; choose a layer of neurons"):
        membrane_trace(layer, torch.ones(3, 1, 1))


def test_a_layer_that_has_not_run_is_named(network: HybridNetwork) -> None:
    with record_activity(network) as activity:
        pass

    with pytest.raises(ConfigError, match=r"no layer 'where\.lif' has run"):
        activity["where.lif"]


def test_a_layer_that_is_used_at_two_sizes_counts_both() -> None:
    layer = Sequential(fire=LIF(dt=0.001, v_threshold=0.5))
    with record_activity(layer) as activity:
        layer(torch.ones(1, 1, 2))
        layer(torch.zeros(1, 1, 6))

    assert activity["fire"].num_spikes == 2
    assert activity["fire"].share_active == 2 / 8
