"""From pictures to scenes: objects found, followed, their motion fitted, the table simulated on."""

import numpy as np
import pytest
import torch

from research.reasoning.question_answering.generated_questions import uncertain_pairs
from research.reasoning.training.detector import detection_loss
from spikebridge.errors import ConfigError, DataError, ShapeError
from spikebridge.networks.reasoning.perception.detector import Detections, Detector, Maps
from spikebridge.networks.reasoning.perception.object_tracks import ObjectTracks, track_objects
from spikebridge.networks.reasoning.perception.one_shot import LabeledPicture, imprinted_row, learn_value
from spikebridge.networks.reasoning.perception.perceive import check_pictures, check_tracks, perceive, roll_out
from spikebridge.networks.reasoning.perception.track_motion import FittedMotion, fit_motion
from spikebridge.networks.reasoning.simulation.render import PALETTE, render_frames
from spikebridge.networks.reasoning.simulation.table import MotionSegment, fit_segment
from spikebridge.networks.reasoning.simulation.video import RollingVideo, generate_video, in_view
from spikebridge.pretrained.perception import shipped_detector

pytestmark = pytest.mark.untyped

NUMBERS = range(30, 36)


def found_exactly(video: RollingVideo) -> np.ndarray:
    """ObjectTracks without any error: NaN where an object is out of view or behind the occluder."""
    places = video.positions[:128].copy()
    places[~in_view(places)] = np.nan
    occluder = video.appearance.occluder
    if occluder is not None:
        from_left = places[..., 0] - occluder.left - occluder.velocity * np.arange(128)[:, None]
        places[(from_left > 0) & (from_left < occluder.width)] = np.nan

    return places[:, (~np.isnan(places[..., 0])).sum(0) >= 4]


def pairs(rows: np.ndarray) -> set[tuple[int, int]]:
    return {(min(a, b), max(a, b)) for _, a, b in rows.tolist()}


def detections(rows: list[tuple[int, float, float, int]]) -> Detections:
    """Rows of frame, x, y and number of the colour; all are rubber cubes."""
    color = np.full((len(rows), 8), np.log(0.01))
    color[range(len(rows)), [row[3] for row in rows]] = np.log(0.93)
    material = np.log([[0.05, 0.95]])
    shape = np.log([[0.9, 0.05, 0.05]])
    places = np.array([row[1:3] for row in rows])

    return Detections(
        np.array([row[0] for row in rows]),
        places,
        np.full_like(places, 14.0),
        np.ones(len(rows)),
        color,
        material.repeat(len(rows), 0),
        shape.repeat(len(rows), 0),
    )


def test_a_track_goes_on_through_a_gap_and_keeps_its_name() -> None:
    red = [(t, 10.0 + 2 * t, 40.0, 1) for t in range(20) if not 8 <= t < 14]
    blue = [(t, 60.0 - 2 * t, 44.0, 2) for t in range(20)]
    tracks = track_objects(detections(sorted(red + blue)), 20)

    assert {one[0] for one in tracks.objects} == {"red", "blue"}

    of_red = tracks.positions[:, [one[0] for one in tracks.objects].index("red")]
    assert np.isnan(of_red[8:14]).all()
    assert of_red[19].tolist() == [48.0, 40.0]


def test_no_two_objects_get_one_name() -> None:
    rows = [(t, x, 40.0, 1) for t in range(12) for x in (20.0, 90.0)]
    tracks = track_objects(detections(rows), 12)
    assert len(set(tracks.objects)) == 2


def test_a_ghost_of_few_frames_is_no_object() -> None:
    rows = [(t, 20.0, 40.0, 1) for t in range(12)] + [(5, 90.0, 40.0, 3), (6, 90.0, 40.0, 3)]
    assert len(track_objects(detections(sorted(rows)), 12).objects) == 1


def test_a_fit_finds_where_an_object_rests() -> None:
    frames = np.arange(40.0)
    # 0.36 px a frame decays by 0.02: below 0.3 after ln(1.2) / 0.02 = 9.1, so at the end of frame 10
    table = fit_segment(frames, np.stack([np.minimum(frames, 10) * 0.34, np.zeros(40)], 1), 0.02)
    assert table[2] == pytest.approx(10, abs=1)


