"""Layers in a row: names, paths, states, modulation by path."""

import pytest
import torch
from torch import nn

from spikebridge.errors import ConfigError, ShapeError
from spikebridge.neurons import IF, LIF, CubaLIF, Effect, Integrator, Memoryless, Recurrent, Sequential, scan
from spikebridge.neurons.sequential import split_paths


def network() -> Sequential:
    torch.manual_seed(0)
    return Sequential(
        conv=nn.Conv2d(2, 3, 3, padding=1),
        lif1=LIF(0.01, dt=0.001, v_threshold=0.3, learn="tau"),
        pool=nn.Sequential(nn.MaxPool2d(2), nn.Flatten()),
        block=Sequential(fc=nn.Linear(12, 5), lif2=CubaLIF(0.01, 0.005, dt=0.001, v_threshold=0.3)),
        out=Integrator(0.02, dt=0.001),
    )


def test_the_row_is_its_layers_one_after_the_other():
    net = network()
    x = torch.randn(6, 3, 2, 4, 4)
    y, state = net(x)
    h, lif1 = net.lif1(net.conv(x.flatten(0, 1)).unflatten(0, (6, 3)))
    h, lif2 = net.block.lif2(net.block.fc(net.pool(h.flatten(0, 1))).unflatten(0, (6, 3)))
    expected, out = net.out(h)

    assert y.shape == (6, 3, 5)
    assert torch.equal(y, expected)
    assert state.layers[0] is state.layers[2] is state.layers[3].layers[0] is None
    assert torch.equal(state.layers[1].v, lif1.v)
    assert torch.equal(state.layers[3].layers[1].i, lif2.i)
    assert torch.equal(state.layers[4].v, out.v)


def test_steps_and_cuts_make_the_whole():
    net = network()
    x = torch.randn(6, 3, 2, 4, 4)
    whole, _ = net(x)
    by_scan, _ = scan(net, x)
    torch.testing.assert_close(by_scan, whole)
    first, state = net(x[:2])
    second, _ = net(x[2:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)


def test_the_initial_state_needs_no_shapes():
    net = network()
    state = net.initial_state(torch.zeros(3, 2, 4, 4))

    assert state.layers[1].v.shape == (3, 3, 4, 4)
    assert state.layers[3].layers[1].i.shape == (3, 5)

    y, again = net(torch.zeros(0, 3, 2, 4, 4))
    assert y.shape == (0, 3, 5)
    assert again.layers[4].v.shape == (3, 5)


def test_layers_have_their_names_or_their_places():
    net = network()
    assert [name for name, _ in net.named_children()] == ["conv", "lif1", "pool", "block", "out"]

    by_place = Sequential(nn.Linear(2, 2), IF())
    assert [name for name, _ in by_place.named_children()] == ["0", "1"]
    assert len(by_place) == 2
    assert by_place[1] is list(by_place)[1]
    assert isinstance(by_place[-1], IF)


def test_everything_that_can_be_modulated_has_a_path():
    paths = network().modulable_paths()
    assert paths[:3] == ["conv.weight", "conv.bias", "lif1.tau"]
    assert {"block.fc.weight", "block.lif2.tau_syn", "out.r"} <= set(paths)
    assert not [p for p in paths if p.startswith("pool")]


def test_modulation_goes_by_path():
    net = network()
    x = torch.randn(6, 3, 2, 4, 4)
    thresholds = torch.rand(6, 3, 5) + 0.1
    weights = torch.randn(3, 5, 12)

    modulation = {
        "lif1.v_threshold": Effect(torch.full((1, 3, 3), 2.0)),
        "block.fc.weight": weights,
        "block.lif2.v_threshold": thresholds,
    }

    y, _ = net(x, None, **modulation)
    h, _ = net.lif1(net.conv(x.flatten(0, 1)).unflatten(0, (6, 3)), None, v_threshold=0.6)
    h = net.pool(h.flatten(0, 1)).unflatten(0, (6, 3))
    h = torch.einsum("tbn,bmn->tbm", h, weights) + net.block.fc.bias
    h, _ = net.block.lif2(h, None, v_threshold=thresholds)
    torch.testing.assert_close(y, net.out(h)[0])

    assert not torch.equal(y, net(x)[0])


def test_parameters_inside_a_plain_container_have_paths_too():
    net = Sequential(front=nn.Sequential(nn.Linear(2, 2), nn.ReLU()), lif=Memoryless())
    assert "front.0.weight" in net.modulable_paths()
    y, _ = net(torch.ones(1, 2, 2), None, **{"front.0.weight": torch.zeros(2, 2), "front.0.bias": torch.ones(2)})
    assert y.flatten().tolist() == [1, 1, 1, 1]


def test_paths_are_sorted_by_their_first_name():
    assert split_paths({"a.b.c": 1, "d.e": 2, "a.f": 3}, ["a", "d"]) == {"a": {"b.c": 1, "f": 3}, "d": {"e": 2}}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("lif2.tau", r"no layer 'lif2' for the modulation of 'lif2.tau'; did you mean 'lif1'\? Known: conv, lif1"),
        ("lif1", "'lif1' is a layer; name a quantity in it, for example 'lif1.v_threshold'"),
        ("lif1.v_treshold", "LIF has no quantity 'v_treshold'; did you mean 'v_threshold'"),
        ("conv.wieght", "Conv2d has no parameter 'wieght'; did you mean 'weight'.*bias"),
        ("block.fc.scale", "Linear has no parameter 'scale'"),
    ],
)
def test_a_path_to_nothing_is_refused_with_what_is_there(path, message):
    with pytest.raises(ConfigError, match=message):
        network()(torch.zeros(1, 1, 2, 4, 4), None, **{path: torch.tensor(1.0)})


