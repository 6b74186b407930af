"""The small functions that bundles, integers, NIR and C are built of, on numbers worked by hand."""

import operator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from spikebridge.deploy.bundle.bundle import file_name
from spikebridge.deploy.bundle.consistency import check_step
from spikebridge.deploy.bundle.manifest import (
    ClockRecord,
    StageRecord,
    UnitRecord,
    check_shape,
    parse_manifest,
    record_name,
)
from spikebridge.deploy.bundle.stages import FunctionKernel, stage_record
from spikebridge.deploy.bundle.trace import check_stream, record_trace
from spikebridge.deploy.c.source import CArray, broadcast_index, c_name, c_type, for_loop
from spikebridge.deploy.integer.model import fitting, numbers_below, to_integers
from spikebridge.deploy.integer.program import sizes_of
from spikebridge.deploy.integer.records import QParamsRecord
from spikebridge.deploy.integer.units import IntegerUnitRecord, integer_unit, nonlinearity_numbers
from spikebridge.deploy.nir.graph import NirGraph, NirNode
from spikebridge.deploy.nir.nodes import Membrane, SumPool2d
from spikebridge.deploy.nir.quantities import Step
from spikebridge.deploy.nir.tracer import trace
from spikebridge.deploy.onnx.session import check_opset, count_macs
from spikebridge.deploy.onnx.writer import write_onnx
from spikebridge.deploy.quantization.config import QConfig, qconfigs_for
from spikebridge.deploy.quantization.fake_integers import FakeIntegerArithmetic
from spikebridge.deploy.quantization.neurons import unflatten_time
from spikebridge.deploy.quantization.quantizer import (
    Quantizer,
    fixed_point_ratio,
    rescale,
    round_ste,
    scales_of,
    up_to_power_of_two,
)
from spikebridge.deploy.quantization.tracer import TracedFunction, is_elementwise, trace_graph
from spikebridge.deploy.runtime.nir_interpreter import NirRunner
from spikebridge.deploy.runtime.runner import check_arrays
from spikebridge.deploy.runtime.units import UnitRunner, UnitRunnerState, UnitStages, float_unit
from spikebridge.deploy.stages import arithmetic
from spikebridge.deploy.stages.discretizers import float_discretizer, integer_discretizer, kind_of
from spikebridge.deploy.stages.kernels import float_kernel, integer_kernel, restart
from spikebridge.errors import ConfigError, DataError, ShapeError
from spikebridge.hybrid import HybridNetwork, HybridUnit, Sum, Transmission, Tumbling, every
from spikebridge.neurons import IF, Sequential

TUMBLING = StageRecord("Tumbling", {"length": 2})


