"""Parts that give several tensors by name: links, outputs, contexts and triggers read `"part.key"`."""

from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from spikebridge.analysis import summarize
from spikebridge.analysis.plots.network_diagram import draw_network
from spikebridge.analysis.replay.network import record_network
from spikebridge.deploy import export
from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid import (
    HybridNetwork,
    HybridUnit,
    Mean,
    Modulation,
    Since,
    Sum,
    Transmission,
    Tumbling,
    every,
    ticks,
)
from spikebridge.neurons import LIF, Integrator, Sequential, Stateful

DT = 0.001
INF = float("inf")


class Gaze(NamedTuple):
    """A place to look at, and the confidence."""

    place: Tensor
    weight: Tensor


class Looks(nn.Module):
    """Two times the signal, and its sum."""

    def forward(self, x: Tensor) -> Gaze:
        """Place `(B, N)` and weight `(B, 1)`."""
        return Gaze(2 * x, x.sum(-1, keepdim=True))


class Counts(Stateful):
    """A stateful part with its own `step`: steps so far, and the signal."""

    def initial_state(self, x_t: Tensor) -> Any:
        return (x_t.new_zeros(x_t.shape[0], 1),)

    def step(self, x_t: Tensor, state: Any, **modulation: Any) -> tuple[dict[str, Tensor], Any]:
        count = state[0] + 1
        return {"count": count, "signal": x_t}, (count,)


def hand_network() -> HybridNetwork:
    return HybridNetwork(
        dt=DT,
        inputs={"x": every(DT)},
        parts={"eye": Looks(), "sum": Integrator(INF), "last": nn.Identity()},
        links=[
            Transmission("x", "eye"),
            Transmission("eye.weight", "sum"),
            Transmission("eye.place", "last", HybridUnit(Tumbling(2), Sum())),
        ],
        outputs=["eye.place", "sum", "last"],
    )


def test_links_and_outputs_read_by_key() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).unsqueeze(1)
    outputs, _ = hand_network()({"x": x})

    assert list(outputs) == ["eye.place", "sum", "last"]
    assert outputs["eye.place"].tolist() == [[[2.0, 4.0]], [[6.0, 8.0]]]
    assert outputs["sum"].flatten().tolist() == [3.0, 10.0]  # 3, then 3 + 7
    assert outputs["last"].tolist() == [[[8.0, 12.0]]]


def test_links_have_names_without_dots() -> None:
    assert [route.name for route in hand_network().routes] == ["x_to_eye", "eye_weight_to_sum", "eye_place_to_last"]


class Splits(nn.Module):
    """Halves of a signal, and flags where it is large."""

    def forward(self, x: Tensor, gain: Tensor | None = None) -> dict[str, Tensor]:
        """Halves `(B, N / 2)` and flags `(B,)`."""
        a, b = (x if gain is None else x * gain).chunk(2, -1)
        return OrderedDict(a=a, b=b, large=x.mean(-1) > 0.5)


