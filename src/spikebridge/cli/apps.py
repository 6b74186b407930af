"""`spikebridge track` and `ask`: trained networks at work."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from spikebridge.cli import formatting
from spikebridge.cli.command import Command, CommandResult, File, Flag, Name, RunCommand, write_file
from spikebridge.data.io.atomic import check_target
from spikebridge.data.io.number_text import parse_port
from spikebridge.errors import ConfigError, DataError
from spikebridge.recipes import live
from spikebridge.recipes.bundle import is_bundle
from spikebridge.recipes.messages import status
from spikebridge.recipes.target import resolve_target

Detector = Literal["auto", "both", "learned", "filter", "csrt", "kcf"]
_DEFAULT_BOX = "(default: the recording's first box, else the largest moving region)"
_BoxOffset = Annotated[int | None, arg(metavar="BINS", help_behavior_hint="(default: estimated from the boxes)")]

_Observed = Annotated[Path, Positional, arg(metavar="VIDEO_OR_SCENE", help_behavior_hint="")]
_Question = Annotated[str, Positional, arg(metavar="QUESTION", help_behavior_hint="")]


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
    out: File = None
    """Write the boxes to this CSV file, with the columns t_us,x,y,w,h,confidence,lost."""
    animation: File = None
    """Write an animation of boxes, frames and events (.webp, .gif, .mp4); .mp4 needs the extra video."""
    page: File = None
    """Write an .html page to replay the track: frames, events, boxes, error and confidence over time."""
    viewer: File = None
    """Write an .rrd file of the Rerun viewer, for long recordings; needs the extra viewer."""
    repair: Flag = False
    """Drop events outside the sensor and sort events by time, instead of refusing the recording."""
    event_offset: Annotated[int | None, arg(metavar="BINS", help_behavior_hint="(default: estimated)")] = None
    """FE240hz only: offset of the event bins; those after frame k start at bin 6 k + BINS."""
    box_offset: _BoxOffset = None
    """FE240hz only: offset of the 240 Hz boxes; the box of frame k is number 6 k + BINS."""
    allow_truncated: Flag = False
    """Accept a file of events that ends inside a packet, and take the whole events before."""
    detector: Detector = "auto"
    """The detector of the target in a frame: the trained one, a correlation filter that learns the target while it
    runs, both weighted online, or csrt and kcf of OpenCV (extra opencv); auto: both after events, else the filter."""
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
        # the tracker first: a wrong word costs no reading of a recording
        source, tracker = self._tracker()
        from spikebridge.data.recordings.degradation import Degradation, degraded
        from spikebridge.data.recordings.recording import parse_box
        from spikebridge.networks.sensing.track import progress_reporter, track_recording

        port = _pick_port(self.init)
        init = None if self.init is None or port is not None else parse_box(self.init)
        degradation = Degradation(self.lose_events, self.add_events, self.contrast, self.blur)

        # warnings are part of the result, since they say how far the boxes can be trusted
        with warnings.catch_warnings(record=True) as of_loading:
            warnings.simplefilter("always")
            recording = self._load(tracker.sensing.dt)

        recording = degraded(recording, degradation)
        if init is None:
            init = _pick(recording, port) if port is not None else _propose(recording)

        with (
            progress_reporter(recording.num_bins, self.quiet) as progress,
            warnings.catch_warnings(record=True) as of_tracking,
        ):
            warnings.simplefilter("always")
            summary = track_recording(recording, tracker, init, *self._files, progress)

        messages = [str(one.message) for one in (*of_loading, *of_tracking)]
        first = {} if init is None else {"first_box": init.tolist()}
        data = {**source, "warnings": messages, **first, **summary}

        return CommandResult(
            data, formatting.facts({name: value for name, value in data.items() if value not in (None, [])})
        )

    @property
    def _files(self) -> tuple[Path | None, Path | None, Path | None, Path | None]:
        return self.out, self.animation, self.page, self.viewer

    def _load(self, dt: float) -> Any:
        """The recording in bins of `dt` [s]; a file to write is neither one of its own nor named twice."""
        from spikebridge.data.recordings.load import find_recording, is_part_of_recording, load_recording

        folder = find_recording(self.recording.expanduser())
        files = [path for path in self._files if path is not None]

        for path in files:
            if is_part_of_recording(folder, path):
                raise ConfigError(f"{path} is a file of the recording itself; write into another file")
            if [one.resolve() for one in files].count(path.resolve()) > 1:
                raise ConfigError(
                    f"{path}: boxes, animation, page and viewer need a file each; give them different names"
                )

        return load_recording(
            folder,
            dt=dt,
            event_offset=self.event_offset,
            box_offset=self.box_offset,
            repair=self.repair,
            allow_truncated=self.allow_truncated,
        )

    def _tracker(self) -> tuple[dict[str, Any], Any]:
        """The run or bundle of the tracker, as the result names it, and the tracker."""
        if is_bundle(self.network):
            source: dict[str, Any] = {"bundle": self.network}
            tracker = live.bundle_tracker(self.network, self.own, self.integers)
        else:
            if self.integers:
                raise ConfigError("--integers is of a bundle; give its folder: --network BUNDLE --integers")
            target = resolve_target(self.network, self.own)
            tracker = live.run_tracker(target)
            source = {} if target.run is None else {"run": target.run.path}

        if tracker is None:
            raise ConfigError(
                f"{self.network} is not a tracker; `track` takes the recipe `sensing`, or a run or a bundle of it"
            )

        return source, tracker.with_options(calibrate=not self.no_calibration, detector=self.detector)


def _pick_port(words: str | None) -> int | None:
    """The port of `pick:PORT`; 0 for `pick`, None for anything else."""
    name, colon, port = (words or "").partition(":")
    if name != "pick":
        return None
    return parse_port(port, "--init pick:PORT") if colon else 0


def _pick(recording: Any, port: int) -> Any:
    """The box that the user draws on the first frame; the page shows the largest moving region at first."""
    from spikebridge.analysis.pick_box import pick_box
    from spikebridge.data.recordings.moving_region import largest_moving_region

    if not recording.num_frames:
        raise DataError(f"{recording.name} has no frame to draw a box on; give the box: --init x,y,w,h")

    try:
        start = largest_moving_region(recording)
    except DataError:
        # nothing moves yet, so the page begins without a box
        start = None

    return pick_box(recording.frames[0], start, port, print_status)


def _propose(recording: Any) -> Any:
    """The largest moving region, where the recording has no box; None where it has one."""
    from spikebridge.data.recordings.moving_region import largest_moving_region

    if recording.has_box:
        return None

    box = largest_moving_region(recording)
    words = ",".join(f"{value:g}" for value in box)
    print_status(f"no box is given; the largest moving region is taken: --init {words} (--init pick to draw one)")

    return box


def print_status(line: str) -> None:
    """Prints one line to stderr with the name of the program."""
    status(f"spikebridge: {line}")


@dataclass(frozen=True, kw_only=True)
class Ask(Command):
    """Ask a question about a video of rolling objects, or about a scene; a spiking graph answers."""

    source: _Observed
    """A video (.npz, .webp, .gif, .mp4, a folder of pictures), or a file of scenes (JSON lines)."""
    question: _Question
    """A question in English, such as "What color is the first object to enter the scene?"."""
    choices: Annotated[tuple[str, ...], arg(metavar="TEXT", help_behavior_hint="(default: none)")] = ()
    """Answer options of a multiple-choice question, such as "the presence of the red cube"."""
    video: Name = None
    """The scene to use, in a file with several scenes (default: the only one)."""
    explain: File = None
    """Write an .html page with pictures, the spikes of each neuron and the reasoning steps."""

    def execute(self) -> CommandResult:
        from spikebridge.networks.reasoning.explain.ask import answer_question, load_observation
        from spikebridge.networks.reasoning.explain.forecast import asks_for_future
        from spikebridge.networks.reasoning.explain.page import explanation_page
        from spikebridge.pretrained.perception import shipped_detector, shipped_parser

        # before the work, which a wrong path would lose
        if self.explain is not None:
            check_target(self.explain)

        observation = load_observation(self.source.expanduser(), shipped_detector(), self.video)
        if asks_for_future(self.question) and not self.choices:
            return self._forecast(observation)

        answer = answer_question(observation, shipped_parser(), self.question, self.choices)
        data = {"video": observation.scene.video, **answer.as_dict()}
        text = answer.text()

        if self.explain is not None:
            write_file(self.explain, explanation_page(observation, answer))
            data["page"] = self.explain
            text += f"\nwhy: {self.explain}"

        return CommandResult(data, text)

    def _forecast(self, observation: Any) -> CommandResult:
        from spikebridge.networks.reasoning.explain.forecast import forecast
        from spikebridge.pretrained.perception import shipped_predictor

        if self.explain is not None:
            raise ConfigError("--explain shows the steps of a program, but this question has none; name --choices")

        coming = forecast(observation, shipped_predictor())
        data = {"video": observation.scene.video, "question": self.question, **coming.as_dict()}
        return CommandResult(data, coming.text())
