"""The cost of a hybrid network over the same modules called by hand.

    python research/speed/network_overhead.py

A what/where network over 60 base ticks of 1/240 s: frames at 40 Hz for an ANN, 300 event channels at 240 Hz for an SNN
of 128 and 64 LIF neurons, a unit from the SNN to the ANN, and in the loop one back onto thresholds. The network and its
modules by hand take turns in one run with one thread; figures are medians over rounds. Aims: without a loop at most 5 %
at B >= 32, in a loop at most 0.3 ms a span, in `step` at most 150 us a tick. Writes results/network_overhead.json.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.hybrid import HybridNetwork, HybridUnit, Mean, Modulation, Transmission, Tumbling, every, ticks
from spikebridge.neurons import LIF, Effect, Sequential
from spikebridge.ops import reference
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "network_overhead.json"
TICKS = 60
FRAMES = 10
LENGTH = 6
DT = 1 / 240


class What(nn.Module):
    """The ANN: features of a frame beside the motion that the SNN saw."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Linear(256, 64)
        self.classes = nn.Linear(64 + 32, 10)

    def forward(self, x: Tensor, motion: Tensor) -> Tensor:
        return self.classes(torch.cat([self.features(x).relu(), motion], dim=-1))


def build(loop: bool) -> HybridNetwork:
    """The what/where network, maybe with a way back from what to where."""
    torch.manual_seed(0)
    where = Sequential(fc1=nn.Linear(300, 128), lif1=LIF(0.01, dt=DT), fc2=nn.Linear(128, 64), lif2=LIF(0.01, dt=DT))
    motion = HybridUnit(Tumbling(LENGTH), Mean(), nn.Linear(64, 32))
    attention = HybridUnit(None, None, nn.Sequential(nn.Linear(10, 128), nn.Softplus()))

    links = [
        Transmission("frames", "what"),
        Transmission("events", "where"),
        Transmission("where", "what", motion, held=True, into="motion", name="motion"),
    ]
    if loop:
        links.append(Modulation("what", "where.lif1.v_threshold", attention, delay=ticks(1), name="attention"))

    return HybridNetwork(
        dt=DT,
        inputs={"frames": every(1 / 40), "events": every(DT)},
        parts={"what": What(), "where": where},
        links=links,
        outputs=["what", "where"],
    )


def without_a_loop(network: HybridNetwork, frames: Tensor, events: Tensor) -> Callable[[], list[Tensor]]:
    """The modules by hand: all events, all windows, all frames."""
    what = network.parts["what"]
    where = network.parts["where"]
    motion = network.units["motion"]

    def run() -> list[Tensor]:
        spikes, _ = where(events)
        windows, _ = motion(spikes)
        movement = torch.cat([windows.new_zeros(1, *windows.shape[1:]), windows[:-1]])
        return [what(frames.flatten(0, 1), movement.flatten(0, 1)).unflatten(0, (FRAMES, -1)), spikes]

    return run


