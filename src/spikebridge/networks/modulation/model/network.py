"""The hybrid modulation network as a graph of parts and links, for images.

    pictures -> view (ANN) --- heads, k-winners ---> gates of the body
        |----> inlet ----- held for T steps ------> body (SNN) -- last membrane potential --> answer

Each image sets its own gates, so no task number is needed: the form to draw, count and export.
"""

from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.hybrid import Hold, HybridNetwork, HybridUnit, Last, Mean, Modulation, Transmission, Tumbling, every
from spikebridge.networks.modulation.model.backbone import Backbone, Gating
from spikebridge.networks.modulation.model.branch import DT, Branch


class CentredBody(nn.Module):
    """The backbone's body on centred inputs."""

    centre: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.body = backbone.body
        self.register_buffer("centre", backbone.centre)

    def forward(self, x: Tensor) -> Tensor:
        """Features of images `(B, d)`."""
        features: Tensor = self.body(x - self.centre)
        return features


class _LogitScale(nn.Module):
    """Multiplies logits by a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """The logits times the factor."""
        return x * self.factor


def hybrid_modulation_network(branch: Branch, gating: Gating) -> HybridNetwork:
    """A branch and its gating as one graph; the modules are shared, not copied.

    Args:
        branch: spiking, for images.
        gating: for images, without bins.

    Returns:
        A network with one input, "pictures", a sample every T steps, and one output, "answer", the logits.

    Raises:
        ConfigError: an ANN branch, bins, or recordings in time.

    Example:
        >>> import torch
        >>> from spikebridge.networks.modulation.model.gating import KWinners
        >>> gating = Gating(Backbone(4, (6, 6)), [KWinners(0.5), KWinners(0.5)])
        >>> network = hybrid_modulation_network(Branch(4, (6, 6)), gating)
        >>> outputs, _ = network({"pictures": torch.rand(1, 3, 4)}, ticks=5)
        >>> outputs["answer"].shape
        torch.Size([1, 3, 10])
    """
    settings = branch.settings
    if settings.neuron != "snn" or gating.bins is not None or gating.backbone.num_steps != 1:
        raise ConfigError("the graph needs a spiking branch, and a gating for images without bins")

    steps = settings.num_steps
    is_last = settings.readout == "integrator"
    read = HybridUnit(Tumbling(steps), discretizer=Last()) if is_last else HybridUnit(Tumbling(steps), Mean())
    unit1, unit2 = (
        HybridUnit(None, None, head, discretizer)  # type: ignore[arg-type]
        for head, discretizer in zip(gating.backbone.heads, gating.discretizers, strict=True)
    )

    return HybridNetwork(
        dt=DT,
        inputs={"pictures": every(steps * DT)},
        parts={
            "view": CentredBody(gating.backbone),
            "inlet": branch.inlet,
            "body": branch.body,
            "answer": _LogitScale(settings.logit_scale),
        },
        links=[
            Transmission("pictures", "view"),
            Transmission("pictures", "inlet"),
            Transmission("inlet", "body", HybridUnit(Hold(steps))),
            Modulation("view", "body.gate1.gate", unit1, name="unit1"),
            Modulation("view", "body.gate2.gate", unit2, name="unit2"),
            Transmission("body", "answer", read),
        ],
        outputs=["answer"],
    )
