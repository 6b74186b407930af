"""A forecaster of one signal: an ANN on its last samples and a spiking population, read together by one linear map.

    x -> delays -> ann (random tanh features) -------------------------> readout -> the next sample
            |                                                              ^
            +---> snn (random LIF neurons) -> unit: leaky sum of spikes ---+

The random weights stay; the readout is a ridge regression in closed form, so a training takes a second. After training
the network continues a series by itself: each prediction is its next input.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.hybrid import Delay, Exponential, HybridNetwork, HybridUnit, NetworkState, Transmission, every
from spikebridge.neurons import LIF, Sequential


class _Readout(nn.Module):
    """The next sample as a linear map of all signals."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.map = nn.Linear(sum(sizes), 1)

    def forward(self, *signals: Float[Tensor, "B _"]) -> Float[Tensor, "B 1"]:
        """The prediction."""
        y: Tensor = self.map(torch.cat(signals, -1))
        return y


def forecast_network(
    num_taps: int = 12, num_features: int = 500, num_spiking: int = 50, scale: float = 0.5, seed: int = 0
) -> HybridNetwork:
    """The network with random weights of a standard deviation, and an unfitted readout, in float64."""
    draw = torch.Generator().manual_seed(seed)
    copies = nn.Linear(1, num_taps, bias=False)
    nn.init.ones_(copies.weight)
    parts: dict[str, nn.Module] = {
        "taps": Sequential(copies=copies, delay=Delay(torch.arange(float(num_taps)), dt=1.0)),
        "readout": _Readout(num_taps, num_features, num_spiking),
    }

    links = [Transmission("x", "taps")]
    if num_features:
        parts["ann"] = nn.Sequential(_random(num_taps, num_features, scale, draw), nn.Tanh())

    if num_spiking:
        parts["snn"] = Sequential(
            fc=_random(num_taps, num_spiking, 2 * scale, draw), lif=LIF(tau=4.0, v_threshold=0.5, reset="subtract")
        )

    links += [Transmission("taps", part) for part in ("ann", "snn") if part in parts] + [
        Transmission("taps", "readout")
    ]
    links += [Transmission("ann", "readout")] if num_features else []
    links += [Transmission("snn", "readout", HybridUnit(None, Exponential(4.0)))] if num_spiking else []
    network = HybridNetwork(dt=1.0, inputs={"x": every(1.0)}, parts=parts, links=links, outputs=list(parts))

    return network.double().eval()


def _random(num_inputs: int, num_outputs: int, scale: float, draw: torch.Generator) -> nn.Linear:
    linear = nn.Linear(num_inputs, num_outputs)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(linear.weight.shape, generator=draw) * scale)
        linear.bias.copy_(torch.randn(linear.bias.shape, generator=draw) * scale)

    return linear


def fit_readout(network: HybridNetwork, x: Float[Tensor, " T"], ridge: float = 1e-11) -> NetworkState:
    """Fits the readout to predict each next sample of a series; returns the state after the last one."""
    signals: list[Tensor] = []
    readout = network.parts["readout"]
    handle = readout.register_forward_hook(lambda module, inputs, y: signals.append(torch.cat(inputs, -1)))

    try:
        with torch.no_grad():
            _, state = network({"x": x.reshape(-1, 1, 1)})
    finally:
        handle.remove()

    # the delays fill first
    first = len(x) // 20
    rows = torch.cat(signals).reshape(len(x), -1)[first:-1]
    rows = torch.cat([rows, torch.ones(len(rows), 1, dtype=rows.dtype)], 1)
    target = x[first + 1 :]
    normal = rows.T @ rows + ridge * len(rows) * torch.eye(rows.shape[1], dtype=rows.dtype)
    weights = torch.linalg.solve(normal, rows.T @ target)
    linear = readout.get_submodule("map")

    with torch.no_grad():
        linear.get_parameter("weight").copy_(weights[:-1].unsqueeze(0))
        linear.get_parameter("bias").copy_(weights[-1:])

    return state


def continued(
    network: HybridNetwork, x: Float[Tensor, " T"], num_samples: int, bounds: tuple[float, float] = (-2.0, 2.0)
) -> Float[Tensor, " n"]:
    """The series continued by the network on its own predictions, each within bounds, so that none diverges."""
    predictions = []
    with torch.no_grad():
        outputs, state = network({"x": x.reshape(-1, 1, 1)})
        y = outputs["readout"][-1]

        for _ in range(num_samples):
            y = y.clamp(*bounds)
            predictions.append(y.reshape(()))
            outputs, state = network.step({"x": y}, state)
            y = outputs["readout"]

    return torch.stack(predictions)
