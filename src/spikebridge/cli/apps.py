"""`spikebridge track`, `live` and `ask`: trained networks at work."""

import json
import sys
import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from spikebridge.cli import formatting, targets
from spikebridge.cli.command import Command, CommandResult, Flag, RunCommand
from spikebridge.cli.deploy import OneNetwork
from spikebridge.cli.failure import status
from spikebridge.data.io.atomic import check_target
from spikebridge.data.io.number_text import parse_port
from spikebridge.errors import ConfigError, DataError

_Detector = Literal["both", "learned", "filter", "csrt", "kcf"]
_DEFAULT_BOX = "(default: the recording's first box, else the largest moving region)"


@dataclass(frozen=True, kw_only=True)
class Track(RunCommand):
    """Track one object through a recording of frames and events."""

    shows_progress = True

    recording: Annotated[Path, Positional, arg(metavar="RECORDING", help_behavior_hint="")]
    """A folder with meta.json, frames and events; a sequence of FE240hz; a clip of OTB or VOT; an .aedat4 file."""
    init: Annotated[str | None, arg(metavar="x,y,w,h|pick", help_behavior_hint=_DEFAULT_BOX)] = None
    """The target's box in the first frame [px]; `pick`: draw it on a page in the browser; `pick:PORT`: on that port."""
    network: Annotated[str, arg(metavar="RUN_RECIPE_OR_BUNDLE")] = "sensing"
    """The tracker: a recipe with shipped weights, a run folder, or the folder of a bundle."""
    integers: Flag = False
    """Of a bundle: the integer model of the quantised parts (written by `quantize --bundle`)."""
    out: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")] = None
    """Write the boxes to this CSV file, with the columns t_us,x,y,w,h,confidence,lost."""
    animation: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")] = None
    """Write an animation of boxes, frames and events (.webp, .gif, .mp4); .mp4 needs spikebridge[video]."""
    page: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")] = None
    """Write an .html page to replay the track: frames, events, boxes, error and confidence over time."""
    viewer: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")] = None
    """Write an .rrd file of the Rerun viewer, for long recordings; needs spikebridge[viewer]."""
    repair: Flag = False
    """Drop events outside the sensor and sort events by time, instead of refusing the recording."""
    event_offset: Annotated[int | None, arg(metavar="BINS", help_behavior_hint="(default: estimated)")] = None
    """FE240hz only: offset of the event bins; those after frame k start at bin 6 k + BINS."""
    box_offset: Annotated[int | None, arg(metavar="BINS", help_behavior_hint="(default: estimated from the boxes)")] = (
        None
    )
    """FE240hz only: offset of the 240 Hz boxes; the box of frame k is number 6 k + BINS."""
    allow_truncated: Flag = False
    """Accept a file of events that ends inside a packet, and take the whole events before."""
    detector: _Detector = "both"
    """What finds the target in a frame: the trained detector, a correlation filter that learns the target while it
    runs, both weighted online, or a tracker of OpenCV (needs spikebridge[opencv])."""
    no_calibration: Flag = False
    """Use the trained gains and weights; by default the tracker calibrates itself while it runs."""
    lose_events: float = 0.0
    """Share of the events that are removed, 0 to 1, to see how another camera would do."""
    add_events: float = 0.0
    """Rate of added noise events on the whole sensor [events/s]."""
    contrast: float = 1.0
    """Factor of the grey levels around the mean of each frame."""
    blur: float = 0.0
    """Standard deviation of a Gaussian blur of the frames [px]."""
    quiet: Flag = False
    """Show no progress."""

    def execute(self) -> CommandResult:
        """Loads recording and network, and tracks."""
        source, tracker = self._tracker()
        from spikebridge.data.recordings.degradation import Degradation, degraded
        from spikebridge.data.recordings.load import find_recording, is_part_of_recording, load_recording
        from spikebridge.data.recordings.recording import parse_box
        from spikebridge.networks.sensing.track import progress_reporter, track_recording

        port = _pick_port(self.init)
        init = None if self.init is None or port is not None else parse_box(self.init)
        degradation = Degradation(self.lose_events, self.add_events, self.contrast, self.blur)
        folder = find_recording(self.recording.expanduser())
        files = [path for path in (self.out, self.animation, self.page, self.viewer) if path is not None]

        for path in files:
            if is_part_of_recording(folder, path):
                raise ConfigError(f"{path} is a file of the recording itself; write into another file")
            if [one.resolve() for one in files].count(path.resolve()) > 1:
                raise ConfigError(
                    f"{path}: boxes, animation, page and viewer need a file each; give them different names"
                )

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            recording = load_recording(
                folder,
                dt=tracker.sensing.dt,
                event_offset=self.event_offset,
                box_offset=self.box_offset,
                repair=self.repair,
                allow_truncated=self.allow_truncated,
            )

        recording = degraded(recording, degradation)
        if init is None:
            init = _pick(recording, port) if port is not None else _propose(recording)

        with (
            progress_reporter(recording.num_bins, self.quiet) as tell,
            warnings.catch_warnings(record=True) as of_tracking,
        ):
            warnings.simplefilter("always")
            written = (self.out, self.animation, self.page, self.viewer)
            summary = track_recording(recording, tracker, init, *written, tell)

        warned = [str(one.message) for one in (*caught, *of_tracking)]
        first = {} if init is None else {"first_box": init.tolist()}
        data = {**source, "warnings": warned, **first, **summary}

        return CommandResult(
            data, formatting.facts({name: value for name, value in data.items() if value not in (None, [])})
        )

    def _tracker(self) -> tuple[dict[str, Any], Any]:
        """Where the tracker is from, and the tracker."""
        refused = f"{self.network} is not a tracker; `track` takes the recipe `sensing`, or a run or a bundle of it"
        if targets.is_bundle(self.network):
            source: dict[str, Any] = {"bundle": self.network}
            tracker = targets.bundle_tracker(self.network, self.own, self.integers)
            if tracker is None:
                raise ConfigError(refused)
        else:
            if self.integers:
                raise ConfigError("--integers is of a bundle; give its folder: --network BUNDLE --integers")
            target = targets.resolve_target(self.network, self.own)
            if not hasattr(target.module, "tracker"):
                raise ConfigError(refused)
            run = target.trained_run()
            source = {"run": run.path}
            tracker = target.module.tracker(run)

        return source, tracker.with_options(calibrate=not self.no_calibration, detector=self.detector)


