"""The collision units, fixed and learned, the presence unit, and what reads scenes with them."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikebridge.errors import ConfigError
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.events.collision_inputs import (
    ACCELERATIONS,
    DISTANCE,
    GRID,
    NUM_CHANNELS,
    acceleration,
    candidate_pairs,
    kinds,
    mirrored,
    on_grid,
    signals,
    velocity,
)
from spikebridge.networks.reasoning.events.collision_unit import (
    CollisionSpike,
    CollisionUnit,
    FixedCollisionUnit,
    expected_frame,
    log_odds,
)
from spikebridge.networks.reasoning.events.events import tracks_of
from spikebridge.networks.reasoning.events.presence_unit import (
    PresenceUnit,
    read_presence,
    track_signals,
    with_presence,
)
from spikebridge.networks.reasoning.events.reader import CollisionReader, detect_collisions
from spikebridge.ops import reference

OBJECTS = [["red", "metal", "cube"], ["blue", "rubber", "sphere"], ["gray", "metal", "cylinder"]]


def scene_of(*tracks: Any, collisions: Any = (), what_if: Any = None) -> Scene:
    """One object a track: for each grid sample a place, or None where it is not visible."""
    samples = [
        [int(frame), [[o, *track[t]] for o, track in enumerate(tracks) if track[t] is not None]]
        for t, frame in enumerate(GRID)
    ]
    return Scene.from_lists(1, OBJECTS[: len(tracks)], samples, list(collisions), what_if)


def rolls(until: float = 60.0, y: float = 9.0) -> list[Any]:
    """5 px a sample to the right, until it stops."""
    return [(min(5.0 * t, until), y) for t in range(26)]


def pushed(x: float = 70.0, y: float = 9.0) -> list[Any]:
    """Lies until sample 12, and then rolls on."""
    return [(x + 5.0 * max(t - 12, 0), y) for t in range(26)]


def lies(x: float = 70.0, y: float = 9.0) -> list[Any]:
    return [(x, y)] * 26


def random_pairs(number: int = 5, seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    places = torch.randn(26, number, 2, 2, generator=generator).cumsum(0) + 75
    visible = (torch.rand(26, number, 2, generator=generator) > 0.2).float()
    third = 60 * torch.rand(26, number, 2, generator=generator)

    return places, visible, third, torch.rand(number, 2, 5, generator=generator)


def test_velocity_and_acceleration_are_those_of_the_head() -> None:
    x = torch.tensor([0.0, 2.0, 6.0, 6.0])
    assert velocity(x).tolist() == [2.0, 3.0, 2.0, 0.0]
    assert acceleration(x).tolist() == [0.0, 2.0, -4.0, 0.0]


def test_channels_stand_where_their_names_say() -> None:
    places = torch.zeros(26, 1, 2, 2)
    places[:, 0, 1, 0] = 10.0
    places[13:, 0, 0, 1] = 1.0
    x = signals(places, torch.ones(26, 1, 2), torch.zeros(26, 1, 2), torch.zeros(1, 2, 5))

    assert x.shape == (26, 1, 2, NUM_CHANNELS)
    assert x[0, 0, :, DISTANCE].tolist() == [0.5, 0.5]
    # the first object's second coordinate jumps by 1: +1 before, -1 after, over a scale of 2
    assert x[12:14, 0, 0, ACCELERATIONS[1]].tolist() == [0.5, -0.5]
    assert x[12:14, 0, 1, ACCELERATIONS[3]].tolist() == [0.5, -0.5]


def test_the_answer_does_not_depend_on_the_order_of_a_pair() -> None:
    torch.manual_seed(0)
    unit = CollisionUnit(num_features=8).eval()
    pairs = random_pairs()
    swapped = [part.flip(2) for part in pairs[:3]] + [pairs[3].flip(1)]
    torch.testing.assert_close(unit(signals(*pairs))[0], unit(signals(*swapped))[0])


def test_training_sees_one_order_of_a_pair() -> None:
    pairs = random_pairs()
    torch.testing.assert_close(signals(*pairs, orders=1), signals(*pairs)[:, :, :1])


@pytest.mark.parametrize("unit", [CollisionUnit(8), FixedCollisionUnit()], ids=["learned", "fixed"])
def test_steps_and_cuts_give_what_the_whole_gives(unit: torch.nn.Module) -> None:
    unit.eval()
    x = torch.cat([signals(*random_pairs(3, seed)) for seed in (0, 1)])
    whole, _ = unit(x)

    assert whole.shape == (2, 3, 2)  # two videos one after the other are two windows

    parts = []
    state = None
    for part in (x[:1], x[1:30], x[30:]):
        y, state = unit(part, state)
        parts.append(y)

    torch.testing.assert_close(torch.cat(parts), whole)
    with reference():
        torch.testing.assert_close(unit(x)[0], whole)


def test_a_spike_needs_the_threshold_and_its_gradient_reaches_the_scores() -> None:
    scores = torch.tensor([[[[1.0, 0.0, 2.0]]]], requires_grad=True)
    odds = float(log_odds(scores.detach()))

    assert CollisionSpike(odds - 0.1)(scores, 1)[0][..., 0].item() == 1
    assert CollisionSpike(odds + 0.1)(scores, 1)[0][..., 0].item() == 0

    CollisionSpike(odds)(scores, 1)[0][..., 0].sum().backward()
    assert scores.grad is not None and (scores.grad != 0).all()


def test_the_threshold_travels_with_the_weights() -> None:
    unit = CollisionUnit(8)
    unit.set_threshold(-3.0)
    other = CollisionUnit(8)
    other.load_state_dict(unit.state_dict())

    assert other.discretizer is not None and float(other.discretizer.v_threshold) == -3.0


def test_a_frame_between_samples_follows_from_the_samples_around_the_peak() -> None:
    scores = torch.full((27,), -50.0)
    scores[[4, 5]] = torch.tensor([3.0, 0.0]).exp().log()
    share = torch.tensor([3.0, 0.0]).softmax(0)[1].item()

    assert expected_frame(scores).item() == pytest.approx(5 * (4 + share), abs=1e-4)

    scores[20] = 2.9  # a second, lower peak far away does not draw it
    assert expected_frame(scores).item() == pytest.approx(5 * (4 + share), abs=1e-4)


def test_log_odds_and_frame_of_scores_worked_by_hand() -> None:
    assert log_odds(torch.zeros(3)).exp().item() == pytest.approx(2)  # two against one

    even = torch.tensor([-50.0, 0.0, 0.0, -50.0, -50.0, -50.0, 9.0])  # samples 1 and 2
    assert expected_frame(even).item() == pytest.approx(7.5)


def test_material_and_shape_are_one_hot() -> None:
    assert kinds(Scene.from_lists(1, [["red", "rubber", "cube"]], [], [])).tolist() == [[0, 1, 1, 0, 0]]


def test_the_second_coordinate_is_mirrored() -> None:
    places = torch.tensor([[[[10.0, 20.0], [0.0, 75.0]]]])
    assert mirrored(places).tolist() == [[[[10.0, 130.0], [0.0, 75.0]]]]


def test_gaps_of_a_track_are_interpolated_and_marked() -> None:
    samples = [[0, [[0, 0.0, 0.0]]], [5, []], [10, [[0, 4.0, 2.0]]]]
    places, visible = on_grid(Scene.from_lists(1, OBJECTS[:1], samples, []))
    assert places[1].tolist() == [[2.0, 1.0]]
    assert visible[:4, 0].tolist() == [1.0, 0.0, 1.0, 0.0]


def test_candidates_come_near_once_gaps_are_filled() -> None:
    hidden: list[Any] = [place if not 5 <= t <= 20 else None for t, place in enumerate(rolls())]
    scene = scene_of(hidden, lies(), lies(140.0, 140.0))
    assert candidate_pairs([scene]).objects.tolist() == [[0, 1]]
    assert candidate_pairs([scene]).visible[:, 0, 0].sum() == 10


def test_an_object_that_was_never_seen_is_no_candidate() -> None:
    nowhere: list[Any] = [None] * 26
    assert len(candidate_pairs([scene_of(nowhere, lies()), scene_of(nowhere, nowhere)]).scene) == 0


def test_pairs_know_their_scene_and_the_nearest_third() -> None:
    pairs = candidate_pairs([scene_of(lies(0.0)), scene_of(lies(0.0), lies(3.0), lies(0.0, 4.0 + 9.0))])
    assert pairs.scene.tolist() == [1, 1, 1]
    assert pairs.objects.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert pairs.third[0].tolist() == [[4.0, 5.0], [3.0, 5.0], [3.0, 4.0]]
    assert [len(part) for part in candidate_pairs([])] == [26, 26, 26, 0, 0, 0]


def test_samples_off_the_grid_are_read_at_the_grid() -> None:
    every = [[frame, [[0, 1.0 * frame, 9.0]]] for frame in range(128)]
    places, visible = on_grid(Scene.from_lists(1, OBJECTS[:1], every, []))
    np.testing.assert_allclose(places[:, 0, 0], GRID)

    assert visible.all()

    short, visible = on_grid(Scene.from_lists(1, OBJECTS[:1], every[:13], []))
    assert visible[:, 0].tolist() == [1.0, 1.0, 1.0] + [0.0] * 23  # 10 is the last within two frames of a sample
    assert short[-1, 0].tolist() == [12.0, 9.0]
    assert on_grid(Scene.from_lists(1, OBJECTS[:1], [], []))[1].sum() == 0


@settings(max_examples=30)
@given(st.integers(0, 1000))
def test_mirroring_twice_changes_nothing_and_once_keeps_distances(seed: int) -> None:
    places, *rest = random_pairs(2, seed)
    torch.testing.assert_close(mirrored(mirrored(places)), places)
    there = signals(places, *rest)
    back = signals(mirrored(places), *rest)
    torch.testing.assert_close(there[..., DISTANCE], back[..., DISTANCE])


def test_the_rule_tells_a_push_of_one_by_the_other_and_nothing_else() -> None:
    rule = FixedCollisionUnit()
    push = scene_of(rolls(), pushed())
    apart = scene_of(rolls(), pushed(82.0))
    stop = scene_of(rolls(), lies())
    smooth = scene_of(rolls(150.0), lies(70.0, 20.0))

    for scene, expected in ((push, [[60, 0, 1]]), (apart, []), (stop, []), (smooth, [])):
        assert CollisionReader(rule)([scene])[0].collisions.tolist() == expected

    # a farther reach takes the second one in
    assert len(CollisionReader(FixedCollisionUnit(max_distance=25.0))([apart])[0].collisions) == 1


@pytest.mark.parametrize(("max_distance", "min_acceleration"), [(0.0, 1.0), (20.0, -1.0)])
def test_a_rule_without_limits_is_refused(max_distance: float, min_acceleration: float) -> None:
    with pytest.raises(ConfigError, match="max_distance > 0 px and min_acceleration > 0"):
        FixedCollisionUnit(max_distance, min_acceleration)


def test_a_reader_replaces_observed_collisions_and_keeps_predicted_ones() -> None:
    scene = scene_of(rolls(), pushed(), collisions=[[5, 0, 1], [150, 0, 1]], what_if={"0": []})
    (read,) = CollisionReader(FixedCollisionUnit())([scene])

    assert read.collisions.tolist() == [[60, 0, 1]]
    assert read.predicted.tolist() == [[150, 0, 1]]
    assert list(read.what_if) == [0]
    assert read.collision_scores is not None and 0.5 < float(read.collision_scores[0]) <= 1
    assert scene.collisions.tolist() == [[5, 0, 1]]  # the scene itself is not modified


class AtSample3(torch.nn.Module):
    """Says of every pair that it collides at frame 15."""

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        scores = torch.full((len(h), 27), -50.0)
        scores[:, 3], scores[:, -1] = 50.0, 0.0
        return scores


def test_a_collision_is_reported_no_earlier_than_both_objects_are_in_view() -> None:
    unit = FixedCollisionUnit()
    unit.nonlinearity = AtSample3()
    late: list[Any] = [None] * 13 + lies()[13:]
    early, later = CollisionReader(unit)([scene_of(rolls(), lies()), scene_of(rolls(), late)])

    assert early.collisions.tolist() == [[15, 0, 1]]
    assert later.collisions.tolist() == [[65, 0, 1]]


def test_scenes_without_pairs_are_read_too() -> None:
    empty = Scene.from_lists(2, [], [], [])
    reader = CollisionReader(CollisionUnit(8).eval(), PresenceUnit(8).eval())
    assert reader([]) == []
    assert [len(scene.collisions) for scene in reader([empty, scene_of(lies())])] == [0, 0]


def test_many_pairs_are_read_in_pieces_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    unit = CollisionUnit(8).eval()
    pairs = candidate_pairs([scene_of(rolls(), lies(), lies(75.0, 12.0)) for _ in range(3)])
    whole = detect_collisions(unit, pairs)
    monkeypatch.setattr("spikebridge.networks.reasoning.events.reader._BATCH_SIZE", 2)

    for one, other in zip(detect_collisions(unit, pairs), whole, strict=True):
        torch.testing.assert_close(one.float(), other.float())


def test_presence_fills_gaps_goes_on_straight_and_takes_away() -> None:
    observed: list[Any] = [None, None, *rolls()[2:10], None, *rolls()[11:]]
    there = np.ones((26, 1), dtype=bool)
    there[[0, 25]] = False
    scene = with_presence(scene_of(observed), there)

    assert scene.visible[:, 0].tolist() == there[:, 0].tolist()
    assert scene.positions[1, 0].tolist() == [5.0, 9.0]  # before it was observed, along its first step
    assert scene.positions[10, 0].tolist() == [50.0, 9.0]  # in the gap


def test_presence_leaves_other_samples_and_unseen_objects_alone() -> None:
    every = Scene.from_lists(1, OBJECTS[:1], [[frame, [[0, 1.0, 2.0]]] for frame in range(26)], [])
    assert with_presence(every, np.zeros((26, 1), dtype=bool)) is every

    scene = scene_of([None] * 26, lies())
    nobody = with_presence(scene, np.zeros((26, 2), dtype=bool))
    np.testing.assert_array_equal(nobody.positions, scene.positions)


def test_motion_is_that_of_the_presence_unit() -> None:
    moving = np.zeros((26, 1), dtype=bool)
    moving[3] = True
    scene = with_presence(scene_of(rolls()), np.ones((26, 1), dtype=bool), moving)
    assert tracks_of([scene]).moving[0, :, 0].tolist() == moving[:, 0].tolist()


def test_the_presence_unit_spikes_for_each_object_at_each_sample() -> None:
    torch.manual_seed(0)
    unit = PresenceUnit(8).eval()
    scenes = [scene_of(rolls(), lies()), scene_of(lies())]
    spikes, _ = unit(track_signals(scenes))

    assert spikes.shape == (1, 3, 2, 26)
    assert set(spikes.unique().tolist()) <= {0.0, 1.0}

    read = read_presence(unit, scenes, margin=0.0)
    for scene, columns in zip(read, (spikes[0, :2], spikes[0, 2:]), strict=True):
        for o, (there, moves) in enumerate(columns > 0.5):
            if there.any():
                assert scene.visible[:, o].tolist() == there.tolist()
            assert scene.moving is not None and scene.moving[:, o].tolist() == moves.tolist()

    sure = read_presence(unit, scenes, margin=1e6)  # nothing goes against the detector
    assert all((one.visible == scene.visible).all() for one, scene in zip(sure, scenes, strict=True))
