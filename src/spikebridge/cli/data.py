"""`spikebridge data`, `data check`, `data make` and `data send`: data sets, checks of series, examples, a sender."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from spikebridge.cli import formatting
from spikebridge.cli.command import Command, CommandResult, Folder
from spikebridge.data import catalog
from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.recipes.messages import status

_NewFolder = Annotated[Path, Positional, arg(metavar="FOLDER", help_behavior_hint="")]
_File = Annotated[Path, Positional, arg(metavar="FILE", help_behavior_hint="")]


@dataclass(frozen=True, kw_only=True)
class ShowData(Command):
    """Show which data sets are found; `data check` checks series, `make` writes examples, `send` sends a stream."""

    data: Folder = None
    """The folder with data sets (default: $SPIKEBRIDGE_DATA)."""

    @classmethod
    def specialize(cls, program: str, words: list[str]) -> tuple[Any, str, list[str]]:
        """The form of `data check`, of `data send` and of `data make KIND`."""
        if not words or words[0].startswith("-"):
            return cls, program, words

        # one word, or two such as "make rolling"
        for length in (1, 2):
            name = " ".join(words[:length])
            if name in _FORMS:
                return _FORMS[name], f"{program} {name}", words[length:]

        if words[0] != "make":
            raise ConfigError(f"no command 'data {words[0]}': {did_you_mean(words[0], ('check', 'make', 'send'))}")
        if "-h" in words or "--help" in words:
            return _Make, f"{program} make", words[1:]

        kinds = [name.removeprefix("make ") for name in _FORMS if name.startswith("make ")]
        if len(words) == 1 or words[1].startswith("-"):
            raise ConfigError(
                f"the first argument must be a kind of data: {program} make KIND PATH; {', '.join(kinds)}"
            )

        raise ConfigError(f"no kind of data {words[1]!r}: {did_you_mean(words[1], kinds)}")

    def execute(self) -> CommandResult:
        """Looks for files; nothing is downloaded."""
        sets = [
            {"name": entry.data_set.name, "present": entry.present, "missing": list(entry.missing)}
            | {"about": entry.data_set.about, "source": entry.data_set.source, "licence": entry.data_set.licence}
            for entry in catalog.available(self.data)
        ]

        return CommandResult({"data sets": sets}, formatting.data_sets(sets))


@dataclass(frozen=True, kw_only=True)
class _Make(Command):
    """Write example data: moving-object, moving-digit (recordings), rolling (a video), tasks (digits).

    `spikebridge data make KIND --help` lists the options of a kind.
    """

    kind: Annotated[str, Positional, arg(metavar="KIND", help_behavior_hint="")]
    """moving-object, moving-digit, rolling or tasks."""
    path: Annotated[Path, Positional, arg(metavar="PATH", help_behavior_hint="")]
    """The folder or file to write."""


@dataclass(frozen=True, kw_only=True)
class _Drawn(Command):
    """The option of examples that are drawn at random."""

    seed: int = 0
    """Number of the example."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed is an integer from 0 to {2**32 - 1}, but got {self.seed}")


@dataclass(frozen=True, kw_only=True)
class _MakeMovingObject(_Drawn):
    """Make a recording of a moving object: frames, events and boxes, for `track` and `live sensing`."""

    folder: _NewFolder
    """The folder to write; there may be none of that name."""
    seconds: float = 1.0
    """Length of the recording."""
    family: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: an object of 32 px)")] = None
    """A family of scenes: plain, dim, deforming, textured, uniform, distractors, smooth, jerky, small, large,
    high-thresholds, noisy, moving-camera or long-exposure; or varied, which changes all of it at once; or dark, the
    same in little light; or photographs, of parts of real ones (needs the extra `photographs`)."""

    def execute(self) -> CommandResult:
        from spikebridge.data.simulation.examples import moving_object

        return _write_recording(partial(moving_object, family=self.family), self.folder, self.seconds, self.seed)


