"""Optical flow of spikes and frames: Spike-FlowNet and Fusion-FlowNet

C. Lee, A. K. Kosta, A. Z. Zhu, K. Chaney, K. Daniilidis and K. Roy, "Spike-FlowNet: Event-Based Optical Flow
Estimation with Energy-Efficient Hybrid Neural Networks", ECCV 2020, arXiv 2003.06696. C. Lee, A. K. Kosta and K. Roy,
"Fusion-FlowNet: Energy-Efficient Optical Flow Estimation using Sensor Fusion and Deep Fused Spiking-Analog Network
Architectures", ICRA 2022, arXiv 2103.10592.

The encoder is an SNN on events. What each of its layers fires in a window is summed and read by an ANN, which decodes
the flow. Fusion-FlowNet adds an ANN encoder of two frames. Textures here turn, grow and move; the true flow is known,
so it is the target (the papers compare warped frames). Beside them: the same layers as an ANN on sums of the events,
and a flow of zero.
"""

from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import affine_grid, grid_sample, interpolate, relu

from spikebridge.analysis import count_cost, energy, hardware_profile
from spikebridge.analysis.plots.network_diagram import draw_network
from spikebridge.hybrid import HybridNetwork, HybridUnit, Sum, Transmission, Tumbling, every
from spikebridge.neurons import IF, Sequential

SIZE = 32  # px
STEPS = 10  # ticks of a window
CHANNELS = (2, 8, 16, 32)
SCALES = ("fine", "middle", "coarse")


class Encoder(nn.Module):
    """Three convolutions of an ANN."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(one, other, 3, 2, 1) for one, other in pairwise(CHANNELS))

    def forward(self, x):
        features = []
        for layer in self.layers:
            x = relu(layer(x))
            features.append(x)

        return dict(zip(SCALES, features, strict=True))


class Decoder(nn.Module):
    """The flow from features of all scales, of one encoder or of two."""

    def __init__(self, encoders=1):
        super().__init__()
        self.bottom = nn.Conv2d(32 * encoders, 32, 3, padding=1)
        self.middle = nn.Conv2d(32 + 16 * encoders, 16, 3, padding=1)
        self.fine = nn.Conv2d(16 + 8 * encoders, 16, 3, padding=1)
        self.flow = nn.Conv2d(16, 2, 3, padding=1)

    def forward(self, fine, middle, coarse, *others):
        if others:
            pairs = zip((fine, middle, coarse), others, strict=True)
            fine, middle, coarse = (torch.cat(pair, 1) for pair in pairs)

        x = relu(self.bottom(coarse))
        x = relu(self.middle(torch.cat([interpolate(x, scale_factor=2.0), middle], 1)))
        x = relu(self.fine(torch.cat([interpolate(x, scale_factor=2.0), fine], 1)))

        return interpolate(self.flow(x), scale_factor=2.0, mode="bilinear")


def build(spikes=True, frames=True):
    """Fusion-FlowNet, without frames Spike-FlowNet, and without spikes an ANN on sums of events."""
    parts = {"decoder": Decoder(encoders=spikes + (frames or not spikes))}
    links = []
    source = "events"
    for scale, one, other in zip(SCALES, CHANNELS, CHANNELS[1:], strict=False) if spikes else ():
        parts[scale] = Sequential(conv=nn.Conv2d(one, other, 3, 2, 1), fire=IF(v_threshold=0.75))
        links += [Transmission(source, scale), Transmission(scale, "decoder", HybridUnit(Tumbling(STEPS), Sum()))]
        source = scale

    if frames or not spikes:
        parts["encoder"] = Encoder()
        unit = None if frames else HybridUnit(Tumbling(STEPS), Sum())
        links.append(Transmission("frames" if frames else "events", "encoder", unit))
        links += [Transmission(f"encoder.{scale}", "decoder") for scale in SCALES]

    camera = {"frames": every(0.001 * STEPS, 0.001 * (STEPS - 1))} if frames else {}
    inputs = {"events": every(0.001)} | camera
    return HybridNetwork(dt=0.001, inputs=inputs, parts=parts, links=links, outputs=["decoder"])


def samples(batch, seed):
    """Events of one window, the frames at its ends, and the flow [px a window] of textures that move."""
    generator = torch.Generator().manual_seed(seed)
    texture = torch.rand(batch, 1, SIZE // 3, SIZE // 3, generator=generator)
    texture = interpolate(texture, size=(SIZE, SIZE), mode="bicubic")
    speed = torch.rand(batch, 2, 3, generator=generator) - 0.5
    speed = speed * torch.tensor([0.4, 0.4, 0.5])  # of half an image in a window
    unit = torch.eye(2, 3).expand(batch, 2, 3)
    grid = affine_grid(unit, [batch, 1, SIZE, SIZE], align_corners=False)
    motion = affine_grid(speed, [batch, 1, SIZE, SIZE], align_corners=False)

    images = [
        grid_sample(texture, grid - motion * (tick / STEPS - 0.5), padding_mode="reflection", align_corners=False)
        for tick in range(STEPS + 1)
    ]
    images = torch.stack(images).clamp(0, 1)
    levels = images.add(0.2).log().div(0.3).round()
    change = levels[1:] - levels[:-1]
    events = torch.cat([(change > 0).float(), (change < 0).float()], 2)
    frames = torch.cat([images[:1], images[-1:]], 2)

    return {"events": events, "frames": frames}, motion.permute(0, 3, 1, 2) * SIZE / 2


def run(seed=0, updates=400, number=200):
    """Trains the three networks; mean end-point errors and energies on a number of other samples."""
    torch.manual_seed(seed)
    networks = {"Spike-FlowNet": build(frames=False), "Fusion-FlowNet": build(), "ANN": build(False, False)}
    inputs, flow = samples(number, 2 * 10**6 + seed)
    scores = {"end-point error, zero flow [px]": flow.square().sum(1).sqrt().mean().item()}
    for name, network in networks.items():
        train(network, updates, seed)
        with torch.no_grad():
            estimate = answer(network.eval(), inputs)

        error = (estimate - flow).square().sum(1).sqrt().mean()
        cost = count_cost(network, {key: inputs[key] for key in network.inputs})
        scores[f"end-point error, {name} [px]"] = error.item()
        scores[f"energy of a window, {name} [nJ]"] = 1e9 * energy(cost, hardware_profile()).total

    return scores, {name: networks[name] for name in ("Spike-FlowNet", "Fusion-FlowNet")}


def train(network, updates, seed):
    """Trains on new samples."""
    optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
    for update in range(updates):
        inputs, flow = samples(16, 1000 * (seed + 1) + update)
        loss = (answer(network, inputs) - flow).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def answer(network, inputs):
    """The flow at the end of the window."""
    return network({name: inputs[name] for name in network.inputs})[0]["decoder"][0]


def example(seed):
    """A small input."""
    return samples(2, seed)[0]


picture = draw_network(build())

if __name__ == "__main__":
    from _main import main

    main(run, example)
