import pytest
import torch

from spikebridge.data.images.digits import load_digits
from spikebridge.data.simulation.event_camera import EventCamera
from spikebridge.data.simulation.saccades import (
    Saccades,
    add_noise,
    hybrid_camera,
    shifted_view,
    subsample_frames,
    triangle_path,
)
from spikebridge.errors import ConfigError, DataError, ShapeError

PLAIN_CAMERA = EventCamera(threshold_mean=0.2, threshold_sd=0.0, log_offset=0.1)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def some_digits():
    images, labels = load_digits().train
    return images[:200], labels[:200]


@pytest.fixture(scope="module")
def recording(some_digits):
    return hybrid_camera(*some_digits, seeded())


def test_shapes_types_and_labels_are_as_promised(recording, some_digits):
    assert recording.frames.shape == (4, 200, 1, 16, 16) and recording.frames.dtype == torch.float32
    assert recording.events.shape == (24, 200, 2, 16, 16) and recording.events.dtype == torch.uint8
    assert recording.labels.equal(some_digits[1])
    assert recording.frame_period == 6


def test_between_five_and_ten_percent_of_pixels_have_an_event_in_a_step(recording):
    assert 0.05 < recording.events.float().mean() < 0.10
    assert recording.events.max() == 1


def test_frames_are_clean_and_in_range(recording):
    assert recording.frames.min() >= 0 and recording.frames.max() <= 1
    assert recording.frames.amax(dim=(0, 2, 3, 4)).min() > 0.5


def test_the_same_seed_gives_the_same_recording(recording, some_digits):
    again = hybrid_camera(*some_digits, seeded())
    other = hybrid_camera(*some_digits, seeded(1))
    assert again.events.equal(recording.events) and again.frames.equal(recording.frames)
    assert not other.events.equal(recording.events)


def test_the_global_generator_is_never_touched(some_digits):
    before = torch.get_rng_state()
    hybrid_camera(*some_digits, seeded())
    add_noise(torch.zeros(2, 2), 1.0, seeded())
    assert torch.get_rng_state().equal(before)


def test_equal_images_take_different_paths(some_digits):
    twice = some_digits[0][:1].expand(2, 8, 8)
    seen = hybrid_camera(twice, torch.zeros(2, dtype=torch.long), seeded(), camera=PLAIN_CAMERA)
    assert not seen.frames[:, 0].equal(seen.frames[:, 1])
    assert not seen.events[:, 0].equal(seen.events[:, 1])


def test_without_spread_equal_images_are_seen_alike(some_digits):
    twice = some_digits[0][:1].expand(2, 8, 8)
    still = Saccades(amplitude_spread=0.0, phase_spread=0.0)
    seen = hybrid_camera(twice, torch.zeros(2, dtype=torch.long), seeded(), still, PLAIN_CAMERA)
    assert seen.events[:, 0].equal(seen.events[:, 1])


def test_an_empty_image_gives_no_events():
    seen = hybrid_camera(torch.zeros(3, 8, 8), torch.zeros(3, dtype=torch.long), seeded())
    assert seen.events.sum() == 0 and seen.frames.sum() == 0


def test_frame_k_is_the_view_at_the_start_of_step_k_periods(some_digits):
    images = some_digits[0][:3]
    labels = some_digits[1][:3]
    often = hybrid_camera(images, labels, seeded(), Saccades(frame_period=1))
    rare = hybrid_camera(images, labels, seeded(), Saccades(frame_period=5))

    assert len(rare.frames) == 5
    assert rare.frames.equal(often.frames[::5])
    assert rare.events.equal(often.events)


def test_events_say_how_the_next_frame_differs(some_digits):
    """The reference of every pixel stays within one threshold of the log intensity it follows."""
    images = some_digits[0][:20]
    labels = some_digits[1][:20]
    seen = hybrid_camera(images, labels, seeded(), Saccades(frame_period=1, counts=True), PLAIN_CAMERA)
    signed = seen.events[:, :, 0].double() - seen.events[:, :, 1].double()
    rebuilt = (seen.frames[0, :, 0].double() + 0.1).log() + 0.2 * signed[:-1].cumsum(0)
    truth = (seen.frames[1:, :, 0].double() + 0.1).log()

    assert (rebuilt - truth).abs().max() < 0.2 + 1e-4


def test_binary_events_are_the_counts_cut_at_one(some_digits):
    images = some_digits[0][:20]
    labels = some_digits[1][:20]
    counted = hybrid_camera(images, labels, seeded(), Saccades(counts=True))
    marked = hybrid_camera(images, labels, seeded())

    assert counted.events.max() > 1
    assert marked.events.equal(counted.events.clamp(max=1))


def test_the_digit_stays_on_the_sensor():
    """A full image loses no light over the edge, whatever the path."""
    full = torch.ones(50, 28, 28)
    seen = hybrid_camera(full, torch.zeros(50, dtype=torch.long), seeded(), Saccades(sensor=34, side=3.0))

    assert seen.frames.shape[-2:] == (34, 34)
    assert torch.allclose(seen.frames.sum((2, 3, 4)), torch.tensor(784.0), rtol=1e-4)


