"""Generated scenes: what is drawn is where the box says, and films of them are recordings like any other."""

from math import pi

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research.sensing.variants.rotating_disk import RotatingDisk
from spikebridge.data.simulation.drawing import crop_bilinear, sample_bilinear
from spikebridge.data.simulation.event_camera import EventCamera
from spikebridge.data.simulation.moving_objects import MovingObjects
from spikebridge.data.simulation.render import FrameCamera, Stimulus, render_recording, scene_seeds
from spikebridge.data.simulation.textures import fractal_noise
from spikebridge.data.simulation.tumbling_objects import TumblingObjects
from spikebridge.errors import ConfigError

pytestmark = pytest.mark.untyped

SMALL = {"height": 64, "width": 72}


def extent(mask):
    """The box around the pixels of a mask."""
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]], float)


@pytest.mark.parametrize("target", ["triangle", "circle", "cross"])
@pytest.mark.parametrize("t", [0.0, 0.13, 0.4])
def test_a_dark_shape_of_the_disk_is_where_its_box_is(target, t):
    """Pixels at least half covered reach to within a pixel of the exact box."""
    disk = RotatingDisk(height=200, width=220, target=target, seed=1)
    x, y, w, h = disk.box(t)
    left = int(x) - 3
    top = int(y) - 3
    dark = disk.image(t)[top : int(y + h) + 4, left : int(x + w) + 4] < 0.35
    drawn = extent(dark) + np.array([left, top, 0, 0])

    assert np.abs(drawn[:2] - [x, y]).max() <= 1 and np.abs(drawn[:2] + drawn[2:] - [x + w, y + h]).max() <= 1


def test_a_circle_of_the_disk_goes_round_at_its_radius():
    disk = RotatingDisk(height=100, width=120, target="circle")
    middles = np.array([disk.box(t)[:2] + disk.box(t)[2:] / 2 for t in np.linspace(0, 1, 50)])
    assert np.linalg.norm(middles - [60, 50], axis=1) == pytest.approx(0.52 * 46)


def test_the_angle_is_the_integral_of_the_angular_speed():
    disk = RotatingDisk(change=0.8, seed=5)
    times = np.linspace(0, 2, 200_001)
    middles = (times[1:] + times[:-1]) / 2
    turned = sum(disk.angular_speed(t) for t in middles[::100]) * 1e-5 * 100

    assert disk.angle(2.0) - disk.angle(0.0) == pytest.approx(turned, rel=1e-3)

    speeds = [disk.angular_speed(t) for t in np.linspace(0, 4, 400)]
    assert min(speeds) == pytest.approx(6 * 0.2, rel=0.02) and max(speeds) == pytest.approx(6 * 1.8, rel=0.02)


def test_a_disk_without_speed_stands_still_and_is_silent():
    recording = render_recording(RotatingDisk(**SMALL, speed=0.0), duration=0.02, dt=0.005)
    assert len(recording.events.x) == 0 and np.ptp(recording.boxes, axis=0).max() == 0


def test_a_disk_turns_clockwise_on_the_screen():
    """From the right of the middle to below it."""
    disk = RotatingDisk(target="circle", speed=1.0, change=0.0)
    now, later = (disk.box(t)[:2] + disk.box(t)[2:] / 2 - [173, 130] for t in (0.0, 0.01))
    assert now[0] * later[1] - now[1] * later[0] > 0


FLAT = np.zeros((4, 4))
BRIGHT = np.ones((200, 200))


@given(st.integers(0, 10_000), st.floats(0, 2))
def test_a_moving_object_is_where_its_box_is(seed, t):
    """A black object before white, without anything else: half covered pixels reach to within a pixel of the box."""
    scene = MovingObjects(
        seed=seed, num_distractors=0, light_change=0.0, texture=FLAT, background=BRIGHT, size=24, camera_motion=4
    )
    x, y, w, h = scene.box(t)

    assert min(x, y) >= 0 and x + w <= scene.width and y + h <= scene.height

    drawn = extent(scene.image(t) < 0.5)
    # the corner of a turned rectangle is sharper than a pixel
    assert np.abs(drawn[:2] - [x, y]).max() <= 2 and np.abs(drawn[:2] + drawn[2:] - [x + w, y + h]).max() <= 2
    assert np.abs(drawn[:2] + drawn[2:] / 2 - scene.center(t)).max() <= 1


@given(st.integers(0, 10_000), st.floats(0, 2))
def test_a_tumbling_object_is_where_its_box_is(seed, t):
    """Half covered pixels of a texture far brighter than any other reach to within a few pixels of the box."""
    scene = TumblingObjects(seed=seed, size=30.0)
    target = scene._target
    image = np.zeros((scene.height, scene.width))
    target._replace(texture=np.ones_like(target.texture)).draw(image, scene._place(target, t), t)
    x, y, w, h = scene.box(t)
    left, top, width, height = extent(image > 0.5)
    seen = np.clip([x, y, x + w, y + h], 0, [scene.width, scene.height] * 2)

    # a thin tip is sharper than a pixel
    assert np.abs([left, top, left + width, top + height] - seen).max() <= 2.5


