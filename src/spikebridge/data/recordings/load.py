"""Loads a recording of any known layout: the files in the folder decide.

| files | layout |
|---|---|
| `events_sparse.npz` | FE240hz |
| `meta.json` | a recording of your own |
| a file `.aedat4` instead of a folder | events and frames of a camera |
| images and a file of boxes | a video clip: frames without events |
| other folders | searched for recordings, up to three levels; clips count if there is nothing else, or by name |
"""

from pathlib import Path

import numpy as np

from spikebridge.data.events.files import buffer_events, frames_reader
from spikebridge.data.recordings.fe240hz import load_fe240hz
from spikebridge.data.recordings.folder import build_recording, check_bin_width, load_recording_folder, read_frames
from spikebridge.data.recordings.recording import Recording
from spikebridge.data.recordings.video_clips import clip_recording, is_clip
from spikebridge.errors import ConfigError, DataError, did_you_mean

_MAX_FOLDERS = 10_000
_DEPTH = 3
# names, without suffix, of files and folders that a layout reads
_RESERVED_STEMS = {
    *("boxes", "events", "frames", "meta"),
    *("events_sparse", "groundtruth_rect", "groundtruth_rect40", "img", "color"),
}


def load_recording(
    path: Path,
    name: str | None = None,
    dt: float = 1 / 240,
    event_offset: int | None = None,
    box_offset: int | None = None,
    repair: bool = False,
    allow_truncated: bool = False,
) -> Recording:
    """The recording of a folder, of a folder in it, or of a camera's file.

    Args:
        path: the recording's own folder, one that holds it, up to three levels above, or an `.aedat4` file.
        name: the name of the recording's folder, if there are several.
        dt: length of a bin [s]; a recording of FE240hz has its own.
        event_offset: for FE240hz, the bins from the first frame to the first bin; estimated without it.
        box_offset: for FE240hz, the box of the first frame; estimated without it.
        repair: drop events outside the sensor or before time 0, and sort the rest by time; a warning says how many.
        allow_truncated: warn of a file of events that ends inside a packet, and take the complete events before.

    Raises:
        DataError: there is no recording, several and no name, or the files are damaged or do not fit.
        ConfigError: no recording has the name, or the layout does not support a setting.

    Example:
        >>> load_recording(Path(getfixture("tmp_path")))
        Traceback (most recent call last):
        ...
        spikebridge.errors.DataError: ...: expected a recording (events_sparse.npz, or meta.json with frames and ...
    """
    folder = find_recording(path, name)
    if (folder / "events_sparse.npz").exists():
        _refuse_settings(folder, "FE240hz", repair=repair, allow_truncated=allow_truncated)
        recording = load_fe240hz(folder, event_offset, box_offset)
        if abs(recording.dt - dt) > 1e-9:
            raise ConfigError(f"{folder}: its bins are {recording.dt:.6g} s long, but bins of {dt:.6g} s are needed.")
        return recording

    # a setting that would be ignored is refused
    _refuse_settings(folder, "this layout", event_offset=event_offset, box_offset=box_offset)
    if folder.is_file():
        return load_camera_file(folder, dt, repair, allow_truncated)
    if (folder / "meta.json").exists():
        return load_recording_folder(folder, dt, repair, allow_truncated)

    _refuse_settings(folder, "this layout", allow_truncated=allow_truncated)
    return clip_recording(folder, dt)


def find_recording(path: Path, name: str | None = None) -> Path:
    """The folder, or the camera's file, of the one recording that path and name select."""
    if path.is_file():
        if frames_reader(path) is None:
            raise DataError(f"{path}: expected the folder of a recording or an .aedat4 file, but this is another file.")

        if name is not None:
            raise ConfigError(f"{path}: a file is one recording; leave out its name, {name!r}.")
        return path

    if not path.is_dir():
        raise DataError(f"{path}: expected the folder of a recording, but there is no such folder.")
    if name is None and _kind(path) is not None:
        return path

    folders = find_recordings(path)
    if name is not None:
        named = [folder for folder in folders if folder.name == name] or ([path] if path.name == name else [])
        if not named:
            names = [folder.name for folder in folders]
            raise ConfigError(f"{path}: no recording {name!r}; {did_you_mean(name, names) if names else 'none at all'}")

        return named[0]

    # clips have no events: they count only if there is nothing else
    folders = [folder for folder in folders if _kind(folder) == "events"] or folders
    if len(folders) == 1:
        return folders[0]

    if not folders:
        expected = "a recording (events_sparse.npz, or meta.json with frames and events), or a folder that holds one"
        raise DataError(f"{path}: expected {expected}, but found neither.")

    some = ", ".join(folder.name for folder in folders[:8]) + (", .." if len(folders) > 8 else "")
    raise DataError(f"{path}: expected one recording, but it holds {len(folders)} ({some}); name one (--recording).")


