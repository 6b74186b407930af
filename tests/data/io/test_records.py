"""Plain values of JSON as dataclasses."""

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from spikebridge.data.io.records import RecordReader
from spikebridge.errors import DataError


@dataclass(frozen=True)
class Inner:
    period: int
    phase: int = 0


@dataclass(frozen=True)
class Outer:
    dt: float
    inner: Inner | None = None
    names: tuple[str, ...] = ()
    settings: dict[str, int | float | bool | str | None] | None = None
    kind: Literal["ann", "snn"] = "ann"


def test_values_keep_their_types_and_missing_fields_their_defaults() -> None:
    settings = {"size": 3, "tau": 0.5, "keep": True, "name": "inf", "lag": None}
    plain = {"dt": 1, "inner": {"period": 2}, "names": ["a", "b"], "settings": settings}
    record = RecordReader().read(Outer, plain, "record")

    assert record == Outer(1.0, Inner(2), ("a", "b"), settings)
    assert [type(value) for value in record.settings.values()] == [int, float, bool, str, type(None)]
    assert isinstance(record.dt, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dt": float("inf")}, "record.dt should be float, but is inf"),
        ({"dt": "inf"}, "record.dt should be float, but is 'inf'"),
        ({"dt": True}, "record.dt should be float, but is True"),
        ({"inner": {"period": True}}, "record.inner.period should be int, but is True"),
        ({"inner": {"phase": 1}}, "record.inner lacks period, which Inner of this version needs"),
        ({"inner": 5}, r"record.inner should be .*Inner \| None, but is 5"),
        ({"names": "ab"}, "record.names should be .*, but is 'ab'"),
        ({"names": ["a", 2]}, r"record.names\[1\] should be str, but is 2"),
        ({"settings": {"size": [1]}}, r"record.settings should be .*, but is {'size': \[1\]}"),
        ({"settings": {"size": float("nan")}}, "record.settings should be .*, but is {'size': nan}"),
        ({"kind": "cnn"}, "record.kind should be .*snn.*, but is 'cnn'"),
        ({"knd": "ann"}, "record has no field 'knd': did you mean 'kind'"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        RecordReader().read(Outer, {"dt": 1.0, **change}, "record")


def test_a_record_that_is_no_object_is_refused() -> None:
    with pytest.raises(DataError, match=r"record should be the fields of Outer, but is \[1.0\]"):
        RecordReader().read(Outer, [1.0], "record")
