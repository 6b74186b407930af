"""`spikebridge live`: a network on a stream of events or samples."""

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from spikebridge.cli import formatting
from spikebridge.cli.apps import Detector, print_status
from spikebridge.cli.command import Chip, CommandResult, Flag, Name, RunCommand
from spikebridge.errors import ConfigError, DataError
from spikebridge.recipes import live
from spikebridge.recipes.bundle import is_bundle
from spikebridge.recipes.messages import status

_Sources = Annotated[tuple[str, ...], UseAppendAction, arg(metavar="SOURCE", help_behavior_hint="(default: none)")]
_Events = Annotated[str, arg(metavar="SOURCE", help_behavior_hint="(required without --signal)")]
_Frames = Annotated[
    tuple[str, ...], UseAppendAction, arg(metavar="SOURCE", help_behavior_hint="(default: they come with the events)")
]
_Init = Annotated[str | None, arg(metavar="x,y,w,h", help_behavior_hint="(default: the recording's first box)")]
_Sensor = Annotated[str | None, arg(metavar="WxH", help_behavior_hint="(default: that of the recording or network)")]
_Seconds = Annotated[float | None, arg(metavar="SECONDS", help_behavior_hint="(default: to the end)")]


_MANY_SKIPPED = 0.1  # share of the bins


