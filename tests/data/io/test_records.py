"""Plain values of JSON as dataclasses."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired, TypedDict

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


class Row(TypedDict):
    name: str
    score: NotRequired[float | None]


class Table(TypedDict):
    rows: Annotated[list[Row], "rows"]
    counts: Annotated[list[list[int]], "rows", "rows"]


def test_a_typed_dict_keeps_what_it_does_not_name() -> None:
    plain = {"rows": [{"name": "a", "score": 1, "more": [1]}], "counts": [[2]], "else": None}
    read = RecordReader().read(Table, plain, "table")
    assert read == plain and isinstance(read["rows"][0]["score"], float)
    assert RecordReader().read(Row, {"name": "a"}, "row") == {"name": "a"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": []}, "table.rows should have one or more rows, but has 0"),
        ({"rows": [{}]}, r"table.rows\[0\] lacks 'name'"),
        ({"rows": [[]]}, r"table.rows\[0\] should be an object, but is \[\]"),
        ({"rows": [{"name": "a", "score": "1"}]}, r"table.rows\[0\].score should be float \| None, but is '1'"),
        ({"counts": [[1, 2]]}, "table.counts should have 1 rows, but has 2"),
        ({"counts": [[1], [2]]}, "table.counts should have 1 rows, but has 2"),
        ({"counts": [[10**400]]}, r"table.counts\[0\]\[0\] should be int, but is 1000"),
        ({"counts": 3}, "table.counts should be .*, but is 3"),
    ],
)
def test_fields_and_lengths_of_a_typed_dict_are_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        RecordReader().read(Table, {"rows": [{"name": "a"}], "counts": [[2]], **change}, "table")


@pytest.mark.parametrize("value", [10**400, -(10**400), 2**63])
def test_an_integer_of_any_length_is_no_number(value: int) -> None:
    with pytest.raises(DataError, match=r"record\.dt should be float, but is -?[0-9]"):
        RecordReader().read(Outer, {"dt": value}, "record")
