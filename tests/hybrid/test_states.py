"""A state of another layer, unit, network or stream is refused, and the refusal names the part."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from modules import DT, LAYERS, UNITS, WIDTH, parallel
from spikebridge.errors import SpikebridgeError, StateError
from spikebridge.hybrid import (
    Discretizer,
    HybridNetwork,
    HybridUnit,
    Mean,
    Modulation,
    SpikingLayer,
    Sum,
    Transmission,
    Tumbling,
    every,
    ticks,
)
from spikebridge.neurons import (
    IF,
    LIF,
    Integrator,
    LIFState,
    Sequential,
    Stateful,
    select,
    to,
)

# one of each form of state
FORMS = (
    "LIF",
    "LIF, refractory",
    "CubaLIF",
    "AdaptiveLIF",
    "Integrator",
    "Izhikevich",
    "Memoryless",
    "Recurrent",
    "Sequential",
)
X = torch.zeros(4, 2, WIDTH)


PLACES: dict[str, tuple[Callable[[Stateful], nn.Module], str]] = {
    "alone": (lambda layer: layer, "got"),
    "row": (lambda layer: Sequential(first=nn.Identity(), second=layer), "'second'"),
    "unit": (lambda layer: HybridUnit(None, None, None, SpikingLayer(layer)), "'discretizer.layer'"),
    "network": (lambda layer: parallel({"eye": IF(), "ear": layer}), "'parts.ear'"),
}


def signal(module: nn.Module, x: Tensor) -> Any:
    return {"x": x} if isinstance(module, HybridNetwork) else x


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("mine", FORMS)
def test_a_state_of_another_layer_is_refused_by_name(mine: str, place: str) -> None:
    wrap, path = PLACES[place]
    one = wrap(LAYERS[mine]())
    _, own = one(signal(one, X))
    one(signal(one, X), own)

    for theirs in set(FORMS) - {mine}:
        other = wrap(LAYERS[theirs]())
        _, state = other(signal(other, X))
        with pytest.raises(StateError, match=path):
            one(signal(one, X), state)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", FORMS)
def test_a_state_of_another_batch_width_dtype_or_device_is_refused(kind: str, place: str) -> None:
    wrap, _ = PLACES[place]
    module = wrap(LAYERS[kind]())
    _, state = module(signal(module, X))

    for other in (select(state, [0]), select(state, [0, 1, 1]), to(state, dtype=torch.float64), to(state, "meta")):
        with pytest.raises(SpikebridgeError):
            module(signal(module, X), other)

    with pytest.raises(SpikebridgeError):
        module(signal(module, torch.zeros(4, 2, WIDTH + 1)), state)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", FORMS)
def test_what_is_no_state_is_refused(kind: str, place: str) -> None:
    wrap, _ = PLACES[place]
    module = wrap(LAYERS[kind]())
    result = module(signal(module, X))
    _, state = result

    membranes = torch.zeros(2, WIDTH)
    for wrong in ((membranes,), membranes, [*state], {"v": membranes}, (), 0, "state"):
        with pytest.raises(StateError, match="give the state that"):
            module(signal(module, X), wrong)

    with pytest.raises(StateError, match=r"looks like \(output, state\): give its second item"):
        module(signal(module, X), result)


def test_a_refractory_counter_is_not_forgotten() -> None:
    layer = LIF(dt=DT, refractory=3 * DT)
    with pytest.raises(StateError, match="LIF got a state whose wait is None, not a tensor"):
        layer(X, LIFState(torch.zeros(2, WIDTH)))

    with pytest.raises(StateError, match=r"LIF got a state whose wait is a tensor .*, not None; give"):
        LIF(dt=DT)(X, LIFState(torch.zeros(2, WIDTH), torch.zeros(2, WIDTH, dtype=torch.int64)))


def test_a_layer_in_a_row_without_its_state_is_refused() -> None:
    _, state = Sequential(nn.Identity(), nn.Identity())(X)
    with pytest.raises(StateError, match=r"'1': LIF got None as its state, not LIFState"):
        Sequential(nn.Identity(), LIF(dt=DT))(X, state)

    _, state = Sequential(nn.Identity(), LIF(dt=DT))(X)
    with pytest.raises(StateError, match="'1': Identity has no state, but the state holds a LIFState"):
        Sequential(nn.Identity(), nn.Identity())(X, state)


class Growing(Stateful):
    """A layer of one's own that keeps every step; its state begins without one."""

    def initial_state(self, x_t: Tensor) -> dict[str, Any]:
        return {"steps": x_t.new_zeros((x_t.shape[0], 0, *x_t.shape[1:])), "last": None, "count": 0}

    def step(self, x_t: Tensor, state: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        steps = torch.cat([state["steps"], x_t.unsqueeze(1)], 1)
        return steps.sum(1), {"steps": steps, "last": x_t, "count": state["count"] + 1}


def test_a_state_of_ones_own_may_grow_but_not_change_its_form() -> None:
    layer = Growing()
    _, state = layer(X)
    y, _ = layer(X + 1, state)

    assert y[-1, 0, 0] == 4
    for wrong in ({**state, "count": 1.0}, {"steps": state["steps"]}, {**state, "steps": state["steps"][..., :2]}):
        with pytest.raises(StateError, match="Growing got"):
            layer(X, wrong)


SAME = {frozenset(("tumbling", "sliding"))}  # both keep the steps of an unfinished window


@pytest.mark.parametrize("mine", UNITS)
def test_a_state_of_another_unit_is_refused(mine: str) -> None:
    one = UNITS[mine]()
    _, own = one(X)
    one(X, own)

    for theirs in UNITS.keys() - {mine}:
        _, state = UNITS[theirs]()(X)
        # a stage that has not run yet has no state, so a unit without any begins again
        if frozenset((mine, theirs)) not in SAME and any(part is not None for part in state):
            with pytest.raises(StateError, match="give the state that"):
                one(X, state)


def test_a_longer_unfinished_window_is_refused() -> None:
    _, state = HybridUnit(Tumbling(6), Mean())(X)
    with pytest.raises(StateError, match=r"'window': Tumbling\(3\) got a state of 4 steps of an unfinished window"):
        HybridUnit(Tumbling(3), Mean())(X, state)

    _, state = HybridUnit(Tumbling(6), Mean(keep=True))(X)
    with pytest.raises(StateError, match=r"'window': Tumbling\(3\) got a state of 4 steps of an unfinished window"):
        HybridUnit(Tumbling(3), Mean(keep=True))(X, state)


class Counted(Discretizer):
    """A discretizer of one's own, with a state."""

    def forward(self, h: Tensor, length: int, state: Any = None) -> tuple[Tensor, Any]:
        return h, (0 if state is None else state) + 1


def test_a_discretizer_of_ones_own_keeps_its_state() -> None:
    unit = HybridUnit(None, None, None, Counted())
    _, state = unit(X)
    assert unit(X, state)[1].discretizer == 2


def linked(delay: int, width: int, unit: HybridUnit | None) -> HybridNetwork:
    return HybridNetwork(
        dt=DT,
        inputs={"x": every(DT)},
        parts={"eye": nn.Linear(WIDTH, width), "ear": IF()},
        links=[
            Transmission("x", "eye"),
            Transmission("eye", "ear", unit, delay=ticks(delay)),
            Modulation("eye", "ear.v_threshold", HybridUnit(None, None, nn.Linear(width, width)), name="threshold"),
        ],
        outputs=["ear"],
    )


@pytest.mark.parametrize(
    "other",
    [linked(1, 4, None), linked(2, 5, None), linked(2, 4, HybridUnit(None, Sum()))],
    ids=["delay", "width", "unit"],
)
def test_a_state_of_other_links_is_refused(other: HybridNetwork) -> None:
    mine = linked(2, 4, HybridUnit(None, Mean()))
    _, own = mine({"x": X})
    mine({"x": X}, own)
    _, state = other({"x": X})

    with pytest.raises(StateError, match=r"eye_to_ear|'eye' -> 'ear'"):
        mine({"x": X}, state)


def test_a_part_without_a_state_is_given_none() -> None:
    mine = parallel({"eye": nn.Identity()})
    _, state = parallel({"eye": IF()})({"x": X})
    with pytest.raises(StateError, match="part 'eye', a Identity, has no state, but the state holds a LIFState"):
        mine({"x": X}, state)


def test_a_continued_stream_checks_its_links_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from spikebridge.hybrid.network import network as module

    calls = []
    monkeypatch.setattr(module, "refuse_other_link", lambda *arguments: calls.append(arguments))
    mine = linked(2, 4, None)
    _, state = mine({"x": X})

    for _ in range(3):
        _, state = mine({"x": X}, state)

    assert len(calls) == len(mine.routes)


@pytest.mark.parametrize("theirs", ["CubaLIF", "LIF, refractory", "Memoryless"])
def test_steps_and_loops_refuse_the_state_of_another_part(theirs: str) -> None:
    def loop(layer: Stateful) -> HybridNetwork:
        return HybridNetwork(
            dt=DT,
            inputs={"x": every(DT)},
            parts={"ear": layer, "back": nn.Linear(WIDTH, WIDTH)},
            links=[
                Transmission("x", "ear"),
                Transmission("ear", "back"),
                Modulation("back", "ear.v_threshold", by="add", delay=ticks(1)),
            ],
            outputs=["ear"],
        )

    mine = loop(LIF(dt=DT))
    other = loop(LAYERS[theirs]())
    _, state = other({"x": X})
    _, own = mine({"x": X})

    for _ in range(3):
        _, own = mine.step({"x": X[0]}, own)

    for wrong in (state, own._replace(parts=state.parts), own._replace(parts=select(own.parts, [0]))):
        with pytest.raises(StateError, match=r"'parts\.ear': LIF got"):
            mine.step({"x": X[0]}, wrong)
        with pytest.raises(StateError, match=r"'parts\.ear': LIF got"):
            mine({"x": X}, wrong)

    for wrong in (own.parts, (X[0], own), [*own], {"ear": own}):
        with pytest.raises(StateError, match="HybridNetwork got"):
            mine.step({"x": X[0]}, wrong)


class Weights(NamedTuple):
    """No state at all."""

    v: Tensor


def test_a_tuple_with_the_right_fields_is_no_state() -> None:
    with pytest.raises(StateError, match="Integrator got Weights as its state, not IntegratorState"):
        Integrator(dt=DT)(X, Weights(torch.zeros(2, WIDTH)))
