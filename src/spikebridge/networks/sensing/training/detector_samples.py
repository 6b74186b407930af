"""What a finder is trained on: pairs of frames of a target, the events between them and what is behind it.

Pictures are kept finer than a sight: made coarser first they would be less sharp than what a tracker sees, and a finder
takes a sharper picture for one of a smaller target.

What is behind a target in a recording whose boxes are known, as a tracker would have seen it: by boxes that are a
little wrong, and not from its first frame on.
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

_ROOM = 1.7
_PICTURE = 132
_UNKNOWN = 255
_NIBBLE = 4  # bits for each of ON and OFF, which share a byte
_LOUDEST = 2**_NIBBLE - 1
_GAPS = (1, 2)
_OUT_OF_SIGHT = 2.0  # sizes of the target from its middle
_TRIES = 20
_KEPT = 16  # frames that are not read again; each is seen in several pairs


class View(NamedTuple):
    """One way to look at a pair of frames.

    Args:
        told: the frame in which the box was told.
        is_backwards: in time: the earlier frame is the new one.
        is_there: the target.
    """

    told: int
    is_backwards: bool
    is_there: bool


class FramePair(NamedTuple):
    """Two frames, the box around which they are cut, and how they are looked at."""

    earlier: int
    later: int
    around: NDArray[np.float64]
    looks: tuple[View, ...]


class _Seen(NamedTuple):
    """A new frame, how many frames ago the one before it was, and which way time went."""

    frame: int
    gap: int
    is_backwards: bool


def _seen(pair: FramePair, look: View) -> _Seen:
    return _Seen(pair.earlier if look.is_backwards else pair.later, pair.later - pair.earlier, look.is_backwards)


class DetectorDataset:
    """Samples for a finder.

    Many share their pictures, and clips have no events at all: each picture, and silence, lie in memory once.

    Args:
        rows: what each sample has of its own, the numbers of its `pair`, `events`, `behind` and `told`, and
            `is_backwards`.
        pairs: the earlier and the later of two frames.
        events: between two frames, ON in the upper half of a byte and OFF in the lower one; the first ones are none.
        behind: what is behind the target in the new frame; 255 where that is not known.
        told: pictures in which a box was told.
    """

    def __init__(self, rows: Batches, pairs: Tensor, events: Tensor, behind: Tensor, told: Tensor) -> None:
        self.rows = rows
        self.pairs = pairs
        self.events = events
        self.behind = behind
        self.told = told

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, indices: Int[Tensor, "n"]) -> dict[str, Tensor]:
        """The samples of these numbers, in this order."""
        row = self.rows.select(indices)
        backwards = row.pop("is_backwards")[:, None, None, None]
        pair, both = self.pairs[row.pop("pair")], self.events[row["events"]]
        events = 255 // _LOUDEST * torch.cat([both >> _NIBBLE, both & _LOUDEST], 1)
        # backwards in time what became brighter becomes darker
        before, now = torch.where(backwards, pair.flip(1), pair).split(1, 1)
        events = torch.where(backwards, events.flip(1), events)
        grey = self.behind[row["behind"]]
        known = grey < _UNKNOWN
        # a difference of nothing, also where pictures are resampled
        behind = torch.cat([torch.where(known, grey, now), known.byte() * 255], 1)
        pictures = {"now": now, "before": before, "events": events, "behind": behind, "told": self.told[row["told"]]}
        return {**row, **pictures}


def detector_samples(
    parts: Sequence[tuple[Recording, range]], apart: int = 300, lost: float = 0.2, seed: int = 0
) -> DetectorDataset:
    """Pairs of frames with the events between them and a third frame in which the box was told.

    Of a recording with events all pairs of neighbours, and of frames with one between them, forwards and backwards in
    time; of a clip, which has none, neighbours in one direction, so that clips do not outweigh the others.

    Args:
        parts: recordings with boxes, and which frames of each are the later ones of pairs; where they lie apart, those
            between them tell what is behind the target.
        apart: the told frame is at most so many frames away.
        lost: so many more, as a share of them, are looked at where the target is not: what a tracker sees that has
            lost it, in the new frame, in the one before and in its newest template.
        seed: draws all that is chosen.

    Returns:
        Pictures of bytes, boxes `(x, y, w, h)` inside them, and whether the target `is_there`.

    Raises:
        ConfigError: no two neighbouring frames have boxes.
    """
    generator = np.random.default_rng(seed)
    chosen = [(part, frames, _pairs(part, frames, apart, lost, generator)) for part, frames in parts]
    if not any(pairs for *_, pairs in chosen):
        raise ConfigError("a finder needs two neighbouring frames with boxes to learn from, but got none")
    num_pairs = sum(len(pairs) for *_, pairs in chosen)
    num_looks = sum(len(pair.looks) for *_, pairs in chosen for pair in pairs)
    num_heard = sum(len(pairs) for part, _, pairs in chosen if part.events.num_events)
    num_told = sum(len({look.told for pair in pairs for look in pair.looks}) for *_, pairs in chosen)
    # filled in place: pictures and what they are stacked to, side by side, would take twice the memory
    shown, heard, behind, told = (
        torch.zeros(number, channels, _PICTURE, _PICTURE, dtype=torch.uint8)
        for number, channels in ((num_pairs, 2), (1 + num_heard, 1), (num_looks, 1), (num_told, 1))
    )
    at_pair, at_events, at_told = count(), count(1), count()
    rows: list[dict[str, ArrayLike]] = []
    for part, frames, pairs in chosen:
        if not pairs:
            continue
        read = lru_cache(maxsize=_KEPT)(part.frames.__getitem__)
        known: dict[int, int] = {}
        looked: dict[_Seen, list[tuple[int, FramePair]]] = {}
        for pair in pairs:
            number, sound = next(at_pair), next(at_events) if part.events.num_events else 0
            shown[number] = _cut(_grey(read(pair.earlier), read(pair.later)), pair.around)
            if sound:
                heard[sound] = _events_between(part, pair)
            for look in pair.looks:
                if look.told not in known:
                    known[look.told] = next(at_told)
                    told[known[look.told]] = _cut(_grey(read(look.told)), part.frame_boxes[look.told])
                places = {"pair": number, "behind": len(rows), "events": sound, "told": known[look.told]}
                looked.setdefault(_seen(pair, look), []).append((len(rows), pair))
                rows.append({**_boxes(part, pair, look), **places})
        for where, room in _rooms(part, range(frames[0], frames[-1] + 1), read, looked, generator):
            for row, pair in looked[where]:
                behind[row] = _bare(room, pair.around)
    columns = {name: torch.from_numpy(np.array([row[name] for row in rows])) for name in rows[0]}
    return DetectorDataset(Batches(columns, batch=dict.fromkeys(columns, 0)), shown, heard, behind, told)


def _pairs(
    recording: Recording, frames: range, apart: int, lost: float, generator: np.random.Generator
) -> list[FramePair]:
    known = np.isfinite(recording.frame_boxes).all(axis=1)
    silent = not recording.events.num_events
    found = []
    for gap in (1,) if silent else _GAPS:
        for k in frames[gap:]:
            if not (known[k - gap] and known[k]):
                continue
            search_slice = [j for j in frames if known[j] and abs(j - k) <= apart]
            ways = [bool(generator.integers(2))] if silent else [False, True]
            looks = tuple(View(int(generator.choice(search_slice)), way, is_there=True) for way in ways)
            pair = FramePair(k - gap, k, recording.frame_boxes[[k - gap, k]].mean(0), looks)
            found.append(pair)
            for look in looks:
                here = recording.frame_boxes[k - gap if look.is_backwards else k]
                if (
                    generator.random() < lost
                    and (away := random_background_box(recording, here, generator)) is not None
                ):
                    found.append(pair._replace(around=away, looks=(look._replace(is_there=False),)))
    return found


def _rooms(
    recording: Recording, frames: range, read: Reader, looked: Container[_Seen], generator: np.random.Generator
) -> Iterator[tuple[_Seen, Background | None]]:
    """What is behind the target in each new frame that is looked at; None where nothing is known."""
    for step in (1, -1):
        for k, found in background_sequence(recording, frames[::step], read, generator):
            for gap in _GAPS:
                if (where := _Seen(k, gap, step < 0)) in looked:
                    yield where, found.get(gap)


def _bare(room: Background | None, around: NDArray[np.float64]) -> Tensor:
    """A part of a room, as bytes: 255 where it is not known."""
    if room is None:
        return torch.full((1, _PICTURE, _PICTURE), _UNKNOWN, dtype=torch.uint8)
    reach = _side(around) / 2 + 1
    middle = box_center(around).tolist()
    crop = crop_covering(middle, (reach, reach), tuple(room.picture.shape[2:]), least=1)
    seen = room.behind(crop)[0]
    grey, known = _cut(torch.cat([seen[:1], 255 * seen[1:]]), around - [*crop[:2], 0, 0]).split(1)
    return torch.where(known > 127, grey.clamp(max=_UNKNOWN - 1), _UNKNOWN)


def random_background_box(
    recording: Recording, box: NDArray[np.float64], generator: np.random.Generator
) -> NDArray[np.float64] | None:
    """A box of the same size on the frame, so far away that its sight does not show the target; None where no try found
    one."""
    room = np.array([recording.events.width, recording.events.height])
    for middle in generator.random((_TRIES, 2)) * room:
        if np.hypot(*(middle - box[:2] - box[2:] / 2)) > _OUT_OF_SIGHT * box[2:].prod() ** 0.5:
            return np.concatenate([middle - box[2:] / 2, box[2:]])
    return None


def _boxes(recording: Recording, pair: FramePair, look: View) -> dict[str, ArrayLike]:
    """Inside the pictures of a look."""
    scale = _PICTURE / _side(pair.around)
    corner = box_center(pair.around) - _side(pair.around) / 2
    order = (pair.earlier, pair.later) if look.is_backwards else (pair.later, pair.earlier)
    here, before = (recording.frame_boxes[k] if look.is_there else pair.around for k in order)
    there = recording.frame_boxes[look.told]

    def inside(box: NDArray[np.float64]) -> NDArray[np.float32]:
        return (scale * np.concatenate([box[:2] - corner, box[2:]])).astype(np.float32)

    told_size = (there[2:] * _PICTURE / _side(there)).astype(np.float32)
    return {
        "box": inside(here),
        "box_before": inside(before),
        "box_told": np.concatenate([(_PICTURE - told_size) / 2, told_size]),
        "is_there": look.is_there,
        "is_backwards": look.is_backwards,
    }


def _events_between(recording: Recording, pair: FramePair) -> Tensor:
    """The events between two frames, around their box."""
    events = recording.events.between(*(int(recording.frame_events[k]) for k in (pair.earlier, pair.later)))
    whole = (0, 0, recording.events.width, recording.events.height)
    on, off = _cut(_LOUDEST * crop_events(events, whole), pair.around).split(1)
    return (on << _NIBBLE) + off


def _side(box: NDArray[np.float64]) -> float:
    """How much is cut around a target: more than its sight, so that there is room for boxes that are wrong."""
    return _ROOM * float(patch_side(torch.tensor(box[None])))


def _grey(*frames: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.stack(frames).astype(np.float32))


def _cut(picture: Tensor, box: NDArray[np.float64]) -> Tensor:
    """A picture around a box, as bytes, at nearly the scale of a sight: large targets take no more memory."""
    middle = torch.tensor(box_center(box)[None], dtype=torch.float32)
    sides = torch.full((1, 2), _side(box))
    return resample(picture[None], middle, sides, _PICTURE)[0].round().to(torch.uint8)


_ANEW = 0.03  # of the frames
_OFF, _SWOLLEN = 0.06, 0.1  # of a target's size; as a logarithm
_LASTS = 0.9  # share of an error that the next frame has, too


def background_sequence(
    recording: Recording, frames: Sequence[int], read: Reader, generator: np.random.Generator, wrong: float = 1.0
) -> Iterator[tuple[int, Mapping[int, Background]]]:
    """What is behind the target in one frame after the other, by how many frames ago the last one was: one, or two.

    A frame without a box, or one that does not come at once after the last one, begins anew.

    Args:
        recording: with boxes at frames.
        frames: in the order in which they are seen, forwards or backwards in time.
        read: gives a frame of a number.
        generator: draws errors.
        wrong: how wrong boxes are; 0 for true ones that are followed from the first frame on.
    """
    found: dict[int, Background] = {}
    error, last = generator.normal(size=4), None
    for k in frames:
        box = recording.frame_boxes[k]
        if last is None or abs(k - last) > 1 or not np.isfinite(box).all():
            found = {}
        else:
            before = found[1] if found and generator.random() >= wrong * _ANEW else initial_background(read(last))
            known = _mistaken(recording.frame_boxes[last], wrong * error)
            room = before.updated(read(last), known, read(k), box)
            found = {1: room, 2: room.since(before)} if found else {1: room}
        last = k if np.isfinite(box).all() else None
        error = _LASTS * error + (1 - _LASTS**2) ** 0.5 * generator.normal(size=4)
        yield k, found


def _mistaken(box: np.ndarray, error: np.ndarray) -> np.ndarray:
    middle = box_center(box) + _OFF * box[2:].prod() ** 0.5 * error[:2]
    size = box[2:] * np.exp(_SWOLLEN * error[2:])
    return np.concatenate([middle - size / 2, size])
