"""A small healthy what/where network: an ANN on frames, an SNN on events, a unit each way."""

import pytest
import torch
from torch import Tensor, nn

from spikebridge.hybrid import HybridNetwork, HybridUnit, Mean, Modulation, Transmission, Tumbling, every, ticks
from spikebridge.neurons import LIF, Sequential

DT = 1 / 240


class What(nn.Module):
    """Features of a frame beside what came from the events."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Linear(12, 8)
        self.answer = nn.Linear(12, 5)

    def forward(self, x: Tensor, motion: Tensor) -> Tensor:
        return self.answer(torch.cat([self.features(x).relu(), motion], -1))


def what_where(**changes: nn.Module | HybridUnit | None) -> HybridNetwork:
    """The network, with other units or parts where said."""
    torch.manual_seed(0)
    what = What()
    where = Sequential(fc=nn.Linear(6, 16), lif=LIF(tau=0.01, dt=DT, v_threshold=0.4))
    motion = HybridUnit(Tumbling(6), Mean(), nn.Linear(16, 4))
    gain = HybridUnit(None, None, nn.Sequential(nn.Linear(5, 16), nn.Softplus()))
    parts = {"what": changes.get("what", what), "where": changes.get("where", where)}

    return HybridNetwork(
        dt=DT,
        inputs={"frames": every(6 * DT), "events": every(DT)},
        parts=parts,
        links=[
            Transmission("frames", "what"),
            Transmission("events", "where"),
            Transmission("where", "what", changes.get("motion", motion), held=True, into="motion"),
            Modulation("what", "where.lif.v_threshold", changes.get("gain", gain), delay=ticks(1)),
        ],
        outputs=["what", "where"],
    ).eval()


@pytest.fixture
def network() -> HybridNetwork:
    return what_where()


@pytest.fixture
def inputs() -> dict[str, Tensor]:
    """Three samples of four frames and 24 ticks of events."""
    draw = torch.Generator().manual_seed(1)
    events = (torch.rand(24, 3, 6, generator=draw) < 0.4).float()
    return {"frames": torch.randn(4, 3, 12, generator=draw), "events": events}
