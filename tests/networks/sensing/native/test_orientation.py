"""Features of patches by the definition: strength and turned angles of gradients, without light and contrast."""

import numpy as np
import torch

from spikebridge.networks.sensing.native.orientation import patch_features


def test_light_and_contrast_leave_the_features_nearly_as_they_are() -> None:
    patch = torch.rand(1, 32, 32) * 2
    torch.testing.assert_close(patch_features(patch + 0.7), patch_features(patch), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(patch_features(3 * patch), patch_features(patch), rtol=0.05, atol=0.02)


def test_features_are_strengths_and_turned_angles_of_gradients() -> None:
    patch = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0))
    beyond = np.pad(patch[0].double().numpy(), 1, mode="edge")
    slope = (beyond[1:-1, 2:] - beyond[1:-1, :-2]) + 1j * (beyond[2:, 1:-1] - beyond[:-2, 1:-1])
    parts = [abs(slope)]

    for n in range(1, 5):
        turned = 2**0.5 * np.sinc(n / 9) ** 2 * abs(slope) * np.exp(2j * n * np.angle(slope))
        parts += [turned.real, turned.imag]

    cells = np.stack(parts).reshape(9, 4, 4, 4, 4).mean((2, 4))
    cells /= (cells**2).sum(0).mean() ** 0.5 + 0.01
    np.testing.assert_allclose(patch_features(patch)[0, :-1], cells, atol=2e-6)


def test_a_ramp_has_the_orientation_of_its_slope() -> None:
    # the gradient points to the right everywhere: cos 2a and sin 2a are 1 and 0, times sqrt(2) sinc(1 / 9)^2
    features = patch_features(torch.arange(16.0).expand(1, 16, 16))
    assert features.shape == (1, 10, 4, 4)
    np.testing.assert_allclose(features[0, 1:3, 1, 1] / features[0, 0, 1, 1], [1.3577, 0.0], atol=1e-4)
