"""Random scenes and random well-typed programs, for what the graph and the executor have to agree on."""

import numpy as np

from spikebridge.networks.reasoning.data.scene import ATTRIBUTES, COLORS, MATERIALS, SHAPES, Scene
from spikebridge.networks.reasoning.parsing.operators import OPERATORS, SIDES

_PUBLISHED = ("filter_in", "filter_out", "filter_collision", "filter_collision")
_ADDED = ("filter_move", "filter_stop", "filter_turn", "filter_come", "filter_change", "filter_hitter")
OVER_ALL = [row.token for row in OPERATORS if row.over_all]


def random_scene(rng: np.random.Generator, video: int = 0) -> Scene:
    """2 to 12 objects that come and go, 4 to 40 events, with ties in time and repeated meetings."""
    num_objects = int(rng.integers(2, 13))
    triples = [(c, m, s) for c in COLORS[:4] for m in MATERIALS for s in SHAPES]
    objects = [triples[i] for i in rng.choice(len(triples), num_objects, replace=False)]
    frames = np.arange(0, 130, 5)
    is_detected = rng.random((len(frames), num_objects)) < 0.97
    begins = rng.integers(0, 12, num_objects)
    ends = rng.integers(14, 40, num_objects)
    place = np.arange(len(frames))[:, None]
    visible = is_detected & (place >= begins) & (place < ends)
    moves = rng.random((len(frames), num_objects)) < rng.choice([0.05, 0.5, 1.0])
    path = np.cumsum(moves[:, :, None] * rng.normal(0, 4, (len(frames), num_objects, 2)), 0)
    trajectory = [
        [int(frame), [[o, *path[s, o].tolist()] for o in range(num_objects) if visible[s, o]]]
        for s, frame in enumerate(frames)
    ]

    collisions = random_meetings(rng, num_objects, int(rng.integers(0, 16)), 150)
    what_if = {o: random_meetings(rng, num_objects, int(rng.integers(0, 7)), 180) for o in range(num_objects)}

    return Scene.from_lists(video, objects, trajectory, collisions, what_if)


def random_meetings(rng: np.random.Generator, num_objects: int, number: int, latest: int) -> list[list[int]]:
    """Collisions of few pairs, so that many repeat, at few frames, so that many tie."""
    rows: dict[tuple[int, int, int], list[int]] = {}  # a pair meets once a frame
    for _ in range(number):
        a, b = rng.choice(min(num_objects, 4) if rng.random() < 0.6 else num_objects, 2, replace=False).tolist()
        frame = int(rng.integers(0, latest // 5)) * 5
        rows.setdefault((frame, min(a, b), max(a, b)), [frame, a, b])

    return list(rows.values())


class Programs:
    """Draws well-typed programs about a scene; depth bounds how deep values are nested."""

    def __init__(self, rng: np.random.Generator, scene: Scene, is_published: bool = False) -> None:
        self.rng = rng
        self.scene = scene
        self.is_published = is_published

    def pick(self, *options: str) -> str:
        return str(self.rng.choice(options))

    def whole(self) -> list[str]:
        kind = self.rng.random()
        if kind < 0.45:
            return self.descriptive()

        if kind < 0.75:
            end = ["negate"] if self.rng.random() < 0.5 else []
            return [*self.entry(), *self.causes(), "belong_to", *end]

        if kind < 0.85:
            return [*self.pair(), "unseen_events", "belong_to"]

        end = ["negate"] if self.rng.random() < 0.5 else []
        return [*self.pair(), "all_events", *self.object(1, free=False), "filter_counterfact", "belong_to", *end]

    def descriptive(self) -> list[str]:
        if self.rng.random() < 0.4:
            return [*self.object(2), self.pick(*(f"query_{kind}" for kind in ATTRIBUTES))]
        members = self.objects(2) if self.rng.random() < 0.5 else self.events(2)
        return [*members, self.pick("count", "exist")]

    def entry(self) -> list[str]:
        return self.object(1) if self.rng.random() < 0.5 else self.event(1)

    def causes(self) -> list[str]:
        if self.rng.random() < 0.6:
            return ["events", *self.event(1), self.pick(*OVER_ALL)]
        return self.events(2)

    def pair(self) -> list[str]:
        first, second = (["filter_collision"] for _ in range(2))
        return ["all_events", *self.object(1, False), *first, *self.object(1, False), *second, "unique"]

    def objects(self, depth: int, free: bool = True) -> list[str]:
        program = ["objects"]
        if free and depth > 0 and self.rng.random() < 0.35:
            program += self.frame(depth - 1)
            program.append(self.pick("filter_moving", "filter_stationary"))

        for kind, values in ATTRIBUTES.items():
            if self.rng.random() < 0.45:
                program += [self.pick(*(values[:4])), f"filter_{kind}"]

        return program

    def object(self, depth: int, free: bool = True) -> list[str]:
        chance = self.rng.random()
        if free and depth > 0 and chance < 0.2:
            return [*self.event(depth - 1), "query_object"]
        if free and depth > 0 and chance < 0.4:
            return [*self.event(depth - 1), *self.object(0), "query_collision_partner"]

        if chance < 0.9:
            named = self.scene.objects[int(self.rng.integers(self.scene.num_objects))]
            words = zip(named, ATTRIBUTES, strict=True)
            return ["objects", *(token for value, kind in words for token in (value, f"filter_{kind}")), "unique"]

        return [*self.objects(depth, free), "unique"]

    def events(self, depth: int) -> list[str]:
        program = ["events"]
        if depth > 0 and self.rng.random() < 0.35:
            program += [*self.event(depth - 1), self.pick(*OVER_ALL)]

        for _ in range(int(self.rng.integers(0, 3))):
            who = self.objects(0) if self.rng.random() < 0.5 else self.object(0)
            program += [*who, self.pick(*_PUBLISHED, *(() if self.is_published else _ADDED))]
            if not self.is_published and self.rng.random() < 0.2:
                program += [self.pick(*SIDES), "filter_side"]

        return program

    def event(self, depth: int) -> list[str]:
        chance = self.rng.random()
        if chance < 0.1:
            return ["events", self.pick("filter_start", "filter_end")]
        if chance < 0.55:
            return [*self.events(depth), self.pick("first", "second", "last"), "filter_order"]

        return [*self.events(depth), "unique"]

    def frame(self, depth: int) -> list[str]:
        return ["null"] if self.rng.random() < 0.3 else [*self.event(depth), "query_frame"]
