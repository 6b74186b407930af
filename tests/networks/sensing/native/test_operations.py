"""The operations of the tracker: each probe takes the native path, and the last path takes every call."""

import pytest

from spikebridge.networks.sensing.native import OPERATIONS
from spikebridge.neurons import Arctan
from spikebridge.ops import reference, without_native
from spikebridge.ops.selection import select
from spikebridge.ops.sequence import native


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_last_path_supports_every_call(name: str) -> None:
    call = OPERATIONS[name].probe(Arctan())
    last = OPERATIONS[name].paths[-1]

    assert last.supports(*call) and last.is_profitable(*call)
    assert last.when.startswith("always") and last.name in ("reference", "torch")


@pytest.mark.skipif(not native.available(), reason="built without a C compiler")
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_probe_takes_the_native_path_if_there_is_a_library(name: str) -> None:
    operation = OPERATIONS[name]
    call = operation.probe(Arctan())
    assert select(operation, *call) == "native"

    with without_native():
        assert select(operation, *call) != "native"

    with reference():
        assert select(operation, *call) == operation.paths[-1].name