def in_a_loop(network: HybridNetwork, frames: Tensor, events: Tensor) -> Callable[[], list[Tensor]]:
    """The modules by hand in the spans of the loop: the first tick, then those up to the next frame."""
    what = network.parts["what"]
    where = network.parts["where"]
    motion = network.units["motion"]
    attention = network.units["attention"]
    spans = next(group for group in network.plan.groups if group.loop).spans(0, TICKS)

    def run() -> list[Tensor]:
        movement = events.new_zeros(events.shape[1], 32)
        window = events.new_zeros(0, events.shape[1], 64)
        state = None
        effect = {}
        classes = []
        spikes = []

        for start, stop in spans:
            y, state = where(events[start:stop], state, **effect)
            spikes.append(y)
            window = torch.cat([window, y])
            if len(window) >= LENGTH:
                movement = motion(window[:LENGTH])[0][0]
                window = window[LENGTH:]

            if (stop - 1) % LENGTH == 0:
                classes.append(what(frames[(stop - 1) // LENGTH], movement))
                factor, _ = attention(classes[-1].unsqueeze(0))
                effect = {"lif1.v_threshold": Effect(factor, "multiply")}

        return [torch.stack(classes), torch.cat(spikes)]

    return run


def tick_by_tick(network: HybridNetwork, frames: Tensor, events: Tensor) -> Callable[[], list[Tensor]]:
    """The modules by hand, one tick after another; a window's steps are kept in a list."""
    what = network.parts["what"]
    where = network.parts["where"]
    motion = network.units["motion"]
    attention = dict(network.units.items()).get("attention")

    def run() -> list[Tensor]:
        movement = events.new_zeros(events.shape[1], 32)
        state = None
        effect = {}
        window = []
        classes = []
        spikes = []

        for tick in range(TICKS):
            if tick % LENGTH == 0:
                classes.append(what(frames[tick // LENGTH], movement))

            y, state = where(events[tick : tick + 1], state, **effect)
            if attention is not None and tick % LENGTH == 0:
                factor, _ = attention(classes[-1].unsqueeze(0))
                effect = {"lif1.v_threshold": Effect(factor, "multiply")}

            spikes.append(y)
            window.append(y)
            if len(window) == LENGTH:
                movement = motion(torch.cat(window))[0][0]
                window = []

        return [torch.stack(classes), torch.cat(spikes)]

    return run


def whole(network: HybridNetwork, frames: Tensor, events: Tensor) -> Callable[[], list[Tensor]]:
    """The network over all ticks in one call."""

    def run() -> list[Tensor]:
        outputs, _ = network({"frames": frames, "events": events})
        return [outputs["what"], outputs["where"]]

    return run


def stepped(network: HybridNetwork, frames: Tensor, events: Tensor) -> Callable[[], list[Tensor]]:
    """The network in its step form."""
    begin = network.initial_state({"frames": frames[:0], "events": events[:0]})

    def run() -> list[Tensor]:
        state = begin
        classes = []
        spikes = []

        for tick in range(TICKS):
            now = {"events": events[tick]}
            if tick % LENGTH == 0:
                now["frames"] = frames[tick // LENGTH]
            outputs, state = network.step(now, state)
            spikes.append(outputs["where"])
            classes += [outputs["what"]] if tick % LENGTH == 0 else []

        return [torch.stack(classes), torch.stack(spikes)]

    return run


def trained(run: Callable[[], list[Tensor]]) -> Callable[[], list[Tensor]]:
    """The same with its backward pass."""

    def both() -> list[Tensor]:
        outputs = run()
        sum(y.sum() for y in outputs).backward()
        return outputs

    return both


def take_turns(ours: Callable[[], list[Tensor]], hand: Callable[[], list[Tensor]], rounds: int) -> tuple[float, float]:
    """Seconds of a run by hand, and what the network adds to it: medians over rounds in which both take turns."""
    for one, other in zip(ours(), hand(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)

    by_hand = []
    added = []

    for _ in range(rounds):
        times = []
        for run in (hand, ours):
            # the time of this process alone: others may be at work on the machine
            start = time.process_time()
            run()
            times.append(time.process_time() - start)

        by_hand.append(times[0])
        added.append(times[1] - times[0])

    return statistics.median(by_hand), statistics.median(added)


def measure(rounds: int) -> list[dict[str, Any]]:
    """One row a figure."""
    rows = []
    for batch in (1, 32, 128):
        frames = torch.randn(FRAMES, batch, 256)
        events = torch.randn(TICKS, batch, 300)
        plain = build(loop=False).eval()
        loop = build(loop=True).eval()
        spans = len(next(group for group in loop.plan.groups if group.loop).spans(0, TICKS))
        share = 0.05 if batch >= 32 else None
        ours = whole(plain, frames, events)
        hand = without_a_loop(plain, frames, events)
        rows.append(row("no loop, training", batch, take_turns(trained(ours), trained(hand), rounds), "share", share))

        with torch.no_grad():
            rows.append(row("no loop, forward", batch, take_turns(ours, hand, rounds), "share", share))

        with reference(), torch.no_grad():
            # layers that loop over time, for which the aim of a share was set
            rows.append(row("the same, plain", batch, take_turns(ours, hand, rounds), "share", share))

        ours = whole(loop, frames, events)
        hand = in_a_loop(loop, frames, events)
        rows.append(row("loop, training", batch, take_turns(trained(ours), trained(hand), rounds), "span", 3e-4, spans))

        with torch.no_grad():
            rows.append(row("loop, forward", batch, take_turns(ours, hand, rounds), "span", 3e-4, spans))
            for name, network in (("step, no loop", plain), ("step, loop", loop)):
                ours = stepped(network, frames, events)
                hand = tick_by_tick(network, frames, events)
                rows.append(row(name, batch, take_turns(ours, hand, rounds), "tick", 1.5e-4, TICKS))

    return rows


def row(
    what: str, batch: int, times: tuple[float, float], per: str, aim: float | None, number: int = 1
) -> dict[str, Any]:
    """A figure with its aim: the share of what the network adds, or the seconds that it adds a span or tick."""
    hand, more = times
    added = more / hand if per == "share" else more / number

    return {
        "what": what,
        "batch": batch,
        "by hand [ms]": round(1e3 * hand, 3),
        "network [ms]": round(1e3 * (hand + more), 3),
        "added": added,
        "per": per,
        "aim": aim,
    }


def text(value: float | None, per: str) -> str:
    """A figure for people."""
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if per == "share" else f"{1e6 * value:.0f} us a {per}"


def main() -> None:
    """Measures, prints a table, and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    rows = measure(rounds)
    print(f"{'':20}{'batch':>6}{'by hand':>11}{'network':>11}{'added':>18}{'aim':>16}")

    for r in rows:
        print(
            f"{r['what']:20}{r['batch']:>6}{r['by hand [ms]']:>8.2f} ms{r['network [ms]']:>8.2f} ms"
            f"{text(r['added'], r['per']):>18}{text(r['aim'], r['per']):>16}"
        )

    record = {"ticks": TICKS, "rounds": rounds, "rows": rows, "environment": describe_environment(threads=1)}
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