def test_exact_tracks_give_the_collisions_that_happened() -> None:
    for number in NUMBERS:
        video = generate_video("train", number)
        places = found_exactly(video)
        if places.shape[1] < len(video.objects):
            continue
        motion = fit_motion(places)
        true = np.array([contact[:3] for contact in video.contacts if contact.frame < 128])

        assert pairs(np.array(motion.collisions)) == pairs(true)
        assert motion.friction == pytest.approx(video.friction, abs=0.002)


def test_a_collision_on_a_line_is_fitted_and_goes_on_after_the_video() -> None:
    frames = np.arange(30.0)
    rolling = np.stack([10 + frames.clip(max=15), np.full(30, 40.0)], 1)  # it collides at 25 px and stops
    lying = np.stack([39 + (frames - 15).clip(min=0), np.full(30, 40.0)], 1)
    motion = fit_motion(np.stack([rolling, lying], 1))

    assert motion.collisions == ((15, 0, 1),)
    assert motion.friction == pytest.approx(0, abs=5e-4)
    assert motion.at(1, 40)[0] == pytest.approx([64, 40], abs=0.05)


def test_a_chain_of_collisions_is_simulated_with_and_without_its_objects() -> None:
    def on_row(first: int, last: int, x: float, speed: float) -> MotionSegment:
        return MotionSegment(first, last, np.array([x, 50.0]), np.array([speed, 0.0]))

    # a ball hits a second one, which then moves towards a third
    chain = (
        (on_row(0, 15, 10.0, 1.0), on_row(15, 30, 25.0, 0.0)),
        (on_row(0, 15, 39.0, 0.0), on_row(15, 30, 39.0, 1.0)),
        (on_row(0, 30, 70.5, 0.0),),
    )
    motion = FittedMotion(0.0, chain, ((15, 0, 1),), 30)

    assert roll_out(motion).tolist() == [[15, 0, 1], [33, 1, 2]]
    assert roll_out(motion, removed=0).tolist() == []
    # without the second ball the first one reaches the third
    assert roll_out(motion, removed=1).tolist() == [[47, 0, 2]]


def test_rolling_on_agrees_with_the_truth_where_it_is_clear() -> None:
    wrong = 0
    number_of = 0

    for number in NUMBERS:
        video = generate_video("train", number)
        places = found_exactly(video)
        if places.shape[1] < len(video.objects):
            continue

        motion = fit_motion(places)
        scene = video.scene()
        for removed, rows in [(None, scene.predicted), *scene.what_if.items()]:
            simulated = roll_out(motion, removed)
            simulated = simulated[simulated[:, 0] >= 128] if removed is None else simulated
            doubtful = uncertain_pairs(video, removed)
            wrong += len((pairs(simulated) ^ pairs(rows)) - doubtful)
            number_of += len((pairs(simulated) | pairs(rows)) - doubtful)

    assert number_of > 15
    assert wrong <= 0.05 * number_of


def test_the_loss_is_low_for_maps_that_tell_the_truth() -> None:
    truths = torch.tensor([[[50.0, 30.0, 14.0, 14.0, 1.0, 0.0, 2.0]]])
    there = torch.ones(1, 1)
    maps = Maps(*(torch.zeros(1, *size, 24, 36) for size in ((), (2,), (2,), (8,), (2,), (3,))))
    maps.centre[:] = -8.0
    maps.centre[0, 7, 12] = 8.0  # 50 px lie in column 12, 30 px in row 7
    maps.place[0, :, 7, 12] = torch.tensor([0.0, 0.0])  # in the middle of the cell
    maps.size[0, :, 7, 12] = 3.5

    for name, value in (("color", 1), ("material", 0), ("shape", 2)):
        getattr(maps, name)[0, value, 7, 12] = 9.0

    loss, parts = detection_loss(maps, truths, there)
    assert loss < 0.02

    maps.place[0, 0, 7, 12] = 1.0
    assert detection_loss(maps, truths, there)[1]["place"] == pytest.approx(float(parts["place"]) + 1.0)


