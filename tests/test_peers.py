"""Statistics of the comparison with other libraries: intervals by hand, and tables of old and new results."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.untyped


@pytest.fixture
def turns() -> ModuleType:
    return importlib.import_module("research.speed.beside_peers.taking_turns")


# of 2^n equally likely cases, those with fewer than k values below the median, twice, are at most 5 %
@pytest.mark.parametrize(
    ("number", "smallest"),
    [
        (6, 1),  # 2 x 1 of 64 is 3.1 %
        (8, 1),  # 2 x 1 of 256; 2 x (1 + 8) of 256 would be 7.0 %
        (9, 2),  # 2 x (1 + 9) of 512 is 3.9 %
        (15, 4),  # 2 x (1 + 15 + 105 + 455) of 32768 is 3.5 %; with 1365 more 11.8 %
        (21, 6),  # 2 x (1 + 21 + 210 + 1330 + 5985 + 20349) of 2097152 is 2.7 %
    ],
)
def test_the_interval_of_a_median_is_that_of_the_binomial_distribution(
    turns: ModuleType, number: int, smallest: int
) -> None:
    values = [float(value) for value in range(number, 0, -1)]
    assert turns.interval_of_median(values) == (smallest, number + 1 - smallest)


def test_fewer_than_six_rounds_have_no_interval(turns: ModuleType) -> None:
    assert turns.interval_of_median([]) is None
    assert turns.interval_of_median([1.0, 2.0, 3.0, 4.0, 5.0]) is None  # 2 of 32 cases are 6.3 %


def test_a_row_has_the_interval_of_its_ratios_and_is_compared_with_its_floor(
    turns: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {"a": 2.0, "b": 4.0, "floor": 1.0}
    clock = [0.0]

    def work(name: str) -> Any:
        def run() -> torch.Tensor:
            clock[0] += seconds[name]
            return torch.zeros(1)

        return run

    monkeypatch.setattr(turns.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(turns.time, "process_time", lambda: clock[0] / 2)
    works = {name: work(name) for name in seconds}
    a, b, floor = turns.take_turns(works, rounds=6, max_seconds=100.0, floors={"b": "floor"})

    assert (a["ratio"], b["ratio"], b["cpu_ratio"], b["ratio_interval"]) == (1.0, 2.0, 2.0, (2.0, 2.0))
    assert b["over_floor"]["name"] == "floor" and b["over_floor"]["cpu_ratio"] == 4.0
    assert b["over_floor"]["cpu_ratio_interval"] == (4.0, 4.0)
    assert "over_floor" not in a and "over_floor" not in floor


def test_the_page_shows_intervals_where_rows_have_them() -> None:
    page = importlib.import_module("research.pages.speed_page")
    row = {"name": "native", "cpu_ms": 2.0, "cpu_ratio": 1.0, "spike_rate": 0.1}
    table: dict[str, Any] = {"work": "C", "threads": 1, "rows": [row]}
    old = page.networks({"networks": [table]})

    assert "| native | 2.0 ms, 1.00 x |" in old and "without neurons" not in old

    # fewer than six rounds have no interval
    row["cpu_ratio_interval"] = None
    assert page.networks({"networks": [table]}) == old

    row["over_floor"] = {"name": "no neurons", "cpu_ratio": 0.9, "cpu_ratio_interval": [0.88, 0.93]}
    without = {**table, "threads": 2, "rows": [{**row, "name": "Norse", "cpu_ratio_interval": [1.1, 1.3]}]}
    del without["rows"][0]["over_floor"]
    new = page.networks({"networks": [table, without]})

    assert "| Norse | - | 2.0 ms, 1.00 x (1.10 to 1.30) |" in new
    assert "| native | 2.0 ms, 1.00 x; 0.90 x (0.88 to 0.93) | - |" in new


def test_spyx_has_one_thread_before_jax_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jax.py").write_text("import os\nraise ImportError('threads: ' + os.environ.get('NPROC', 'all'))\n")
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("NPROC", "4")

    with pytest.raises(ImportError, match="threads: 1"):
        importlib.import_module("research.speed.beside_peers.in_jax").spyx_alone((1, 1, 1))


@pytest.mark.parametrize("loop", [False, True])
def test_a_network_is_equal_to_its_modules_by_hand(loop: bool) -> None:
    overhead = importlib.import_module("research.speed.network_overhead")
    network = overhead.build(loop).eval()
    frames = torch.randn(overhead.FRAMES, 2, 256)
    events = torch.randn(overhead.TICKS, 2, 300)
    by_hand = (overhead.in_a_loop if loop else overhead.without_a_loop)(network, frames, events)

    with torch.no_grad():
        for ours, hand in (
            (overhead.whole(network, frames, events), by_hand),
            (overhead.stepped(network, frames, events), overhead.tick_by_tick(network, frames, events)),
        ):
            torch.testing.assert_close(ours(), hand(), rtol=1e-4, atol=1e-5)