def find_recordings(path: Path) -> list[Path]:
    """The folders of all recordings and clips below a folder, up to three levels, in the order of their names."""
    found: list[Path] = []
    level = [path]

    for _ in range(_DEPTH):
        children = [child for folder in level for child in sorted(folder.iterdir()) if _is_searchable(child)]
        if len(children) > _MAX_FOLDERS:
            raise DataError(f"{path}: expected a folder of recordings, but it holds over {_MAX_FOLDERS} folders.")
        found += [child for child in children if _kind(child) is not None]
        level = [child for child in children if _kind(child) is None]

    return found


def is_part_of_recording(recording: Path, path: Path) -> bool:
    """True if a path is, or would be read as, a file of a recording: no output may be written there."""
    recording = recording.resolve()
    path = path.resolve()
    if path == recording:
        return True

    return path.is_relative_to(recording) and path.relative_to(recording).parts[0].split(".")[0] in _RESERVED_STEMS


def _is_searchable(path: Path) -> bool:
    # a link may lead back to a folder above
    return path.is_dir() and not path.is_symlink() and not path.name.startswith(".")


def _kind(folder: Path) -> str | None:
    if (folder / "events_sparse.npz").exists() or (folder / "meta.json").exists():
        return "events"
    return "clip" if is_clip(folder) else None


def _refuse_settings(folder: Path, layout: str, **settings: int | bool | None) -> None:
    """Refuses settings that would be ignored."""
    for name, value in settings.items():
        # an offset of 0 is a setting
        if value is not None and value is not False:
            raise ConfigError(f"{folder}: {name} does not go with {layout}; leave it out.")


def load_events(
    path: Path,
    dt: float,
    height: int | None = None,
    width: int | None = None,
    frames: Path | None = None,
    allow_truncated: bool = False,
) -> Recording:
    """A recording of a file of events; its clock begins with the first frame, or with the first event without frames.

    Args:
        path: the file, of a format that `read_events` knows.
        dt: length of a bin [s].
        height: rows of the sensor; needed if the file does not hold it.
        width: columns of the sensor.
        frames: a folder with `frames.csv` and `frames/`, as in a recording's folder, on the clock of the events.
        allow_truncated: as in `read_events`.

    Returns:
        The recording, without boxes.

    Raises:
        DataError: a file is missing, damaged, without events, or does not fit the others.
        ConfigError: the sensor is not known, or `dt` is too short.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "two.csv"
        >>> _ = path.write_text("t,x,y,p\\n10000,3,4,1\\n12500,5,6,0\\n")
        >>> load_events(path, dt=0.001, height=8, width=8).num_bins
        3
    """
    check_bin_width(dt)
    events = buffer_events(path, height, width, allow_truncated=allow_truncated)
    if not len(events.t):
        raise DataError(f"{path}: expected events to replay, but there are none.")

    if frames is None:
        nothing = np.zeros((0, events.height, events.width), np.uint8)
        return build_recording(path, events, nothing, np.empty(0, np.int64), dt)

    return build_recording(path, events, *read_frames(frames, path), dt)


def load_camera_file(path: Path, dt: float = 1 / 240, repair: bool = False, allow_truncated: bool = False) -> Recording:
    """The recording of one `.aedat4` file, without boxes; its clock begins with the first frame."""
    check_bin_width(dt)
    read_camera_frames = frames_reader(path)
    if read_camera_frames is None:
        raise DataError(f"{path}: expected an .aedat4 file of events and frames; give the folder of a recording.")

    events = buffer_events(path, repair=repair, allow_truncated=allow_truncated)
    frames, times = read_camera_frames(path, allow_truncated)
    if (frames.height, frames.width) != (events.height, events.width):
        sizes = f"the sensor's {events.width} x {events.height} pixels, but they are {frames.width} x {frames.height}"
        raise DataError(f"{path}: expected frames of {sizes}.")

    return build_recording(path, events, frames, times, dt)