@dataclass(frozen=True, kw_only=True)
class RunLive(RunCommand):
    """Run a network on a live stream of events or samples; the outputs are printed as JSON lines."""

    shows_progress = True

    target: Annotated[str, Positional, arg(metavar="NETWORK", help_behavior_hint="")]
    """A run folder, a recipe with shipped weights such as `sensing`, or the folder of a bundle."""
    network: Name = None
    """The network of the recipe to run (default: the first one)."""
    signal: _Sources = ()
    """Samples of a sensor in place of events: a WAV, npz or CSV file (played in real time), or `-`: WAV from standard
    input. For a network of `signals`; of `senses` `NAME=FILE`, once for each sensor."""
    events: _Events = ""
    """The folder of a recording or a file of events (played in real time); `-`: lines from standard input;
    `tcp:PORT`: lines from a local TCP client; `camera`: a connected event camera (needs the extra camera)."""
    frames: _Frames = ()
    """A separate source of frames: `-`, `tcp:PORT`, `camera`; or, with a file of events, a folder with frames.csv; of
    `senses` `NAME=FOLDER`."""
    init: _Init = None
    """The target's box in the first frame [px], for a tracker."""
    detector: Detector = "auto"
    """The detector of a tracker's target in a frame; see `track`."""
    no_calibration: Flag = False
    """A tracker uses its trained gains and weights; by default it calibrates itself while it runs."""
    integers: Flag = False
    """Of a bundle: the integer model of the quantised parts (written by `quantize --bundle`)."""
    chip: Chip = None
    """Of a bundle: its parts on a chip in that chip's integers (written by `quantize --chip`)."""
    sensor: _Sensor = None
    """Width and height of the sensor for a source of lines or a file of events, such as 346x260."""
    max_behind: Annotated[int, arg(metavar="BINS")] = 2
    """Largest backlog of bins; beyond it one step processes all pending bins, and skipped outputs are counted."""
    seconds: _Seconds = None
    """Stop after this many seconds."""
    loop: Flag = False
    """Play a recording in a loop."""
    speed: Annotated[float, arg(metavar="FACTOR")] = 1.0
    """Playback speed of a recording."""
    reconnect: bool = True
    """Of `tcp:PORT`: after the end of a sender wait for the next one; the gap is reported."""
    allow_truncated: Flag = False
    """Accept a file of events that ends inside a packet, and take the whole events before."""
    view: Flag = False
    """Show outputs, spikes and pictures on a page in the browser that follows the stream."""
    port: Annotated[int, arg(metavar="PORT", help_behavior_hint="(default: a free one)")] = 0
    """The port of the page on the loopback address."""

    def execute(self) -> CommandResult:
        """Steps at every bin; then comes the summary, and for samples the answer."""
        self._check()
        if self._sensors:
            step, source = self._open_sensors()
        else:
            step, source = self._open_signal() if self.signal else self._open_events()
        from spikebridge.deploy.streaming.loop import Live

        stopped = False
        num_outputs = 0
        with ExitStack() as stack:
            view = self._open_view(stack, source) if self.view else None
            watched = step if view is None else view.watching(step)
            stream = Live(source, watched, self.max_behind, self.seconds, _asking(step, source))

            try:
                for answer in stream:
                    num_outputs += bool(answer.output)
                    if view is not None:
                        view.add(answer)
                    if not self.json and answer.output:
                        print(json.dumps(_line(answer)), flush=True)
            # Ctrl-C is the usual end of a stream; the summary follows
            except KeyboardInterrupt:
                stopped = True

        return self._summarize(stream, source, step, num_outputs, stopped)

    @property
    def _sensors(self) -> dict[str, Path]:
        """The sources of NAME=SOURCE by the name of a sensor; none for a network of events or of one sensor."""
        words = () if self.events else (*self.signal, *self.frames)
        pairs = [word.partition("=") for word in words]
        named = {name: Path(source).expanduser() for name, mark, source in pairs if mark and name.isidentifier()}
        if named and len(named) < len(words):
            raise ConfigError(f"expected NAME=SOURCE once for each sensor, but got {', '.join(words)}")

        return named

    @property
    def _is_of_samples(self) -> bool:
        return bool(self.signal or self._sensors)

    def _check(self) -> None:
        """Refuses options that do not fit together."""
        if bool(self.events) == self._is_of_samples:
            problem = "both are given" if self.events else "--events is missing"
            raise ConfigError(
                f"expected a source of events or of samples, but {problem}: spikebridge live NETWORK --events SOURCE, "
                "or --signal SOURCE"
            )
        if self.integers and not is_bundle(self.target):
            raise ConfigError("--integers is of a bundle; give its folder: spikebridge live BUNDLE --integers")
        if self.chip is not None and not is_bundle(self.target):
            raise ConfigError(
                f"--chip is of a bundle; `spikebridge quantize {self.target} --chip {self.chip}` makes one"
            )
        if self.port and not self.view:
            raise ConfigError("--port is the port of the page of --view; give both or none")

        for name, several in (("signal", self.signal), ("frames", self.frames)):
            if len(several) > 1 and not self._sensors:
                raise ConfigError(f"--{name} is given {len(several)} times; of several sensors it is NAME=SOURCE")

        for name in ("frames", "init", "sensor", "loop", "allow_truncated"):
            is_own = name == "frames" and self._sensors
            if self._is_of_samples and getattr(self, name) and not is_own:
                raise ConfigError(f"--{name.replace('_', '-')} is for events; leave it out with --signal")

    def _open_events(self) -> tuple[Any, Any]:
        options = {"calibrate": not self.no_calibration, "detector": self.detector}
        step, request = live.event_steps(self.target, self.network, self.own, options, self.integers, self._chip())
        from spikebridge.data.recordings.recording import parse_box
        from spikebridge.data.streams.sources import LiveSource, parse_sensor_size

        source = LiveSource(
            self.events,
            self.frames[0] if self.frames else None,
            None if self.init is None else parse_box(self.init),
            None if self.sensor is None else parse_sensor_size(self.sensor),
            self.loop,
            self.speed,
            sys.stdin.buffer if "-" in (self.events, *self.frames) else None,
            self.allow_truncated,
            print_status,
            self.reconnect,
        )
        return step, source.open(request)

    def _chip(self) -> Any:
        if self.chip is None:
            return None

        from spikebridge.recipes.chip import chip_from

        return chip_from(self.chip)

    def _open_sensors(self) -> tuple[Any, Any]:
        step, source = live.sensor_steps(
            self.target, self.network, self.own, self._sensors, self.speed, self.integers, self._chip()
        )
        for name in step.inputs.keys() - self._sensors.keys():
            print_status(f"nothing comes from {name}; the answer is that of the others")
        if source.warning:
            print_status(source.warning)

        return step, source

    def _open_signal(self) -> tuple[Any, Any]:
        step, request = live.sample_steps(self.target, self.network, self.own, self.integers, self._chip())
        from spikebridge.data.streams.samples import open_samples

        stdin = None
        (signal,) = self.signal
        if signal == "-":
            # a thread that waits in a buffered reader holds its lock, and the end of the program would wait for it
            stdin = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)

        return step, open_samples(signal, request, stdin, self.speed)

    def _open_view(self, stack: ExitStack, source: Any) -> "_View":
        # here, so that `--help` starts sooner
        import webbrowser

        from spikebridge.analysis.replay.live_view import LiveView

        view = stack.enter_context(LiveView(f"{self.target} on {self._source_words}", source.dt, self.port))
        print_status(f"the stream is shown on {view.address}")
        webbrowser.open(view.address)

        return _View(view)

    @property
    def _source_words(self) -> str:
        return self.events or ", ".join((*self.signal, *self.frames))

    def _summarize(self, stream: Any, source: Any, step: Any, num_outputs: int, stopped: bool) -> CommandResult:
        # a recording is its own source, a stream of lines has one
        origin = getattr(source, "source", source)
        counters = [(step, "num_unseen"), (origin, "num_bad"), (origin, "num_late"), (origin, "num_dropped")]
        counters += [(step, name) for name in ("frames_asked_share", "num_frames", "num_lost")]
        counters += [(origin, "num_gaps")] if "tcp:" in f"{self.events}{self.frames}" else []
        counts = {name: getattr(one, name) for one, name in counters if hasattr(one, name)}

        bad = getattr(origin, "first_error", "") and f"{origin.num_bad} bad packets, the first: {origin.first_error}"
        if not stream.num_steps and not stopped:
            missing = "no sample" if self._is_of_samples else "no event bin and no frame"
            raise DataError(f"{self._source_words} gave {missing}" + (f"; {bad}" if bad else ""))

        if bad:
            print_status(bad)

        summary = stream.summary() | counts
        if getattr(step, "wanted", None) is not None:
            share = source.num_asked / max(source.num_bins, 1)
            summary |= {"frames_asked_share": round(share, 4), "num_frames": source.num_frames}

        status(formatting.facts(summary))
        self._advise(stream, num_outputs)

        code = 130 if stopped else 0
        line = json.dumps({"summary": summary})
        if not self._is_of_samples:
            return CommandResult(summary, line, code)

        answers = step.finish()
        last = answers[-1] if answers else {"answer": None, "share": None}
        final = {"the answer was": last["answer"]}
        final |= {name: last[name] for name in ("share", "alarms", "confidence", "missing") if name in last}
        if len(answers) > 1:
            final["all answers"] = [one["answer"] for one in answers]

        return CommandResult(summary | {"answers": answers}, f"{line}\n{json.dumps(final)}", code)

    def _advise(self, stream: Any, num_outputs: int) -> None:
        """Says what a stream without outputs, or with many skipped bins, needs."""
        if not num_outputs:
            print_status(f"no output: {stream.num_bins} bins are shorter than the first window of the network")

        if stream.num_skipped > _MANY_SKIPPED * stream.num_bins and not is_bundle(self.target) and not self.init:
            network = f" --network {self.network}" if self.network else ""
            print_status(
                f"{stream.num_skipped} of {stream.num_bins} bins were skipped; a step of a bundle takes less time: "
                f"`spikebridge export {self.target}{network} --out live.bundle`, then `spikebridge live live.bundle`"
            )