def doubles(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def one(value: float) -> Any:
    return np.array([[value]], np.float32)


def test_an_integer_in_another_scale_is_rounded_with_halves_upwards() -> None:
    assert arithmetic.rescale(np.array([3, -3]), np.array(1), np.array(1)).tolist() == [2, -1]
    assert rescale(doubles(3.0, -3.0), torch.tensor(0.5, dtype=torch.float64)).tolist() == [2.0, -1.0]
    assert round_ste(torch.tensor([0.5, -0.5, 1.4])).tolist() == [1.0, 0.0, 1.0]


def test_ratios_of_files_have_the_names_of_stages() -> None:
    names = [arithmetic.ratio_name(name) for name in ("multiplier", "shift_1", "in.shift", "decay")]
    assert names == ["out.multiplier", "1.shift", "in.shift", "decay"]


def test_every_sample_and_place_draws_a_number_of_24_bits() -> None:
    draws = arithmetic._random_integers(seed=0, batch=2, index=0, shape=(3,))
    assert draws.shape == (2, 3)
    assert ((draws >= 0) & (draws < 2**24)).all()
    assert len(set(draws.ravel().tolist())) == 6


def test_discretizers_by_record_name() -> None:
    count = float_discretizer("Count", {}, {})
    assert count([one(1.0), one(0.0)], 2, None)[0][0].item() == 1.0

    threshold = integer_discretizer("Threshold", {}, {"v_threshold": np.array(5)})
    assert [y.item() for y in threshold([np.array([[4]]), np.array([[5]])], 2, None)[0]] == [0, 1]
    assert [kind_of(name) for name in ("Count", "Spikes", "Fire")] == ["reduces", "expands", "steps"]


def test_kernels_by_record_name() -> None:
    kernel = float_kernel("Sum", {"keep": False}, {})
    _, carry = kernel(one(1.0), None)
    assert kernel(one(1.0), carry)[0].item() == 2.0

    numbers = {"out.multiplier": np.array(1), "out.shift": np.array(0)}
    kernel = integer_kernel("Sum", {"high": 100, "low_out": -9, "high_out": 9, "keep": False}, numbers)
    _, carry = kernel(np.array([[7]]), None)
    assert kernel(np.array([[1]]), carry)[0].item() == 8
    assert kernel(np.array([[9]]), carry)[0].item() == 9  # clipped to its width


def test_a_carry_starts_again_for_some_samples() -> None:
    carry = restart((np.array([5.0, 5.0]),), (np.zeros(2),), np.array([True, False]))
    assert carry[0].tolist() == [0.0, 5.0]


def test_units_step_by_step() -> None:
    unit = UnitRunner(TUMBLING, UnitStages())
    assert [value.item() for value in unit.push(one(1.0), UnitRunnerState())[0]] == [1.0]

    unit = float_unit(UnitRecord(TUMBLING, StageRecord("Mean", {"keep": False})), {})
    values, state = unit.push(one(1.0), UnitRunnerState())
    assert values == []
    assert unit.push(one(3.0), state)[0][0].item() == 2.0

    record = IntegerUnitRecord(discretizer=StageRecord("Threshold", {}))
    integers = integer_unit(record, {"discretizer": {"v_threshold": np.array(5)}})
    assert integers.push(np.array([[6]]), UnitRunnerState())[0][0].item() == 1


def test_the_clock_of_a_unit_ticks_at_the_ends_of_windows() -> None:
    unit = UnitRunner(StageRecord("Tumbling", {"length": 6}), UnitStages(kept=False))
    assert unit.clock(ClockRecord(1, 0)) == ClockRecord(6, 5)


def test_a_clock_counts_its_samples() -> None:
    clock = ClockRecord(period=6, phase=5)  # samples at 5, 11, 17, ...
    assert (clock.count(12), clock.between(6, 12), clock.fires(11), clock.fires(12)) == (2, 1, True, False)


def test_a_nir_graph_of_one_neuron_without_torch() -> None:
    quantities = {"tau": np.inf, "v_leak": 0.0, "r": 1.0, "v_threshold": 2.0, "v_reset": 0.0}
    numbers = {name: np.array(value) for name, value in quantities.items()}
    node = NirNode("if", "LIF", numbers, {"reset": "zero", "refractory": 0}, ("in",))
    runner = NirRunner(NirGraph((node,), 0.001, "in", ("if",), (1,)))
    state = None
    spikes = []

    for _ in range(3):
        y, state = runner.step(one(1.0), state)
        spikes.append(y.item())

    assert spikes == [0.0, 1.0, 0.0]


def test_inputs_without_torch_are_arrays() -> None:
    with pytest.raises(ShapeError, match=r"'x' needs an array of numpy, but got the list \[1\.0\]"):
        check_arrays({"x": [1.0]})


def test_integers_of_a_model() -> None:
    grid = QParamsRecord(scale=0.25, low=-8, high=7)
    assert to_integers("x", np.array([0.5, 9.0]), grid).tolist() == [2, 7]
    assert numbers_below({"parts/snn/lif/decay": np.array(3)}, "parts/snn/") == {"lif": {"decay": 3}}
    assert nonlinearity_numbers({"kernel": {}, "nonlinearity:fc": {"weight": 1}}) == {"fc": {"weight": 1}}
    assert sizes_of({"stride_0": 2, "stride_1": 3}, "stride", 2) == [2, 3]

    with (
        pytest.raises(DataError, match="the integer model cannot run, an input does not fit"),
        fitting("the integer model", "an input"),
    ):
        np.ones(2) @ np.ones(3)


def test_names_in_files() -> None:
    class FIR:
        record_name = "Taps"

    assert [file_name(name) for name in ("what", "a/b")] == ["what", "a%2Fb"]
    assert [record_name(kind) for kind in (FIR, dict)] == ["Taps", "dict"]
    assert stage_record(Tumbling(3), "the window of a unit") == (StageRecord("Tumbling", {"length": 3}), {})


def test_a_manifest_is_checked_before_memory_is_taken() -> None:
    with pytest.raises(DataError, match="1000000000000 numbers, more than"):
        check_shape((1000000, 1000000))
    with pytest.raises(DataError, match=r"made for a step of 0\.001 s, but the manifest says 0\.002 s"):
        check_step("part 'snn'", 0.001, ClockRecord(1, 0), 0.002)
    with pytest.raises(DataError, match=r"of version 9, but this program reads version 1"):
        parse_manifest('{"schema": "spikebridge bundle", "version": 9}')


def test_the_sample_of_a_bundle() -> None:
    with pytest.raises(ConfigError, match=r"'x' needs samples \(T, B, \*N\), but got \(8, 0, 3\)"):
        check_stream({"x": torch.zeros(8, 0, 3)})

    network = HybridNetwork(
        dt=0.001,
        inputs={"x": every(0.001)},
        parts={"snn": IF(), "ann": nn.Identity()},
        links=[Transmission("x", "snn"), Transmission("snn", "ann", HybridUnit(Tumbling(2), Sum()))],
        outputs=["ann"],
    ).eval()

    recorded = record_trace(network, {"x": torch.ones(4, 1, 1)})
    assert list(recorded.parts) == ["snn", "ann"]
    assert recorded.links["snn_to_ann"].flatten().tolist() == [2.0, 2.0]


def test_a_function_of_a_window_is_a_kernel() -> None:
    kernel = FunctionKernel(nn.Flatten(), length=2, num_axes=1)
    assert kernel.last(torch.tensor([1.0, 2.0]).reshape(2, 1, 1)).tolist() == [[1.0, 2.0]]


def test_elements_of_c() -> None:
    assert [c_type(low, high) for low, high in ((0, 1), (0, 255), (-300, 5))] == ["int8_t", "uint8_t", "int16_t"]
    assert CArray("s->x", (2, 3), -127, 127).kind == "int8_t"
    assert broadcast_index((3, 1, 1), (3, 4, 5)) == "j / 20"
    assert broadcast_index((), (2,)) == "0"
    assert broadcast_index((4, 1), (2, 4, 5), "k") == "k / 5 % 4"
    assert for_loop(2, ["y[j] = 0;"]) == ["for (int j = 0; j < 2; j++) {", "    y[j] = 0;", "}"]

    used: set[str] = set()
    names = [c_name(name, used) for name in ("where.lif-1", "where_lif_1", "int")]
    assert names == ["where_lif_1", "where_lif_1_2", "int_"]


def test_membranes_in_nir() -> None:
    # with tau = dt / ln 2 a step halves the membrane, as an Euler step with tau = 2 dt
    tau, gain = Membrane(dt=1.0, integration="euler").leak(1 / np.log(2), "LIF")
    assert (float(tau), float(gain)) == pytest.approx((2.0, 2.0))

    tau, share = Step(dt=1.0, method="euler").leaking(2.0, "LIF")
    assert (float(np.exp(-1.0 / tau)), float(share)) == pytest.approx((0.5, 0.5))
    assert (float(Step(1.0).taken(2.0, 0.25)), float(Step(1.0, "unscaled").taken(2.0, 0.25))) == (0.5, 1.0)
    assert SumPool2d((2, 2), (2, 2))(torch.ones(1, 1, 2, 4)).tolist() == [[[[4.0, 4.0]]]]


def test_layers_of_parts_are_traced() -> None:
    visits, output = trace(Sequential(fc=nn.Linear(2, 3), fire=IF()), torch.zeros(1, 1, 2))
    assert [(visit.name, visit.sources) for visit in visits] == [("fc", ("input",)), ("fire", ("fc",))]
    assert output == ("fire",)

    graph = trace_graph(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), [torch.zeros(1, 2)], {}, "ann")
    assert [(node.name, node.sources) for node in graph.nodes] == [("0", ("#0",)), ("1", ("0",))]
    assert graph.output == "1"
    assert TracedFunction(operator.mul, (2.0, None), {})(torch.ones(1)).item() == 2.0


