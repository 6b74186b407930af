"""The C of an integer model, compiled by the system's compiler, gives the integers of the model to the bit."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from compiled_c import COMPILER, STRICT, checked, needs_compiler, same
from torch import nn

from modules import DT, integer_stages, parallel
from spikebridge.cli.main import main
from spikebridge.deploy import Bundle, IntegerModel, QConfig, QConfigMapping, integer_model, quantize
from spikebridge.deploy.c.export import WrittenC, write_c
from spikebridge.deploy.c.source import CArray, broadcast_index, c_type
from spikebridge.deploy.integer.records import QParamsRecord
from spikebridge.errors import ExportError
from spikebridge.hybrid import (
    FIR,
    Bernoulli,
    Delay,
    FirstTime,
    Gain,
    Gate,
    Hold,
    HybridNetwork,
    HybridUnit,
    Kernel,
    Mean,
    Modulation,
    Sum,
    Transmission,
    Tumbling,
    every,
    ticks,
)
from spikebridge.neurons import IF, LIF, AdaptiveLIF, CubaLIF, Integrator, Recurrent, Sequential

INT8 = QConfig()


def integers_of(network: Any, inputs: dict[str, torch.Tensor], plan: QConfig = INT8) -> tuple[IntegerModel, Any]:
    """The integer model of a network, and other inputs than the calibrated ones."""
    model = integer_model(quantize(network, inputs, QConfigMapping((plan,))), inputs)
    return model, model.quantize({name: 1.5 * x.flip(0).numpy() for name, x in inputs.items()})


def written(network: Any, inputs: dict[str, torch.Tensor], folder: Path, plan: QConfig = INT8) -> WrittenC:
    model, entered = integers_of(network, inputs, plan)
    # on an output of zeros everything agrees
    silent = [name for name, y in model.run(entered).items() if not y.any()]

    assert not silent
    return write_c(model, entered, model.count_ticks(entered), folder)


def pictures() -> nn.Module:
    """Convolutions with groups, strides, dilation and padding, over one and two axes, and poolings."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(4, 2, 3, padding=2, dilation=2),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(2),
        nn.Conv1d(2, 3, 1),
        nn.Flatten(),
        nn.Linear(3, 4),
    )


def several_clocks(by: Any) -> HybridNetwork:
    """Three clocks, neurons of five kinds, gains and gates, modulation, a loop with a delay, a unit with taps."""
    snn = Sequential(
        fc=nn.Linear(2, 3),
        gain=Gain(torch.tensor([0.5, 1.0, -2.0])),
        fire=LIF(torch.tensor([0.005]), dt=DT, v_leak=0.2, refractory=0.002, r=0.5, v_threshold=0.3),
        gate=Gate(),
        late=Delay(torch.tensor([0.0, 0.001, 0.003]), max_delay=0.003, dt=DT),
        out=nn.Linear(3, 3),
        current=CubaLIF(torch.tensor([0.01, 0.02, 0.005]), 0.004, dt=DT, reset="subtract", v_leak=0.1),
        last=AdaptiveLIF(0.01, 0.03, dt=DT, jump=0.3, v_threshold=0.4),
    )

    sigmoid = nn.Sigmoid()
    return HybridNetwork(
        dt=DT,
        inputs={"frames": every(3 * DT), "events": every(DT)},
        parts={
            "ann": pictures(),
            "snn": snn,
            "sum": Integrator(0.01, dt=4 * DT),
            "echo": Recurrent(IF(), nn.Linear(3, 3)),
        },
        links=[
            Transmission("frames", "ann"),
            Transmission("events", "snn"),
            Modulation("ann", "snn.gate.gate", HybridUnit(nonlinearity=nn.Linear(4, 3))),
            Modulation("echo", "snn.last.v_threshold", HybridUnit(None, Mean(), sigmoid), by=by, delay=ticks(2)),
            Transmission("snn", "sum", HybridUnit(Tumbling(4), FIR(4, (3,)), nn.Linear(3, 4))),
            Transmission("snn", "echo", HybridUnit(Tumbling(2), Sum(keep=True)), delay=ticks(3), initial=0.5),
        ],
        outputs=["ann", "snn", "sum", "echo"],
    ).eval()