class _View:
    """The page of a stream, with the pictures among the network's inputs."""

    def __init__(self, view: Any) -> None:
        self._view = view
        self._picture: Any = None

    def watching(self, step: Any) -> Any:
        """The step function, which keeps the picture among its inputs."""

        def watched(inputs: Any, state: Any) -> Any:
            self._picture = inputs.get("frame") if isinstance(inputs, dict) else None
            return step(inputs, state)

        return watched

    def add(self, answer: Any) -> None:
        """Shows an answer."""
        picture = self._picture
        is_grey = getattr(picture, "ndim", 0) == 2 and getattr(picture, "dtype", None) == "uint8"
        values = {name: value for name, value in answer.output.items() if name != "box"}
        values |= {"latency [ms]": 1e3 * answer.latency}

        self._view.add(answer.bin, values, picture if is_grey else None, answer.output.get("box"))


def _asking(step: Any, source: Any) -> Callable[[int, Any], None] | None:
    """Asks a source for frames where the next bin needs one, of a network whose frames are read on demand."""
    if getattr(step, "wanted", None) is None:
        return None

    # only of the next bin it is known
    return lambda num_bins, state: source.ask_frames(num_bins > 1 or step.needs_frame(state))


def _line(answer: Any) -> dict[str, Any]:
    """An answer as a line of JSON: arrays under "outputs", then plain values and times."""
    arrays = {name: value for name, value in answer.output.items() if hasattr(value, "tolist")}
    outputs = {name: value.astype(float).round(6).tolist() for name, value in arrays.items()}
    plain = {name: value for name, value in answer.output.items() if name not in arrays}
    times = {"latency_ms": round(1e3 * answer.latency, 3), "skipped": answer.num_bins - 1}

    return {"bin": answer.bin, **({"outputs": outputs} if outputs else {}), **plain, **times}