def test_a_state_hidden_in_a_plain_module_is_refused():
    with pytest.raises(ConfigError, match=r"'0' is a plain Sequential, but holds the stateful IF at '1', whose state"):
        Sequential(nn.Sequential(nn.Linear(2, 2), IF()))
    with pytest.raises(ConfigError, match="'front' is a plain ModuleList, but holds the stateful Recurrent at '0'"):
        Sequential(front=nn.ModuleList([Recurrent(IF(), nn.Identity())]))


def test_layers_come_in_order_or_by_name():
    with pytest.raises(ConfigError, match="in order or by name, not both"):
        Sequential(IF(), second=IF())


@pytest.mark.parametrize("name", ["forward", "train", "step", "modulable", "training", "a.b", ""])
def test_a_name_that_is_taken_is_refused(name):
    with pytest.raises(ConfigError, match=f"a layer cannot be called {name!r}"):
        Sequential(**{name: IF()})


def test_a_layer_is_a_module():
    with pytest.raises(ConfigError, match="Sequential needs modules, but 'act' is the function relu"):
        Sequential(act=torch.relu)


def test_a_layer_that_swallows_the_batch_is_refused():
    with pytest.raises(ShapeError, match=r"Flatten was given 6 rows \(T \* B\) and gave shape \(24,\)"):
        Sequential(nn.Flatten(0), IF())(torch.zeros(3, 2, 4))


def test_a_layer_that_gives_a_tuple_is_refused():
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    with pytest.raises(ShapeError, match="a part gives one tensor, but Pair gave tuple; wrap it"):
        Sequential(Pair(), IF())(torch.zeros(3, 2, 4))


def test_recurrent_takes_a_layer_and_a_plain_weight():
    with pytest.raises(ConfigError, match="Recurrent needs a Stateful layer, but got a Linear"):
        Recurrent(nn.Linear(2, 2), nn.Linear(2, 2))

    with pytest.raises(ConfigError, match="a plain module as its weight, but got the stateful IF"):
        Recurrent(IF(), IF())

    with pytest.raises(ConfigError, match="'weight' is a plain Sequential, but holds the stateful IF at '0'"):
        Recurrent(IF(), nn.Sequential(IF()))


def test_a_recurrent_weight_leads_back_to_the_input():
    with pytest.raises(ShapeError, match=r"Recurrent's weight gives \(3, 4\), but the input step is \(3, 2\)"):
        Recurrent(IF(), nn.Linear(2, 4))(torch.zeros(1, 3, 2))


