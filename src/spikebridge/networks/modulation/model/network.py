"""The hybrid modulation network as a graph of parts and links, on pictures: an ANN, an SNN, and units between them.

    pictures -> view (ANN) ---- head, k-winners ----> gates of the body
        |----> inlet ----------- held for T steps ---> body (SNN) -- last membrane --> answer

Each picture opens its own neurons, so no task is ever named: the form to draw, count and export.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.hybrid import Hold, HybridNetwork, HybridUnit, Last, Mean, Modulation, Transmission, Tumbling, every
from spikebridge.networks.modulation.model.backbone import Backbone, Gating
from spikebridge.networks.modulation.model.branch import DEFAULT, DT, Branch, BranchSettings
from spikebridge.networks.modulation.model.gating import KWinners


class CentredBackbone(nn.Module):
    """The backbone's body on centred pictures."""

    centre: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.body = backbone.body
        self.register_buffer("centre", backbone.centre)

    def forward(self, x: Tensor) -> Tensor:
        """Features of pictures `(B, d)`."""
        features: Tensor = self.body(x - self.centre)
        return features


def as_hybrid_network(branch: Branch, gating: Gating) -> HybridNetwork:
    """A branch and its gating as one graph; the modules are shared, not copied.

    Args:
        branch: spiking, for pictures.
        gating: for pictures, without bins.

    Returns:
        a network of one input, "pictures", with a sample each T steps, and one output, "answer", with the logits.

    Raises:
        ConfigError: an ANN branch, bins, or recordings in time.
    """
    settings = branch.settings
    if settings.neuron != "snn" or gating.bins is not None or gating.backbone.num_steps != 1:
        raise ConfigError("the graph is of a spiking branch and a gating of pictures, without bins")
    units = [HybridUnit(None, None, head, gating.opening_of(layer)) for layer, head in enumerate(gating.backbone.heads)]
    steps = settings.num_steps
    reads = HybridUnit(Tumbling(steps), discretizer=Last()) if settings.readout == "integrator" else None
    return HybridNetwork(
        dt=DT,
        inputs={"pictures": every(steps * DT)},
        parts={
            "view": CentredBackbone(gating.backbone),
            "inlet": branch.inlet,
            "body": branch.body,
            "answer": LogitScale(settings.logit_scale),
        },
        links=[
            Transmission("pictures", "view"),
            Transmission("pictures", "inlet"),
            Transmission("inlet", "body", HybridUnit(Hold(steps))),
            *(Modulation("view", f"body.gate{n}.gate", unit, name=f"unit{n}") for n, unit in enumerate(units, 1)),
            Transmission("body", "answer", reads or HybridUnit(Tumbling(steps), Mean())),
        ],
        outputs=["answer"],
    )


class LogitScale(nn.Module):
    """Multiplies logits by a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """The logits times the factor."""
        return x * self.factor


def hybrid_modulation_network(
    num_inputs: int,
    num_hidden: tuple[int, int],
    rho: float,
    hidden: Sequence[int] = (),
    settings: BranchSettings = DEFAULT,
) -> HybridNetwork:
    """The same, untrained.

    Args:
        num_inputs: pixels of a picture.
        num_hidden: neurons C of both hidden layers.
        rho: share of open neurons.
        hidden: sizes of the backbone's ReLU layers.
        settings: neurons and read-out.

    Example:
        >>> import torch
        >>> network = hybrid_modulation_network(4, (6, 6), rho=0.5)
        >>> outputs, _ = network({"pictures": torch.rand(1, 3, 4)}, ticks=5)
        >>> outputs["answer"].shape
        torch.Size([1, 3, 10])
    """
    return as_hybrid_network(*branch_and_gating(num_inputs, num_hidden, rho, hidden, settings))


def branch_and_gating(
    num_inputs: int,
    num_hidden: tuple[int, int],
    rho: float,
    hidden: Sequence[int] = (),
    settings: BranchSettings = DEFAULT,
) -> tuple[Branch, Gating]:
    """What `as_hybrid_network` joins, untrained; the arguments are those of `hybrid_modulation_network`.

    Example:
        >>> branch, gating = branch_and_gating(4, (6, 6), rho=0.5)
        >>> len(gating.backbone.heads)
        2
    """
    gating = Gating(Backbone(num_inputs, num_hidden, hidden=hidden), [KWinners(rho) for _ in num_hidden])
    return Branch(num_inputs, num_hidden, settings=settings), gating
