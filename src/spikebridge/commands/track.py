"""`spikebridge track`."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from spikebridge import layout, targets
from spikebridge.commands.command import Answer, Command, Flag
from spikebridge.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Track(Command):
    """Follow one object through a recording of frames and events."""

    recording: Annotated[Path, Positional, arg(metavar="RECORDING", help_behavior_hint="")]
    """A folder of your own (meta.json, frames, events), one of FE240hz, a clip, or a file .aedat4."""
    init: Annotated[str | None, arg(metavar="x,y,w,h", help_behavior_hint="(default: the recording's first box)")] = (
        None
    )
    """The target's box in the first frame [px]."""
    network: Annotated[str, arg(metavar="RUN_OR_RECIPE")] = "sensing"
    """Who follows: a recipe with shipped weights, or a run folder."""
    out: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")] = None
    """A csv file for the boxes: t_us,x,y,w,h,confidence,lost."""
    animation: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")] = None
    """A .webp, .gif or .mp4 of the boxes over frames and events; .mp4 needs spikebridge[video]."""
    repair: Flag = False
    """Drop events outside the sensor and sort those that jump back, instead of refusing them."""
    event_offset: Annotated[int | None, arg(metavar="BINS", help_behavior_hint="(default: estimated)")] = None
    """FE240hz: bins between frames k and k + 1 begin at 6 k + this."""
    box_offset: Annotated[int | None, arg(metavar="BINS", help_behavior_hint="(default: found in the boxes)")] = None
    """FE240hz: the box of frame k is the fast box 6 k + this."""
    quiet: Flag = False
    """Show no progress."""

    def answer(self) -> Answer:
        """Loads recording and network, and follows."""
        target = targets.find(self.network)
        if not hasattr(target.module, "tracker"):
            raise ConfigError(f"{self.network} follows nothing; `track` takes the recipe `sensing` or a run of it")
        run = target.trained_run()
        from spikebridge.data.boxes import parse_box
        from spikebridge.data.recording_layouts import belongs_to, find_recording, load_recording
        from spikebridge.recipes.sensing_tracking import track_recording
        from spikebridge.recipes.tracking_progress import telling

        init = None if self.init is None else parse_box(self.init)
        folder = find_recording(self.recording.expanduser())
        for path in (self.out, self.animation):
            if path is not None and belongs_to(folder, path):
                raise ConfigError(f"{path} is a file of the recording itself; write into another file")
        if self.out is not None and self.animation is not None and self.out.resolve() == self.animation.resolve():
            raise ConfigError(f"{self.out}: boxes and animation need a file each; give them two names")
        tracker = target.module.tracker(run)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            recording = load_recording(
                folder,
                dt=tracker.sensing.dt,
                event_offset=self.event_offset,
                box_offset=self.box_offset,
                repair=self.repair,
            )
        told = [str(one.message) for one in caught]
        with telling(recording.num_bins, self.quiet) as tell:
            summary = track_recording(recording, tracker, init, self.out, self.animation, tell)
        data = {"run": run.path, "warnings": told, **summary}
        return Answer(data, layout.facts({name: value for name, value in data.items() if value not in (None, [])}))