class Adds(nn.Module):
    """A map of a signal and a context."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 2)

    def forward(self, h: Tensor, context: Tensor) -> Tensor:
        """The map `(B, 2)`."""
        return self.inner(torch.cat([h, context], -1))


def whole_network(mask: bool = True) -> HybridNetwork:
    """Outputs by name as signals, contexts, triggers, modulation, in a loop, of a row of layers and of a step."""
    torch.manual_seed(0)
    return HybridNetwork(
        dt=DT,
        inputs={"x": every(DT), "slow": every(2 * DT, phase=DT)},
        parts={
            "split": Splits(),
            "snn": Sequential(fc=nn.Linear(2, 4), lif=LIF(0.01, v_threshold=0.2), ends=Splits()),
            "count": Counts(),
            "slowly": Looks(),
            "joined": nn.Bilinear(2, 2, 3),
            "since": nn.Identity(),
        },
        links=[
            Transmission("x", "split"),
            Transmission(
                "joined", "split", HybridUnit(None, None, nn.Linear(3, 4)), into="gain", held=True, delay=ticks(1)
            ),
            Transmission("split.a", "snn"),
            Modulation("split.b", "snn.lif.v_threshold", HybridUnit(None, None, nn.Linear(2, 4)), by="add"),
            Transmission("snn.a", "count"),
            Transmission("slow", "slowly"),
            Transmission("snn.b", "joined", HybridUnit(None, None, Adds()), context="slowly.place"),
            Transmission("count.signal", "joined", name="second"),
            # windows of a mask cannot be compiled
            Transmission("split.b", "since", HybridUnit(Since("split.large" if mask else "slow"), Mean())),
        ],
        outputs=["snn.a", "count.count", "slowly.weight", "joined", "since", "split.b"],
    ).eval()


def inputs(number: int = 12) -> dict[str, Tensor]:
    make = torch.Generator().manual_seed(1)
    return {"x": torch.rand(number, 3, 4, generator=make), "slow": torch.rand(number // 2, 3, 2, generator=make)}


def steps(network: Any, given: dict[str, Tensor], number: int = 12) -> dict[str, Tensor]:
    """All ticks one by one."""
    state = None
    found = {}

    for tick in range(number):
        now = {"x": given["x"][tick]}
        if tick % 2 == 1:
            now["slow"] = given["slow"][tick // 2]
        elif tick == 0:
            now["slow"] = given["slow"][:0]

        outputs, state = network.step(now, state)
        for name, y in outputs.items():
            found.setdefault(name, []).extend([y] if len(y) else [])

    return {name: torch.stack(ys) for name, ys in found.items()}


def test_whole_steps_and_halves_agree() -> None:
    network = whole_network()
    given = inputs()
    exact, _ = network(given, exact=True)
    whole, _ = network(given)
    first, state = network({"x": given["x"][:5], "slow": given["slow"][:2]}, ticks=5)
    second, _ = network({"x": given["x"][5:], "slow": given["slow"][2:]}, state)

    assert exact["count.count"][:, 0, 0].tolist() == [float(k + 1) for k in range(12)]
    assert exact["snn.a"].any()

    one_by_one = steps(network, given)
    for name, y in exact.items():
        assert torch.equal(one_by_one[name], y), name
        torch.testing.assert_close(whole[name], y, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(torch.cat([first[name], second[name]]), y, rtol=1e-6, atol=1e-6)


def test_gradients_go_through_every_key() -> None:
    network = whole_network()
    given = inputs()
    grads = []

    for exact in (False, True):
        outputs, _ = network(given, exact=exact)
        total = torch.stack([y.sum() for y in outputs.values()]).sum()
        grads.append(torch.autograd.grad(total, list(network.parameters())))

    for one, other in zip(*grads, strict=True):
        assert one.any()
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.untyped
def test_compiled_ticks_give_the_same() -> None:
    network = whole_network(mask=False)
    given = inputs()
    expected, _ = network(given)
    found, _ = network.compiled()(given)

    for name, y in expected.items():
        torch.testing.assert_close(found[name], y, rtol=1e-5, atol=1e-6)


def test_a_modulated_weight_of_a_part_with_several_outputs() -> None:
    class Maps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            """The product and its negative."""
            return {"plus": x * self.weight, "minus": -x * self.weight}

    network = HybridNetwork(
        dt=DT,
        inputs={"x": every(DT), "w": every(DT)},
        parts={"maps": Maps(), "out": nn.Identity()},
        links=[
            Transmission("x", "maps"),
            Modulation("w", "maps.weight", by="replace"),
            Transmission("maps.minus", "out"),
        ],
        outputs=["maps.plus", "out"],
    )

    x = torch.tensor([1.0, 2.0]).reshape(2, 1, 1)
    w = torch.tensor([3.0, 5.0]).reshape(2, 1, 1)
    outputs, _ = network({"x": x, "w": w})

    assert outputs["maps.plus"].flatten().tolist() == [3.0, 10.0]
    assert outputs["out"].flatten().tolist() == [-3.0, -10.0]


def test_a_part_without_a_tick_gives_empty_signals() -> None:
    outputs, _ = whole_network()({"x": torch.rand(1, 3, 4), "slow": torch.rand(0, 3, 2)}, ticks=1)
    assert outputs["slowly.weight"].shape == (0, 3, 1)


def network_of(parts: dict[str, nn.Module], source: str, outputs: list[str]) -> HybridNetwork:
    links = [Transmission("x", "eye"), Transmission(source, "last")]
    return HybridNetwork(
        dt=DT, inputs={"x": every(DT)}, parts={**parts, "last": nn.Identity()}, links=links, outputs=outputs
    )


@pytest.mark.parametrize(
    ("part", "source", "outputs", "message"),
    [
        (
            Looks(),
            "eye.plase",
            ["last"],
            r"'eye' gives several tensors by name, but is read as 'eye\.plase'; .* 'eye\.place'",
        ),
        (Looks(), "eye", ["last"], r"'eye' gives several tensors by name \('place', 'weight'\); read .* 'eye\.place'"),
        (Looks(), "eye.place", ["last", "eye.wight"], r"is read as 'eye\.wight'; did you mean 'eye\.weight'"),
        (
            nn.Identity(),
            "eye.place",
            ["last"],
            r"'eye' gives one tensor, but is read as 'eye\.place'; read it as 'eye'",
        ),
        (Looks(), "eye.place", ["last", "eye"], r"'eye' is read as 'eye' and as 'eye\.place'; it gives either"),
        (Looks(), "eye.", ["last"], r"the source of the link 'eye\.' -> 'last' is no signal"),
        (Looks(), "ey.place", ["last"], r"the source of the link 'ey\.place' -> 'last' is no signal"),
        (Looks(), "eye.place", ["eye."], r"the output 'eye\.' is not a part"),
    ],
)
def test_wrong_keys_are_one_line(part: nn.Module, source: str, outputs: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        network_of({"eye": part}, source, outputs)({"x": torch.ones(2, 1, 3)})
    assert len(str(caught.value).splitlines()) == 1


class _Gives(nn.Module):
    def __init__(self, y: Any) -> None:
        super().__init__()
        self.y = y

    def forward(self, x: Tensor) -> Any:
        """The outputs of a function of the signal."""
        return self.y(x)


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (lambda x: {"a": 1.0}, "gave 'a' as 1.0; all that a part gives by name are tensors"),
        (lambda x: {}, "gave a dict without tensors"),
        (lambda x: [x], "a part gives one tensor, but _Gives gave list"),
        (lambda x: (x, x), "a part gives one tensor, but _Gives gave tuple"),
        (lambda x: {"a": x[:0].sum()}, r"and gave shape \(\); it must keep the first axis"),
    ],
)
def test_what_is_no_tensor_is_refused(give: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        network_of({"eye": _Gives(give)}, "eye.a", ["last"])({"x": torch.ones(2, 1, 3)})


def test_only_the_last_layer_of_a_row_may_give_several() -> None:
    with pytest.raises(ShapeError, match=r"Looks at '0' gives several tensors, but the layer after it takes one"):
        Sequential(Looks(), nn.Linear(3, 3))(torch.ones(2, 1, 3))

    y, _ = Sequential(nn.Identity(), Looks())(torch.ones(2, 1, 3))
    assert isinstance(y, Gaze)
    assert y.weight.shape == (2, 1, 1)

    y_t, _ = Sequential(nn.Identity(), Looks()).step(
        torch.ones(1, 3), Sequential(nn.Identity(), Looks()).initial_state(torch.ones(1, 3))
    )
    assert y_t.place.shape == (1, 3)


def test_a_nonlinearity_gives_one_tensor() -> None:
    with pytest.raises(ShapeError, match=r"Looks gives several tensors \('place', 'weight'\), but one is taken here"):
        HybridUnit(None, None, Looks())(torch.ones(2, 1, 3))


def test_nan_of_a_key_names_the_part() -> None:
    network = network_of({"eye": _Gives(lambda x: {"a": x, "b": x.log() * 0})}, "eye.b", ["last"])
    from spikebridge.errors import DataError
    from spikebridge.ops.checks import checks

    with checks("always"), pytest.raises(DataError, match=r"part 'eye\.b' is the first that gave NaN"):
        network({"x": -torch.ones(2, 1, 3)})


def test_bundles_hold_such_a_part(tmp_path: Path) -> None:
    bundle = export(hand_network().eval(), {"x": torch.ones(4, 1, 2)}, tmp_path / "bundle")
    assert sorted(bundle.manifest.parts["eye"].signals) == ["eye.place", "eye.weight"]


def test_pictures_tables_latencies_and_replays_know_such_a_part() -> None:
    network = hand_network().eval()
    picture = draw_network(network)

    assert "weight" in picture
    assert "place" in picture

    text = str(summarize(network, {"x": torch.ones(4, 1, 2)}))
    assert "place 2, weight 1" in text

    lanes = record_network(network, {"x": torch.ones(4, 1, 2)}).lanes
    assert "output of eye.place" in [lane.name for lane in lanes]
