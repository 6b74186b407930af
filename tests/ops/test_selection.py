"""The table of implementations of each operation: its order, its probes, its last path."""

import json

import pytest
import torch

from spikebridge.cli.main import main
from spikebridge.networks.sensing.native import OPERATIONS as SENSING
from spikebridge.neurons import Arctan, FastSigmoid
from spikebridge.ops import reference, without_native
from spikebridge.ops.selection import OPERATIONS, select
from spikebridge.ops.sequence import native
from spikebridge.ops.sequence.spec import NeuronSpec

pytestmark = pytest.mark.untyped

needs_library = pytest.mark.skipif(not native.available(), reason="built without a C compiler")


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_last_path_supports_every_call(name: str) -> None:
    operation = OPERATIONS[name]
    call = operation.probe(Arctan())
    assert operation.paths[-1].supports(*call) and operation.paths[-1].is_profitable(*call)
    assert operation.paths[-1].when.startswith("always") and operation.paths[-1].name in ("reference", "torch")


@needs_library
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_probe_takes_the_native_path_where_the_library_is_there(name: str) -> None:
    call = OPERATIONS[name].probe(Arctan())
    assert select(name, *call) == "native"
    with without_native():
        assert select(name, *call) != "native"

    if name != "finite response":  # kernels that run in a loop never ask for one
        with reference():
            assert select(name, *call) == OPERATIONS[name].paths[-1].name


class Steep(Arctan):
    """One that plain C does not know."""


@pytest.mark.parametrize(
    ("shape", "dtype", "surrogate", "path"),
    [
        ((9, 1, 8), torch.float32, FastSigmoid(), "native"),
        ((9, 1, 8), torch.bfloat16, FastSigmoid(), "reference"),
        ((1, 1, 8), torch.float32, FastSigmoid(), "reference"),
        ((2, 1, 8), torch.float32, FastSigmoid(), "native"),
        ((9, 1, 8), torch.float32, Steep(), "torch"),
        ((9, 1, 8), torch.float64, FastSigmoid(), "torch"),
        ((3, 1, 8), torch.float64, FastSigmoid(), "reference"),
        ((9, 0, 8), torch.float32, FastSigmoid(), "torch"),
        ((9, 1, 8), torch.int64, FastSigmoid(), "reference"),
    ],
)
@needs_library
def test_neurons_take_the_fastest_path_for_their_numbers(shape, dtype, surrogate, path):
    assert select("sequence", torch.zeros(shape, dtype=dtype), NeuronSpec(surrogate)) == path


def test_doctor_prints_every_operation_with_its_paths_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--paths", "--json"]) == 0

    rows = json.loads(capsys.readouterr().out)["operations"]
    operations = {**OPERATIONS, **SENSING}
    assert [row["operation"] for row in rows] == list(operations)
    for row in rows:
        assert [path["path"] for path in row["paths"]] == [path.name for path in operations[row["operation"]].paths]
        assert row["here"] in [path.name for path in operations[row["operation"]].paths]

    assert main(["doctor", "--paths"]) == 0
    assert capsys.readouterr().out.count("->") == len(operations)
