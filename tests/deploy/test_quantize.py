"""The integer model says what the fake-quantised network says, to the bit; and what quantisation refuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compiled_c import COMPILER, same
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from modules import DT, integer_stages
from spikebridge.deploy import IntegerModel, QConfig, QConfigMapping, integer_model, quantize, saturation
from spikebridge.deploy.c.export import write_c
from spikebridge.deploy.integer.program import OperationRecord, ProgramRecord
from spikebridge.deploy.stages.arithmetic import root
from spikebridge.errors import ConfigError, DataError, ExportError
from spikebridge.hybrid import (
    FIR,
    Delay,
    Discretizer,
    Gain,
    Gate,
    Gaussian,
    Hold,
    HybridNetwork,
    HybridUnit,
    Kernel,
    Last,
    Mean,
    Modulation,
    PhaseCode,
    Since,
    SpikingLayer,
    Sum,
    TappedDelay,
    Transmission,
    Tumbling,
    every,
    ticks,
)
from spikebridge.neurons import (
    IF,
    LIF,
    AdaptiveLIF,
    CubaLIF,
    Integrator,
    Izhikevich,
    Memoryless,
    Recurrent,
    Sequential,
    Stateful,
)
from spikebridge.training import WHOLE, Batches, Settings, fit
from spikebridge.training import Phase as Training

pytestmark = pytest.mark.untyped

SETTINGS = settings(max_examples=25, deadline=None)
WIDTHS = [QConfig(), QConfig(power_of_two=True, membranes=28), QConfig(weights=4, activations=6, membranes=20)]


def same_bits(network: Any, inputs: dict[str, torch.Tensor], qconfig: QConfig = WIDTHS[0]) -> HybridNetwork:
    """Checks the integer model against the quantised network on other inputs than the calibrated ones."""
    whole = quantize(network, inputs, QConfigMapping((qconfig,)))
    # half as large again as the calibrated inputs, so that some values are clipped
    assert_same(whole, {name: 1.5 * x.flip(0) for name, x in inputs.items()})
    return whole


def assert_same(whole: HybridNetwork, inputs: dict[str, torch.Tensor]) -> None:
    model = integer_model(whole, inputs)
    with torch.no_grad():
        wanted, _ = whole(inputs)

    integers = model.run(model.quantize({name: x.numpy() for name, x in inputs.items()}))
    assert all(y.dtype.kind == "i" for y in integers.values())
    for name, y in model.dequantize(integers).items():
        assert np.array_equal(y, wanted[name].numpy()), name


def spiking(kind: int, reset: int) -> nn.Module:
    how: Any = ("zero", "subtract")[reset]
    layers = [
        lambda: LIF(0.01, dt=0.001, reset=how, learn=("tau", "v_threshold")),
        lambda: IF(v_threshold=0.7, reset=how, v_reset=-0.1),
        lambda: LIF(torch.tensor([0.005]), dt=0.001, v_leak=0.2, reset=how, refractory=0.002, r=0.5),
        lambda: Memoryless(v_threshold=0.3),
        lambda: CubaLIF(torch.tensor([0.01, 0.02, 0.005]), 0.004, dt=0.001, reset=how, r=-0.7, v_leak=0.1),
        lambda: AdaptiveLIF(0.01, 0.03, dt=0.001, jump=0.3, reset=how, v_threshold=0.4),
        lambda: Recurrent(LIF(0.01, dt=0.001, reset=how), nn.Linear(3, 3)),
    ]

    return layers[kind]()


def pictures(kind: int, pool: int) -> nn.Sequential:
    pools = [nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.MaxPool2d(3, 2, 1)]
    size = (4, 4, 1, 4)[pool]
    norm = [nn.BatchNorm2d(2)] if kind else []
    conv = nn.Conv2d(1, 2, 3, stride=1 + kind, padding=1, bias=not kind)
    size = size if not kind or pool == 2 else 2

    return nn.Sequential(
        conv, *norm, (nn.ReLU(), nn.Tanh())[kind], pools[pool], nn.Flatten(), nn.Linear(2 * size**2, 3)
    )


@SETTINGS
@given(
    seed=st.integers(0, 10**6),
    neuron=st.integers(0, 6),
    reset=st.integers(0, 1),
    kind=st.integers(0, 1),
    pool=st.integers(0, 3),
    window=st.integers(1, 4),
    period=st.integers(1, 3),
    delay=st.integers(0, 2),
    by=st.sampled_from(["multiply", "add", "replace"]),
    width=st.integers(0, 2),
)
def test_random_networks_give_the_same_bits(
    seed: int, neuron: int, reset: int, kind: int, pool: int, window: int, period: int, delay: int, by: Any, width: int
) -> None:
    torch.manual_seed(seed)
    ann = pictures(kind, pool).eval()
    first = {"fc": nn.Linear(2, 3), "gain": Gain(torch.tensor([0.5, 1.0, -2.0])), "fire": spiking(neuron, reset)}
    snn = Sequential(**first, gate=Gate(), out=nn.Linear(3, 3), again=spiking((0, 4, 5)[kind + reset], reset))
    unit = HybridUnit(Tumbling(window), FIR(window, (3,)), nn.Linear(3, 4))

    network = HybridNetwork(
        dt=0.001,
        inputs={"frames": every(0.001 * period), "events": every(0.001)},
        parts={"ann": ann, "snn": snn, "sum": Integrator(0.01, dt=0.001 * window)},
        links=[
            Transmission("frames", "ann"),
            Transmission("events", "snn"),
            Modulation(
                "ann", "snn.again.v_threshold", HybridUnit(nonlinearity=nn.Sigmoid()), by=by, delay=ticks(delay)
            ),
            Modulation("ann", "snn.gate.gate", HybridUnit(nonlinearity=nn.Sigmoid()), name="gate"),
            Transmission("snn", "sum", unit),
        ],
        outputs=["ann", "snn", "sum"],
    )

    inputs = {"frames": torch.randn(12 // period, 2, 1, 8, 8), "events": torch.randn(12, 2, 2) * 2}
    same_bits(network.eval(), inputs, WIDTHS[width])


@pytest.mark.parametrize(
    ("window", "kernel", "discretizer"),
    [
        *integer_stages(),
        (None, Gaussian(0.002, 0.001, dt=DT, keep=True), SpikingLayer(Integrator(0.01, dt=DT))),
        (None, Delay(torch.tensor([0.0, 0.003]), max_delay=0.004, dt=DT), SpikingLayer(IF())),
        (Tumbling(3), None, Last()),
        (Tumbling(2), Mean(), PhaseCode()),
    ],
)
def test_every_stage_of_a_unit_gives_the_same_bits(window: Any, kernel: Kernel, discretizer: Discretizer) -> None:
    torch.manual_seed(1)
    period = DT * (3 if isinstance(window, Hold) else 1)
    network = HybridNetwork(
        dt=DT,
        inputs={"x": every(period), "clock": every(0.004, 0.001)},
        parts={"y": nn.Identity(), "z": nn.Identity()},
        links=[
            Transmission("clock", "z"),
            Transmission("x", "y", HybridUnit(window, kernel, nn.Linear(2, 2), discretizer)),
        ],
        outputs=["y", "z"],
    )

    same_bits(network, {"x": torch.rand(8 if period > DT else 24, 2, 2), "clock": torch.ones(6, 2, 1)})


def test_a_trigger_that_is_read_as_a_signal_too_keeps_its_scale() -> None:
    reads = [
        Transmission("x", "sums", HybridUnit(Since("frames"), Sum(keep=True)), name="sums"),
        Transmission("frames", "ann", name="ann"),
    ]
    for links in (reads, reads[::-1]):
        network = HybridNetwork(
            dt=1.0,
            inputs={"x": every(1.0), "frames": every(2.0)},
            parts={"sums": nn.Identity(), "ann": nn.Identity()},
            links=links,
            outputs=["sums", "ann"],
        )
        frames = torch.tensor([-2.54, 1.28]).reshape(2, 1, 1)
        whole = quantize(network, {"x": torch.ones(4, 1, 1), "frames": frames})
        assert_same(whole, {"x": torch.ones(4, 1, 1), "frames": frames})

        # the largest value is 127 steps of 0.02
        model = integer_model(whole, {"x": torch.ones(4, 1, 1), "frames": frames})
        assert model.quantize({"frames": frames.numpy()})["frames"].flatten().tolist() == [-127, 64]


class Branches(nn.Module):
    """Two branches, side by side and added."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(3, 2)
        self.right = nn.Linear(2, 2)
        self.read = nn.Linear(4, 2)

    def forward(self, a: torch.Tensor, b: torch.Tensor, more: torch.Tensor | None = None) -> torch.Tensor:
        left = self.left(a)
        right = 0.5 * self.right(b)
        return self.read(torch.cat([torch.relu(left + right), right], -1))


