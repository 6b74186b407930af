"""Bundles that several tests look at, and an exporter that does not read its library of operators again each time."""

import functools
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch.onnx._internal.exporter._registration import ONNXRegistry

from spikebridge.deploy import Bundle, export

# the modules beside the tests, and the random networks, can be imported by their names
sys.path += [str(Path(__file__).parent), str(Path(__file__).parent.parent / "hybrid")]
from small_networks import small_inputs, small_network, spiking_network, with_integers


@pytest.fixture(scope="session", autouse=True)
def _one_library_of_operators() -> Iterator[None]:
    """Reading it takes most of the time of a small export."""
    patch = pytest.MonkeyPatch()
    read = functools.cache(ONNXRegistry.from_torchlib.__func__)
    patch.setattr(ONNXRegistry, "from_torchlib", classmethod(lambda cls, *args, **named: read(cls, *args, **named)))
    yield
    patch.undo()


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle of `small_network`: ONNX, NIR, and units of all kinds of files."""
    path = tmp_path_factory.mktemp("bundles") / "small"
    return export(small_network(), small_inputs(), path, card={"seed": 0})


@pytest.fixture(scope="session")
def spiking(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle of `spiking_network`, which has no ONNX."""
    events = torch.rand(12, 2, 3, generator=torch.Generator().manual_seed(3))
    return export(spiking_network(), {"events": events}, tmp_path_factory.mktemp("bundles") / "spiking")


@pytest.fixture(scope="session")
def whole(small: Bundle, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Bundle:
    """The small bundle with everything in integers too."""
    if request.config.getoption("--jaxtyping-packages"):
        pytest.skip("a network is followed by placeholders, which are no tensors to a type checker")
    return with_integers(small, tmp_path_factory.mktemp("whole") / "bundle")


@pytest.fixture
def copied(spiking: Bundle, tmp_path: Path) -> Callable[[], Path]:
    """Makes copies of `spiking`, to damage."""

    def copy() -> Path:
        target = tmp_path / "copy"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(spiking.path, target)
        return target

    return copy
