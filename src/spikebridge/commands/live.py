"""`spikebridge live`."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from spikebridge import layout, targets
from spikebridge.commands.command import Answer, Command, Flag
from spikebridge.errors import ConfigError

Init = Annotated[str | None, arg(metavar="x,y,w,h", help_behavior_hint="(default: the recording's first box)")]
Sensor = Annotated[str | None, arg(metavar="WxH", help_behavior_hint="(default: that of the recording)")]
Seconds = Annotated[float | None, arg(metavar="SECONDS", help_behavior_hint="(default: to the end)")]


@dataclass(frozen=True, kw_only=True)
class Live(Command):
    """Run a network on a live stream: an answer for every bin of events, as JSON lines."""

    network: Annotated[str, Positional, arg(metavar="RUN_OR_RECIPE", help_behavior_hint="")]
    """Who follows: a recipe with shipped weights, such as `sensing`, or a run folder."""
    events: Annotated[str, arg(metavar="SOURCE")]
    """A recording's folder (played at its own speed), `-` for lines from standard input, `tcp:PORT` for lines from a
    sender on this machine, or `camera` (spikebridge[camera])."""
    init: Init = None
    """The target's box in the first frame [px]."""
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
        import torch

        from spikebridge.deploy.streaming import Live as Stream

        torch.set_num_threads(1)  # one sample at a time: threads cost more than they bring
        target = targets.find(self.network)
        if not hasattr(target.module, "tracker"):
            raise ConfigError(f"{self.network} follows nothing; `live` takes the recipe `sensing` or a run of it")
        tracker = target.module.tracker(target.trained_run())
        source = self._source(tracker.sensing.dt)

        def step(inputs: Any, state: Any) -> tuple[dict[str, Any], Any]:
            box, state = tracker.step(inputs, state)
            sure = {"confidence": round(float(state.confidence), 4), "lost": bool(state.lost)}
            return {"box": [round(float(value), 3) for value in box], **sure}, state

        stream = Stream(source, step, self.most_behind, self.seconds)
        stopped = False
        try:
            for answer in stream:
                if not self.json:
                    print(json.dumps(_line(answer)), flush=True)
        except KeyboardInterrupt:
            stopped = True
        summary = stream.summary() | {
            name: getattr(source, name) for name in ("num_bad", "num_late", "num_dropped") if hasattr(source, name)
        }
        if getattr(source, "why_bad", ""):
            print(f"spikebridge: {source.num_bad} bad packets, the first: {source.why_bad}", file=sys.stderr)
        print(layout.facts(summary), file=sys.stderr)
        return Answer(summary, json.dumps({"summary": summary}), code=130 if stopped else 0)

    def _source(self, dt: float) -> Any:
        from spikebridge.recipes.sensing_tracking import parse_box

        init = None if self.init is None else parse_box(self.init)
        if self.events == "-" or self.events.startswith("tcp:") or self.events == "camera":
            if init is None:
                raise ConfigError("a live stream needs the target's box in its first frame: --init x,y,w,h")
            return self._arriving(dt, init)
        from spikebridge.data.played_recording import PlayedRecording
        from spikebridge.data.recording_layouts import load_recording
        from spikebridge.recipes.sensing_tracking import first_box

        if self.sensor is not None:
            raise ConfigError("--sensor is for lines; a recording knows its own sensor")
        recording = load_recording(Path(self.events).expanduser(), dt=dt)
        return PlayedRecording(recording, *first_box(recording, init), loop=self.loop, speed=self.speed)

    def _arriving(self, dt: float, init: Any) -> Any:
        from spikebridge.data.arriving import Arriving
        from spikebridge.data.event_lines import follow_lines, listen

        if self.loop or self.speed != 1.0:
            raise ConfigError("--loop and --speed are for recordings; a live stream has its own time")
        if self.events == "camera":
            from spikebridge.data.live_camera import follow_camera

            return follow_camera(dt, init)
        arriving = Arriving(dt, *self._size(), box=init)
        if self.events == "-":
            follow_lines(sys.stdin.buffer, arriving)
            return arriving
        port = self.events.removeprefix("tcp:")
        if not port.isdecimal():
            raise ConfigError(f"a socket is tcp:PORT, such as tcp:5000, but got {self.events!r}")
        print(f"spikebridge: waiting for a sender on port {port}", file=sys.stderr, flush=True)
        follow_lines(listen(int(port)), arriving)
        return arriving

    def _size(self) -> tuple[int, int]:
        width, _, height = (self.sensor or "").partition("x")
        if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
            raise ConfigError(f"lines need the size of the sensor, --sensor 346x260, but got {self.sensor!r}")
        return int(height), int(width)


def _line(answer: Any) -> dict[str, Any]:
    times = {"latency_ms": round(1e3 * answer.latency, 3), "skipped": answer.num_bins - 1}
    return {"bin": answer.bin, **answer.output, **times}
