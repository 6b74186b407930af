"""The dataset of the target detector: pairs of frames, the events between them, the background, and a first frame.

Pictures have a higher resolution than a patch: at that of a patch they would be less sharp than those of a tracker, and
a detector mistakes a sharper picture for one of a smaller target. The background is the one that a tracker would have:
updated with boxes that are a little wrong, and not known from the first frame on.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import count
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
from spikebridge.networks.sensing.model.boxes import Reader, box_center, crop_covering
from spikebridge.networks.sensing.model.detector import patch_side, resample
from spikebridge.training.batches import Batches

_MARGIN = 1.7
_PICTURE = 132
_UNKNOWN = 255
_NIBBLE = 4  # bits for each of ON and OFF, which share a byte
_LOUDEST = 2**_NIBBLE - 1
_GAPS = (1, 2)
_OUT_OF_SIGHT = 2.0  # sizes of the target from its middle
_TRIES = 20
_KEPT = 16  # frames that are not read again; each is seen in several pairs


class _View(NamedTuple):
    """A use of a pair of frames.

    Args:
        given: the frame with the given box, for the first template.
        is_backwards: in time: the earlier frame is the new one.
        is_there: whether the pair shows the target.
    """

    given: int
    is_backwards: bool
    is_there: bool


class FramePair(NamedTuple):
    """Two frames, the box around which they are cut, and their uses."""

    earlier: int
    later: int
    around: NDArray[np.float64]
    views: tuple[_View, ...]


class _Seen(NamedTuple):
    """A new frame, the number of frames since the one before it, and the direction of time."""

    frame: int
    gap: int
    is_backwards: bool


def _seen(pair: FramePair, view: _View) -> _Seen:
    return _Seen(pair.earlier if view.is_backwards else pair.later, pair.later - pair.earlier, view.is_backwards)


class DetectorDataset:
    """Samples of the detector. Samples share pictures, and clips have no events: each picture is in memory once.

    Args:
        rows: boxes of each sample, the indices of its `pair`, `events`, `behind` and `given`, and
            `is_backwards`.
        pairs: the earlier and the later of two frames.
        events: between two frames, ON in the upper half of a byte and OFF in the lower one; the first ones are none.
        behind: the background in the new frame; 255 where it is unknown.
        given: pictures of frames with a given box.
    """

    def __init__(self, rows: Batches, pairs: Tensor, events: Tensor, behind: Tensor, given: Tensor) -> None:
        self.rows = rows
        self.pairs = pairs
        self.events = events
        self.behind = behind
        self.given = given

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, indices: Int[Tensor, "n"]) -> dict[str, Tensor]:
        """The samples of these numbers, in this order."""
        row = self.rows.select(indices)
        backwards = row.pop("is_backwards")[:, None, None, None]
        pair = self.pairs[row.pop("pair")]
        both = self.events[row["events"]]
        events = 255 // _LOUDEST * torch.cat([both >> _NIBBLE, both & _LOUDEST], 1)

        # backwards in time what became brighter becomes darker
        before, now = torch.where(backwards, pair.flip(1), pair).split(1, 1)
        events = torch.where(backwards, events.flip(1), events)
        grey = self.behind[row["behind"]]
        known = grey < _UNKNOWN

        # a difference of nothing, also where pictures are resampled
        behind = torch.cat([torch.where(known, grey, now), known.byte() * 255], 1)
        pictures = {"now": now, "before": before, "events": events, "behind": behind, "given": self.given[row["given"]]}

        return {**row, **pictures}


def detector_samples(
    parts: Sequence[tuple[Recording, range]], apart: int = 300, lost: float = 0.2, seed: int = 0
) -> DetectorDataset:
    """Pairs of frames with the events between them, and a third frame with a given box.

    A recording with events gives all pairs of frames one or two apart, forwards and backwards in time; a clip has
    none and gives neighbours in one direction, so that clips do not outweigh the others.

    Args:
        parts: recordings with boxes, and which frames of each are the later ones of pairs; the frames
            between them are used for the background, too.
        apart: the largest number of frames to the frame with the given box.
        lost: additional samples without the target, as a share of the others: what a tracker sees that has lost it.
        seed: of all random choices.

    Returns:
        Pictures of bytes, boxes `(x, y, w, h)` inside them, and whether the target `is_there`.

    Raises:
        ConfigError: no two neighbouring frames have boxes.
    """
    generator = np.random.default_rng(seed)
    chosen = [(part, frames, _pairs(part, frames, apart, lost, generator)) for part, frames in parts]
    if not any(pairs for *_, pairs in chosen):
        raise ConfigError("a detector needs two neighbouring frames with boxes to be trained on, but got none")

    num_pairs = sum(len(pairs) for *_, pairs in chosen)
    num_views = sum(len(pair.views) for *_, pairs in chosen for pair in pairs)
    num_with_events = sum(len(pairs) for part, _, pairs in chosen if part.events.num_events)
    num_given_frames = sum(len({view.given for pair in pairs for view in pair.views}) for *_, pairs in chosen)

    # filled in place: stacking them would take twice the memory
    shown, between, behind, given = (
        torch.zeros(number, channels, _PICTURE, _PICTURE, dtype=torch.uint8)
        for number, channels in ((num_pairs, 2), (1 + num_with_events, 1), (num_views, 1), (num_given_frames, 1))
    )

    at_pair = count()
    at_events = count(1)
    at_given = count()
    rows: list[dict[str, ArrayLike]] = []

    for part, frames, pairs in chosen:
        if not pairs:
            continue

        read = lru_cache(maxsize=_KEPT)(part.frames.__getitem__)
        known: dict[int, int] = {}
        uses: dict[_Seen, list[tuple[int, FramePair]]] = {}

        for pair in pairs:
            number = next(at_pair)
            event_row = next(at_events) if part.events.num_events else 0
            shown[number] = _cut(_grey(read(pair.earlier), read(pair.later)), pair.around)
            if event_row:
                between[event_row] = _events_between(part, pair)

            for view in pair.views:
                if view.given not in known:
                    known[view.given] = next(at_given)
                    given[known[view.given]] = _cut(_grey(read(view.given)), part.frame_boxes[view.given])

                places = {"pair": number, "behind": len(rows), "events": event_row, "given": known[view.given]}
                uses.setdefault(_seen(pair, view), []).append((len(rows), pair))
                rows.append({**_boxes(part, pair, view), **places})

        for where, background in _backgrounds(part, range(frames[0], frames[-1] + 1), read, uses, generator):
            for row, pair in uses[where]:
                behind[row] = _as_bytes(background, pair.around)

    columns = {name: torch.from_numpy(np.array([row[name] for row in rows])) for name in rows[0]}
    return DetectorDataset(Batches(columns, batch=dict.fromkeys(columns, 0)), shown, between, behind, given)


def _pairs(
    recording: Recording, frames: range, apart: int, lost: float, generator: np.random.Generator
) -> list[FramePair]:
    known = np.isfinite(recording.frame_boxes).all(axis=1)
    has_no_events = not recording.events.num_events
    found = []

    for gap in (1,) if has_no_events else _GAPS:
        for k in frames[gap:]:
            if not (known[k - gap] and known[k]):
                continue

            search_slice = [j for j in frames if known[j] and abs(j - k) <= apart]
            ways = [bool(generator.integers(2))] if has_no_events else [False, True]
            views = tuple(_View(int(generator.choice(search_slice)), way, is_there=True) for way in ways)
            pair = FramePair(k - gap, k, recording.frame_boxes[[k - gap, k]].mean(0), views)
            found.append(pair)

            for view in views:
                here = recording.frame_boxes[k - gap if view.is_backwards else k]
                if (
                    generator.random() < lost
                    and (away := random_background_box(recording, here, generator)) is not None
                ):
                    found.append(pair._replace(around=away, views=(view._replace(is_there=False),)))

    return found


def _backgrounds(
    recording: Recording, frames: range, read: Reader, uses: Container[_Seen], generator: np.random.Generator
) -> Iterator[tuple[_Seen, Background | None]]:
    """The background in each new frame that is used; None where it is unknown."""
    for step in (1, -1):
        for k, found in background_sequence(recording, frames[::step], read, generator):
            for gap in _GAPS:
                if (where := _Seen(k, gap, step < 0)) in uses:
                    yield where, found.get(gap)


def _as_bytes(background: Background | None, around: NDArray[np.float64]) -> Tensor:
    """A part of a background as bytes: 255 where it is unknown."""
    if background is None:
        return torch.full((1, _PICTURE, _PICTURE), _UNKNOWN, dtype=torch.uint8)

    reach = _side(around) / 2 + 1
    middle = box_center(around).tolist()
    crop = crop_covering(middle, (reach, reach), tuple(background.picture.shape[2:]), least=1)
    seen = background.behind(crop)[0]
    grey, known = _cut(torch.cat([seen[:1], 255 * seen[1:]]), around - [*crop[:2], 0, 0]).split(1)

    return torch.where(known > 127, grey.clamp(max=_UNKNOWN - 1), _UNKNOWN)


def random_background_box(
    recording: Recording, box: NDArray[np.float64], generator: np.random.Generator
) -> NDArray[np.float64] | None:
    """A box of the same size so far away that its patch does not show the target; None if none was found."""
    extent = np.array([recording.events.width, recording.events.height])
    for middle in generator.random((_TRIES, 2)) * extent:
        if np.hypot(*(middle - box[:2] - box[2:] / 2)) > _OUT_OF_SIGHT * box[2:].prod() ** 0.5:
            return np.concatenate([middle - box[2:] / 2, box[2:]])

    return None


def _boxes(recording: Recording, pair: FramePair, view: _View) -> dict[str, ArrayLike]:
    """Inside the pictures of a view."""
    scale = _PICTURE / _side(pair.around)
    corner = box_center(pair.around) - _side(pair.around) / 2
    order = (pair.earlier, pair.later) if view.is_backwards else (pair.later, pair.earlier)
    here, before = (recording.frame_boxes[k] if view.is_there else pair.around for k in order)
    there = recording.frame_boxes[view.given]

    def inside(box: NDArray[np.float64]) -> NDArray[np.float32]:
        return (scale * np.concatenate([box[:2] - corner, box[2:]])).astype(np.float32)

    given_size = (there[2:] * _PICTURE / _side(there)).astype(np.float32)
    return {
        "box": inside(here),
        "box_before": inside(before),
        "box_given": np.concatenate([(_PICTURE - given_size) / 2, given_size]),
        "is_there": view.is_there,
        "is_backwards": view.is_backwards,
    }


def _events_between(recording: Recording, pair: FramePair) -> Tensor:
    """The events between two frames, around their box."""
    events = recording.events.slice_events(*(int(recording.frame_events[k]) for k in (pair.earlier, pair.later)))
    whole = (0, 0, recording.events.width, recording.events.height)
    on, off = _cut(_LOUDEST * crop_events(events, whole), pair.around).split(1)
    return (on << _NIBBLE) + off


def _side(box: NDArray[np.float64]) -> float:
    """Side of the picture around a target: larger than its patch, for boxes that are wrong [px]."""
    return _MARGIN * float(patch_side(torch.tensor(box[None])))


def _grey(*frames: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.stack(frames).astype(np.float32))


def _cut(picture: Tensor, box: NDArray[np.float64]) -> Tensor:
    """A picture around a box as bytes, at a fixed resolution: large targets take no more memory."""
    middle = torch.tensor(box_center(box)[None], dtype=torch.float32)
    sides = torch.full((1, 2), _side(box))
    return resample(picture[None], middle, sides, _PICTURE)[0].round().to(torch.uint8)


_RESTART_SHARE = 0.03  # of the frames
_OFF = 0.06  # of a target's size; as a logarithm
_SWOLLEN = 0.1
_LASTS = 0.9  # share of an error that the next frame has, too


def background_sequence(
    recording: Recording, frames: Sequence[int], read: Reader, generator: np.random.Generator, wrong: float = 1.0
) -> Iterator[tuple[int, Mapping[int, Background]]]:
    """The background in each frame, registered from the frame before it (1) and from the one before that (2).

    A frame without a box, or one that does not directly follow the last, starts again.

    Args:
        recording: with boxes at frames.
        frames: in their order, forwards or backwards in time.
        read: loads a frame.
        generator: of the errors.
        wrong: factor of the errors of the boxes; 0 for true boxes and a background from the first frame on.
    """
    found: dict[int, Background] = {}
    error = generator.normal(size=4)
    last = None

    for k in frames:
        box = recording.frame_boxes[k]
        if last is None or abs(k - last) > 1 or not np.isfinite(box).all():
            found = {}
        else:
            before = (
                found[1] if found and generator.random() >= wrong * _RESTART_SHARE else initial_background(read(last))
            )
            known = _with_error(recording.frame_boxes[last], wrong * error)
            background = before.updated(read(last), known, read(k), box)
            found = {1: background, 2: background.since(before)} if found else {1: background}

        last = k if np.isfinite(box).all() else None
        error = _LASTS * error + (1 - _LASTS**2) ** 0.5 * generator.normal(size=4)
        yield k, found


def _with_error(box: np.ndarray, error: np.ndarray) -> np.ndarray:
    middle = box_center(box) + _OFF * box[2:].prod() ** 0.5 * error[:2]
    size = box[2:] * np.exp(_SWOLLEN * error[2:])
    return np.concatenate([middle - size / 2, size])
