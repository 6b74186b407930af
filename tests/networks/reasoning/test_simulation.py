"""Generated videos of rolling objects: physics worked by hand, exact truth, clear draws."""

import sys
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.reasoning.question_answering.generated_questions import uncertain_pairs
from spikebridge.errors import ConfigError
from spikebridge.networks.reasoning.simulation.render import PALETTE, render_frames
from spikebridge.networks.reasoning.simulation.table import BOUNCE, RADIUS, REST, RollingTable, distance
from spikebridge.networks.reasoning.simulation.video import (
    INSIDE,
    MIN_CLOSING_SPEED,
    OUTSIDE,
    ObjectStart,
    Ranges,
    find_ambiguity,
    generate_video,
    in_view,
    simulate,
)

VIDEOS = [generate_video("train", number) for number in range(12)]


def test_a_head_on_bounce_shares_the_speed_as_by_hand() -> None:
    table = RollingTable(friction=0.0)
    table.put(0, (20.0, 50.0), (2.0, 0.0))
    table.put(1, (50.0, 50.0), (-2.0, 0.0))
    contacts = [contact for _ in range(10) for contact in table.step()]

    # 30 px apart, 14 px when they touch, 4 px nearer in each frame: in the fourth
    assert [(contact.first, contact.second) for contact in contacts] == [(0, 1)]
    assert contacts[0].frame in (4, 5)
    assert contacts[0].closing == pytest.approx(4.0)
    assert table.velocity(0) == pytest.approx((-2.0 * BOUNCE, 0.0), abs=1e-6)
    assert table.velocity(1) == pytest.approx((2.0 * BOUNCE, 0.0), abs=1e-6)


def test_a_disc_that_would_be_slower_than_rest_stops() -> None:
    table = RollingTable(friction=0.0)
    table.put(0, (20.0, 50.0), (1.0, 0.0))
    table.put(1, (44.5, 50.0), (0.0, 0.0))
    contacts = [contact for _ in range(12) for contact in table.step()]

    # 24.5 px apart, they touch at 14 px; the first one would keep 0.05 px/frame
    assert (contacts[0].frame, round(contacts[0].closing, 3)) == (11, 1.0)
    assert [round(table.velocity(i)[0], 2) for i in (0, 1)] == [0.0, 0.95]


def test_free_motion_is_the_closed_form_until_it_rests() -> None:
    friction, table = 0.02, RollingTable(friction=0.02)
    table.put(0, (10.0, 20.0), (1.2, 0.5))
    places = [(10.0, 20.0)]

    for _ in range(50):
        table.step()
        places.append(table.position(0))

    # 1.3 px a frame falls below 0.3 after ln(1.3 / 0.3) / 0.02 = 73.3 frames
    expected = np.array([10.0, 20.0]) + distance(np.arange(51), friction)[:, None] * np.array([1.2, 0.5])
    assert np.abs(np.array(places) - expected).max() < 1e-9
    for _ in range(40):
        table.step()

    assert table.velocity(0) == (0.0, 0.0)
    assert distance(np.array([0, 2]), 0.0).tolist() == [0.0, 2.0]
    assert REST * np.exp(friction) > 1.3 * np.exp(-73 * friction) > REST


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-2, 2)] * 2), min_size=3, max_size=3))
def test_no_motion_comes_from_nothing(velocities: list[tuple[float, float]]) -> None:
    table = RollingTable(friction=0.003)
    for number, velocity in enumerate(velocities):
        table.put(number, (30.0 + 25.0 * number, 40.0 + 10.0 * (number % 2)), velocity)

    energy = [sum(np.hypot(*table.velocity(i)) ** 2 for i in range(3))]
    for _ in range(40):
        table.step()
        energy.append(sum(np.hypot(*table.velocity(i)) ** 2 for i in range(3)))

    assert (np.diff(energy) < 1e-9).all()


def test_one_number_is_one_video_and_no_two_splits_share_one() -> None:
    again = generate_video("train", 3)
    other = generate_video("test", 3)

    assert again.objects == VIDEOS[3].objects
    assert np.array_equal(again.positions, VIDEOS[3].positions, equal_nan=True)
    assert np.array_equal(render_frames(again, np.array([5])), render_frames(VIDEOS[3], np.array([5])))
    assert other.starts != again.starts


def test_draws_are_clear_and_objects_are_unlike() -> None:
    for video in VIDEOS:
        assert find_ambiguity(video) is None
        assert 3 <= len(set(video.objects)) == len(video.objects) <= 6

        observed = [contact for contact in video.contacts if contact.frame < 128]
        assert observed
        assert min(contact.closing for contact in observed) >= MIN_CLOSING_SPEED


