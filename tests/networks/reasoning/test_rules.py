"""From trajectories to events and worlds, worked by hand."""

from dataclasses import replace

import numpy as np
import pytest

from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.events.events import (
    EVENT_KINDS,
    causes_of,
    collision_events,
    nearest_samples,
    observed_events,
    ranks,
    tracks_of,
    without_object,
)
from spikebridge.networks.reasoning.graph.worlds import World, build_worlds

OBJECTS = [["red", "metal", "cube"], ["blue", "rubber", "sphere"], ["green", "metal", "cylinder"]]


def scene_of(places: list[list[float | None]], collisions: list[list[int]] | None = None, step: int = 5) -> Scene:
    """A scene from the x of each object at samples every `step` frames; None is not visible."""
    trajectory = [[step * s, [[o, x, 0.0] for o, x in enumerate(row) if x is not None]] for s, row in enumerate(places)]
    return Scene.from_lists(1, OBJECTS[: len(places[0])], trajectory, collisions or [])


def listed(scene: Scene) -> list[tuple[str, int, list[int]]]:
    events = observed_events([scene], tracks_of([scene]))
    kinds = [EVENT_KINDS[kind] for kind in events.kind]
    return [
        (k, int(f), [int(o) for o in w if o >= 0]) for k, f, w in zip(kinds, events.frame, events.objects, strict=True)
    ]


def test_an_object_that_becomes_visible_enters_and_exits_at_the_first_sample_without_it() -> None:
    scene = scene_of([[1.0, None], [1.0, 5.0], [None, 5.0], [1.0, 5.0]], [[10, 0, 1]])
    assert listed(scene) == [
        ("start", 0, []),
        ("in", 5, [1]),
        ("out", 10, [0]),
        ("collision", 10, [0, 1]),
        ("in", 15, [0]),
        ("end", 125, []),
    ]


def test_who_was_there_from_the_start_does_not_enter_and_what_comes_after_the_video_is_no_event() -> None:
    places: list[list[float | None]] = [[1.0]] * 26 + [[None], [1.0]]
    assert listed(scene_of(places, step=5)) == [("start", 0, []), ("end", 125, [])]


@pytest.mark.parametrize(
    ("places", "moving"),
    [
        # differences of 0.6, 0.4 and 0 a sample of 5 frames: 0.12, then (0.12 + 0.08) / 2 = 0.1, then 0.04, then 0
        ([0.0, 0.6, 1.0, 1.0], [True, False, False, False]),
        ([0.0, 0.6, 1.1, 1.1], [True, True, False, False]),
        # alone at its sample: no difference at all
        ([0.0, None, 9.0, None], [False, False, False, False]),
    ],
)
def test_speed_is_the_mean_of_the_differences_that_exist_and_above_a_tenth_is_moving(
    places: list[float | None], moving: list[bool]
) -> None:
    assert tracks_of([scene_of([[x] for x in places])]).moving[0, :, 0].tolist() == moving


def test_motion_labels_of_a_scene_override_speeds_and_invisible_objects_do_not_move() -> None:
    labeled = replace(scene_of([[0.0], [9.0], [None]]), moving=np.array([[False], [True], [True]]))
    both = tracks_of([scene_of([[0.0], [9.0], [18.0]]), labeled])
    assert both.moving[:, :, 0].tolist() == [[True, True, True], [False, True, False]]


def test_an_event_between_samples_takes_the_nearest_one() -> None:
    scene = scene_of([[0.0, 1.0]] * 4, [[7, 0, 1], [8, 0, 1]])
    tracks = tracks_of([scene])
    # start, 7, 8, end
    assert nearest_samples(tracks, observed_events([scene], tracks)).tolist() == [0, 1, 2, 3]


