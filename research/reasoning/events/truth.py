"""True events of single objects: what the truth of the scene files can tell, and what it cannot.

| event | CLEVRER's videos | generated videos |
|---|---|---|
| entrance, exit | the lists `in` and `out` of a scene | first frame in view, first one no longer in view |
| start of motion | a collision of an object that rests before it and moves after it, by its track | rest, then motion |
| change of direction | a collision that turns a moving object by 30 degrees, by its track | the same, exact |
| end of motion | nothing tells it | from motion to rest |

Collisions of CLEVRER's videos after which the motion of an object is between both cases count neither for nor against a
unit. Near truth is no reference of motion: it is a fit whose tracks jump where it was corrected.
"""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from spikebridge.networks.reasoning.data.clevrer_scenes import read_scene
from spikebridge.networks.reasoning.data.scene import NUM_OBSERVED_FRAMES, Scene
from spikebridge.networks.reasoning.events.collision_inputs import on_grid
from spikebridge.networks.reasoning.simulation.video import RollingVideo, in_view

KINDS = ("in", "out", "move", "stop", "turn")
LAST = 25  # last sample of a track, of 5 frames each

_Occurrence = tuple[tuple[str, str, str], float]  # the values of an object, and a frame


@dataclass(frozen=True)
class TrueEvents:
    """True events by kind, and those that count neither for nor against a unit."""

    events: dict[str, list[_Occurrence]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    unclear: dict[str, list[_Occurrence]] = field(default_factory=lambda: {kind: [] for kind in KINDS})


def read_true_scenes(path: Path, first: int = 0, number: int | None = None) -> Iterator[tuple[Scene, dict]]:
    """The scenes of a file with the key `truth`, with that truth."""
    with gzip.open(path, "rt") as lines:
        for k, line in enumerate(lines):
            if number is not None and k >= first + number:
                return
            if k >= first:
                plain = json.loads(line)
                yield read_scene(plain, f"{path.name}:{k + 1}"), plain["truth"]


def true_events(scene: Scene, truth: dict) -> TrueEvents:
    """The true events of a perceived scene; motion before and after a true collision is that of its tracks."""
    found = TrueEvents()
    objects = [tuple(triple) for triple in truth["objects"]]
    for kind in ("in", "out"):
        found.events[kind].extend((objects[o], frame) for frame, o in truth[kind])

    places, visible = on_grid(scene)
    number_of = {triple: o for o, triple in enumerate(scene.objects)}
    for frame, *pair in truth["collisions"]:
        for triple in (objects[o] for o in pair):
            if triple in number_of:
                o = number_of[triple]
                _judge_strike(found, (triple, frame), places[:, o], visible[:, o] > 0)

    return found


def _judge_strike(found: TrueEvents, event: _Occurrence, places: np.ndarray, visible: np.ndarray) -> None:
    """Adds what a strike did to an object: from rest to motion, or to another direction."""
    at = int(event[1] // 5)
    begin = max(0, at - 2)
    after, end = min(LAST, at + 1), min(LAST, at + 4)
    if at < 1 or end <= after:
        found.unclear["move"].append(event)
        found.unclear["turn"].append(event)
        return

    before = (places[at] - places[begin]) / (5 * (at - begin))
    later = (places[end] - places[after]) / (5 * (end - after))
    speeds = np.linalg.norm(before), np.linalg.norm(later)

    # the striking object may hide the other one shortly before contact, so rest is judged earlier
    window = slice(max(0, at - 5), max(max(0, at - 5) + 1, at - 2) + 1)
    early = places[window]
    is_seen = visible[window].all() and len(early) >= 3
    keeps = is_seen and np.linalg.norm(early - early[0], axis=1).max() < 0.6
    rests = keeps and np.linalg.norm(places[at] - early[-1]) < 3
    if rests and speeds[1] > 0.15:
        found.events["move"].append(event)
    elif (rests or not is_seen or speeds[0] < 0.15) and speeds[1] > 0.06:
        found.unclear["move"].append(event)

    if min(speeds) > 0.2:
        angle = np.degrees(np.arccos(np.clip(before @ later / (speeds[0] * speeds[1]), -1, 1)))
        if angle > 30:
            found.events["turn"].append(event)
        elif angle > 10:
            found.unclear["turn"].append(event)
    elif min(speeds) > 0.05:
        found.unclear["turn"].append(event)


def generated_events(video: RollingVideo) -> TrueEvents:
    """The exact events of a generated video, from its positions at every frame."""
    found = TrueEvents()
    places = video.positions[:NUM_OBSERVED_FRAMES]
    velocity = np.diff(places, axis=0)
    for o, triple in enumerate(video.scene().objects):
        seen = in_view(places[:, o])
        found.events["in"] += [(triple, frame) for frame in np.flatnonzero(~seen[:-1] & seen[1:]) + 1]
        found.events["out"] += [(triple, frame) for frame in np.flatnonzero(seen[:-1] & ~seen[1:]) + 1]

        moves = np.linalg.norm(velocity[:, o], axis=1) > 1e-3
        both = seen[1:-1] & seen[2:]
        found.events["move"] += [(triple, frame) for frame in np.flatnonzero(~moves[:-1] & moves[1:] & both) + 1]
        found.events["stop"] += [(triple, frame) for frame in np.flatnonzero(moves[:-1] & ~moves[1:] & both) + 1]

        for contact in video.contacts:
            if o in (contact.first, contact.second) and 2 < contact.frame < NUM_OBSERVED_FRAMES - 3:
                before, later = velocity[contact.frame - 2, o], velocity[contact.frame + 1, o]
                speeds = np.linalg.norm(before), np.linalg.norm(later)
                if min(speeds) > 0.2 and before @ later < np.cos(np.radians(30)) * speeds[0] * speeds[1]:
                    found.events["turn"].append((triple, contact.frame))

    return found
