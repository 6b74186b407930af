"""These tests compare the paths with each other, so the command line does not choose among them."""

import ctypes
from collections.abc import Iterator

import pytest

from spikebridge.ops.native.library import library

SETS = {"AVX-512": 2, "AVX2": 1, "plain C": 0}


@pytest.fixture(autouse=True)
def paths_under_test() -> None:
    """Stands in for the fixture of the same name one folder up."""


@pytest.fixture(params=SETS)
def instructions(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each set of instructions that the native library is compiled for, where this processor has it."""
    steps = library().steps
    if steps is None:
        pytest.skip("the native library is not built")

    try:
        steps.spikebridge_use_at_most(ctypes.c_int64(SETS[request.param]))
        if steps.spikebridge_instructions().decode() != request.param:
            pytest.skip(f"this processor has no {request.param}")
        yield
    finally:
        steps.spikebridge_use_at_most(ctypes.c_int64(max(SETS.values())))