def test_a_28_pixel_image_at_rest_is_copied_into_the_middle():
    image = torch.rand(2, 28, 28, generator=seeded())
    view = shifted_view(image, torch.zeros(2, 2), sensor=34, border=3)
    assert torch.allclose(view[:, 3:31, 3:31], image, atol=1e-5)
    assert view[:, :3].abs().max() < 1e-5


def test_whole_pixel_shifts_are_x_to_the_right_and_y_down():
    dot = torch.zeros(1, 5, 5)
    dot[0, 2, 2] = 1.0
    view = shifted_view(dot, torch.tensor([[1.0, -2.0]]), sensor=5, border=0)
    assert view[0, 0, 3] == pytest.approx(1.0, abs=1e-6)


def test_an_image_that_is_not_square_keeps_its_proportions():
    view = shifted_view(torch.ones(1, 2, 4), torch.zeros(1, 2), sensor=8, border=0)
    assert view[0, 4].sum() == pytest.approx(8, abs=0.6)
    assert view[0, :, 4].sum() == pytest.approx(4, abs=0.6)


def test_the_path_closes_and_has_three_sides_of_the_given_length():
    progress = torch.tensor([0.0, 1 / 3, 2 / 3, 1.0], dtype=torch.float64)
    start = torch.zeros(1, dtype=torch.float64)
    path = triangle_path(progress, start, torch.tensor([3.0], dtype=torch.float64))[:, 0]

    assert torch.allclose((path[1:] - path[:-1]).norm(dim=-1), torch.tensor(3.0, dtype=torch.float64))
    assert torch.allclose(path[0], path[3])
    assert torch.allclose(path[:3].mean(0), torch.zeros(2, dtype=torch.float64), atol=1e-12)


def test_speed_along_the_path_is_constant_within_a_side():
    path = triangle_path(torch.linspace(0, 1, 25), torch.zeros(1), torch.tensor([1.5]))[:, 0]
    assert torch.allclose((path[1:] - path[:-1]).norm(dim=-1), torch.tensor(1.5 / 8), atol=1e-5)


def test_noise_has_the_asked_spread_and_is_not_clipped():
    frames = torch.ones(4, 50, 1, 16, 16)
    seen = add_noise(frames, 0.5, seeded())

    assert (seen - frames).std() == pytest.approx(0.5, rel=0.02)
    assert seen.max() > 1.5
    assert add_noise(frames, 0.5, seeded()).equal(seen)


@pytest.mark.parametrize("sigma", [-0.1, float("nan"), float("inf")])
def test_impossible_noise_is_refused(sigma):
    with pytest.raises(ConfigError, match="sigma of 0 or more"):
        add_noise(torch.zeros(1), sigma, seeded())


def test_thinning_keeps_the_first_of_each_k(recording):
    assert subsample_frames(recording.frames, 1).equal(recording.frames)
    assert subsample_frames(recording.frames, 3).equal(recording.frames[[0, 3]])
    with pytest.raises(ConfigError, match="keep_every of 1 or more, but got 0"):
        subsample_frames(recording.frames, 0)


@pytest.mark.parametrize(
    "images",
    [torch.zeros(2, 8, 8, dtype=torch.uint8), torch.zeros(2, 1, 8, 8), torch.zeros(3, 8, 8)],
)
def test_images_of_a_wrong_kind_are_refused(images):
    with pytest.raises(ShapeError, match="float images"):
        hybrid_camera(images, torch.zeros(2, dtype=torch.long), seeded())


@pytest.mark.parametrize("value", [255.0, -0.1, float("nan")])
def test_intensities_out_of_range_are_refused(value):
    with pytest.raises(DataError, match=r"in \[0, 1\]"):
        hybrid_camera(torch.full((1, 8, 8), value), torch.zeros(1, dtype=torch.long), seeded())


def test_a_sensor_without_room_is_refused():
    with pytest.raises(ConfigError, match="4 px is too small"):
        hybrid_camera(torch.zeros(1, 8, 8), torch.zeros(1, dtype=torch.long), seeded(), Saccades(sensor=4))


@pytest.mark.parametrize("camera", [EventCamera(refractory=0.001), EventCamera(first_event_per_group=0.025)])
def test_settings_that_need_exact_times_are_refused(camera):
    with pytest.raises(ConfigError, match="exact times"):
        hybrid_camera(torch.zeros(1, 8, 8), torch.zeros(1, dtype=torch.long), seeded(), camera=camera)


@pytest.mark.parametrize("settings", [{"num_steps": 0}, {"frame_period": 0}, {"side": 0.0}, {"phase_spread": 1.5}])
def test_impossible_saccades_are_refused(settings):
    name, value = next(iter(settings.items()))
    with pytest.raises(ConfigError, match=f"{name} .* but got {value}"):
        Saccades(**settings)
