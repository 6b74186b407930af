"""Modulation: every kind of quantity, every way to act, as often as one likes, beside copies made by hand."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid import (
    FIR,
    Exponential,
    Gain,
    Gate,
    HybridNetwork,
    HybridUnit,
    Mean,
    Modulation,
    Transmission,
    Tumbling,
    every,
    modulable_paths,
    ticks,
)
from spikebridge.neurons import IF, LIF, Integrator, Recurrent, Sequential, Stateful

TICKS = 12
BATCH = 3


def part() -> Sequential:
    torch.manual_seed(0)
    return Sequential(
        fc=nn.Linear(4, 5), gain=Gain(1.5), lif=LIF(3.0, dt=1.0), gate=Gate(), out=Integrator(4.0, dt=1.0)
    ).double()


def plain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)).double()


# path of the quantity, shape of what acts on it, and whether it must stay above zero
QUANTITIES = [
    (part, "lif.v_threshold", (5,), False),
    (part, "lif.v_threshold", (1,), False),
    (part, "lif.tau", (5,), True),
    (part, "lif.r", (5,), False),
    (part, "gain.gain", (5,), False),
    (part, "gate.gate", (5,), False),
    (part, "out.tau", (1,), True),
    (part, "fc.bias", (5,), False),
    (part, "fc.weight", (5, 4), False),
    (plain, "0.weight", (5, 4), False),
    (plain, "2.bias", (2,), False),
]


def modulated(module: nn.Module, path: str, by: str, period: int, phase: int = 0, **link: Any) -> HybridNetwork:
    return HybridNetwork(
        dt=1.0,
        inputs={"x": every(1.0), "m": every(float(period), float(phase))},
        parts={"p": module},
        links=[Transmission("x", "p"), Modulation("m", f"p.{path}", by=by, **link)],
        outputs=["p"],
    ).double()


def owner_of(module: nn.Module, path: str) -> tuple[nn.Module, str]:
    names = path.split(".")
    return module.get_submodule(".".join(names[:-1])), names[-1]


def by_hand(module: nn.Module, path: str, by: str, x: Tensor, values: list[Tensor | None]) -> Tensor:
    """Every sample through a copy of its own, in which the quantity is set again before every step."""
    samples = []
    for sample in range(x.shape[1]):
        state = None
        steps = []

        for x_t, value in zip(x[:, [sample]], values, strict=True):
            copy = deepcopy(module)
            owner, name = owner_of(copy, path)

            if value is not None:
                base = torch.as_tensor(getattr(owner, name), dtype=x.dtype)
                new = {"add": base + value[sample], "multiply": base * value[sample], "replace": value[sample]}[by]
                if isinstance(owner, Stateful):
                    setattr(owner, name, new.detach() * torch.ones(5, dtype=x.dtype))
                else:
                    getattr(owner, name).data = new

            if isinstance(copy, Stateful):
                y_t, state = copy.step(x_t, state) if state is not None else copy.step(x_t, copy.initial_state(x_t))
            else:
                y_t = copy(x_t)

            steps.append(y_t)

        samples.append(torch.stack(steps))

    return torch.cat(samples, dim=1)


@pytest.mark.parametrize("by", ["add", "multiply", "replace"])
@pytest.mark.parametrize(("make", "path", "shape", "positive"), QUANTITIES)
@pytest.mark.parametrize("period", [1, 5, 100], ids=["per step", "per window", "per sample"])
def test_each_sample_runs_as_in_a_copy_of_its_own(
    make: Any, path: str, shape: tuple[int, ...], positive: bool, by: str, period: int
) -> None:
    network = modulated(make(), path, by, period)
    x = torch.randn(TICKS, BATCH, 4, dtype=torch.float64)
    m = torch.randn(-(-TICKS // period), BATCH, *shape, dtype=torch.float64)
    m = m.abs() + 0.5 if positive else m
    before = deepcopy(network.state_dict())
    outputs, _ = network({"x": x, "m": m}, ticks=TICKS)
    expected = by_hand(make(), path, by, x, [m[tick // period] for tick in range(TICKS)])
    torch.testing.assert_close(outputs["p"], expected)

    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(("make", "path", "shape", "positive"), QUANTITIES)
def test_before_its_first_value_the_plain_part_runs(
    make: Any, path: str, shape: tuple[int, ...], positive: bool
) -> None:
    network = modulated(make(), path, "replace", period=4, phase=5, delay=ticks(2))
    x = torch.randn(TICKS, BATCH, 4, dtype=torch.float64)
    m = torch.rand(2, BATCH, *shape, dtype=torch.float64) + 0.5
    outputs, _ = network({"x": x, "m": m}, ticks=TICKS)

    # made at 5 and 9, there at 7 and 11
    values = [None] * 7 + [m[0]] * 4 + [m[1]]
    torch.testing.assert_close(outputs["p"], by_hand(make(), path, "replace", x, values))


def test_modulation_runs_from_the_snn_to_the_ann_too() -> None:
    # a spiking part steers the weights of a plain one, through a window: firing rates become a matrix a sample
    to_weights = HybridUnit(Tumbling(4), Mean(), nn.Sequential(nn.Linear(5, 8), nn.Unflatten(1, (2, 4))))
    network = HybridNetwork(
        dt=1.0,
        inputs={"x": every(1.0), "frames": every(4.0)},
        parts={"snn": Sequential(fc=nn.Linear(4, 5), lif=LIF(3.0, dt=1.0)), "ann": nn.Linear(4, 2)},
        links=[
            Transmission("x", "snn"),
            Transmission("frames", "ann"),
            Modulation("snn", "ann.weight", to_weights, by="add"),
        ],
        outputs=["snn", "ann"],
    )

    x = 2 * torch.randn(8, BATCH, 4)
    frames = torch.randn(3, BATCH, 4)
    outputs, _ = network({"x": torch.cat([x, x[:1]]), "frames": frames}, ticks=9)
    ann = network.parts["ann"]
    rates = outputs["snn"][:8].unflatten(0, (2, 4)).mean(1)
    weights = network.units["snn_to_ann"].nonlinearity(rates.flatten(0, 1)).unflatten(0, (2, BATCH))
    torch.testing.assert_close(outputs["ann"][0], ann(frames[0]))

    for frame, window in ((1, 0), (2, 1)):
        matrices = ann.weight + weights[window]
        torch.testing.assert_close(
            outputs["ann"][frame], torch.einsum("boi,bi->bo", matrices, frames[frame]) + ann.bias
        )


def test_effects_on_one_quantity_act_in_the_order_of_the_links() -> None:
    def run(*order: tuple[str, str]) -> float:
        links = [Transmission("x", "p"), *(Modulation(source, "p.gain", by=by) for source, by in order)]
        network = HybridNetwork(
            dt=1.0,
            inputs={"x": every(1.0), "two": every(1.0), "ten": every(1.0)},
            parts={"p": Gain(3.0)},
            links=links,
            outputs=["p"],
        )

        values = {"x": 1.0, "two": 2.0, "ten": 10.0}
        outputs, _ = network({name: torch.full((1, 1, 1), value) for name, value in values.items()})

        return outputs["p"].item()

    assert run(("two", "multiply"), ("ten", "add")) == 16  # 3 * 2 + 10
    assert run(("ten", "add"), ("two", "multiply")) == 26  # (3 + 10) * 2
    assert run(("ten", "add"), ("two", "replace")) == 2


@pytest.mark.parametrize(("make", "path", "shape", "positive"), QUANTITIES)
def test_gradients_reach_the_source_the_quantity_and_the_signal(
    make: Any, path: str, shape: tuple[int, ...], positive: bool
) -> None:
    network = modulated(make(), path, "multiply", period=3)
    x = torch.randn(TICKS, BATCH, 4, dtype=torch.float64).requires_grad_()
    m = (torch.rand(4, BATCH, *shape, dtype=torch.float64) + 0.5).requires_grad_()
    found = []

    for cuts in ([TICKS], [2, 3, 7, TICKS]):
        for leaf in (x, m, *network.parameters()):
            leaf.grad = None

        state = None
        outputs = []
        seen = 0

        for start, stop in zip([0, *cuts[:-1]], cuts, strict=True):
            number = -(-stop // 3) - seen
            inputs = {"x": x[start:stop], "m": m[seen : seen + number]}
            y, state = network(inputs, state, stop - start)
            outputs.append(y["p"])
            seen += number

        (torch.cat(outputs) ** 2).sum().backward()
        found.append([leaf.grad for leaf in (x, m, *network.parameters())])

    torch.testing.assert_close(*found)
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in found[0][:2])


def test_a_feedback_weight_of_a_recurrent_part_can_be_modulated() -> None:
    recurrent = Recurrent(LIF(2.0, dt=1.0), nn.Linear(3, 3, bias=False)).double()
    network = modulated(recurrent, "weight.weight", "add", period=4)
    x = torch.randn(8, BATCH, 3, dtype=torch.float64)
    m = torch.randn(2, BATCH, 3, 3, dtype=torch.float64)
    outputs, _ = network({"x": x, "m": m}, ticks=8)

    for sample in range(BATCH):
        state = None
        steps = []

        for tick in range(8):
            copy = deepcopy(recurrent)
            copy.weight.weight.data += m[tick // 4, sample]
            x_t = x[tick, [sample]]
            y_t, state = copy.step(x_t, state if state is not None else copy.initial_state(x_t))
            steps.append(y_t[0])

        torch.testing.assert_close(outputs["p"][:, sample], torch.stack(steps))


def test_a_kernel_as_a_part_can_be_modulated() -> None:
    network = modulated(Exponential(2.0, dt=1.0), "tau", "replace", period=100)
    x = torch.randn(6, 2, 1, dtype=torch.float64)
    tau = torch.tensor([1.0, 5.0]).double().reshape(1, 2, 1)
    outputs, _ = network({"x": x, "m": tau}, ticks=6)

    for sample, value in enumerate((1.0, 5.0)):
        torch.testing.assert_close(outputs["p"][:, [sample]], Exponential(value, dt=1.0)(x[:, [sample]])[0])


def test_all_that_can_be_modulated_is_listed() -> None:
    assert modulable_paths(part())[:4] == ["fc.weight", "fc.bias", "gain.gain", "lif.tau"]
    assert modulable_paths(plain()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert modulable_paths(Exponential(1.0, dt=1.0)) == ["tau"]
    assert "tau" not in modulable_paths(IF())


def test_a_quantity_that_the_target_does_not_have_is_refused_with_those_it_has() -> None:
    with pytest.raises(
        ConfigError, match=r"part 'p' has no quantity 'lif.v_treshold'; did you mean 'lif.v_threshold'\?"
    ):
        modulated(part(), "lif.v_treshold", "add", 1)

    with pytest.raises(ConfigError, match=r"part 'p' has no quantity '0.scale'; .*Known: 0.weight, 0.bias, 2.weight"):
        modulated(plain(), "0.scale", "add", 1)

    with pytest.raises(ConfigError, match=r"part 'p' has no quantity 'weight'; Known: none"):
        modulated(FIR(2), "weight", "add", 1)


def test_a_modulation_that_does_not_fit_is_refused() -> None:
    x = torch.zeros(1, BATCH, 4, dtype=torch.float64)
    with pytest.raises(ShapeError, match="LIF has v_threshold of shape"):
        modulated(part(), "lif.v_threshold", "add", 1)({"x": x, "m": torch.zeros(1, BATCH, 7, dtype=torch.float64)})

    with pytest.raises(
        ShapeError, match=r"a modulation of shape \(1, 3, 4, 5\) .* does not fit a quantity of shape \(5, 4\)"
    ):
        modulated(plain(), "0.weight", "add", 1)({"x": x, "m": torch.zeros(1, BATCH, 4, 5, dtype=torch.float64)})

    with pytest.raises(ConfigError, match=r"LIF needs tau > 0 s under modulation, but got -3"):
        m = torch.full((1, BATCH, 1), -1.0, dtype=torch.float64)
        modulated(part(), "lif.tau", "multiply", 1)({"x": x, "m": m})


def test_ways_to_act_and_paths_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(ConfigError, match="a modulation acts by one of add, multiply, replace, but got 'divide'"):
        Modulation("m", "p.tau", by="divide")
    with pytest.raises(ConfigError, match=r"a path to a quantity, for example 'p\.lif1\.v_threshold', but got 'p'"):
        Modulation("m", "p")


def test_a_sampled_modulation_asks_for_equal_clocks() -> None:
    network = modulated(Gain(), "gain", "replace", period=1, held=False)
    outputs, _ = network({"x": torch.ones(3, 1, 1).double(), "m": torch.arange(3.0).double().reshape(3, 1, 1)})

    assert outputs["p"].flatten().tolist() == [0, 1, 2]
    with pytest.raises(
        ConfigError, match=r"the sampled link 'm' -> 'p.gain' brings a value every 2 ticks .* held=True"
    ):
        modulated(Gain(), "gain", "replace", period=2, held=False)