def _pick_port(words: str | None) -> int | None:
    """The port of `pick:PORT`; 0 for `pick`, None for anything else."""
    name, _, port = (words or "").partition(":")
    if name != "pick" or words == "pick":
        return 0 if words == "pick" else None
    return parse_port(port, "--init pick:PORT")


def _pick(recording: Any, port: int) -> Any:
    """The box that the user draws on the first frame; the page shows the largest moving region at first."""
    from spikebridge.analysis.pick_box import pick_box
    from spikebridge.data.recordings.moving_region import largest_moving_region

    if not recording.num_frames:
        raise DataError(f"{recording.name} has no frame to draw a box on; give the box: --init x,y,w,h")

    try:
        start = largest_moving_region(recording)
    except DataError:  # nothing moves yet, so the page begins without a box
        start = None

    return pick_box(recording.frames[0], start, port, _print_status)


def _propose(recording: Any) -> Any:
    """The largest moving region, where the recording has no box; None where it has one."""
    from spikebridge.data.recordings.moving_region import largest_moving_region

    if recording.has_box:
        return None

    box = largest_moving_region(recording)
    words = ",".join(f"{value:g}" for value in box)
    _print_status(f"no box is given; the largest moving region is taken: --init {words} (--init pick to draw one)")

    return box


_Init = Annotated[str | None, arg(metavar="x,y,w,h", help_behavior_hint="(default: the recording's first box)")]
_Sensor = Annotated[str | None, arg(metavar="WxH", help_behavior_hint="(default: that of the recording or network)")]
_Seconds = Annotated[float | None, arg(metavar="SECONDS", help_behavior_hint="(default: to the end)")]
_Frames = Annotated[str | None, arg(metavar="SOURCE", help_behavior_hint="(default: they come with the events)")]