def test_a_soft_touch_and_an_uneventful_table_are_faults() -> None:
    video = VIDEOS[0]
    still = replace(
        video, starts=tuple(ObjectStart(0, (20.0 + 30.0 * i, 40.0), (0.0, 0.0)) for i in range(len(video.starts)))
    )

    assert find_ambiguity(still) == "nothing happens"

    slow = ObjectStart(0, (35.0, 40.0), (0.31, 0.0))  # 1 px before the next one
    soft = replace(video, starts=(slow, *still.starts[1:]), friction=0.002)

    assert simulate(soft.starts, soft.friction)[1][0].closing < 0.32
    assert find_ambiguity(soft) is not None


def test_the_scene_holds_samples_contacts_and_what_would_be() -> None:
    for video in VIDEOS:
        scene = video.scene()
        assert scene.frames.tolist() == list(range(0, 126, 5))
        assert (scene.visible == in_view(video.positions[scene.frames])).all()
        assert scene.collisions[:, 0].max() < 128 <= min(scene.predicted[:, 0].tolist(), default=128)
        assert set(scene.what_if) == set(range(len(video.objects)))
        assert len(video.positions) == 128 + 58
        assert all(removed not in rows[:, 1:] for removed, rows in scene.what_if.items())


def test_without_an_object_everything_is_as_it_was_until_its_first_touch() -> None:
    for video in VIDEOS[:6]:
        removed = video.contacts[0].first
        without = video.without(removed)
        until = video.contacts[0].frame
        others = [i for i in range(len(video.objects)) if i != removed]
        same = video.positions[:until, others], without.positions[:until, others]

        assert np.array_equal(*same, equal_nan=True)
        assert np.isnan(without.positions[:, removed]).all()


def test_the_picture_begins_at_its_left_and_ends_before_its_right() -> None:
    assert in_view(np.array([[0.0, 10.0], [144.0, 10.0], [np.nan, 0.0]])).tolist() == [True, False, False]


def test_boxes_fit_what_is_drawn() -> None:
    video = replace(VIDEOS[1], appearance=_plain_appearance(VIDEOS[1]))
    frame = 60
    shown = render_frames(video, np.array([frame]))[0].astype(float)
    empty = replace(video, starts=tuple(ObjectStart(500, s.position, s.velocity) for s in video.starts))
    blank = render_frames(empty, np.array([frame]))[0].astype(float)
    colored = np.abs(shown - blank).max(2) > 60

    visible = in_view(video.positions[frame])
    for number, (place, size) in enumerate(zip(video.positions[frame], video.box_sizes, strict=True)):
        if not visible[number] or (place < RADIUS).any():
            continue
        width, height = size
        x, y = place - size / 2
        column, row = np.round(video.positions[frame, number]).astype(int)
        inside = colored[int(y) : int(y + height) + 1, int(x) : int(x + width) + 1]

        assert inside.mean() > 0.35
        assert shown[row, column].shape == (3,)


def _plain_appearance(video: Any) -> Any:
    return video.appearance._replace(noise=0.0, occluder=None, brightness=1.0, table=0.65)


def test_every_color_has_a_paint_of_its_own() -> None:
    assert len({tuple(palette) for palette in PALETTE.values()}) == len(PALETTE) == 8


def test_outside_lies_outside() -> None:
    for name in ("friction", "speed", "brightness", "noise"):
        low, high = getattr(INSIDE, name)
        first, last = getattr(OUTSIDE, name)
        assert first > high or last < low, name

    assert {setting.name for setting in fields(Ranges)} >= {"occluder", "num_objects"}


def test_near_misses_are_uncertain() -> None:
    video = VIDEOS[0]
    # 120 px apart and 0.8 px nearer in each frame: they pass after the video's end, a hair's breadth from touching
    graze = (ObjectStart(0, (12.0, 40.0), (0.4, 0.0)), ObjectStart(0, (132.0, 40.0 + 2 * RADIUS - 0.05), (-0.4, 0.0)))
    clear = (graze[0], ObjectStart(0, (132.0, 42.0), (-0.4, 0.0)))

    for starts, doubtful in ((graze, {(0, 1)}), (clear, set())):
        assert uncertain_pairs(replace(video, objects=video.objects[:2], starts=starts, friction=0.0)) == doubtful


def test_settings_that_cannot_be_meant_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no split 'tset'; did you mean 'test'"):
        generate_video("tset", 0)

    with pytest.raises(ConfigError, match="num_objects needs 1 <= low <= high <= 8"):
        Ranges(num_objects=(5, 3))

    with pytest.raises(ConfigError, match="friction of 0 or more, but got -1"):
        RollingTable(-1.0)

    monkeypatch.setitem(sys.modules, "pymunk", None)
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[videos\]'"):
        RollingTable(0.0)