def test_a_tumbling_object_is_foreshortened_and_shows_another_side():
    still, tumbling = (TumblingObjects(seed=5, turning=0.0, scale_change=1.0, tumbling=n) for n in (0.0, 1.0))
    shapes = np.array(
        [[scene.box(t)[2] / scene.box(t)[3] for t in np.arange(0, 3, 0.05)] for scene in (still, tumbling)]
    )

    assert np.ptp(shapes[0]) < 1e-9 and shapes[1].max() / shapes[1].min() > 1.3

    rolls = [tumbling._target.texture_shift[0].at(t) for t in np.arange(0, 3, 0.05)]
    assert np.ptp(rolls) > 0.3 and np.ptp([still._target.texture_shift[0].at(t) for t in (0.0, 1.0)]) == 0


def test_panels_have_edges():
    plain, furnished = (TumblingObjects(seed=2, num_panels=n)._background.canvas for n in (0, 8))
    assert np.abs(np.diff(plain)).max() < 0.12 < np.abs(np.diff(furnished)).max()


@pytest.mark.parametrize("kind", [MovingObjects, TumblingObjects])
def test_one_seed_is_one_scene_and_another_seed_another(kind):
    first = kind(seed=4)
    again = kind(seed=4)
    other = kind(seed=5)

    assert np.array_equal(first.image(0.3), again.image(0.3)) and np.array_equal(first.box(0.3), again.box(0.3))
    assert np.abs(first.image(0.3) - other.image(0.3)).max() > 0.1


def test_the_target_moves_at_its_speed_and_stops_now_and_then():
    speeds = []
    for seed in range(12):
        scene = MovingObjects(seed=seed, speed=200.0)
        places = np.array([scene.center(t) for t in np.arange(0, 5, 0.005)])
        speeds.append(np.linalg.norm(np.diff(places, axis=0), axis=1) / 0.005)

    assert np.mean(speeds) == pytest.approx(200, rel=0.1)
    assert (np.min(speeds, axis=1) < 5).all() and np.max(speeds) > 400


def test_size_and_light_change_as_far_as_is_said():
    scene = MovingObjects(seed=2, size=24.0, scale_change=2.0, turning=0.0, light_change=0.3)
    widths = np.array([scene.box(t)[2] for t in np.arange(0, 30, 0.02)])

    assert 1.5 < widths.max() / widths.min() <= 2.0

    still = MovingObjects(
        seed=2, speed=0.0, num_distractors=0, scale_change=1.0, turning=0.0, camera_motion=0.0, light_change=0.3
    )
    lights = np.array([still.image(t)[0, 0] for t in np.arange(0, 10, 0.05)])

    assert 1.4 < lights.max() / lights.min() <= 1.3 / 0.7 + 1e-9


def test_distractors_change_the_image_and_never_hide_the_target():
    alone, among = (MovingObjects(seed=3, num_distractors=n) for n in (0, 3))
    assert np.array_equal(alone.box(0.2), among.box(0.2))

    x, y, w, h = alone.box(0.2)
    middle = (slice(int(y + h / 2) - 3, int(y + h / 2) + 3), slice(int(x + w / 2) - 3, int(x + w / 2) + 3))

    assert np.array_equal(alone.image(0.2)[middle], among.image(0.2)[middle])
    assert (alone.image(0.2) != among.image(0.2)).any()


def test_a_background_of_ones_own_is_used():
    stripes = np.tile(np.linspace(0, 1, 200), (200, 1))
    scene = MovingObjects(seed=1, background=stripes, num_distractors=0, camera_motion=2.0, light_change=0.0)
    row = scene.image(0.0)[0]
    assert np.diff(row) == pytest.approx(np.full(143, 1 / 199))


@pytest.mark.parametrize(
    "scene",
    [RotatingDisk(**SMALL), MovingObjects(**SMALL, size=16), TumblingObjects(**SMALL, size=16)],
    ids=["disk", "objects", "tumbling"],
)
def test_a_film_is_a_recording_with_exact_boxes_and_causal_frames(scene):
    assert isinstance(scene, Stimulus)

    recording = render_recording(scene, duration=0.03, dt=0.001, frame_camera=FrameCamera(rate=300.0), name="made")
    assert recording.num_bins == 30 and recording.num_frames == 9
    assert recording.boxes[9] == pytest.approx(scene.box(0.01))
    assert recording.frame_boxes[3] == pytest.approx(scene.box(0.01))
    assert recording.frames[3] == pytest.approx(255 * scene.image(0.01), abs=0.5)

    # 1 / 300 s is inside bin 3, so the frame acts from bin 4
    assert recording.frame_bins.tolist() == [0, 4, 7, 10, 14, 17, 20, 24, 27]
    assert len(recording.events.x) > 100

    edges = recording.events.edges
    assert edges[3] <= recording.frame_events[1] <= edges[4]