def test_the_detector_refuses_what_it_cannot_lay_its_cells_on() -> None:
    with pytest.raises(ShapeError, match=r"multiples of 4, but got \(1, 3, 10, 12\)"):
        Detector(8)(torch.zeros(1, 3, 10, 12))


def test_the_shipped_detector_finds_objects_in_other_light() -> None:
    video = generate_video("validation", 3)
    shown = render_frames(video)
    darker = (shown * 0.7).astype(np.uint8)

    for pictures in (shown, darker):
        scene = perceive(shipped_detector(), pictures, "v", what_if=False).scene
        assert set(scene.objects) <= set(video.objects)
        assert len(scene.objects) >= len(video.objects) - 1


def test_videos_of_another_kind_are_refused_in_one_line() -> None:
    for shape, rate, message in (
        ((128, 320, 480, 3), None, "pictures of 144 x 96 pixels, but this video has 480 x 320"),
        ((40, 96, 144, 3), None, "videos of 128 pictures, but this one has 40"),
        ((128, 96, 144, 3), 60.0, "25 pictures a second, but this one has 60"),
        ((128, 96, 144), None, "pictures of red, green and blue"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            check_pictures(shape, rate)
        assert "\n" not in str(caught.value)

    empty = ObjectTracks((), np.zeros((0, 3)), np.zeros((128, 0, 2)), np.zeros(0))
    with pytest.raises(DataError, match="no object was found"):
        check_tracks(empty)

    unsure = ObjectTracks((("red", "metal", "cube"),), np.ones((1, 3)), np.zeros((128, 1, 2)), np.array([0.4]))
    with pytest.raises(DataError, match=r"unreliable .*0.40"):
        check_tracks(unsure)

    with pytest.raises(DataError, match="no object was found"):
        perceive(shipped_detector(), np.full((128, 96, 144, 3), 120, np.uint8), "grey")


def test_an_imprinted_row_keeps_its_margin_from_old_and_new() -> None:
    row, offset = imprinted_row(torch.zeros(1, 2), torch.zeros(1), torch.eye(2)[:1], torch.eye(2)[1:])
    assert (torch.eye(2) @ row + offset).round().tolist() == [3, -3]


def test_one_picture_is_enough_for_a_color_and_changes_no_other_weight() -> None:
    plain = shipped_detector()
    palette = {**PALETTE, "orange": (0.95, 0.50, 0.10)}
    video = generate_video("train", 1)
    objects = (("orange", *video.objects[0][1:]), *video.objects[1:])
    shown = RollingVideo("o", 1, objects, video.starts, video.friction, video.appearance)
    picture = render_frames(shown, np.array([100]), palette)[0]
    places = video.positions[100]
    known = [LabeledPicture(picture, places[1:])]
    learned = learn_value(plain, "color", "orange", LabeledPicture(picture, places[:1]), known)

    assert learned.attributes["color"][-1] == "orange"

    before = plain.state_dict()
    after = learned.state_dict()

    assert all(torch.equal(before[name], after[name]) for name in before if not name.startswith("heads"))

    kept = [row for row in range(len(after["heads.bias"])) if row != 13]  # after 5 rows of places and 8 colours
    assert torch.equal(after["heads.weight"][kept], before["heads.weight"])

    maps = learned(torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255)
    x, y = (places[0] / 4).astype(int)

    assert int(maps.color[0, :, y, x].argmax()) == 8

    twice = learn_value(plain, "color", "orange", [LabeledPicture(picture, places[:1])] * 2, known)
    color = twice(torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255).color

    assert int(color[0, :, y, x].argmax()) == 8
    with pytest.raises(ConfigError, match="none is shown"):
        learn_value(plain, "color", "orange", [], known)

    with pytest.raises(ConfigError, match="'orange' exists already"):
        learn_value(learned, "color", "orange", LabeledPicture(picture, places[:1]), [])

    with pytest.raises(ConfigError, match="no kind of attribute 'colour'; did you mean 'color'"):
        learn_value(plain, "colour", "orange", LabeledPicture(picture, places[:1]), [])