def test_an_event_depends_on_all_that_led_to_its_objects() -> None:
    chain = collision_events([np.array([[5, 0, 1], [9, 2, 3], [20, 1, 2]]), np.array([[5, 0, 1], [6, 2, 3]])])
    assert [(int(j), int(k)) for j, k in zip(*causes_of(chain), strict=True)] == [(2, 0), (2, 1)]

    # 3 needs 2, which needs 1, which needs 0, through one object each
    long = collision_events([np.array([[1, 0, 1], [2, 1, 2], [3, 2, 3], [4, 3, 4]])])
    assert len(causes_of(long).event) == 6


def test_without_an_object_only_what_followed_from_it_is_simulated() -> None:
    scene = Scene.from_lists(
        1, OBJECTS, [], [[10, 1, 2], [30, 0, 1], [50, 1, 2]], what_if={0: [[20, 1, 2], [90, 1, 2], [95, 0, 1]]}
    )
    # the second collision of 1 and 2 followed from the one with 0; at 20 both were still on their course
    assert without_object(scene, 0).tolist() == [[10, 1, 2], [90, 1, 2]]


def test_ranks_count_within_groups() -> None:
    assert ranks(np.array([0, 0, 2, 2, 2])).tolist() == [0, 1, 0, 1, 2]


def test_scenes_of_a_batch_do_not_touch_each_other() -> None:
    small = scene_of([[1.0], [2.0]])
    large = scene_of([[1.0, None, 3.0]] * 3 + [[None, 4.0, 3.0]], [[5, 0, 2]])
    together = build_worlds([small, large], [World(0), World(1)])

    for number, scene in enumerate((small, large)):
        alone = build_worlds([scene], [World(0)])
        own = together.events.scene == number
        for mine, theirs in zip(alone.events[1:], together.events[1:], strict=True):
            assert (mine == theirs[own]).all()

    assert together.num_objects.tolist() == [1, 3]


def test_motion_is_unknown_in_worlds_that_were_not_observed() -> None:
    scene = scene_of([[0.0, 5.0], [9.0, 5.0]], [[130, 0, 1]])
    worlds = build_worlds([scene], [World(0, "predicted")])

    assert len(worlds.moving.event) == 0
    assert worlds.not_still.other.tolist() == [0, 1]
    assert worlds.events.frame.tolist() == [130]


def test_an_attribute_that_the_graph_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigError, match="the graph has no shape 'cylinder'"):
        build_worlds([Scene.from_lists(1, OBJECTS, [], [])], [World(0)], attributes={
            "color": ("red", "blue", "green"), "material": ("metal", "rubber"), "shape": ("cube", "sphere"),
        })  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objects": [["rde", "metal", "cube"]]}, "object 0: unknown color 'rde'; did you mean 'red'"),
        ({"objects": [["red", "metal"]]}, r"expected \[colour, material, shape\]"),
        ({"objects": [OBJECTS[0], OBJECTS[0]]}, "objects 0 and 1 are both a red metal cube"),
        ({"trajectory": [[0, [[3, 1.0, 1.0]]]]}, "trajectory at frame 0: object 3 is not listed"),
        ({"trajectory": [[0, [[0, float("nan"), 1.0]]]]}, "is not finite or has diverged"),
        ({"trajectory": [[0, [[0, 1e37, 1.0]]]]}, "is not finite or has diverged"),
        ({"trajectory": [[0, []], [0, []]]}, "frame 0 is listed twice"),
        ({"trajectory": [[-5, []]]}, "a frame as an integer of at least 0"),
        ({"collisions": [[5, 0, 7]]}, "collision at frame 5: object 7 is not listed"),
        ({"collisions": [[5, 1, 1]]}, "object 1 collides with itself"),
        ({"what_if": {"4": []}}, "what_if: object '4' is not listed"),
    ],
)
def test_a_scene_that_cannot_be_meant_is_refused_with_its_place(changes: dict[str, object], message: str) -> None:
    lists = {"objects": OBJECTS, "trajectory": [], "collisions": [], "what_if": {}, **changes}
    with pytest.raises(DataError, match=message):
        Scene.from_lists(1, **lists)  # type: ignore[arg-type]
