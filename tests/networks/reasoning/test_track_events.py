"""Events of single objects from tracks, worked by hand, and what programs that ask for them see."""

from typing import Any

import numpy as np
import pytest

from spikebridge.networks.reasoning.data.scene import Question, Scene
from spikebridge.networks.reasoning.events.events import COLLISION, EVENT_KINDS, IN, observed_events, tracks_of
from spikebridge.networks.reasoning.events.motion import SIDE_NAMES, hitters_of, sides_of, with_motion
from spikebridge.networks.reasoning.events.track_events import TrackEventUnit, detect_track_events
from spikebridge.networks.reasoning.executor import Executor
from spikebridge.networks.reasoning.explain.ask import Observation, QuestionAnswers
from spikebridge.networks.reasoning.explain.explain import explain
from spikebridge.networks.reasoning.explain.grounding import ground
from spikebridge.networks.reasoning.explain.page import explanation_page
from spikebridge.networks.reasoning.graph.run import answer

OBJECTS = [["red", "metal", "cube"], ["blue", "rubber", "sphere"]]
RED = "objects red filter_color unique"


def scene_of(*tracks: list[Any], collisions: list[list[int]] | None = None) -> Scene:
    """One object a track, with x and y at every sample or None where it is not visible; x is down, y to the right."""
    samples = [
        [5 * s, [[o, *track[s]] for o, track in enumerate(tracks) if track[s] is not None]]
        for s in range(len(tracks[0]))
    ]
    return Scene.from_lists(1, OBJECTS[: len(tracks)], samples, collisions or [])


def listed(scene: Scene) -> list[tuple[str, int]]:
    """The events of the first object."""
    rows = detect_track_events(scene, TrackEventUnit()).tolist()
    return sorted(((EVENT_KINDS[kind], frame) for kind, frame, o in rows if o == 0), key=lambda event: event[1])


def rests(number: int, y: float = 70.0) -> list[Any]:
    return [(50.0, y)] * number


def rolls(number: int, y: float, step: float) -> list[Any]:
    return [(50.0, y + step * k) for k in range(number)]


def value_of(scene: Scene, program: str) -> str | None:
    (given,) = answer(scene, [Question(1, "descriptive", tuple(program.split()))])[0]
    executed = Executor(scene).run(program.split())
    assert given.value == executed.value or executed.value is None
    return given.value


def test_an_entrance_is_where_the_speed_leads_back_to_the_border() -> None:
    # first seen at frame 15, 4.5 px from the left border, with 1 px a frame: 4.5 + 0.5 px are 5 frames
    assert listed(scene_of([None] * 3 + rolls(23, 4.5, 5.0))) == [("in", 10)]


def test_an_exit_is_where_the_speed_leads_on_to_the_border() -> None:
    # last seen at frame 100, 4.5 px from the left border
    assert listed(scene_of(rolls(21, 104.5, -5.0) + [None] * 5)) == [("begin", 0), ("out", 105)]


def test_who_is_hidden_for_a_while_neither_enters_nor_leaves_nor_moves() -> None:
    hidden = [*rests(8), (50.6, 70.9), None, None, (50.0, 69.2), *rests(14)]
    assert listed(scene_of(hidden)) == []


@pytest.mark.parametrize(("collisions", "frame"), [([], 52), ([[57, 0, 1]], 57)])
def test_a_start_is_behind_the_last_sample_at_rest_or_at_the_collision_that_caused_it(
    collisions: list[list[int]], frame: int
) -> None:
    track = rests(11) + rolls(15, 74.0, 4.0)
    assert listed(scene_of(track, rests(26, 100.0), collisions=collisions)) == [("move", frame)]


def test_where_collisions_are_known_nothing_starts_without_one() -> None:
    track = rests(11) + rolls(15, 74.0, 4.0)
    others = [rests(26, 100.0), rests(26, 20.0)]
    scene = Scene.from_lists(
        1,
        [*OBJECTS, ["green", "metal", "cube"]],
        [[5 * s, [[0, *track[s]], *[[o + 1, *other[s]] for o, other in enumerate(others)]]] for s in range(26)],
        [[57, 1, 2]],
    )
    assert listed(scene) == []


def test_an_object_stops_at_the_first_sample_of_its_last_place() -> None:
    assert listed(scene_of(rolls(10, 30.0, 4.0) + rests(16, 66.0))) == [("begin", 0), ("stop", 45)]


@pytest.mark.parametrize(("angle", "turns"), [(25.0, False), (35.0, True)])
def test_a_turn_is_a_change_of_direction_of_30_degrees_at_a_collision(angle: float, turns: bool) -> None:
    step = 4 * np.array([np.sin(np.radians(angle)), np.cos(np.radians(angle))])
    after = [tuple(np.array([50.0, 66.0]) + step * k) for k in range(1, 17)]
    scene = scene_of(rolls(10, 30.0, 4.0) + after, rests(26, 100.0), collisions=[[46, 0, 1]])
    assert (("turn", 46) in listed(scene)) == turns