@dataclass(frozen=True, kw_only=True)
class RunLive(RunCommand):
    """Run a network on a live stream of events or samples; the outputs are printed as JSON lines."""

    shows_progress = True

    target: Annotated[str, Positional, arg(metavar="NETWORK", help_behavior_hint="")]
    """A run folder, a recipe with shipped weights such as `sensing`, or the folder of a bundle."""
    network: OneNetwork = None
    """The network of the recipe to run."""
    signal: Annotated[str, arg(metavar="SOURCE", help_behavior_hint="(default: none)")] = ""
    """Samples of a sensor in place of events: a WAV, npz or CSV file (played in real time), or `-`: WAV from standard
    input. For a network of `signals`."""
    events: Annotated[str, arg(metavar="SOURCE", help_behavior_hint="(required without --signal)")] = ""
    """The folder of a recording or a file of events (played in real time); `-`: lines from standard input;
    `tcp:PORT`: lines from a local TCP client; `camera`: a connected event camera (needs spikebridge[camera])."""
    frames: _Frames = None
    """A separate source of frames: `-`, `tcp:PORT`, `camera`; or, with a file of events, a folder with frames.csv."""
    init: _Init = None
    """The target's box in the first frame [px], for a tracker."""
    detector: _Detector = "both"
    """What finds the target of a tracker in a frame; see `track`."""
    no_calibration: Flag = False
    """A tracker uses its trained gains and weights; by default it calibrates itself while it runs."""
    integers: Flag = False
    """Of a bundle: the integer model of the quantised parts (written by `quantize --bundle`)."""
    sensor: _Sensor = None
    """Width and height of the sensor for a source of lines or a file of events, such as 346x260."""
    most_behind: Annotated[int, arg(metavar="BINS")] = 2
    """Largest backlog of bins; beyond it one step processes all pending bins, and skipped outputs are counted."""
    seconds: _Seconds = None
    """Stop after this many seconds."""
    loop: Flag = False
    """Play a recording in a loop."""
    speed: Annotated[float, arg(metavar="FACTOR")] = 1.0
    """Playback speed of a recording."""
    allow_truncated: Flag = False
    """Accept a file of events that ends inside a packet, and take the whole events before."""
    view: Flag = False
    """Show outputs, spikes and pictures on a page in the browser that follows the stream."""
    port: Annotated[int, arg(metavar="PORT", help_behavior_hint="(default: a free one)")] = 0
    """The port of the page on the loopback address."""

    def execute(self) -> CommandResult:
        """Steps at every bin; the last line is the summary."""
        if bool(self.events) == bool(self.signal):
            what = "both are given" if self.events else "--events is missing"
            raise ConfigError(
                f"expected a source of events or of samples, but {what}: spikebridge live NETWORK --events SOURCE, or "
                "--signal SOURCE"
            )

        if self.integers and not targets.is_bundle(self.target):
            raise ConfigError("--integers is of a bundle; give its folder: spikebridge live BUNDLE --integers")

        step, source = self._open_signal() if self.signal else self._open_events()
        from spikebridge.deploy.streaming.loop import Live

        if self.port and not self.view:
            raise ConfigError("--port is the port of the page of --view; give both or none")

        stopped = False
        with ExitStack() as stack:
            show = self._open_view(stack, source) if self.view else None
            stream = Live(source, step if show is None else show.watching(step), self.most_behind, self.seconds)

            try:
                for answer in stream:
                    if show is not None:
                        show.add(answer)
                    if not self.json and answer.output:
                        print(json.dumps(_line(answer)), flush=True)
            except KeyboardInterrupt:
                stopped = True

        return self._summarize(stream, source, step, stopped)

    def _open_events(self) -> tuple[Any, Any]:
        options = {"calibrate": not self.no_calibration, "detector": self.detector}
        step, wanted = targets.live_steps(self.target, self.network, self.own, options, self.integers)
        from spikebridge.data.recordings.recording import parse_box
        from spikebridge.data.streams.sources import LiveSource, parse_sensor_size

        source = LiveSource(
            self.events,
            self.frames,
            None if self.init is None else parse_box(self.init),
            None if self.sensor is None else parse_sensor_size(self.sensor),
            self.loop,
            self.speed,
            sys.stdin.buffer if "-" in (self.events, self.frames) else None,
            self.allow_truncated,
            _print_status,
        ).open(wanted)
        return step, source

    def _open_signal(self) -> tuple[Any, Any]:
        for name in ("frames", "init", "sensor", "loop", "allow_truncated"):
            if getattr(self, name):
                raise ConfigError(f"--{name.replace('_', '-')} is for events; leave it out with --signal")

        step, wanted = targets.live_samples(self.target, self.network, self.own, self.integers)
        from spikebridge.data.streams.samples import open_samples

        stdin = None
        if self.signal == "-":
            # a thread that waits in a buffered reader holds its lock, and the end of the program would wait for it
            stdin = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)

        return step, open_samples(self.signal, wanted, stdin, self.speed)

    def _open_view(self, stack: ExitStack, source: Any) -> "_View":
        import webbrowser  # here, as in `recipe_digest`: `--help` starts sooner without it

        from spikebridge.analysis.replay.live_view import LiveView

        view = stack.enter_context(LiveView(f"{self.target} on {self.events or self.signal}", source.dt, self.port))
        _print_status(f"the stream is shown on {view.address}")
        webbrowser.open(view.address)

        return _View(view)

    def _summarize(self, stream: Any, source: Any, step: Any, stopped: bool) -> CommandResult:
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

        bad = getattr(origin, "first_error", "") and f"{origin.num_bad} bad packets, the first: {origin.first_error}"
        if not stream.num_steps and not stopped:
            what = f"{self.signal} gave no sample" if self.signal else f"{self.events} gave no event bin and no frame"
            raise DataError(what + (f"; {bad}" if bad else ""))

        if bad:
            _print_status(bad)

        summary = stream.summary() | counts
        status(formatting.facts(summary))

        return CommandResult(summary, json.dumps({"summary": summary}), code=130 if stopped else 0)