def test_events_of_a_film_are_the_change_of_its_images():
    recording = render_recording(RotatingDisk(**SMALL), duration=0.025, dt=0.005, camera=EventCamera(threshold_sd=0.0))
    on, off = recording.events.to_dense(0, 5, counts=True).sum(0).numpy()
    change = np.log(RotatingDisk(**SMALL).image(0.025) + 8 / 255) - np.log(RotatingDisk(**SMALL).image(0.0) + 8 / 255)
    assert np.abs((on - off) * 0.2 - change).max() < 0.2 + 1e-6


def test_the_same_seeds_give_the_same_film():
    first, again, other = (
        render_recording(RotatingDisk(**SMALL), 0.01, dt=0.005, seed=seed).events for seed in (1, 1, 2)
    )
    assert np.array_equal(first.x, again.x) and np.array_equal(first.edges, again.edges)
    assert not np.array_equal(first.x, other.x)


def test_exposure_blurs_what_moves_and_nothing_else():
    disk = RotatingDisk(height=100, width=100, speed=20.0)
    sharp, blurred = (
        render_recording(disk, 0.05, dt=0.005, frame_camera=FrameCamera(exposure=exposure)).frames[1]
        for exposure in (0.0, 0.01)
    )

    images = [disk.image(t) for t in np.linspace(0.015, 0.025, 11)]
    assert blurred == pytest.approx(255 * np.mean(images, axis=0), abs=0.51)
    assert np.abs(sharp.astype(int) - blurred).max() > 30
    assert sharp[0, 0] == blurred[0, 0] and sharp[50, 50] == blurred[50, 50]


def test_few_images_between_two_edges_are_enough_for_slow_bins():
    recording = render_recording(RotatingDisk(**SMALL), duration=0.05, dt=1 / 240, image_interval=1 / 240)
    assert recording.num_bins == 12 and recording.frame_bins.tolist() == [0, 6]


def test_censoring_of_the_camera_is_applied_over_the_whole_film():
    camera = EventCamera(first_event_per_group=0.025)
    all_events, first_events = (
        render_recording(RotatingDisk(**SMALL), 0.03, camera=c).events for c in (EventCamera(), camera)
    )

    assert 0 < len(first_events.x) < len(all_events.x)


def test_seeds_of_splits_are_apart():
    seeds = [scene_seeds(split, 50) for split in ("train", "validation", "test")]
    assert len({seed for part in seeds for seed in part}) == 150
    with pytest.raises(ConfigError, match="scenes are for train, validation, test, but got 'tests'"):
        scene_seeds("tests", 1)


def test_a_window_is_read_between_the_pixels():
    canvas = np.random.default_rng(0).random((20, 30))
    rows, columns = np.mgrid[:5, :7] + 0.5
    assert crop_bilinear(canvas, 3.3, 4.8, 5, 7) == pytest.approx(sample_bilinear(canvas, columns + 3.3, rows + 4.8))
    assert np.array_equal(crop_bilinear(canvas, 3.0, 4.0, 5, 7), canvas[4:9, 3:10])


def test_clouds_are_smooth():
    texture = fractal_noise(60, 60, np.random.default_rng(0))
    assert np.abs(np.diff(texture)).max() < 0.1 < texture.std()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "triangel"}, "no 'triangel'; did you mean 'triangle'"),
        ({"height": 20}, "32 x 32 pixels or more"),
        ({"change": -1.0}, "a change of 0 or more"),
    ],
)
def test_a_disk_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        RotatingDisk(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 4.0}, "needs size of 8 or more, but got 4.0"),
        ({"speed": float("nan")}, "needs speed of 0 or more, but got nan"),
        ({"scale_change": 0.5}, "needs scale_change of 1 or more"),
        ({"light_change": 1.0}, "needs light_change below 1"),
        ({"size": 60.0}, "an image 2.5 times as large as the largest object"),
        ({"texture": np.full((4, 4), 200.0)}, r"a texture of intensities in \[0, 1\]; divide bytes by 255"),
        ({"background": np.zeros((144, 144))}, r"a background of \(164, 164\) rows and columns or more"),
    ],
)
def test_objects_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        MovingObjects(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_panels": -1}, "needs num_panels of 0 or more, but got -1"),
        ({"tumbling": 1.5}, "tumbling of at most 1"),
        ({"size": 80.0}, "an image twice as large as the target"),
    ],
)
def test_tumbling_objects_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        TumblingObjects(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"duration": 0.0},
        {"dt": 0.0},
        {"frame_camera": FrameCamera(rate=0.0)},
        {"frame_camera": FrameCamera(exposure=-0.1)},
        {"image_interval": 0.0},
    ],
)
def test_render_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError, match="a recording needs at least one bin"):
        render_recording(RotatingDisk(**SMALL), **{"duration": 0.01, **settings})


def test_an_angle_of_a_full_turn_is_the_same_place():
    disk = RotatingDisk(speed=2 * pi, change=0.0)
    assert disk.box(0.3) == pytest.approx(disk.box(1.3))