def test_an_onnx_file_of_an_unknown_opset_is_refused() -> None:
    # field 8 of a model is an import of operators, its field 2 the version
    with pytest.raises(DataError, match=r"of ONNX opset 99, but opsets 13 to 23 are read"):
        check_opset(bytes([8 << 3 | 2, 2, 2 << 3 | 0, 99]), "a.onnx")


@pytest.mark.untyped
def test_the_products_of_an_onnx_file_are_counted() -> None:
    content = write_onnx(nn.Linear(4, 3).eval(), {"x": torch.zeros(1, 4)})
    assert count_macs(content, "a.onnx") == 12.0


def test_scales_of_a_quantisation() -> None:
    assert scales_of(torch.tensor([12.7, 0.0]), QConfig()).tolist() == pytest.approx([0.1, 1.0])
    assert up_to_power_of_two(doubles(0.3, 0.5)).tolist() == [0.5, 0.5]
    assert FakeIntegerArithmetic({}, {}, {}).leak(doubles(100.0), doubles(2.0**14)).item() == 50.0

    multiplier, shift = fixed_point_ratio(doubles(0.25, 0.3, 4.0))
    assert (multiplier.tolist(), shift.tolist()) == ([1, 19661, 4], [2, 16, 0])  # 0.3 is 19661 / 65536 to five digits

    quantizer = Quantizer(8)
    quantizer.observe(torch.tensor([-12.7, 1.0]))
    quantizer.calibrate()
    assert quantizer.quantize(torch.tensor([1.0, 99.0])).tolist() == [10.0, 127.0]


def test_regions_and_rows_of_a_quantisation() -> None:
    regions = qconfigs_for(["what", "where"], QConfig(membranes=20)).qconfigs
    assert [region.path for region in regions] == ["what", "where"]
    assert unflatten_time(torch.zeros(6, 5), batch=2).shape == (3, 2, 5)


def test_only_functions_of_each_value_can_be_tables() -> None:
    kinds = (nn.Tanh(), nn.Softmax(-1), nn.Linear(1, 1))
    assert [is_elementwise(module) for module in kinds] == [True, False, False]
