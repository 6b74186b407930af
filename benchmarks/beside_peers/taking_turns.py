"""Time of works that take turns in one process, so that a busy moment of the machine does not fall on one of them."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

SETTLED = 7 * 2**20  # numbers; glibc's heap serves nothing larger


def take_turns(works: dict[str, Callable[[], Tensor]], rounds: int, most_seconds: float = 20.0) -> list[dict[str, Any]]:
    """A row for each work.

    Args:
        works: what to run, by name. Each is run once before, untimed; what is compiled twice, for it may find at the
            second run that it has to be compiled anew.
        rounds: at most, for each of them.
        most_seconds: a slow work drops out of the rounds once it has used so much, but runs at least once.

    Returns:
        Rows with the median of wall-clock time, and of time on the processor (which the load of others disturbs less),
        in ms; the median over the rounds of each ratio to the first work; the rounds; the share of spikes; and the
        seconds of what came before, in which some works are compiled.
    """
    _settle_memory()
    rates, firsts = {}, {}
    walls: dict[str, list[float]] = {name: [] for name in works}
    cpus: dict[str, list[float]] = {name: [] for name in works}
    for name, run in works.items():
        wall, cpu = time.perf_counter(), time.process_time()
        rates[name] = float(run().mean())
        if "compiled" in name:
            run()
        firsts[name] = time.perf_counter() - wall
        if firsts[name] > most_seconds / 2 and "compiled" not in name:  # too slow to be run again
            walls[name].append(firsts[name])
            cpus[name].append(time.process_time() - cpu)
    for _ in range(rounds):
        for name, run in works.items():
            if walls[name] and sum(walls[name]) + walls[name][-1] > most_seconds:
                continue
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            walls[name].append(time.perf_counter() - wall)
            cpus[name].append(time.process_time() - cpu)
    first = next(iter(works))
    return [
        {
            "name": name,
            "ms": statistics.median(walls[name]) * 1e3,
            "cpu_ms": statistics.median(cpus[name]) * 1e3,
            "ratio": _ratio(walls[name], walls[first]),
            "cpu_ratio": _ratio(cpus[name], cpus[first]),
            "rounds": len(walls[name]),
            "spike_rate": rates[name],
            "first_s": firsts[name],
        }
        for name in works
    ]


def _settle_memory() -> None:
    """As in a training that has run for a while: what is this large and was given back once comes from the heap.

    In a fresh process every large tensor would come from the system page by page, which makes loops over steps look
    slower than they are.
    """
    torch.empty(SETTLED).fill_(1.0)


def _ratio(times: list[float], first: list[float]) -> float:
    """The median ratio of a round, over the rounds that both have."""
    return statistics.median(a / b for a, b in zip(times, first, strict=False))
