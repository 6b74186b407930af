"""Frames and fast signals: what they hold, and that they never look ahead."""

import numpy as np
import pytest
from numpy.typing import NDArray

from spikebridge.errors import ConfigError
from spikebridge.networks.signals.data.front_ends import AudioFrontEnd, ChannelFrontEnd
from spikebridge.networks.signals.data.sensor import SensorConfig

pytestmark = pytest.mark.untyped


def tone(hz: float, seconds: float = 0.4) -> NDArray[np.float32]:
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * 8000)) / 8000).astype(np.float32)[None]


def test_a_tone_is_loudest_in_the_band_and_filter_of_its_frequency() -> None:
    front = AudioFrontEnd()
    places = []
    for hz in (300.0, 1000.0, 3000.0):
        inputs = front.inputs(tone(hz))
        places.append((inputs["frames"][-1, 0].argmax(), inputs["signal"][-1, 0].argmax()))

    assert sorted(places) == places
    # mel(300) = 402, between mel(60) = 93 and mel(3800) = 2130: band 41 * (402 - 93) / 2037 - 1 = 5.2
    assert places[0][0] == 5
    assert len(set(places)) == 3


def test_a_warp_moves_the_bands_as_another_vocal_tract_moves_a_tone() -> None:
    front = AudioFrontEnd()
    plain = front.inputs(tone(1000.0))["frames"][-1, 0].argmax()
    assert front.inputs(tone(1200.0), warp=1.2)["frames"][-1, 0].argmax() == plain
    assert front.inputs(tone(1200.0))["frames"][-1, 0].argmax() > plain


@pytest.mark.parametrize("period", [4, 8, 40])
def test_voice_inputs_do_not_look_ahead(period: int) -> None:
    front = AudioFrontEnd(frame_period=period)
    samples = np.random.default_rng(0).standard_normal((1, 6400)).astype(np.float32)
    changed = samples.copy()
    changed[:, 3200:] = 0
    before = front.inputs(samples)
    after = front.inputs(changed)

    for name, known in (("signal", 160), ("frames", 160 // period)):
        assert np.array_equal(before[name][:known], after[name][:known])
        assert not np.array_equal(before[name][known:], after[name][known:])


def test_frames_of_channels_hold_mean_variance_changes_and_correlations_of_the_past() -> None:
    front = ChannelFrontEnd(10.0, frame_period=2, num_inputs=2, context=4)
    x = np.array([[0, 0], [2, -2], [0, 0], [2, -2], [5, 1], [5, 1]], np.float32)[None]
    frames = front.inputs(x)["frames"][:, 0]

    # samples 0 to 3: means 1 and -1, variances 1, differences 2, -2, 2 of variance 32 / 9, correlation -1
    expected = [1, -1, 0, 0, np.log(32 / 9), np.log(32 / 9), -1]
    assert np.allclose(frames[1], expected, atol=1e-4)
    # the first frame has the two samples that there are
    assert np.allclose(frames[0][:4], [1, -1, 0, 0], atol=1e-4)

    # samples 2 to 5
    assert np.allclose(frames[2][:2], [3, 0], atol=1e-6)


def test_a_lagged_correlation_tells_which_channel_leads() -> None:
    time = np.arange(100) / 50
    ahead = np.sin(2 * np.pi * time)
    behind = np.sin(2 * np.pi * (time - 0.1))
    x = np.stack([np.stack([ahead, behind], 1), np.stack([behind, ahead], 1)]).astype(np.float32)
    (frame,) = ChannelFrontEnd(50.0, frame_period=100, num_inputs=2, context=100, lags=(5,)).inputs(x)["frames"]

    # sin(u) and sin(u - 36 degrees): correlations cos(36), and cos(36 - 36) - cos(36 + 36) with a lag of 36 degrees
    assert np.allclose(frame[:, 6], 0.81, atol=0.02)
    assert np.allclose(frame[:, 7], [0.69, -0.69], atol=0.03)


def test_windows_of_different_lengths_give_the_same_beginning() -> None:
    front = ChannelFrontEnd(50.0, frame_period=5, num_inputs=3, context=20)
    x = np.random.default_rng(0).standard_normal((2, 60, 3)).astype(np.float32)
    whole = front.inputs(x)
    part = front.inputs(x[:, :35])

    assert np.array_equal(whole["frames"][:7], part["frames"])
    assert np.array_equal(whole["signal"][:35], part["signal"])


def test_a_sensor_worn_at_another_angle_gives_the_same_channels_relative_to_the_vertical() -> None:
    x = np.random.default_rng(0).standard_normal((2, 60, 6)).astype(np.float32) + np.float32([0, 0, 9.8, 0, 0, 0])
    cos = np.cos(0.7)
    sin = np.sin(0.7)
    turn = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]], np.float32)
    turned = (x.reshape(2, 60, 2, 3) @ turn).reshape(2, 60, 6)
    front = ChannelFrontEnd(50.0, frame_period=5, num_inputs=6, context=20, gravity=True)
    before = front.inputs(x)["signal"]
    after = front.inputs(turned)["signal"]

    assert front.num_channels == before.shape[2] == 10
    assert np.allclose(before[..., 6:], after[..., 6:], atol=1e-4)
    assert not np.allclose(before[..., :6], after[..., :6], atol=0.1)

    # only samples before a step count
    assert np.array_equal(front.inputs(x[:, :35])["frames"], front.inputs(x)["frames"][:7])
    assert front.num_features == front.inputs(x)["frames"].shape[2]


def test_a_louder_voice_gives_the_same_inputs() -> None:
    samples = np.random.default_rng(0).standard_normal((1, 3200)).astype(np.float32)
    quiet, loud = (AudioFrontEnd().inputs(factor * samples) for factor in (0.05, 0.5))
    for name in ("signal", "frames"):
        assert np.allclose(quiet[name], loud[name], atol=1e-2)


def test_slower_frames_cost_less_and_the_fast_signal_costs_nothing_where_it_is_the_channels() -> None:
    costs = [AudioFrontEnd(frame_period=p).macs_per_second(signal=False, frames=True) for p in (4, 8)]
    assert costs[0] > costs[1]
    assert ChannelFrontEnd(50.0, 5, 3, 20).macs_per_second(signal=True, frames=False) == 0


def test_settings_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(ConfigError, match="not an integer"):
        AudioFrontEnd(rate_hz=8000.0, dt=0.0003)

    with pytest.raises(ConfigError, match="2 samples or more"):
        ChannelFrontEnd(50.0, 5, 3, context=1)

    with pytest.raises(ConfigError, match="the kind is voice"):
        SensorConfig("voice", gravity=True)

    with pytest.raises(ConfigError, match="gravity needs 6 channels"):
        ChannelFrontEnd(50.0, 5, 3, context=20, gravity=True)