@pytest.mark.untyped
@needs_compiler
@pytest.mark.parametrize(
    ("by", "plan"),
    [
        ("add", QConfig()),
        ("multiply", QConfig(weights=4, activations=6, membranes=20)),
        ("replace", QConfig(power_of_two=True, membranes=28)),
    ],
    ids=["8 bits", "4 bits", "shifts"],
)
def test_a_network_of_several_clocks_gives_the_same_bits(by: Any, plan: QConfig, tmp_path: Path) -> None:
    torch.manual_seed(0)
    inputs = {"frames": torch.randn(8, 2, 2, 9, 9), "events": torch.randn(24, 2, 2) * 3}
    model_c = written(several_clocks(by), inputs, tmp_path / "several", plan)

    # 8 ANN values of 4, 24 steps of 3 spikes, 6 sums of 4, echoes of 3 from tick 0 on
    assert same(model_c) >= 8 * 4 + 24 * 3 + 6 * 4 + 24 * 3

    text = (model_c.folder / "several.c").read_text()
    assert not re.search(r"\b(malloc|calloc|free|float|double)\b", text)


def read_out() -> nn.Module:
    """A map with positive weights, so that every discretizer gives something."""
    layer = nn.Linear(2, 2)
    nn.init.uniform_(layer.weight, 0.1, 0.5)
    nn.init.uniform_(layer.bias, 0.0, 0.1)
    return layer


@pytest.mark.untyped
@needs_compiler
def test_every_stage_of_a_unit_gives_the_same_bits(tmp_path: Path) -> None:
    torch.manual_seed(1)
    units = {f"y{number}": stages for number, stages in enumerate(integer_stages())}

    links = []
    for name, (window, kernel, discretizer) in units.items():
        # a map lets no step of a window be zero, so nothing would come late
        nonlinearity = None if isinstance(discretizer, FirstTime) else read_out()
        unit = HybridUnit(window, kernel, nonlinearity, discretizer)
        links.append(Transmission("slow" if isinstance(window, Hold) else "x", name, unit))

    network = HybridNetwork(
        dt=DT,
        inputs={"x": every(DT), "slow": every(3 * DT), "clock": every(0.004, 0.001)},
        parts={name: nn.Identity() for name in [*units, "z"]},
        links=[Transmission("clock", "z"), *links],
        outputs=[*units, "z"],
    )

    inputs = {
        "x": torch.rand(24, 2, 2) * (torch.rand(24, 2, 2) > 0.5),
        "slow": torch.rand(8, 2, 2),
        "clock": torch.ones(6, 2, 1),
    }

    assert same(written(network, inputs, tmp_path / "units")) > 500


