"""Shares of events up to which layers look at events alone, for tests of both ways."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from spikebridge.ops.sparse import engine, records


@contextmanager
def dense_above(share: float | None) -> Iterator[None]:
    """Layers compute every place above this share of events; None leaves the measured shares."""
    with pytest.MonkeyPatch.context() as patch:
        if share is not None:
            patch.setattr(engine, "_MAX_SHARE", share)
            patch.setattr(engine, "_MIN_WEIGHTS", 0)
            patch.setattr(records, "_MAX_SCATTERED", share)
            patch.setattr(records, "_MAX_SCATTERED_IN_BLOCKS", share)
        yield
