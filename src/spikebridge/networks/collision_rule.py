"""The fixed collision unit: the same interface as the learned one, set by hand.

Two objects collide where both their velocities change most while they are near each other. It has no parameter that is
trained; two limits are chosen. That both have to change keeps out jolts that a third object gave.
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
        jolt: smallest change of both velocities [px/sample] that counts.
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
        change = first[:, JOLTS].unflatten(1, (2, 2)).norm(dim=2).amin(1) * SCALES["acceleration"]
        distance = first[:, DISTANCE] * SCALES["distance"]
        passed = (change / self.jolt).clamp(max=100) - 1
        scores = torch.where(distance < self.near, _SURE * passed, -_SURE * 2)
        return torch.cat([scores, torch.zeros_like(scores[:, :1])], 1)


class FixedCollisionUnit(HybridUnit):
    """The rule as a hybrid unit: the window kept whole, the rule, a spike at the peak.

    Args:
        near: largest distance of two objects that can touch.
        jolt: smallest change of both velocities [px/sample] that counts.

    Example:
        >>> from spikebridge.networks.collision_inputs import signals
        >>> t = torch.arange(26.0)
        >>> x = torch.stack([(5 * t).clamp(max=60), 70 + 5 * (t - 12).clamp(min=0)], 1)  # a push at sample 12
        >>> places = torch.stack([x, torch.zeros_like(x)], -1)
        >>> nobody = torch.full((26, 1, 2), 60.0)
        >>> signal = signals(places.unsqueeze(1), torch.ones(26, 1, 2), nobody, torch.zeros(1, 2, 5))
        >>> FixedCollisionUnit()(signal)[0].tolist()
        [[[1.0, 60.0]]]
    """

    def __init__(self, near: float = 20.0, jolt: float = 0.6) -> None:
        super().__init__(Tumbling(NUM_SAMPLES), WholeWindow(), PeakNearby(near, jolt), EventAt(0.0))