@pytest.mark.parametrize(
    ("place", "step", "extent", "sides"),
    [
        ((50.0, 4.0), (0.0, 4.0), (100.0, 150.0), {"left"}),
        ((96.0, 4.0), (-4.0, 4.0), (100.0, 150.0), {"left", "bottom"}),
        ((4.0, 90.0), (4.0, 0.5), (100.0, 150.0), {"top"}),
        # x to the right, as in pictures
        ((4.0, 50.0), (4.0, 0.0), (144.0, 96.0), {"left"}),
    ],
)
def test_a_side_is_that_of_the_border_or_of_the_heading(
    place: tuple[float, float], step: tuple[float, float], extent: tuple[float, float], sides: set[str]
) -> None:
    track = [tuple(np.array(place) + np.array(step) * k) for k in range(12)]
    base = scene_of([None] * 14 + track)
    scene = Scene(base.video, base.objects, base.frames, base.positions, extent=extent)
    events = with_motion(observed_events([scene], tracks_of([scene])), [scene])
    (entrance,) = sides_of(events, [scene])[events.kind == IN]
    assert {name for name, at_side in zip(SIDE_NAMES, entrance, strict=True) if at_side} == sides


def test_the_faster_one_before_contact_strikes() -> None:
    scene = scene_of(rests(26), rolls(26, 20.0, 4.0), collisions=[[57, 0, 1]])
    events = observed_events([scene], tracks_of([scene]))
    assert hitters_of(events, [scene])[events.kind == COLLISION].tolist() == [1]
    assert (hitters_of(events, [None]) == -1).all()

    assert value_of(scene, f"events {RED} filter_hitter exist") == "no"
    blue = "events objects blue filter_color unique filter_hitter unique objects blue filter_color unique"
    assert value_of(scene, f"{blue} query_collision_partner query_color") == "red"


def pushed() -> Scene:
    """Red rests until blue, which rolls in from the left, strikes it."""
    blue = [None] * 3 + rolls(9, 8.0, 6.0) + rests(14, 62.0)
    return scene_of(rests(12) + rolls(14, 74.0, 4.0), blue, collisions=[[57, 0, 1]])


@pytest.mark.parametrize(
    ("program", "value"),
    [
        (f"events {RED} filter_move unique query_object query_shape", "cube"),
        (f"events {RED} filter_come count", "1"),
        (f"events {RED} filter_change left filter_side count", "1"),
        (f"events {RED} filter_in exist", "no"),
        ("events objects blue filter_color unique filter_in left filter_side exist", "yes"),
        ("events objects blue filter_color unique filter_in right filter_side exist", "no"),
        # the entrance is a cause of the start, the start is none of the collision before it
        ("events objects blue filter_color unique filter_in unique "
         f"events events {RED} filter_move unique filter_ancestor belong_to", "correct"),
        (f"events {RED} filter_move unique "
         f"events events {RED} filter_collision unique filter_ancestor belong_to", "wrong"),
    ],
)  # fmt: skip
def test_programs_ask_for_what_single_objects_do(program: str, value: str) -> None:
    assert value_of(pushed(), program) == value


def test_other_programs_see_the_events_that_they_saw_before() -> None:
    assert value_of(pushed(), "events objects filter_collision count") == "1"
    # blue disappears for no sample; in the world of visibility it enters where it is first seen
    world = explain(pushed(), ["events", "objects", "filter_in", "count"])
    assert [label for label in world.events if "starts" in label or "stops" in label] == []
    assert "blue sphere enters (frame 15)" in world.events
    assert "red cube starts to move (frame 57)" in explain(pushed(), f"events {RED} filter_move count".split()).events


@pytest.mark.parametrize("name", ["nothing", "objects alone", "one frame", "collisions without a trajectory"])
def test_a_video_of_one_frame_or_of_nothing_has_no_such_event(name: str) -> None:
    places = [[0, [[0, 10.0, 20.0], [1, 50.0, 60.0]]]] if name == "one frame" else []
    collisions = [[50, 0, 1]] if name.startswith("collisions") else []
    scene = Scene.from_lists(1, OBJECTS if name != "nothing" else [], places, collisions)
    assert value_of(scene, "events objects filter_change count") == "0"
    assert value_of(scene, "events objects filter_come left filter_side exist") == "no"

    question = Question(1, "descriptive", ("events", "objects", "filter_hitter", "exist"), text="Does one strike?")
    page = explanation_page(Observation(scene), QuestionAnswers(ground(scene, question), answer(scene, [question])[0]))
    assert "no (ok, confidence 1.00)" in page
