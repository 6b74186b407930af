"""These tests compare the paths with each other, so the command line does not choose among them."""

import pytest


@pytest.fixture(autouse=True)
def paths_under_test() -> None:
    """Stands in for the fixture of the same name one folder up."""
