"""The network as an object: what it refuses, its states, shapes found by themselves, loops, its printed form."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, DataError, ShapeError
from spikebridge.hybrid import (
    Exponential,
    Hold,
    HybridNetwork,
    HybridUnit,
    Mean,
    Modulation,
    Since,
    SpikingLayer,
    Sum,
    Transmission,
    Tumbling,
    every,
    ticks,
)
from spikebridge.neurons import IF, LIF, Integrator, Sequential, Stateful, detach, select, to


def network(**changes: Any) -> HybridNetwork:
    """A what/where network in small, with whatever is changed."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "dt": 0.001,
        "inputs": {"frames": every(0.004), "events": every(0.001)},
        "parts": {"what": nn.Linear(3, 2), "where": Sequential(fc=nn.Linear(4, 3), lif=LIF(0.01, dt=0.001))},
        "links": [
            Transmission("frames", "what"),
            Transmission("events", "where"),
            Modulation("what", "where.lif.v_threshold", HybridUnit(None, None, nn.Linear(2, 3)), delay=ticks(1)),
        ],
        "outputs": ["what", "where"],
    }

    return HybridNetwork(**settings | changes)


def signals(ticks: int = 8, batch: int = 2) -> dict[str, Tensor]:
    return {"frames": torch.rand(-(-ticks // 4), batch, 3), "events": torch.rand(ticks, batch, 4)}


PARTS = {"a": nn.Identity(), "b": nn.Identity()}
X = {"x": every(0.001)}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"dt": 0.0}, "needs a base step dt > 0 s, but got 0"),
    ({"dt": -0.001}, "needs a base step dt > 0 s, but got -0.001"),
    ({"dt": float("nan")}, "needs a base step dt > 0 s, but got nan"),
    ({"inputs": {"frames": 0.004, "events": every(0.001)}}, r"clock of 'frames' is given as every\(seconds\), but got"),
    ({"inputs": {"frames": every(0.0045), "events": every(0.001)}}, "the period of 'frames' is 0.0045 s"),
    ({"outputs": ["whta"]}, "the output 'whta' is not a part: did you mean 'what'?"),
    ({"outputs": ["frames"]}, "the output 'frames' is not a part"),
    ({"outputs": "what"}, r"outputs is a list of parts, but got 'what'; did you mean \['what'\]\?"),
    ({"clocks": {"wat": every(0.001)}}, "a clock is declared for 'wat', which is not a part: did you mean 'what'?"),
    ({"parts": {"what": len, "where": IF()}}, "part 'what' needs to be a module, but is the function len"),
    ({"parts": {"wh.at": IF(), "where": IF()}}, "a part cannot be called 'wh.at'"),
    ({"parts": {"keys": IF(), "where": IF()}}, "a part cannot be called 'keys'; the name is taken"),
    ({"parts": {"frames": IF(), "where": IF()}, "outputs": []}, r"need different names, but both have \['frames'\]"),
    (
        {"parts": {"what": nn.Sequential(IF()), "where": IF()}},
        "'what' is a plain Sequential, but holds the stateful IF",
    ),
    ({"links": ["frames"]}, "a link is a Transmission, a Modulation, an Initialisation or a Wake, but got 'frames'"),
    (
        {"links": [Transmission("frame", "what")]},
        r"the source of the link 'frame' -> 'what' is no signal: did you mean",
    ),
    ({"links": [Transmission("frames", "waht")]}, "the link 'frames' -> 'waht' leads to no part: did you mean 'what'?"),
    ({"links": [Transmission("frames", "what")]}, "input 'events' is read by no link"),
    (
        {"links": [Transmission("frames", "what"), Transmission("events", "what")]},
        "part 'where' has no input; add a",
    ),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_what_cannot_be_meant_is_refused_with_a_remedy(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        network(**changes)


def linked(*links: Transmission | Modulation, **changes: Any) -> HybridNetwork:
    settings: dict[str, Any] = {"dt": 0.001, "inputs": X, "parts": dict(PARTS), "outputs": ["a"]}
    return HybridNetwork(**settings | changes, links=links)


def test_a_trigger_or_a_context_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="the trigger of the link 'x' -> 'a' is no signal: did you mean 'x'"):
        linked(Transmission("x", "a", HybridUnit(Since("xx"), Sum())), Transmission("x", "b"))

    with pytest.raises(ConfigError, match="the context of the link 'x' -> 'a' is no signal: did you mean 'x'"):
        linked(Transmission("x", "a", HybridUnit(None, None, nn.Identity()), context="xx"), Transmission("x", "b"))

    with pytest.raises(ConfigError, match="has the context 'x', but no nonlinearity that could take it"):
        Transmission("x", "a", HybridUnit(), context="x")


@pytest.mark.parametrize("delay", [-0.001, True, float("nan"), float("inf"), "0.004", None, torch.tensor(0.004)])
def test_delays_are_seconds_or_ticks(delay: Any) -> None:
    with pytest.raises(ConfigError, match=r"the link 'x' -> 'a' needs its delay in seconds, 0 or more, or as ticks\(1"):
        Transmission("x", "a", delay=delay)


def test_a_bare_integer_is_no_delay() -> None:
    with pytest.raises(ConfigError, match=r"the link 'x' -> 'a' has delay=1: write ticks\(1\) or seconds"):
        Transmission("x", "a", delay=1)

    with pytest.raises(ConfigError, match=r"has delay=3: write ticks\(3\) or seconds"):
        Modulation("x", "a.tau", delay=np.int64(3))

    with pytest.raises(ConfigError, match="a delay of 0 s or more, but got -1"):
        Transmission("x", "a", delay=-1)

    assert Transmission("x", "a", delay=0).delay == 0
    with pytest.raises(ConfigError, match=r"ticks needs an integer, 0 or more, but got 1\.5"):
        ticks(1.5)  # type: ignore[arg-type]


def test_links_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(ConfigError, match="needs a HybridUnit or None, but got a Tumbling"):
        Transmission("x", "a", Tumbling(2))

    with pytest.raises(ConfigError, match="needs into= as the name of an argument, but got 'a b'"):
        Transmission("x", "a", into="a b")

    with pytest.raises(ConfigError, match="needs initial= as a number or a tensor, but got 'zero'"):
        Transmission("x", "a", initial="zero")

    with pytest.raises(ConfigError, match=r"a link needs a name of its own, .* but got 'twice'"):
        linked(Transmission("x", "a", name="twice"), Transmission("x", "b", name="twice"))

    with pytest.raises(ConfigError, match=r"a link needs a name of its own, without dots .* but got 'x\.a'"):
        linked(Transmission("x", "a", name="x.a"), Transmission("x", "b"))


def test_parallel_links_need_names() -> None:
    links = [Transmission("x", "a"), Transmission("x", "b"), Modulation("x", "a.gain")]
    # numbered by their order their weights would be swapped by another order
    with pytest.raises(ConfigError, match=r"two links lead from 'x' to 'a'.*name= .* order, x_to_a, x_to_a_2"):
        linked(*links, parts=gains())

    links[2] = replace(links[2], name="gain")  # one name is enough to tell them apart
    for some in (links, links[::-1]):
        net = linked(*some, parts=gains())
        assert sorted(route.name for route in net.routes) == ["gain", "x_to_a", "x_to_b"]


def gains() -> dict[str, nn.Module]:
    from spikebridge.hybrid import Gain

    return {"a": Gain(), "b": Gain()}


def test_clocks_that_differ_are_an_error_that_names_what_would_join_them() -> None:
    slow = {"clocks": {"b": every(0.006, phase=0.005)}, "outputs": ["b"]}
    with pytest.raises(
        ConfigError,
        match=r"brings a value every 1 ticks .* but 'b' runs every 6 ticks from tick 5 .*; Tumbling\(6\) joins them",
    ):
        linked(Transmission("x", "a"), Transmission("a", "b"), **slow)

    early = {"clocks": {"b": every(0.006)}, "outputs": ["b"]}
    with pytest.raises(ConfigError, match=r"after Tumbling\(6\) it would come every 6 ticks from tick 5 .* held=True"):
        linked(Transmission("x", "a"), Transmission("a", "b"), **early)

    fast = {"clocks": {"b": every(0.001)}, "inputs": {"x": every(0.003)}}
    with pytest.raises(ConfigError, match=r"Hold\(3\) joins them; or read it held=True"):
        linked(Transmission("x", "a"), Transmission("a", "b"), **fast)

    other = {"clocks": {"b": every(0.002)}, "inputs": {"x": every(0.003)}}
    with pytest.raises(ConfigError, match="read it held=True, or give both one clock"):
        linked(Transmission("x", "a"), Transmission("a", "b"), **other)


def test_what_an_error_proposes_is_accepted() -> None:
    slow = {"clocks": {"b": every(0.006, phase=0.005)}}
    linked(Transmission("x", "a"), Transmission("a", "b", HybridUnit(Tumbling(6), Mean())), **slow)
    early = {"clocks": {"b": every(0.006)}}
    linked(Transmission("x", "a"), Transmission("a", "b", HybridUnit(Tumbling(6), Mean()), held=True), **early)
    fast = {"clocks": {"b": every(0.001)}, "inputs": {"x": every(0.003)}}
    linked(Transmission("x", "a"), Transmission("a", "b", HybridUnit(Hold(3))), **fast)


def test_a_clock_that_no_sampled_link_tells_must_be_declared() -> None:
    with pytest.raises(ConfigError, match=r"the clock of 'b' is not known, .* clocks=\{'b': every\(...\)\}"):
        linked(Transmission("x", "a"), Transmission("a", "b", held=True))


def test_a_loop_without_delay_names_its_parts_and_the_link_to_delay() -> None:
    ring = [Transmission("x", "a"), Transmission("a", "b"), Transmission("b", "c"), Transmission("c", "a", held=True)]
    parts = {name: nn.Identity() for name in "abcd"}
    rest = Transmission("c", "d")

    with pytest.raises(
        ConfigError, match=r"the parts 'a' -> 'b' -> 'c' -> 'a' form a loop .* for example 'c_to_a' delay=ticks\(1\)"
    ):
        linked(*ring, rest, parts=parts)

    with pytest.raises(ConfigError, match="the parts 'a' -> 'a' form a loop without a delay"):
        linked(Transmission("x", "a"), Transmission("a", "a"), Transmission("a", "b"))

    net = linked(*ring[:3], Transmission("c", "a", held=True, delay=ticks(1)), rest, parts=parts | {"a": Both()})
    assert [(group.parts, group.loop) for group in net.plan.groups] == [(["a", "b", "c"], True), (["d"], False)]


class Both(nn.Module):
    """Sums two signals."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


def test_a_trigger_and_a_context_can_close_a_loop_too() -> None:
    unit = HybridUnit(Since("b"), Sum())
    with pytest.raises(ConfigError, match="form a loop without a delay"):
        linked(Transmission("x", "a", unit), Transmission("a", "b"))

    with pytest.raises(ConfigError, match="form a loop without a delay"):
        linked(Transmission("x", "a", HybridUnit(None, None, nn.Identity()), context="b"), Transmission("a", "b"))


def test_a_step_that_is_not_that_of_the_clock_is_an_error_with_both() -> None:
    where = Sequential(fc=nn.Linear(4, 3), lif=LIF(0.01, dt=0.005))
    with pytest.raises(
        ConfigError, match=r"'where' runs every 0\.001 s, but its LIF at 'lif' has dt=0\.005 s; set dt="
    ):
        network(parts={"what": nn.Linear(3, 2), "where": where})

    with pytest.raises(
        ConfigError, match=r"'the unit x_to_a' runs every 0\.001 s, but its Exponential has dt=0\.002 s"
    ):
        linked(Transmission("x", "a", HybridUnit(None, Exponential(0.01, dt=0.002))), Transmission("x", "b"))

    with pytest.raises(
        ConfigError, match=r"'the unit x_to_a' runs every 0\.004 s, but its LIF at 'layer' has dt=0\.001"
    ):
        unit = HybridUnit(Tumbling(4), Mean(), None, SpikingLayer(LIF(0.01, dt=0.001)))
        linked(Transmission("x", "a", unit), Transmission("x", "b"))

    # inside a held value the kernel steps as often as the hold gives values
    slow = {"inputs": {"x": every(0.004)}}
    unit = HybridUnit(Hold(4), Exponential(0.01, dt=0.001, keep=True))
    linked(Transmission("x", "a", unit), Transmission("x", "b"), **slow)


def test_arguments_that_a_part_does_not_take_are_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"bring 2 signals by position and \[\] by name, but its forward takes"):
        linked(Transmission("x", "a"), Transmission("x", "a", name="n"), Transmission("x", "b"))

    with pytest.raises(ConfigError, match=r"bring 1 signals by position and \['extra'\] by name"):
        linked(Transmission("x", "a"), Transmission("x", "a", into="extra", name="n"), Transmission("x", "b"))

    with pytest.raises(ConfigError, match="two links lead into the same argument of 'a'"):
        linked(Transmission("x", "a", into="y"), Transmission("x", "a", into="y"), Transmission("x", "b"))

    spiking = {"parts": {"a": IF(), "b": nn.Identity()}}
    both = Transmission("x", "a"), Transmission("x", "b")
    with pytest.raises(ConfigError, match="the stateful part 'a' takes one signal by position, but 2 links bring one"):
        linked(Transmission("x", "a"), Transmission("x", "a", name="n"), Transmission("x", "b"), **spiking)

    with pytest.raises(ConfigError, match="'v_threshold' is a quantity of part 'a', which a Modulation acts on"):
        linked(*both, Transmission("x", "a", into="v_threshold", name="n"), **spiking)

    with pytest.raises(ConfigError, match="part 'a' has no input 'motion'"):
        linked(*both, Transmission("x", "a", into="motion", name="n"), **spiking)


class Leaning(Stateful):
    """Integrates one signal and subtracts another, which it takes by name."""

    def initial_state(self, x_t: Tensor) -> Tensor:
        return torch.zeros_like(x_t)

    def step(self, x_t: Tensor, state: Tensor, *, against: Tensor) -> tuple[Tensor, Tensor]:
        return state + x_t - against, state + x_t - against


def test_signals_arrive_in_the_order_of_the_links_or_by_name() -> None:
    class Minus(nn.Module):
        def forward(self, x: Tensor, y: Tensor, *, times: Tensor) -> Tensor:
            return (x - y) * times

    inputs = {name: every(0.001) for name in ("five", "two", "ten")}
    values = {"five": torch.full((2, 1, 1), 5.0), "two": torch.full((2, 1, 1), 2.0), "ten": torch.full((2, 1, 1), 10.0)}
    links = [Transmission("ten", "a", into="times"), Transmission("five", "a"), Transmission("two", "a")]
    stateful = [Transmission("two", "b", into="against"), Transmission("five", "b")]
    net = linked(*links, *stateful, parts={"a": Minus(), "b": Leaning()}, inputs=inputs, outputs=["a", "b"])
    outputs, _ = net(values)

    assert outputs["a"].flatten().tolist() == [30, 30]
    assert outputs["b"].flatten().tolist() == [3, 6]


BAD_INPUTS = [
    ({"frams": torch.zeros(2, 2, 3)}, ConfigError, r"there is no input 'frams'; did you mean 'frames'\?"),
    ({"frames": torch.zeros(3)}, ShapeError, r"input 'frames' needs a signal \(T, B, \*N\), but got \(3,\)"),
    ({"frames": [1.0]}, ShapeError, r"input 'frames' needs a signal \(T, B, \*N\), but got the list"),
    (
        {"frames": torch.zeros(2, 2, 3, dtype=torch.int64)},
        ShapeError,
        r"part .what. keeps torch.float32.*torch.int64.*float\(\)",
    ),
    ({"frames": torch.zeros(2, 5, 3)}, ShapeError, "input 'events' has a batch of 2, but the stream has 5"),
    (
        {"events": torch.zeros(8, 2, 4).double()},
        ShapeError,
        "input 'events' is torch.float64 on cpu, but the stream is",
    ),
    ({"frames": torch.full((2, 2, 3), torch.nan)}, DataError, "input 'frames' has 12 values that are not finite"),
    ({"frames": torch.full((2, 2, 3), torch.inf)}, DataError, "input 'frames' has 12 values that are not finite"),
]


@pytest.mark.parametrize(("inputs", "kind", "message"), BAD_INPUTS)
def test_inputs_that_are_none_are_refused(inputs: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        network()(signals() | inputs)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", ["frames", "events"])
@pytest.mark.parametrize("form", ["whole", "step"])
def test_a_value_that_is_not_finite_is_found_wherever_it_comes_in(value: float, name: str, form: str) -> None:
    net = network().eval()
    inputs = signals()
    inputs[name][0, 1, 2] = value

    with pytest.raises(DataError, match=f"input '{name}' has 1 values that are not finite"):
        if form == "whole":
            net(inputs)
        else:
            net.step({key: x[0] for key, x in inputs.items()}, net.initial_state(inputs))


def test_the_largest_finite_values_pass() -> None:
    net = linked(Transmission("x", "a"), Transmission("x", "b"))
    largest = torch.full((2, 1, 3), torch.finfo(torch.float32).max)
    assert torch.equal(net({"x": largest})[0]["a"], largest)


def test_inputs_of_another_stream_are_refused() -> None:
    net = network()
    _, state = net(signals())
    with pytest.raises(
        ShapeError, match=r"'frames' needs a signal \(T, 2, 3\), as at the start .* but got \(1, 2, 5\)"
    ):
        net({"frames": torch.zeros(1, 2, 5), "events": torch.zeros(4, 2, 4)}, state)

    with pytest.raises(ShapeError, match="input 'events' has a batch of 3, but the stream has 2"):
        net({"frames": torch.zeros(1, 2, 3), "events": torch.zeros(4, 3, 4)}, state)

    with pytest.raises(ConfigError, match=r"the first call needs every input, .* but 'frames' is missing"):
        net({"events": torch.zeros(4, 2, 4)})

    with pytest.raises(ConfigError, match="the state is of another network: it has"):
        linked(Transmission("x", "a"), Transmission("x", "b"))({"x": torch.zeros(1, 2, 3)}, state)


@pytest.mark.parametrize("ticks", [-1, 1.5, True])
def test_ticks_are_a_whole_number(ticks: Any) -> None:
    with pytest.raises(ConfigError, match="ticks must be an integer, 0 or more, but got"):
        network()(signals(), ticks=ticks)


def test_a_stretch_without_ticks_changes_nothing() -> None:
    net = network().eval()
    _, state = net(signals(ticks=4))
    outputs, same = net({}, state, ticks=0)

    assert {name: y.shape for name, y in outputs.items()} == {"what": (0, 2, 2), "where": (0, 2, 3)}

    torch.testing.assert_close(same, state, rtol=0, atol=0)


def test_flags_are_no_signal_of_a_unit_and_masks_have_one_flag_a_sample() -> None:
    unit = HybridUnit(Since("late"), Sum())
    net = linked(Transmission("x", "a", unit), Transmission("x", "b"), inputs={**X, "late": every(0.001)})
    with pytest.raises(ShapeError, match=r"the unit of the link 'x' -> 'a': .* needs a signal of floats .*torch\.bool"):
        net({name: torch.zeros(1, 1, dtype=torch.bool) for name in ("x", "late")})

    with pytest.raises(ShapeError, match=r"a trigger has one flag a sample, \(T, B\), but got shape \(1, 2, 3\)"):
        net({"x": torch.zeros(1, 2, 1), "late": torch.zeros(1, 2, 3, dtype=torch.bool)})

    with pytest.raises(ShapeError, match="input 'late' has a batch of 3, but the stream has 2"):
        net({"x": torch.zeros(1, 2, 1), "late": torch.zeros(1, 3, dtype=torch.bool)})


def test_states_are_plain_nested_tuples_batch_first() -> None:
    net = network().eval().double()
    inputs = {name: x.double() for name, x in signals(batch=3).items()}
    whole, _ = net(inputs)
    _, state = net({"frames": inputs["frames"][:1], "events": inputs["events"][:3]}, ticks=3)
    rest = {"frames": inputs["frames"][1:], "events": inputs["events"][3:]}
    chosen, _ = net({name: x[:, [2, 0]] for name, x in rest.items()}, select(state, [2, 0]))
    torch.testing.assert_close(chosen["where"], whole["where"][3:, [2, 0]], rtol=1e-12, atol=1e-12)
    cut = detach(state)

    assert cut.parts["where"].layers[1].v.grad_fn is None

    single = to(state, dtype=torch.float32)
    assert net.float()({name: x.float() for name, x in rest.items()}, single)[0]["where"].dtype == torch.float32


def test_a_state_dict_does_not_depend_on_what_has_run() -> None:
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net(signals(batch=5))

    assert (
        {*before}
        == {*net.state_dict()}
        == {
            "parts.what.weight",
            "parts.what.bias",
            "parts.where.fc.weight",
            "parts.where.fc.bias",
            *(f"parts.where.lif.{name}" for name in ("tau", "v_threshold", "v_reset", "v_leak", "r")),
            "units.what_to_where.nonlinearity.weight",
            "units.what_to_where.nonlinearity.bias",
        }
    )

    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_a_copy_is_a_network_of_its_own() -> None:
    net = network().eval()
    inputs = signals()
    copy = deepcopy(net)
    before = net(inputs)[0]["where"]

    with torch.no_grad():
        for parameter in copy.units.parameters():
            parameter.add_(1.0)

    assert torch.equal(net(inputs)[0]["where"], before)
    assert not torch.equal(copy(inputs)[0]["where"], before)


def test_a_unit_that_is_put_in_the_place_of_another_runs() -> None:
    net = network().eval()
    inputs = signals()
    net.units["what_to_where"] = HybridUnit(None, None, nn.Linear(2, 3))
    nn.init.zeros_(net.units["what_to_where"].nonlinearity.weight)
    nn.init.ones_(net.units["what_to_where"].nonlinearity.bias)
    plain, _ = network(links=[Transmission("frames", "what"), Transmission("events", "where")]).eval()(inputs)

    assert torch.equal(net(inputs)[0]["where"], plain["where"])


def test_states_keep_no_long_signal_alive_and_share_nothing_with_inputs() -> None:
    net = linked(
        Transmission("x", "a"),
        Transmission("x", "b", held=True, delay=ticks(3)),
        clocks={"b": every(0.002)},
        outputs=["b"],
    )

    x = torch.rand(1000, 1, 1)
    _, state = net({"x": x})
    sizes = [
        v.untyped_storage().nbytes() for link in state.links.values() for v in (link.queue, link.held) if v is not None
    ]

    assert max(sizes) <= 3 * 4

    x.zero_()
    outputs, _ = net({"x": torch.zeros(2, 1, 1)}, state)

    assert outputs["b"].item() > 0


def test_printing_shows_clocks_and_links() -> None:
    text = repr(network())
    assert "input 'frames' every 4 ticks from tick 0 (250 Hz)" in text
    assert "the link 'what' -> 'where.lif.v_threshold' every 4 ticks from tick 1 (250 Hz)" in text

    with pytest.raises(ConfigError, match="there is no signal 'waht'; did you mean 'what'"):
        network().clock_of("waht")


def test_a_held_integrator_of_another_clock_runs_in_mixed_precision() -> None:
    net = network(
        parts={
            "what": nn.Linear(3, 2),
            "where": Sequential(fc=nn.Linear(4, 3), lif=LIF(0.01, dt=0.001), out=Integrator(0.01, dt=0.001)),
        }
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs, state = net(signals())
        more, _ = net(signals(), state)

    assert outputs["where"].dtype == more["where"].dtype
    assert outputs["where"].isfinite().all()


@pytest.mark.parametrize("held", [False, True])
def test_a_part_that_writes_into_its_input_is_refused(held: bool) -> None:
    writer = nn.Sequential(nn.ReLU(inplace=True), nn.Identity())
    clocks = {"b": every(0.001)} if held else None
    net = linked(Transmission("x", "a"), Transmission("a", "b", held=held), parts=PARTS | {"b": writer}, clocks=clocks)

    with pytest.raises(
        ConfigError, match=r"Sequential writes into its input, which others read, too; .* inplace=False"
    ):
        net({"x": torch.rand(3, 1, 2)})

    unit = HybridUnit(None, None, nn.ReLU(inplace=True))
    with pytest.raises(ConfigError, match="ReLU writes into its input"):
        linked(Transmission("x", "a"), Transmission("a", "b", unit))({"x": torch.rand(3, 1, 2)})

    # inside a part, and behind a kernel, no other part reads
    inside = PARTS | {"b": nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))}
    fresh = HybridUnit(None, Sum(), nn.ReLU(inplace=True))
    outputs, _ = linked(Transmission("x", "a"), Transmission("a", "b", fresh), parts=inside)({"x": torch.ones(3, 1, 2)})

    assert outputs["a"].eq(1).all()
    with torch.inference_mode():
        linked(Transmission("x", "a"), Transmission("a", "b"))({"x": torch.rand(3, 1, 2)})