class _View:
    """The page of a stream, with the pictures that the network was given."""

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

        self._view.add(
            answer.bin,
            values | {"latency [ms]": 1e3 * answer.latency},
            picture if is_grey else None,
            answer.output.get("box"),
        )


def _print_status(line: str) -> None:
    status(f"spikebridge: {line}")


def _line(answer: Any) -> dict[str, Any]:
    times = {"latency_ms": round(1e3 * answer.latency, 3), "skipped": answer.num_bins - 1}
    arrays = {name: value.astype(float).round(6).tolist() for name, value in answer.output.items() if _is_array(value)}
    plain = {name: value for name, value in answer.output.items() if name not in arrays}
    return {"bin": answer.bin, **({"outputs": arrays} if arrays else {}), **plain, **times}


def _is_array(value: Any) -> bool:
    return hasattr(value, "tolist")


@dataclass(frozen=True, kw_only=True)
class Ask(Command):
    """Ask a question about a video of rolling objects, or about a scene; a spiking graph answers."""

    seen: Annotated[Path, Positional, arg(metavar="VIDEO_OR_SCENE", help_behavior_hint="")]
    """A video (.npz, .webp, .gif, .mp4, a folder of pictures), or a file of scenes (JSON lines)."""
    question: Annotated[str, Positional, arg(metavar="QUESTION", help_behavior_hint="")]
    """A question in English, such as "What color is the first object to enter the scene?"."""
    choices: Annotated[tuple[str, ...], arg(metavar="TEXT", help_behavior_hint="(default: none)")] = ()
    """Answer options of a multiple-choice question, such as "the presence of the red cube"."""
    video: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: the only one)")] = None
    """The scene to use, in a file with several scenes."""
    explain: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")] = None
    """Write an .html page with pictures, the spikes of each neuron and the reasoning steps."""

    def execute(self) -> CommandResult:
        """Perceives the scene, parses the question, and answers."""
        from spikebridge.networks.reasoning.explain.ask import answer_question, load_observation
        from spikebridge.networks.reasoning.explain.page import explanation_page
        from spikebridge.pretrained.perception import shipped_detector, shipped_parser

        if self.explain is not None:
            check_target(self.explain)

        seen = load_observation(self.seen.expanduser(), shipped_detector(), self.video)
        said = answer_question(seen, shipped_parser(), self.question, self.choices)
        data = {"video": seen.scene.video, **said.as_dict()}
        text = said.text()

        if self.explain is not None:
            targets.write_file(self.explain, explanation_page(seen, said))
            data["page"] = self.explain
            text += f"\nwhy: {self.explain}"

        return CommandResult(data, text)
