"""The fixed collision unit: the same interface as the learned one, set by hand.

Two objects collide where a velocity changes at its peak while they are near each other. It has no parameter that is
trained; two limits are chosen.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.hybrid import HybridUnit, Tumbling
from spikebridge.networks.collision import EventAt, WholeWindow
from spikebridge.networks.collision_inputs import DISTANCE, JOLTS, NUM_SAMPLES, SCALES

_SURE = 20.0


class PeakNearby(nn.Module):
    """Scores of "at sample t" and "never" by the rule: above 0 where both limits are passed.

    Args:
        near: largest distance of two objects that can touch.
        jolt: smallest change of a velocity [1/sample] that counts.
    """

    def __init__(self, near: float, jolt: float) -> None:
        super().__init__()
        if not near > 0 or not jolt > 0:
            raise ConfigError(f"the rule needs near > 0 and jolt > 0, but got {near} and {jolt}")
        self.near = near
        self.jolt = jolt

    def forward(self, h: Float[Tensor, "B V C T"]) -> Float[Tensor, "B T2"]:
        """From the window of a pair; both orders have the same jolts and the same distance."""
        first = h[:, 0]
        change = first[:, JOLTS].unflatten(1, (2, 2)).norm(dim=2).amax(1) * SCALES["acceleration"]
        distance = first[:, DISTANCE] * SCALES["distance"]
        passed = (change / self.jolt).clamp(max=100) - 1
        scores = torch.where(distance < self.near, _SURE * passed, -_SURE * 2)
        return torch.cat([scores, torch.zeros_like(scores[:, :1])], 1)


class FixedCollisionUnit(HybridUnit):
    """The rule as a hybrid unit: the window kept whole, the rule, a spike at the peak.

    Args:
        near: largest distance of two objects that can touch.
        jolt: smallest change of a velocity [1/sample] that counts.

    Example:
        >>> from spikebridge.networks.collision_inputs import signals
        >>> x = torch.cat([torch.arange(0.0, 60, 5), torch.full((14,), 60.0)])  # 5 a sample, and stopped at sample 12
        >>> places = torch.stack([torch.stack([x, 0 * x], -1), torch.stack([0 * x + 70, 0 * x], -1)], 1)
        >>> nobody = torch.full((26, 1, 2), 60.0)
        >>> signal = signals(places.unsqueeze(1), torch.ones(26, 1, 2), nobody, torch.zeros(1, 2, 5))
        >>> FixedCollisionUnit()(signal)[0].tolist()
        [[[1.0, 60.0]]]
    """

    def __init__(self, near: float = 20.0, jolt: float = 1.0) -> None:
        super().__init__(Tumbling(NUM_SAMPLES), WholeWindow(), PeakNearby(near, jolt), EventAt(0.0))
