"""The tests run plainly, with the fast paths off, and with every annotation of the package executed as a check.

`--reference` runs them on the plain step functions, `--without-native` on PyTorch alone: the numbers are the same.
`--perturb-weights` finds assertions that another processor may change (`perturbed_weights.py`). The last job is
`typed_job.py`.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import perturbed_weights
import typed_job
from browser import browser, visit  # noqa: F401 - fixtures of tests in several folders
from spikebridge.cli import failure
from spikebridge.data.catalog import find_files
from spikebridge.errors import DataError
from spikebridge.ops import reference, without_native

# on a busy machine a test may take long; its output stays the same
failure.FIRST_LINE = 1e6
# nor is a property one of time
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def pytest_configure(config: pytest.Config) -> None:
    """Registers the plugin of the typed job, whose checker may already have been imported, and perturbs weights."""
    config.pluginmanager.register(typed_job)

    draw = config.getoption("perturb_weights")
    if draw is not None:
        perturbed_weights.install(draw)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--reference", action="store_true", help="run the plain step functions, no fast path")
    parser.addoption("--without-native", action="store_true", help="run fast paths in PyTorch alone")
    parser.addoption("--perturb-weights", type=int, metavar="DRAW", help="change every weight by a millionth")


@pytest.fixture(autouse=True)
def paths_under_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """The fast paths, unless the command line turned them off."""
    if request.config.getoption("reference"):
        with reference():
            yield
    elif request.config.getoption("without_native"):
        with without_native():
            yield
    else:
        yield


@pytest.fixture(scope="session")
def real_set() -> Callable[[str], tuple[Path, ...]]:
    """Files of a real data set by name; without them the test is skipped, or fails where the data are required."""

    def find(name: str) -> tuple[Path, ...]:
        try:
            return find_files(name)
        except DataError as error:
            if os.environ.get("SPIKEBRIDGE_REQUIRE_DATA") == "1":
                pytest.fail(f"SPIKEBRIDGE_REQUIRE_DATA=1, but {error}")
            pytest.skip(str(error))

    return find
