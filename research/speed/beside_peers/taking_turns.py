"""Time of works that take turns in one process, so that a busy moment of the machine does not fall on one of them."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

SETTLED = 7 * 2**20  # numbers; glibc's heap serves nothing larger
CONFIDENCE = 0.95


def take_turns(
    works: dict[str, Callable[[], Tensor]],
    rounds: int,
    max_seconds: float = 20.0,
    floors: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """A row for each work.

    Args:
        works: what to run, by name. Each is run once before, untimed; a compiled one twice, since it may be compiled
            again at its second run.
        rounds: at most, for each of them.
        max_seconds: a slow work drops out of the rounds after so much time, but runs at least once.
        floors: the name of a work by that of another, which is compared with it too.

    Returns:
        Rows with the median of wall-clock time, and of time on the processor (which the load of others disturbs less),
        in ms; the median over the rounds of each ratio to the first work, and to that of `floors` ("over_floor"), with
        an `interval_of_median`; the rounds; the share of spikes; and the seconds of the untimed runs, in which some
        works are compiled.
    """
    _settle_memory()
    rates = {}
    firsts = {}
    walls: dict[str, list[float]] = {name: [] for name in works}
    cpus: dict[str, list[float]] = {name: [] for name in works}

    for name, run in works.items():
        wall = time.perf_counter()
        cpu = time.process_time()
        rates[name] = float(run().mean())
        if "compiled" in name:
            run()

        firsts[name] = time.perf_counter() - wall
        # too slow to be run again
        if firsts[name] > max_seconds / 2 and "compiled" not in name:
            walls[name].append(firsts[name])
            cpus[name].append(time.process_time() - cpu)

    for _ in range(rounds):
        for name, run in works.items():
            if walls[name] and sum(walls[name]) + walls[name][-1] > max_seconds:
                continue
            wall = time.perf_counter()
            cpu = time.process_time()
            run()
            walls[name].append(time.perf_counter() - wall)
            cpus[name].append(time.process_time() - cpu)

    first = next(iter(works))
    floors = floors or {}

    def compare(name: str, other: str) -> dict[str, Any]:
        wall = _ratios(walls[name], walls[other])
        cpu = _ratios(cpus[name], cpus[other])

        return {
            "ratio": statistics.median(wall),
            "ratio_interval": interval_of_median(wall),
            "cpu_ratio": statistics.median(cpu),
            "cpu_ratio_interval": interval_of_median(cpu),
        }

    return [
        {
            "name": name,
            "ms": statistics.median(walls[name]) * 1e3,
            "cpu_ms": statistics.median(cpus[name]) * 1e3,
            **compare(name, first),
            **({"over_floor": {"name": floors[name], **compare(name, floors[name])}} if name in floors else {}),
            "rounds": len(walls[name]),
            "spike_rate": rates[name],
            "first_s": firsts[name],
        }
        for name in works
    ]


def interval_of_median(values: Sequence[float]) -> tuple[float, float] | None:
    """The order statistics between which the median of a distribution lies with at least `CONFIDENCE`.

    Each of n values lies below the median with probability 1/2, whatever the distribution. So it lies outside the k-th
    smallest and the k-th largest with probability 2 P(fewer than k of n below it); k is the largest that allows it.

    Returns:
        The two values; None for fewer than six, of which even the smallest and the largest are too close together.

    Example:
        >>> interval_of_median([6.0, 1.0, 5.0, 2.0, 4.0, 3.0])  # misses in 2 of 64 cases
        (1.0, 6.0)
    """
    ordered = sorted(values)
    number = len(values)
    below = 1  # of 2^n equally likely cases, those in which at most k values are below the median
    k = 0

    while 2 * below <= (1 - CONFIDENCE) * 2**number:
        k += 1
        below += math.comb(number, k)

    return (ordered[k - 1], ordered[-k]) if k else None


def _settle_memory() -> None:
    """Brings the heap into the state of a training that has run for a while: large tensors come from it."""
    # in a fresh process every large tensor comes from the system page by page, which makes loops over steps look slower
    # than they are
    torch.empty(SETTLED).fill_(1.0)


def _ratios(times: Sequence[float], others: Sequence[float]) -> list[float]:
    """The ratio of each round that both have."""
    return [a / b for a, b in zip(times, others, strict=False)]
