"""Array forms, called with expressions, as C text: ranges, local variables, single numbers, and what has no type."""

from typing import Any

import numpy as np
import pytest

from spikebridge.deploy.c.arithmetic import CArithmetic, Element, Expression
from spikebridge.deploy.c.source import CArray, CSource
from spikebridge.deploy.c.steps import Place, WrittenStep, write_step
from spikebridge.deploy.stages.kernels import KERNELS
from spikebridge.deploy.stages.neurons import neuron_start, neuron_step
from spikebridge.errors import ExportError

X = CArray("x", (3,), -100, 100)


def written(source: CSource, start: Any, step: Any) -> WrittenStep:
    def target(y: Expression) -> CArray:
        return CArray("y", y.shape[1:], y.low, y.high)

    return write_step(Place(source, "part", "part"), start, step, target)


def neuron(refractory: int, v_leak: int) -> tuple[CArithmetic, dict[str, Any]]:
    settings = {"high": 1000, "spikes": True, "reset": "zero", "refractory": refractory}
    numbers = {"decay": 1 << 14, "v_threshold": 500, "v_reset": -7, "v_leak": v_leak, "multiplier_0": 1, "shift_0": 0}
    return CArithmetic(settings, numbers), settings


def test_a_neuron_is_written_as_its_array_form_reads() -> None:
    source = CSource()
    a, _ = neuron(refractory=0, v_leak=0)
    x = Element(X)
    neuron_c = written(source, neuron_start(a, [x]), lambda state: neuron_step(a, [x], state, {}))

    assert neuron_c.lines == [
        "for (int j = 0; j < 3; j++) {",
        "    const int64_t t1 = clip((leak(s->part_v[j], 0, 16384) + x[j]), (-1000), 1000);",
        "    const int64_t t2 = (t1 >= 500);",
        "    const int64_t t3 = (t2 ? (-7) : t1);",
        "    s->part_v[j] = t3;",
        "    y[j] = t2;",
        "}",
    ]
    assert (neuron_c.out.low, neuron_c.out.high) == (0, 1)
    assert source.state == [("int16_t", "part_v", 3)]
    assert source.starts == []


def test_membranes_start_at_rest_and_refractory_steps_have_their_range() -> None:
    source = CSource()
    a, _ = neuron(refractory=200, v_leak=5)
    x = Element(X)
    neuron_c = written(source, neuron_start(a, [x]), lambda state: neuron_step(a, [x], state, {}))

    # the smallest types that hold 1,000 and 200
    assert [field[:2] for field in source.state] == [("int16_t", "part_v"), ("uint8_t", "part_wait")]
    assert "s->part_v[j] = 5;" in "\n".join(source.starts)
    assert "s->part_v[j] = 5;" in "\n".join(neuron_c.restart) and "memset(s->part_wait" in "\n".join(neuron_c.restart)


def test_a_number_of_steps_is_counted_once_and_not_for_each_place() -> None:
    source = CSource()
    numbers = {"out.multiplier": 1, "out.shift": 0}
    a = CArithmetic({"high": 1000, "low_out": -100, "high_out": 100}, numbers, num_steps=4)
    form = KERNELS["Mean"]
    x = Element(X)
    kernel_c = written(source, form.start(a, x), lambda carry: form.step(a, x, carry))
    place = kernel_c.lines.index("for (int j = 0; j < 3; j++) {")

    assert place == 0
    assert kernel_c.lines[-1] == "s->part_1[0] = (s->part_1[0] < 4 ? s->part_1[0] + 1 : 4);"
    assert source.state[1] == ("int8_t", "part_1", 1)


def test_a_state_whose_range_grows_is_refused() -> None:
    x = Element(X)
    with pytest.raises(ExportError, match="the range of a state grows from step to step"):
        written(CSource(), 0, lambda total: (x, total + 1))


def test_sums_and_products_beyond_64_bits_are_refused() -> None:
    wide = Element(CArray("x", (3,), -(1 << 40), 1 << 40))
    with pytest.raises(ExportError, match="does not fit into 64 bits"):
        wide * wide

    a = CArithmetic({}, {"out.multiplier": np.array([1 << 30]), "out.shift": np.array([0])})
    with pytest.raises(ExportError, match=r"a product of .* does not fit into 64 bits"):
        a.rescale(wide)

    with pytest.raises(ExportError, match=r"a decay counts parts of 2\^15"):
        a.leak(Element(X), np.array([40000]))
