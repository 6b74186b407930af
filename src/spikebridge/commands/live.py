"""`spikebridge live`."""

import json
import sys
from dataclasses import dataclass
from typing import Annotated, Any

from tyro.conf import Positional, arg

from spikebridge import layout, targets
from spikebridge.commands.command import Answer, Command, Flag
from spikebridge.commands.draw import OneNetwork
from spikebridge.errors import ConfigError, DataError

Init = Annotated[str | None, arg(metavar="x,y,w,h", help_behavior_hint="(default: the recording's first box)")]
Sensor = Annotated[str | None, arg(metavar="WxH", help_behavior_hint="(default: that of the recording or network)")]
Seconds = Annotated[float | None, arg(metavar="SECONDS", help_behavior_hint="(default: to the end)")]
Frames = Annotated[str | None, arg(metavar="SOURCE", help_behavior_hint="(default: they come with the events)")]


@dataclass(frozen=True, kw_only=True)
class Live(Command):
    """Run a network on a live stream of events: its answers as JSON lines."""

    target: Annotated[str, Positional, arg(metavar="NETWORK", help_behavior_hint="")]
    """A run folder, a recipe with shipped weights such as `sensing`, or the folder of a bundle."""
    network: OneNetwork = None
    """Which of the recipe's networks."""
    events: Annotated[str, arg(metavar="SOURCE", help_behavior_hint="(required)")] = ""
    """A recording's folder or a file of events (played at its own speed), `-` for lines from standard input, `tcp:PORT`
    for lines from a sender on this machine, or `camera` (spikebridge[camera])."""
    frames: Frames = None
    """Another source for the frames: `-`, `tcp:PORT`, `camera`, or for a file of events a folder with frames.csv."""
    init: Init = None
    """The target's box in the first frame [px], for a tracker."""
    sensor: Sensor = None
    """Size of the sensor, for lines: 346x260."""
    most_behind: Annotated[int, arg(metavar="BINS")] = 2
    """With more bins waiting than this, all that wait are taken in one step; those without an answer are counted."""
    seconds: Seconds = None
    """Stop after so long."""
    loop: Flag = False
    """Play a recording over and over."""
    speed: Annotated[float, arg(metavar="FACTOR")] = 1.0
    """Of a recording."""

    def answer(self) -> Answer:
        """Steps at every bin; the last line is the summary."""
        from spikebridge.data.boxes import parse_box
        from spikebridge.data.live_sources import LiveSource, parse_size
        from spikebridge.deploy.streaming import Live as Stream

        if not self.events:
            raise ConfigError("live needs to know where the events come from: --events SOURCE")
        step, wanted = targets.live_steps(self.target, self.network)
        source = LiveSource(
            self.events,
            self.frames,
            None if self.init is None else parse_box(self.init),
            None if self.sensor is None else parse_size(self.sensor),
            self.loop,
            self.speed,
            sys.stdin.buffer if "-" in (self.events, self.frames) else None,
            _tell,
        ).open(wanted)
        stream = Stream(source, step, self.most_behind, self.seconds)
        stopped = False
        try:
            for answer in stream:
                if not self.json and answer.output:
                    print(json.dumps(_line(answer)), flush=True)
        except KeyboardInterrupt:
            stopped = True
        return self._told(stream, source, step, stopped)

    def _told(self, stream: Any, source: Any, step: Any, stopped: bool) -> Answer:
        origin = getattr(source, "source", source)
        counts = {
            name: getattr(one, name)
            for one, name in (
                (step, "num_unseen"),
                (origin, "num_bad"),
                (origin, "num_late"),
                (origin, "num_dropped"),
            )
            if hasattr(one, name)
        }
        bad = getattr(origin, "why_bad", "") and f"{origin.num_bad} bad packets, the first: {origin.why_bad}"
        if not stream.num_steps and not stopped:
            raise DataError(f"{self.events} brought nothing to step with" + (f"; {bad}" if bad else ""))
        if bad:
            _tell(bad)
        summary = stream.summary() | counts
        print(layout.facts(summary), file=sys.stderr)
        return Answer(summary, json.dumps({"summary": summary}), code=130 if stopped else 0)


def _tell(line: str) -> None:
    print(f"spikebridge: {line}", file=sys.stderr, flush=True)


def _line(answer: Any) -> dict[str, Any]:
    times = {"latency_ms": round(1e3 * answer.latency, 3), "skipped": answer.num_bins - 1}
    arrays = {name: value.astype(float).round(6).tolist() for name, value in answer.output.items() if _is_array(value)}
    plain = {name: value for name, value in answer.output.items() if name not in arrays}
    return {"bin": answer.bin, **({"outputs": arrays} if arrays else {}), **plain, **times}


def _is_array(value: Any) -> bool:
    return hasattr(value, "tolist")
