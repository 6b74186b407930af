import os

import pytest
from hypothesis import settings

from spikebridge.data.files import find
from spikebridge.errors import DataError

# a busy machine is slow now and then, and that is no fault of the code
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def real_set():
    """Files of a real data set by name; without them the test is skipped, or fails where the data are required."""

    def look(name):
        try:
            return find(name)
        except DataError as error:
            if os.environ.get("SPIKEBRIDGE_REQUIRE_DATA") == "1":
                pytest.fail(f"SPIKEBRIDGE_REQUIRE_DATA=1, but {error}")
            pytest.skip(str(error))

    return look