def test_recurrent_may_change_the_shape_inside():
    layer = Recurrent(Sequential(fc=nn.Linear(2, 5), lif=IF()), nn.Linear(5, 2))
    y, state = layer(torch.randn(4, 3, 2))
    assert (y.shape, state.y.shape) == ((4, 3, 5), (3, 5))


@pytest.mark.parametrize("form", ["a tensor a step", "a tensor a sample", "an effect"])
def test_recurrent_modulates_its_layer_and_its_weight(form):
    torch.manual_seed(1)
    layer = Recurrent(LIF(0.01, dt=0.001, v_threshold=0.5), nn.Linear(4, 4)).double()
    x = torch.randn(6, 3, 4, dtype=torch.float64)
    constant = form == "a tensor a sample"
    thresholds = torch.rand(1 if constant else 6, 3, 4, dtype=torch.float64) + 0.2
    weights = torch.randn(1 if constant else 6, 3, 4, 4, dtype=torch.float64)

    given = {
        "a tensor a step": (thresholds, weights),
        "a tensor a sample": (thresholds[0], weights[0]),
        "an effect": (Effect(thresholds, "replace"), Effect(weights, "replace")),
    }[form]

    y, _ = layer(x, None, **{"layer.v_threshold": given[0], "weight.weight": given[1]})
    state = layer.layer.initial_state(x[0])
    previous = torch.zeros_like(x[0])
    expected = []

    for t in range(6):
        at = 0 if constant else t
        fed = torch.einsum("bmn,bn->bm", weights[at], previous) + layer.weight.bias
        previous, state = layer.layer.step(x[t] + fed, state, v_threshold=thresholds[at])
        expected.append(previous)

    torch.testing.assert_close(y, torch.stack(expected))


def test_recurrent_tells_weights_from_signals_by_their_owner():
    # (3, 4, 4) looks like 3 steps of a signal, but it is a weight a sample
    torch.manual_seed(1)
    inner = Sequential(fc=nn.Linear(4, 4, bias=False), out=Memoryless(v_threshold=0.1))
    layer = Recurrent(inner, nn.Linear(4, 4, bias=False))
    x = torch.randn(3, 3, 4)
    nn.init.zeros_(layer.weight.weight)
    weights = torch.randn(3, 4, 4)
    y, _ = layer(x, None, **{"layer.fc.weight": weights})
    expected = (torch.einsum("tbn,bmn->tbm", x, weights) >= 0.1).float()

    assert torch.equal(y, expected)

    effect = Effect(torch.full((3, 3), 0.5), "replace")
    assert layer(x, None, **{"layer.out.v_threshold": effect})[0].shape == x.shape
    with pytest.raises(ShapeError, match=r"'layer.out.v_threshold' lies deep in a Recurrent.*give an Effect"):
        layer(x, None, **{"layer.out.v_threshold": torch.ones(3, 3, 4)})

    with pytest.raises(ConfigError, match=r"Recurrent has no quantity 'layer.out.v'.*layer.out.v_threshold"):
        layer(x, None, **{"layer.out.v": torch.ones(3, 3, 4)})


def test_a_layer_may_stand_in_two_places() -> None:
    torch.manual_seed(0)
    relu = nn.ReLU()
    fire = IF(v_threshold=0.5)
    fc1 = nn.Linear(3, 3)
    fc2 = nn.Linear(3, 3)
    x = torch.rand(5, 2, 3)
    shared = Sequential(fc1, relu, fc2, relu)
    apart = Sequential(fc1, nn.ReLU(), fc2, nn.ReLU())

    assert torch.equal(shared(x)[0], apart(x)[0])
    assert len(shared) == len(list(shared)) == 4
    assert shared[3] is relu

    # each place of a neuron has a state of its own
    y, state = Sequential(fire, fc1, fire)(x)
    assert torch.equal(y, Sequential(IF(v_threshold=0.5), fc1, IF(v_threshold=0.5))(x)[0])
    assert len(state.layers) == 3


def test_no_layer_changes_nothing() -> None:
    x = torch.rand(5, 2, 3)
    assert torch.equal(Sequential()(x)[0], x)
