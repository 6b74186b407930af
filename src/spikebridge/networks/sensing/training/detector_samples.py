"""The dataset of the target detector: pairs of frames, the events between them, the background, and a first frame.

Pictures have a higher resolution than a patch: at that of a patch they would be less sharp than those of a tracker, and
a detector mistakes a sharper picture for one of a smaller target. The background is the one that a tracker would have:
updated with boxes that are a little wrong, and unknown at first.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from spikebridge.data.events.binned import crop_events
from spikebridge.data.recordings.recording import Recording
from spikebridge.errors import ConfigError
from spikebridge.networks.sensing.model.background import Background, initial_background
from spikebridge.networks.sensing.model.boxes import Box, Reader, box_center, box_from_center, crop_covering
from spikebridge.networks.sensing.model.detector import patch_side, resample
from spikebridge.training.batches import Batches

# side of a picture, in sides of the patch: augmentation and wrong boxes need pixels around it
_MARGIN = 1.7
_PICTURE_SIDE = 132
# grey level of the background where it is unknown
_UNKNOWN = 255
# ON and OFF share a byte
_EVENT_BITS = 4
_MAX_EVENT_LEVEL = 2**_EVENT_BITS - 1
# numbers of frames between the two of a pair
_GAPS = (1, 2)
# largest number of frames to the frame with the given box
_MAX_DISTANCE = 300
# additional samples without the target, as a share of the others; chosen on the validation frames
_ABSENT_SHARE = 0.2
# sides of the target from its centre, where a patch does not show it
_MIN_AWAY = 2.0
_MAX_TRIES = 20
# frames that are not read again; each is used in several pairs
_NUM_CACHED = 16


class _PairUse(NamedTuple):
    """A sample of a pair: the frame of the first template, the direction of time, and whether it shows the target."""

    first: int
    is_backwards: bool
    has_target: bool


class _FramePair(NamedTuple):
    """Two frames, the box around which they are cut, and their samples."""

    earlier: int
    later: int
    around: Box
    uses: tuple[_PairUse, ...]


class _NewFrame(NamedTuple):
    """A new frame, the number of frames since the one before it, and the direction of time: they fix a background."""

    frame: int
    gap: int
    is_backwards: bool


class DetectorDataset:
    """Samples of the detector. Samples share pictures, and clips have no events: each picture is in memory once."""

    def __init__(self, rows: Batches, pairs: Tensor, events: Tensor, behind: Tensor, first: Tensor) -> None:
        # boxes of each sample, the indices of its `pair`, `events`, `behind` and `first`, and `is_backwards`
        self.rows = rows
        # the earlier and the later of two frames
        self.pairs = pairs
        # events between two frames, ON in the upper half of a byte and OFF in the lower one; the first has none
        self.events = events
        # the background in the new frame; 255 where it is unknown
        self.behind = behind
        # frames with a given box, for the first template
        self.first = first

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, indices: Int[Tensor, "n"]) -> dict[str, Tensor]:
        """The samples of these numbers, in this order."""
        row = self.rows.select(indices)
        is_backwards = row.pop("is_backwards")[:, None, None, None]
        pair = self.pairs[row.pop("pair")]
        packed = self.events[row["events"]]
        events = 255 // _MAX_EVENT_LEVEL * torch.cat([packed >> _EVENT_BITS, packed & _MAX_EVENT_LEVEL], 1)

        # backwards in time what became brighter becomes darker
        before, frame = torch.where(is_backwards, pair.flip(1), pair).split(1, 1)
        events = torch.where(is_backwards, events.flip(1), events)

        # the frame itself where the background is unknown: no difference, also after resampling
        grey = self.behind[row["behind"]]
        is_known = grey < _UNKNOWN
        behind = torch.cat([torch.where(is_known, grey, frame), is_known.byte() * 255], 1)
        first = self.first[row["first"]]

        return {**row, "frame": frame, "before": before, "events": events, "behind": behind, "first": first}


def detector_samples(
    parts: Sequence[tuple[Recording, range]], absent_share: float = _ABSENT_SHARE, seed: int = 0
) -> DetectorDataset:
    """Pairs of frames with the events between them, and a third frame with a given box, as bytes.

    `parts` are recordings with boxes, and the frames of each that are the later ones of pairs. A recording with events
    gives all pairs of frames one or two apart, forwards and backwards in time; a clip has none and gives neighbours in
    one direction, so that clips do not outweigh the others.
    """
    generator = np.random.default_rng(seed)
    chosen = [
        (recording, frames, _frame_pairs(recording, frames, absent_share, generator)) for recording, frames in parts
    ]
    if not any(pairs for *_, pairs in chosen):
        raise ConfigError("a detector needs two neighbouring frames with boxes to be trained on, but got none")

    builder = _DatasetBuilder([(recording, pairs) for recording, _, pairs in chosen])
    for recording, frames, pairs in chosen:
        if pairs:
            builder.add(recording, range(frames[0], frames[-1] + 1), pairs, generator)

    return builder.dataset()


class _DatasetBuilder:
    """A dataset whose pictures are filled in place: stacking them would take twice the memory."""

    def __init__(self, parts: Sequence[tuple[Recording, list[_FramePair]]]) -> None:
        num_pairs = sum(len(pairs) for _, pairs in parts)
        num_samples = sum(len(pair.uses) for _, pairs in parts for pair in pairs)
        num_with_events = sum(len(pairs) for recording, pairs in parts if recording.events.num_events)
        num_first = sum(len({use.first for pair in pairs for use in pair.uses}) for _, pairs in parts)

        self.pairs = _pictures(num_pairs, 2)
        self.events = _pictures(1 + num_with_events, 1)
        self.behind = _pictures(num_samples, 1)
        self.first = _pictures(num_first, 1)

        self.rows: list[dict[str, ArrayLike]] = []
        self.num_pairs = 0
        # row 0 has no events
        self.num_events = 1
        self.num_first = 0

    def add(self, recording: Recording, frames: range, pairs: list[_FramePair], generator: np.random.Generator) -> None:
        """Adds the samples of a recording; the background is made from all frames of the range."""
        read = lru_cache(maxsize=_NUM_CACHED)(recording.frames.__getitem__)
        first_rows: dict[int, int] = {}
        samples: dict[_NewFrame, list[tuple[int, Box]]] = {}

        for pair in pairs:
            self.pairs[self.num_pairs] = _cut(_grey(read(pair.earlier), read(pair.later)), pair.around)
            events_row = self._add_events(recording, pair)

            for use in pair.uses:
                if use.first not in first_rows:
                    first_rows[use.first] = self.num_first
                    self.first[self.num_first] = _cut(_grey(read(use.first)), recording.frame_boxes[use.first])
                    self.num_first += 1

                row = len(self.rows)
                samples.setdefault(_new_frame(pair, use), []).append((row, pair.around))
                indices = {
                    "pair": self.num_pairs,
                    "behind": row,
                    "events": events_row,
                    "first": first_rows[use.first],
                }
                self.rows.append({**_local_boxes(recording, pair, use), **indices})

            self.num_pairs += 1

        for new, background in _backgrounds(recording, frames, read, generator):
            for row, around in samples.get(new, ()):
                self.behind[row] = _background_bytes(background, around)

    def _add_events(self, recording: Recording, pair: _FramePair) -> int:
        """Adds the events of a pair and gives their row."""
        if not recording.events.num_events:
            return 0

        row = self.num_events
        self.events[row] = _packed_events(recording, pair)
        self.num_events += 1
        return row

    def dataset(self) -> DetectorDataset:
        """The dataset of all samples."""
        columns = {name: torch.from_numpy(np.array([row[name] for row in self.rows])) for name in self.rows[0]}
        rows = Batches(columns, batch=dict.fromkeys(columns, 0))
        return DetectorDataset(rows, self.pairs, self.events, self.behind, self.first)


def _pictures(number: int, channels: int) -> Tensor:
    return torch.zeros(number, channels, _PICTURE_SIDE, _PICTURE_SIDE, dtype=torch.uint8)


def _new_frame(pair: _FramePair, use: _PairUse) -> _NewFrame:
    frame = pair.earlier if use.is_backwards else pair.later
    return _NewFrame(frame, pair.later - pair.earlier, use.is_backwards)


def _frame_pairs(
    recording: Recording, frames: range, absent_share: float, generator: np.random.Generator
) -> list[_FramePair]:
    has_box = np.isfinite(recording.frame_boxes).all(axis=1)
    has_events = bool(recording.events.num_events)
    pairs = []

    for gap in _GAPS if has_events else (1,):
        for k in frames[gap:]:
            if not (has_box[k - gap] and has_box[k]):
                continue

            candidates = [j for j in frames if has_box[j] and abs(j - k) <= _MAX_DISTANCE]
            directions = [False, True] if has_events else [bool(generator.integers(2))]
            uses = tuple(_PairUse(int(generator.choice(candidates)), way, has_target=True) for way in directions)
            pair = _FramePair(k - gap, k, recording.frame_boxes[[k - gap, k]].mean(0), uses)
            pairs.append(pair)

            for use in uses:
                if generator.random() < absent_share:
                    box = recording.frame_boxes[k - gap if use.is_backwards else k]
                    away = random_background_box(recording, box, generator)
                    if away is not None:
                        pairs.append(pair._replace(around=away, uses=(use._replace(has_target=False),)))

    return pairs


def random_background_box(recording: Recording, box: Box, generator: np.random.Generator) -> Box | None:
    """A box of the same size so far away that its patch does not show the target; None after too many tries."""
    extent = np.array([recording.events.width, recording.events.height])
    for center in generator.random((_MAX_TRIES, 2)) * extent:
        if np.hypot(*(center - box[:2] - box[2:] / 2)) > _MIN_AWAY * box[2:].prod() ** 0.5:
            return box_from_center(center, box[2:])

    return None


def _local_boxes(recording: Recording, pair: _FramePair, use: _PairUse) -> dict[str, ArrayLike]:
    """The boxes of a sample in pixels of its pictures, and what it shows."""
    side = _picture_side(pair.around)
    corner = box_center(pair.around) - side / 2
    order = (pair.earlier, pair.later) if use.is_backwards else (pair.later, pair.earlier)
    box, before = (recording.frame_boxes[k] if use.has_target else pair.around for k in order)
    first = recording.frame_boxes[use.first]

    def local(box: Box) -> NDArray[np.float32]:
        return (_PICTURE_SIDE / side * np.concatenate([box[:2] - corner, box[2:]])).astype(np.float32)

    first_size = (first[2:] * _PICTURE_SIDE / _picture_side(first)).astype(np.float32)
    return {
        "box": local(box),
        "box_before": local(before),
        "box_first": np.concatenate([(_PICTURE_SIDE - first_size) / 2, first_size]),
        "has_target": use.has_target,
        "is_backwards": use.is_backwards,
    }


def _packed_events(recording: Recording, pair: _FramePair) -> Tensor:
    """The events between two frames, around their box, ON and OFF in one byte."""
    first, stop = (int(recording.frame_events[k]) for k in (pair.earlier, pair.later))
    sensor = (0, 0, recording.events.width, recording.events.height)
    picture = crop_events(recording.events.slice_events(first, stop), sensor)
    on, off = _cut(_MAX_EVENT_LEVEL * picture, pair.around).split(1)
    return (on << _EVENT_BITS) + off


def _picture_side(box: Box) -> float:
    """Side of the picture around a target [px]."""
    return _MARGIN * float(patch_side(torch.tensor(box[None])))


def _grey(*frames: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.stack(frames).astype(np.float32))


def _cut(picture: Tensor, box: Box) -> Tensor:
    """A picture around a box as bytes, at a fixed resolution: large targets take no more memory."""
    center = torch.tensor(box_center(box)[None], dtype=torch.float32)
    sides = torch.full((1, 2), _picture_side(box))
    return resample(picture[None], center, sides, _PICTURE_SIDE)[0].round().to(torch.uint8)


def _background_bytes(background: Background | None, around: Box) -> Tensor:
    """The part of a background around a box, as bytes."""
    if background is None:
        return torch.full((1, _PICTURE_SIDE, _PICTURE_SIDE), _UNKNOWN, dtype=torch.uint8)

    # a pixel more on each side, since the part begins at a whole pixel
    reach = _picture_side(around) / 2 + 1
    shape = tuple(background.picture.shape[2:])
    crop = crop_covering(box_center(around).tolist(), (reach, reach), shape, min_size=1)
    behind = background.behind(crop)[0]
    grey, known = _cut(torch.cat([behind[:1], 255 * behind[1:]]), around - [*crop[:2], 0, 0]).split(1)

    return torch.where(known > 127, grey.clamp(max=_UNKNOWN - 1), _UNKNOWN)


def _backgrounds(
    recording: Recording, frames: range, read: Reader, generator: np.random.Generator
) -> Iterator[tuple[_NewFrame, Background | None]]:
    """The background in each new frame, forwards, then backwards in time; None where it is unknown."""
    for step in (1, -1):
        for k, backgrounds in background_sequence(recording, frames[::step], read, generator):
            for gap in _GAPS:
                yield _NewFrame(k, gap, is_backwards=step < 0), backgrounds.get(gap)


# errors of a tracker's boxes, relative to the target's size: of the centre, and of the size as a logarithm
_CENTER_ERROR = 0.06
_SIZE_ERROR = 0.1
# share of an error that the next frame has, too
_ERROR_MEMORY = 0.9
# share of the frames at which the background starts again, as after a given box
_RESTART_SHARE = 0.03


def background_sequence(
    recording: Recording, frames: Sequence[int], read: Reader, generator: np.random.Generator, error_factor: float = 1.0
) -> Iterator[tuple[int, Mapping[int, Background]]]:
    """The background in each frame, registered from the frame before it (1) and from the one before that (2).

    `frames` go forwards or backwards in time; a frame without a box, or one that does not directly follow the last,
    starts again. With an `error_factor` of 0 boxes are the true ones, and no background starts again.
    """
    backgrounds: dict[int, Background] = {}
    error = generator.normal(size=4)
    last = None

    for k in frames:
        box = recording.frame_boxes[k]
        has_box = np.isfinite(box).all()
        if last is None or abs(k - last) > 1 or not has_box:
            backgrounds = {}
        else:
            last_box = _with_error(recording.frame_boxes[last], error_factor * error)
            if backgrounds and generator.random() >= error_factor * _RESTART_SHARE:
                before = backgrounds[1]
            else:
                before = initial_background(read(last))

            background = before.updated(read(last), last_box, read(k), box)
            backgrounds = {1: background, 2: background.since(before)} if backgrounds else {1: background}

        last = k if has_box else None
        error = _ERROR_MEMORY * error + (1 - _ERROR_MEMORY**2) ** 0.5 * generator.normal(size=4)
        yield k, backgrounds


def _with_error(box: Box, error: NDArray[np.float64]) -> Box:
    center = box_center(box) + _CENTER_ERROR * box[2:].prod() ** 0.5 * error[:2]
    return box_from_center(center, box[2:] * np.exp(_SIZE_ERROR * error[2:]))