@needs_compiler
def test_a_wrong_weight_is_seen_and_the_stream_numbers_the_draws(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = parallel({"y": nn.Linear(3, 1)}, HybridUnit(None, None, None, Bernoulli(seed=5)))
    model, entered = integers_of(network, {"x": torch.rand(16, 2, 3)})
    model_c = write_c(model, entered, 16, tmp_path / "drawn")

    assert same(model_c) == 16

    check = model_c.folder / "check.c"
    code = model_c.folder / "drawn.c"
    check.write_text(check.read_text().replace("drawn_start(&s, 0)", "drawn_start(&s, 1)"))

    assert " 0 differ" not in checked(model_c)

    # the second stream of the integer model on the same input draws as stream 1 in C
    both = {"x": entered["x"][:, :1].repeat(2, axis=1)}
    second = model.run(both, 16)["y"][:, 1].ravel()
    head, _, rest = check.read_text().partition("out_0[16] = {\n")
    check.write_text(head + "out_0[16] = {\n" + ", ".join(map(str, second)) + "\n" + rest[rest.index("};") :])

    assert same(model_c) == 16

    code.write_text(code.read_text().replace("127", "126"))
    assert " 0 differ" not in checked(model_c)


@needs_compiler
def test_products_of_two_wide_numbers_keep_their_64_bits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = parallel({"linear": nn.Linear(2, 2), "convolution": nn.Conv1d(2, 2, 2)})
    model, _ = integers_of(network, {"x": torch.rand(4, 1, 2, 2)})

    # no network of `quantize` has so wide a grid, but a model from elsewhere may
    wide = replace(model.record.inputs["x"], grid=QParamsRecord(1.0, -(1 << 30), 1 << 30))
    links = tuple(replace(link, takes=wide.grid, gives=wide.grid) for link in model.record.links)
    model = IntegerModel(replace(model.record, inputs={"x": wide}, links=links), model.numbers)
    values = torch.randint(-(1 << 30), 1 << 30, (4, 1, 2, 2)).numpy()

    assert same(write_c(model, {"x": values}, 4, tmp_path / "wide")) == 4 * (4 + 2)


@needs_compiler
def test_the_header_makes_the_integers_of_the_model(tmp_path: Path) -> None:
    network = parallel({"y": nn.Linear(2, 1)}, None)
    model, entered = integers_of(network, {"x": torch.randn(16, 1, 2)})
    write_c(model, entered, 4, tmp_path / "own")
    scale = model.record.inputs["x"].grid.scale  # type: ignore[union-attr]
    halves = [scale * (step / 2) for step in range(-300, 301)]
    real = torch.tensor([*halves, 1e9, -1e9, 0.0, -0.0]).reshape(-1, 1, 1).repeat(1, 1, 2)
    expected = model.quantize({"x": real.numpy()})["x"][:, 0, 0]
    values = ", ".join(value.hex() for value in real[:, 0, 0].double().tolist())

    program = f"""
#include "own.h"
#include <stdio.h>
int main(void) {{
    static const double values[] = {{{values}}};
    for (int i = 0; i < {len(real)}; i++) printf("%d ", (int)OWN_X_INTEGER(values[i]));
    return 0;
}}
"""
    (tmp_path / "own" / "main.c").write_text(program)
    folder = tmp_path / "own"
    subprocess.run([str(COMPILER), *STRICT, "main.c", "-o", "main"], cwd=folder, check=True, timeout=60)
    said = subprocess.run(["./main"], cwd=folder, capture_output=True, text=True, timeout=60).stdout

    assert [int(word) for word in said.split()] == expected.tolist()
    subprocess.run([str(COMPILER), *STRICT, "-DOWN_WITHOUT_FLOATS", "-c", "own.c"], cwd=folder, check=True, timeout=60)


class Own(Kernel):
    """A kernel that C does not know."""


def test_what_has_no_c_form_is_refused(tmp_path: Path) -> None:
    network = parallel({"y": nn.Identity()}, HybridUnit(Tumbling(2), Sum()))
    model, entered = integers_of(network, {"x": torch.rand(4, 1, 2)})
    write_c(model, entered, 4, tmp_path / "there")

    with pytest.raises(ExportError, match="is there already; name another folder"):
        write_c(model, entered, 4, tmp_path / "there")

    link = model.record.links[0]
    assert link.unit is not None and link.unit.kernel is not None

    object.__setattr__(link.unit.kernel, "name", "Own")
    with pytest.raises(ExportError, match="the kernel 'Own' has no C form; known are Sum, Mean"):
        write_c(model, entered, 4, tmp_path / "new")

    assert not (tmp_path / "new").exists()


def test_ranges_choose_the_type() -> None:
    assert [c_type(*one) for one in ((-128, 127), (0, 200), (-1, 200), (0, 1 << 40))] == [
        "int8_t",
        "uint8_t",
        "int16_t",
        "int64_t",
    ]
    with pytest.raises(ExportError, match="64 bits"):
        c_type(0, 1 << 63)

    with pytest.raises(ExportError, match="does not fit to one of shape"):
        broadcast_index((2, 3), (3, 3))

    assert CArray("x", (3, 1), 0, 1).at((3, 4)) == "x[j / 4]"


def test_a_bundle_becomes_c_at_the_command_line(
    whole: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(whole.path), "--target", "c", "--out", "small"]) == 0
    assert "cc -std=c99 -O2 small.c check.c" in capsys.readouterr().out
    if COMPILER is not None:
        assert same(WrittenC(tmp_path / "small", "small", 0, 0)) > 0

    for words, line in (
        ([str(whole.path), "--target", "c", "--out", "small"], "small is there already"),
        ([str(whole.path)], "is a bundle already; `--target c` writes its integer model as C"),
        ([str(whole.path), "--target", "c", "--network", "x"], "leave --network out"),
        (["nowhere", "--target", "c"], "neither a run folder nor a recipe"),
    ):
        assert main(["export", *words]) == 2
        assert line in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_bundle_without_integers_says_how_to_add_them(small: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(small.path), "--target", "c"]) == 2
    assert "`spikebridge quantize RUN --bundle" in capsys.readouterr().err