@dataclass(frozen=True, kw_only=True)
class _MakeMovingDigit(_Drawn):
    """Make a recording of a moving digit: frames and events of 16 x 16 pixels, for networks of the recipe `digits`."""

    folder: _NewFolder
    """The folder to write; there may be none of that name."""
    seconds: float = 0.3
    """Length of the recording, in steps of 0.3 s."""

    def execute(self) -> CommandResult:
        from spikebridge.data.simulation.examples import moving_digit

        return _write_recording(moving_digit, self.folder, self.seconds, self.seed)


@dataclass(frozen=True, kw_only=True)
class _MakeRolling(_Drawn):
    """Make a video of rolling objects, for `ask`."""

    file: _File
    """The file to write: .npz or .webp; an existing file is replaced."""

    def execute(self) -> CommandResult:
        from spikebridge.networks.reasoning.simulation.files import check_video_name, write_video
        from spikebridge.networks.reasoning.simulation.render import render_frames
        from spikebridge.networks.reasoning.simulation.video import generate_video

        check_video_name(self.file)
        video = generate_video("validation", self.seed)
        frames = render_frames(video)
        write_video(self.file, frames)
        objects = [" ".join(names) for names in video.objects]
        data = {"file": self.file, "frames": len(frames), "objects": objects}

        return CommandResult(data, formatting.facts(data))


@dataclass(frozen=True, kw_only=True)
class _MakeTasks(_Drawn):
    """Make a file of handwritten digits, 28 x 28 pixels, for `eval modulation --data`."""

    file: _File
    """The .npz file to write; an existing file is replaced."""
    images: int = 400
    """Number of digits, 1 to 400."""

    def execute(self) -> CommandResult:
        if self.file.suffix != ".npz":
            raise ConfigError(f"digits are written as .npz, but got {self.file.name!r}")

        from spikebridge.data.images.labelled import write_digit_file
        from spikebridge.data.simulation.examples import task_digits

        write_digit_file(self.file, task_digits(self.images, self.seed))
        data = {"file": self.file, "images": self.images}

        return CommandResult(data, formatting.facts(data))


@dataclass(frozen=True, kw_only=True)
class _Send(Command):
    """Send a recording as a live stream of text lines, at its own speed, to try `spikebridge live`."""

    folder: _NewFolder
    """The folder of a recording, such as one of `spikebridge data make`."""
    to: Annotated[str, arg(metavar="RECEIVER")] = "-"
    """`-`: standard output; tcp:PORT: a program on this machine that waits there for a sender."""
    frames: Annotated[str | None, arg(metavar="RECEIVER", help_behavior_hint="(default: between the events)")] = None
    """A separate receiver of the frames."""
    speed: Annotated[float, arg(metavar="FACTOR")] = 1.0
    """Playback speed."""

    def execute(self) -> CommandResult:
        from spikebridge.data.streams.send import send_recording

        # stdout is either for the lines or for the JSON document
        output = None if self.json else sys.stdout.buffer
        num_lines = send_recording(self.folder.expanduser(), self.to, self.frames, self.speed, output, status)
        if not self.json:
            status(f"spikebridge: {num_lines} lines sent")

        return CommandResult({"lines": num_lines}, json.dumps({"lines": num_lines}), printed=self.json)