def test_sums_and_signals_side_by_side_give_the_same_bits() -> None:
    network = HybridNetwork(
        dt=1.0,
        inputs={"a": every(1.0), "b": every(2.0)},
        parts={"both": Branches()},
        links=[Transmission("a", "both"), Transmission("b", "both", held=True, into="b", delay=ticks(3), initial=0.4)],
        outputs=["both"],
    )

    same_bits(network, {"a": torch.randn(8, 2, 3), "b": torch.randn(4, 2, 2)})


class Function(nn.Module):
    """A function of a signal, as a part."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class WholeSignals(nn.Module):
    """Every operation on whole signals, `(B, 4, 6)` to `(B, 9)`."""

    least: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("least", torch.tensor(0.4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grid = x[..., :4].unflatten(2, (2, -1))
        sizes = grid.norm(dim=3) * (grid.abs().amax(3) > self.least / 2).float()
        places = sizes.flatten(1).argmax(1, keepdim=True)
        flags = [places == 2, x[:, 1:3].mean(2) >= 0.1, (x[..., 4:].amin(2)[:, 2:] < 0.0) & (x[:, 2:].amax(2) > 0.5)]
        numbers = [sizes.sum(1), grid.amin(3).flatten(1)[:, 2:4]]

        return torch.cat([*(flag.float() for flag in flags), *numbers], 1)


def test_operations_on_whole_signals_give_the_same_bits(tmp_path: Path) -> None:
    x = {"signal": torch.randn(30, 2, 4, 6)}
    for qconfig in WIDTHS[:2]:
        quantized = same_bits(WholeSignals(), x, qconfig)
        # a signal near a bound may fall on its other side in 8 bits
        is_near = (quantized(x)[0]["network"] - WholeSignals()(x["signal"].flatten(0, 1)).unflatten(0, (30, 2))).abs()
        assert is_near.median() < 0.05

    assert quantized.parts["network"](torch.zeros(1, 4, 6)).tolist()[0][:5] == [0, 0, 0, 0, 0]
    model = integer_model(quantized, x)
    files = write_c(model, model.quantize({"signal": x["signal"].numpy()}), 30, tmp_path / "own")
    if COMPILER is not None:
        assert same(files) == 30 * 9


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x.argmax(1, keepdim=True).float(), [1.0, 0.0, 0.0]),  # the first of two equal values
        (lambda x: (x.norm(dim=1, keepdim=True) > 6.9).float(), [0.0, 1.0, 1.0]),  # 5, 100 and 7
        (lambda x: (x.amin(1, keepdim=True) == 5.0).float(), [0.0, 0.0, 1.0]),
        (lambda x: (x.mean(1, keepdim=True) >= 3.5).float(), [1.0, 1.0, 1.0]),
        (lambda x: (x.mean(1, keepdim=True) < 46.5).float(), [1.0, 0.0, 1.0]),
    ],
)
def test_places_norms_and_bounds_by_hand(function: Any, expected: list[float]) -> None:
    x = {"signal": torch.tensor([[[3.0, 4.0]], [[100.0, -7.0]], [[5.0, 5.0]]])}
    assert same_bits(Function(function), x)(x)[0]["network"].flatten().tolist() == expected


@given(st.lists(st.integers(0, 2**31), min_size=1))
def test_a_root_is_the_nearest_integer(numbers: list[int]) -> None:
    roots = root(np.array(numbers, np.int64))
    assert all(
        (2 * r - 1) ** 2 <= 4 * q <= (2 * r + 1) ** 2 or q == r == 0 for r, q in zip(roots, numbers, strict=True)
    )


@pytest.mark.parametrize(
    ("operation", "settings", "reason"),
    [
        ("slice", {"axis": 1, "start": -4, "stop": 2}, "has start = -4; expected an integer from 0 to 1024"),
        ("reduce", {"axis": 0, "keep": True, "reduction": "sum"}, "has axis = 0; expected an integer from 1"),
        ("reduce", {"axis": 1, "keep": True, "reduction": "sums"}, "did you mean 'sum'"),
        ("compare", {"by": None}, "has the by None"),
        ("taps", {"num_taps": 1 << 20}, "has num_taps = 1048576"),
    ],
)
def test_damaged_operations_are_refused(operation: str, settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        ProgramRecord(("x",), (OperationRecord("y", operation, ("x",), settings),), "y")


def test_a_tapped_delay_line_gives_the_same_bits_and_the_last_steps(tmp_path: Path) -> None:
    x = {"signal": torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(4, 1, 1)}
    quantized = same_bits(TappedDelay(3), x)
    assert quantized(x)[0]["network"].flatten(1).tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4]]
    model = integer_model(quantized, x)
    files = write_c(model, model.quantize({"signal": x["signal"].numpy()}), 4, tmp_path / "own")
    if COMPILER is not None:
        assert same(files) == 12


class Skip(Stateful):
    """A recurrent layer and a way around it."""

    def __init__(self) -> None:
        super().__init__()
        inner = Sequential(map=nn.Linear(2, 3), fire=CubaLIF(0.01, 0.01, dt=0.001), read=nn.Linear(3, 2))
        self.echo = Recurrent(inner, nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2)))

    def initial_state(self, x_t: torch.Tensor) -> Any:
        return self.echo.initial_state(x_t)

    def step(self, x_t: torch.Tensor, state: Any, **modulation: Any) -> Any:
        y, state = self(x_t[None], state)
        return y[0], state

    def forward(self, x: torch.Tensor, state: Any = None, **modulation: Any) -> Any:
        y, state = self.echo(x, state)
        return y + x, state


@pytest.mark.parametrize(
    "snn",
    [
        Sequential(fc=nn.Linear(2, 3), fire=LIF(0.01, dt=0.001)),
        Recurrent(AdaptiveLIF(0.01, 0.03, dt=0.001), nn.Linear(2, 2)),
        Sequential(around=Skip(), last=CubaLIF(0.01, 0.002, dt=0.001)),
    ],
    ids=["forward", "recurrent", "around"],
)
def test_a_stream_in_steps_gives_the_same_bits(snn: Stateful) -> None:
    torch.manual_seed(0)
    x = torch.rand(6, 2, 2) * 4
    whole = quantize(snn, {"signal": x})
    model = integer_model(whole, {"signal": x})
    entered = model.quantize({"signal": x.numpy()})
    state = model.start(batch=2)
    rows = []

    for x_t in entered["signal"]:
        outputs, state = model.step({"signal": x_t}, state)
        rows.append(outputs["network"])

    assert np.array_equal(np.stack(rows), model.run(entered)["network"])

    halves = [whole({"signal": x[:2]})]
    halves.append(whole({"signal": x[2:]}, halves[0][1]))

    assert torch.equal(torch.cat([y["network"] for y, _ in halves]), whole({"signal": x})[0]["network"])


def test_membranes_by_hand() -> None:
    # weights 127 and 1 int8; two steps of 1/2 reach the threshold of 1, three of 1/4 do not
    snn = Sequential(fc=nn.Linear(1, 1, bias=False), fire=IF(reset="subtract"))
    nn.init.constant_(snn[0].weight, 0.5)
    x = torch.tensor([1.0, 1.0, 0.5, 0.5, 1.0]).reshape(5, 1, 1)

    assert quantize(snn, {"signal": x})({"signal": x})[0]["network"].flatten().tolist() == [0, 1, 0, 0, 1]


def test_currents_and_adapting_thresholds_by_hand() -> None:
    # currents 1, 2, 3 charge membranes to 1, 3 and, after the reset, 3; thresholds are 1, then 2, then 3
    x = torch.ones(6, 1, 1)
    cuba = CubaLIF(tau=float("inf"), tau_syn=float("inf"), dt=0.001, v_threshold=3.0)

    assert quantize(cuba, {"signal": x})({"signal": x[:3]})[0]["network"].flatten().tolist() == [0, 1, 1]

    adaptive = AdaptiveLIF(tau=float("inf"), tau_adaptation=float("inf"), dt=0.001, jump=1.0)
    assert quantize(adaptive, {"signal": x})({"signal": x})[0]["network"].flatten().tolist() == [1, 0, 1, 0, 0, 1]


def test_a_closed_gate_stops_what_an_open_one_lets_through() -> None:
    part = Sequential(fire=IF(), gate=Gate(torch.tensor([1.0, 0.0])))
    x = torch.ones(2, 1, 2)
    assert quantize(part, {"signal": x})({"signal": x})[0]["network"].tolist() == [[[1, 0]], [[1, 0]]]


def test_training_goes_on_with_integers() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 64, 2)
    labels = (x.sum((0, 2)) > 0).long()
    part = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
    whole = quantize(part, {"signal": x}, QConfigMapping((QConfig(weights=3, activations=4),)))

    def loss(network: nn.Module, batch: Any) -> torch.Tensor:
        return nn.functional.cross_entropy(network({"signal": batch["x"]})[0]["network"].mean(0), batch["y"])

    data = Batches({"x": x, "y": labels}, batch={"x": 1, "y": 0})
    phase = Training("aware", WHOLE, loss, epochs=5, optimizer=lambda p: torch.optim.Adam(p, lr=0.05))
    rows = fit(whole, [phase], data, settings=Settings(batch_size=32, accelerator="cpu", quiet=True))

    # weights of 3 bits can still be trained
    assert rows[-1]["loss"] < 0.9 * rows[0]["loss"]

    assert_same(whole.eval(), {"signal": x})


def test_gradients_of_whole_numbers_are_those_of_real_ones_nearly() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    x = torch.randn(4, 5, 3)
    whole = quantize(layer, {"signal": x})
    layer(x).sum().backward()
    whole({"signal": x})[0]["network"].sum().backward()
    gradient = dict(whole.named_parameters())["parts.network.program.operations./layer.layer.weight"].grad

    assert gradient is not None and layer.weight.grad is not None
    assert torch.allclose(gradient, layer.weight.grad, rtol=0.02, atol=0.1)


def test_saturation_names_the_signal_that_was_clipped() -> None:
    x = torch.rand(4, 2, 3) + 0.1
    whole = quantize(nn.Sequential(nn.Linear(3, 2)), {"signal": x})

    # the calibrated inputs themselves fit
    assert all(row.share < 0.1 for row in saturation(whole, {"signal": x}))

    worst = saturation(whole, {"signal": 100 * x})[0]
    assert worst.path == "network:input #0" and worst.share == 1.0


def test_scales_are_powers_of_two_where_asked() -> None:
    x = torch.randn(6, 2, 3)
    snn = Sequential(fc=nn.Linear(3, 2), fire=LIF(0.01, dt=0.001))
    model = integer_model(quantize(snn, {"signal": x}, QConfigMapping((QConfig(power_of_two=True),))), {"signal": x})
    multipliers = [q for name, q in model.numbers.items() if "multiplier" in name]

    # a power of two has one bit
    assert multipliers and all(bool((q & (q - 1) == 0).all()) for q in multipliers)


def test_a_model_is_read_as_it_was_written(tmp_path: Path) -> None:
    x = torch.rand(4, 2, 3)
    model = integer_model(quantize(nn.Linear(3, 2), {"signal": x}), {"signal": x})
    model.save(tmp_path / "model")
    read = IntegerModel.open(tmp_path / "model")
    entered = model.quantize({"signal": x.numpy()})

    assert np.array_equal(read.run(entered)["network"], model.run(entered)["network"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
    with pytest.raises(ExportError, match="is there already"):
        model.save(tmp_path / "model")

    numbers = tmp_path / "model" / "integer.safetensors"
    numbers.write_bytes(numbers.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="SHA-256"):
        IntegerModel.open(tmp_path / "model")

    (tmp_path / "model" / "integer.json").write_text("{}")
    with pytest.raises(DataError, match="not the record of an integer model"):
        IntegerModel.open(tmp_path / "model")

    with pytest.raises(DataError, match="spikebridge quantize"):
        IntegerModel.open(tmp_path)


def test_nothing_is_calibrated_on_no_sample() -> None:
    with pytest.raises(ConfigError, match=r"input 'signal' needs samples \(T, B, \*N\), but got \(4, 0, 3\)"):
        quantize(nn.Linear(3, 2), {"signal": torch.rand(4, 0, 3)})


def test_a_region_that_names_no_layer_is_refused() -> None:
    plan = QConfigMapping((QConfig("netwrok"),))
    with pytest.raises(ConfigError, match=r"'netwrok' names no layer of this network; did you mean 'network'\?"):
        quantize(nn.Linear(1, 1), {"signal": torch.ones(1, 1, 1)}, plan)


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (Sequential(fc=nn.Linear(2, 2), odd=Izhikevich(dt=0.001)), r"'network.odd' is a Izhikevich, which has no"),
        (nn.Sequential(nn.Linear(2, 2), nn.Softmax(-1)), r"'network.1' is a Softmax"),
        (nn.Sequential(nn.LayerNorm(2)), r"'network.0' is a LayerNorm"),
        (nn.Sequential(nn.ReLU(), nn.BatchNorm1d(2)), "network.1 is a batch normalisation that does not follow"),
        (Function(lambda x: x.norm(1, dim=1)), "'network.norm' is a norm, which has no integer form"),
        (Function(lambda x: x.flip(1)), "'network.flip' is a flip, which has no integer form"),
        (Function(lambda x: x[:, 0]), "'network.getitem' is a getitem, which has no integer form"),
        (Function(lambda x: x * torch.ones(2)), "uses the tensor '_tensor_constant0' between its layers"),
    ],
    ids=["neuron", "softmax", "norm", "batch norm", "other norm", "flip", "index", "tensor"],
)
def test_what_has_no_integer_form_is_refused_by_path(part: Any, reason: str) -> None:
    with pytest.raises(ExportError, match=reason):
        quantize(part.eval(), {"signal": torch.ones(2, 1, 2)}, dt=0.001)


def test_a_layer_of_two_signals_is_refused_by_path() -> None:
    links = [Transmission("a", "both"), Transmission("a", "both", into="input2", name="second")]
    network = HybridNetwork(
        dt=1.0, inputs={"a": every(1.0)}, parts={"both": nn.Bilinear(2, 2, 1)}, links=links, outputs=["both"]
    )
    with pytest.raises(ExportError, match="'both' is a Bilinear, a layer of 2 signals, which has no integer form"):
        quantize(network, {"a": torch.ones(2, 1, 2)})


def test_widths_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="weights of 2 to 8 bits, but got 9"):
        QConfig(weights=9)
    with pytest.raises(ConfigError, match="membranes of 16 to 28 bits"):
        QConfig(membranes=32)


def test_parts_outside_a_region_stay_real() -> None:
    x = torch.rand(4, 2, 3)
    network = HybridNetwork(
        dt=1.0,
        inputs={"x": every(1.0)},
        parts={"a": nn.Linear(3, 2), "b": nn.Softmax(-1)},
        links=[Transmission("x", "a"), Transmission("a", "b", HybridUnit(Tumbling(2), Sum()))],
        outputs=["b"],
    )

    whole = quantize(network, {"x": x}, QConfigMapping((QConfig("a"), QConfig("units.*"))))
    model = integer_model(whole, {"x": x})

    assert model.record.left_out == ("b",)

    outputs = model.dequantize(model.run(model.quantize({"x": x.numpy()})))
    assert torch.equal(torch.from_numpy(outputs["links.a_to_b"]).softmax(-1), whole({"x": x})[0]["b"])
