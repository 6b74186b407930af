"""The hybrid modulation network as a graph of parts and links, for images.

    pictures -> view (ANN) --- heads, k-winners ---> gates of the body
        |----> inlet ----- held for T steps ------> body (SNN) -- last membrane potential --> answer

Each image sets its own gates, so no task number is needed: the form to draw, count and export.
"""

from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.hybrid import Hold, HybridNetwork, HybridUnit, Last, Modulation, Transmission, Tumbling, every
from spikebridge.networks.modulation.model.branch import DT, Branch
from spikebridge.networks.modulation.model.gating import Backbone, Gating


class _Centre(nn.Module):
    """Images less the mean input."""

    centre: Tensor

    def __init__(self, centre: Tensor) -> None:
        super().__init__()
        self.register_buffer("centre", centre)

    def forward(self, x: Tensor) -> Tensor:
        return x - self.centre


class CentredBody(nn.Module):
    """The backbone's body on centred inputs."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        # a layer of its own, so that it has an integer form
        self.centre = _Centre(backbone.centre)
        self.body = backbone.body

    def forward(self, x: Tensor) -> Tensor:
        """Images `(B, d)` to features."""
        features: Tensor = self.body(self.centre(x))
        return features


class _LogitScale(nn.Module):
    """Logits times a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def hybrid_modulation_network(branch: Branch, gating: Gating) -> HybridNetwork:
    """A spiking branch and its gating as one graph, from the input "pictures" to the logits "answer".

    The modules are shared, not copied. The input has a sample every T steps.
    """
    settings = branch.settings
    if settings.neuron != "snn" or gating.backbone.num_steps != 1:
        raise ConfigError("the graph needs a spiking branch, and a gating for images")

    steps = settings.num_steps
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
            Transmission("body", "answer", HybridUnit(Tumbling(steps), discretizer=Last())),
        ],
        outputs=["answer"],
    )