@dataclass(frozen=True, kw_only=True)
class _Check(Command):
    """Check series of a sensor before a network is trained on them, and draw them on one page.

    The exit code is 1 where `train` would refuse them.
    """

    file: Annotated[Path, Positional, arg(metavar="FILE", help_behavior_hint="")]
    """An .npz (samples, starts, label, group, rate_hz), a .csv of channels, a .wav, a folder of WAV files, an .h5 of
    spike trains, or an .aedat of gestures with its labels beside it."""
    rate: Annotated[float | None, arg(metavar="HZ", help_behavior_hint="(default: that of the file)")] = None
    """Samples a second, for a file that does not say it."""
    draw: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: NAME-check.svg, here)")] = None
    """The .svg to write; an existing file is replaced."""

    def execute(self) -> CommandResult:
        from spikebridge.data.io.atomic import check_target, write_text
        from spikebridge.data.signals.checks import check_series
        from spikebridge.data.signals.files import read_series

        path = self.file.expanduser()
        if path.suffix == ".aedat":
            return self._check_gestures(path)

        # in the current folder, since that of the data may be read-only
        drawing = Path(f"{path.resolve().stem}-check.svg") if self.draw is None else self.draw.expanduser()
        if drawing.suffix != ".svg":
            raise ConfigError(f"a drawing is written as .svg, but got {drawing.name!r}")

        check_target(drawing)
        series = read_series(path, self.rate, checked=False)
        findings = check_series(series)
        from spikebridge.analysis.plots.series import series_figure
        from spikebridge.analysis.plots.style import to_svg

        write_text(drawing, to_svg(series_figure(series, findings), f"series of {path.name}"))
        label_counts = [] if series.label is None else [series.label_names[i] for i in series.label.tolist()]
        data: dict[str, Any] = {
            "file": path,
            "known set": None if series.name == "own" else series.name,
            "series": len(series),
            "channels": list(series.channel_names),
            "rate [Hz]": series.rate_hz,
            "seconds": round(float(series.seconds.sum()), 3),
            "classes": {name: label_counts.count(name) for name in dict.fromkeys(sorted(label_counts))},
            "groups": [series.group_names[group] for group in series.groups],
            "drawing": drawing,
            "findings": [one._asdict() for one in findings],
        }

        # names are enough for people
        shown = {**data, "classes": list(data["classes"])}
        return self._result(data, shown, findings)

    def _check_gestures(self, path: Path) -> CommandResult:
        """Counts of events and of gestures; nothing is drawn."""
        if self.rate is not None or self.draw is not None:
            raise ConfigError("--rate and --draw are for series; leave them out for a file of events")

        from spikebridge.data.events.dvs_gesture import GESTURES, SENSOR, check_gestures, read_gesture_labels
        from spikebridge.data.events.files import read_events

        events = read_events(path, SENSOR, SENSOR).events
        labels = read_gesture_labels(path.with_name(f"{path.stem}_labels.csv"))
        findings = check_gestures(events, labels)
        names = [GESTURES[one.label] for one in labels]

        data: dict[str, Any] = {
            "file": path,
            "events": len(events),
            "ON events": int(events["p"].sum()),
            "seconds": round(float(events["t"][-1] - events["t"][0]) / 1e6, 3) if len(events) else 0.0,
            "gestures": {name: names.count(name) for name in dict.fromkeys(names)},
            "findings": [one._asdict() for one in findings],
        }
        return self._result(data, {**data, "gestures": names}, findings)

    def _result(self, data: dict[str, Any], shown: dict[str, Any], findings: Sequence[Any]) -> CommandResult:
        lines = [formatting.facts({name: value for name, value in shown.items() if value not in (None, [])})]
        lines += [f"{one.level}: {one}" for one in findings] or ["no finding"]
        return CommandResult(data, "\n".join(lines), code=int(any(one.level == "error" for one in findings)))


_FORMS: dict[str, type[Command]] = {
    "check": _Check,
    "send": _Send,
    "make moving-object": _MakeMovingObject,
    "make moving-digit": _MakeMovingDigit,
    "make rolling": _MakeRolling,
    "make tasks": _MakeTasks,
}


def _write_recording(make: Any, folder: Path, seconds: float, seed: int) -> CommandResult:
    from spikebridge.data.io.atomic import check_new
    from spikebridge.data.recordings.write import write_recording

    check_new(folder)
    recording = make(seconds, seed)
    write_recording(recording, folder)
    size = f"{recording.events.width} x {recording.events.height}"
    data = {"folder": folder, "name": recording.name, "pixels": size, "frames": recording.num_frames}
    data |= {"events": int(recording.events.edges[-1]), "seconds": round(recording.num_bins * recording.dt, 3)}
    first = recording.frame_boxes[0]

    # a recording without boxes has NaN
    if (first == first).all():
        data["first_box"] = ",".join(f"{value:.1f}" for value in first)

    return CommandResult(data, formatting.facts(data))
