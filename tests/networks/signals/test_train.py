"""Random changes of a training batch."""

import dataclasses

import pytest
import torch

from spikebridge.networks.signals import recipe as signals
from spikebridge.networks.signals.data.sensor import Sensor
from spikebridge.networks.signals.data.sets import generated_gestures
from spikebridge.networks.signals.training import train
from spikebridge.networks.signals.training.train import drop_modality, mask_frames, mix_within_class, training_batches

pytestmark = pytest.mark.untyped

QUICK = signals.PRESETS["quick"]


def _batch(frames: list[list[float]], lengths: list[int], label: list[int]) -> dict[str, torch.Tensor]:
    """Windows of one feature, with two steps of the fast signal a frame, each of the frame's value."""
    x = torch.tensor(frames).T[:, :, None]
    weight = (torch.arange(len(x))[:, None] < torch.tensor(lengths)).float()
    return {"frames": x, "signal": x.repeat_interleave(2, 0), "weight": weight, "label": torch.tensor(label)}


def test_a_mixture_holds_the_partner_stretched_to_the_windows_length_and_leaves_what_follows_its_end() -> None:
    batch = _batch([[0.0, 0.0, 0.0, 0.0], [8.0, 16.0, 5.0, 5.0]], lengths=[3, 2], label=[4, 4])
    after = mix_within_class(batch, torch.Generator().manual_seed(0), share=1.0)
    # two steps stretched over three: 8, 8 + 8 * 2/3, and the last one again
    other = after["frames"][:, 0, 0] / torch.tensor([8.0, 8 + 16 / 3, 16.0, 1.0])

    assert torch.allclose(other[:3], other[0].expand(3))
    assert 0 < other[0] <= 0.5
    assert other[3] == 0

    # the first one is zero, so that the second is left with its own part
    own = after["frames"][:, 1, 0] / batch["frames"][:, 1, 0]
    assert torch.allclose(own[:2], own[0].expand(2))
    assert 0.5 <= own[0] < 1
    assert own[2:].tolist() == [1, 1]
    assert torch.allclose(after["signal"][:4, 1, 0], own[0] * batch["signal"][:4, 1, 0])
    assert torch.equal(after["label"], batch["label"])


def test_windows_mix_within_their_class_alone_and_so_many_as_the_share_says() -> None:
    chance = torch.Generator().manual_seed(0)
    label = torch.randint(3, (1000,), generator=chance)
    frames = label.float()[:, None].expand(1000, 4)
    batch = _batch(frames.tolist(), [4] * 1000, label.tolist())

    assert torch.allclose(mix_within_class(batch, chance, share=1.0)["frames"], batch["frames"])

    noise = {**batch, "frames": torch.randn(4, 1000, 1, generator=chance)}
    after = mix_within_class(noise, chance, share=0.3)
    changed = (after["frames"] != noise["frames"]).any(0).ravel()

    assert 250 < changed.sum() < 350

    alone = _batch([[1.0, 2.0], [3.0, 4.0]], lengths=[2, 2], label=[0, 1])
    assert torch.equal(mix_within_class(alone, chance, share=1.0)["frames"], alone["frames"])


def test_the_training_batches_of_a_recipe_are_mixed_before_they_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    series = generated_gestures(num_people=1, num_each=2)
    sensor = Sensor(QUICK.sensor, series.rate_hz, series.num_channels)
    windows = sensor.windows(series)

    def frames(masking: float, mixing: float) -> torch.Tensor:
        monkeypatch.setattr(train, "_MASKING", masking)
        training = dataclasses.replace(QUICK.training, copies=1, mixing=mixing)
        data = training_batches(sensor, windows, training, 0)
        every = torch.arange(len(windows.label))
        return data.select_augmented(every, every, torch.Generator().manual_seed(0))["frames"]

    plain = frames(masking=0.0, mixing=0.0)
    mixed = frames(masking=0.0, mixing=0.9)
    both = frames(masking=0.5, mixing=0.9)

    assert not torch.equal(plain, mixed)

    mean = mixed.mean((0, 1))
    assert torch.equal(torch.where(both == mean, mean, mixed), both)


def test_a_mask_hides_at_most_its_share_of_features_and_frames() -> None:
    frames = torch.randn(20, 50, 40, generator=torch.Generator().manual_seed(0))
    batch = mask_frames({"frames": frames}, torch.Generator().manual_seed(1), max_share=0.2)
    changed = batch["frames"] != frames

    assert changed.any()
    # whole columns of at most 8 features, and whole frames, at most 4
    assert changed.all(0).sum(1).max() <= 8
    assert changed.all(2).sum(0).max() <= 4
    assert changed.float().mean() < 0.25


def test_as_many_windows_lose_the_frames_as_the_signal_and_none_loses_both() -> None:
    chance = torch.Generator().manual_seed(0)
    batch = {
        "frames": torch.randn(5, 1000, 3, generator=chance),
        "signal": torch.randn(9, 1000, 2, generator=chance) + 10,
        "label": torch.arange(1000),
    }

    after = drop_modality(batch, torch.Generator().manual_seed(1), share=0.2)
    no_frames = (after["frames"] == batch["frames"].mean((0, 1))).all(2).all(0)
    no_signal = (after["signal"] == 0).all(2).all(0)

    assert 150 < no_frames.sum() < 250
    assert 150 < no_signal.sum() < 250
    assert not (no_frames & no_signal).any()
    assert torch.equal(after["frames"][:, ~no_frames], batch["frames"][:, ~no_frames])
    assert torch.equal(after["signal"][:, ~no_signal], batch["signal"][:, ~no_signal])
