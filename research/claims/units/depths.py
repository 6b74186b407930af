"""Claim: pathways may be joined at several depths (Fig. 2a): gain and cost of each depth.

    python research/claims/units/depths.py           # writes results/depths.json
    python research/claims/units/depths.py --quick   # one seed, one scene; printed only

Generated scenes, frames at 40 Hz and events in bins of 1/240 s, crops of 48 px around the target. An ANN of three
stages reads the frame, an SNN of three stages reads the events after it and predicts at each bin how far the target has
moved since the frame. Events alone do not show on which side of an edge the target lies; the frame does. Units from a
stage of the ANN to the same stage of the SNN, a held 1 x 1 map that adds to the membranes' input, are placed at no,
one, two or all three depths. All networks are trained in the same way. The score is the mean distance on other scenes.
Epochs and rates were chosen on validation scenes with another seed.
"""

import time
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from research.claims.experiment import Results, main, run_plan, spread
from spikebridge.analysis.cost import count_cost
from spikebridge.hybrid import HybridNetwork, HybridUnit, Transmission, every
from spikebridge.hybrid.network.link import Link
from spikebridge.networks.sensing.data import DT, generated_parts
from spikebridge.networks.sensing.model.backbones import log_intensity
from spikebridge.networks.sensing.training.samples import AXES, TrackingSamples, cut_samples
from spikebridge.neurons import LIF, Integrator
from spikebridge.ops.modes import evaluating
from spikebridge.training import WHOLE, Phase, Settings, fit
from spikebridge.training.batches import Batches

CROP = 48
FEATURES = (8, 16, 16)
PLACES: dict[str, tuple[int, ...]] = {
    "none": (),
    "1": (1,),
    "2": (2,),
    "3": (3,),
    "2, 3": (2, 3),
    "1, 2, 3": (1, 2, 3),
}


class Current(nn.Module):
    """The input of the membranes of a stage: a convolution of spikes, and the signal of a unit."""

    def __init__(self, num_in: int, num_out: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_in, num_out, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(num_out)

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """`(B, C, H, W)` to membranes' input."""
        y: Tensor = self.norm(self.conv(x))
        return y if added is None else y + added


class Stage(nn.Module):
    """A stage of the ANN; the first one reads grey levels."""

    def __init__(self, num_in: int, num_out: int, stride: int, reads_pixels: bool = False) -> None:
        super().__init__()
        self.reads_pixels = reads_pixels
        self.layers = nn.Sequential(
            nn.Conv2d(num_in, num_out, 3, stride, 1, bias=False), nn.BatchNorm2d(num_out), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C, H, W)` to features."""
        y: Tensor = self.layers(log_intensity(x) if self.reads_pixels else x)
        return y


def network_of(depths: tuple[int, ...], num_bins: int) -> HybridNetwork:
    """ANN and SNN of three stages with units at some depths; the ANN ends at the last of them."""
    strides = (2, 2, 1)
    ann = (1, *FEATURES)
    snn = (2, *FEATURES)
    parts: dict[str, nn.Module] = {}
    links: list[Link] = []

    for k in range(1, 4):
        if depths and k <= max(depths):
            parts[f"what{k}"] = Stage(ann[k - 1], ann[k], strides[k - 1], reads_pixels=k == 1)
            links.append(Transmission(f"what{k - 1}" if k > 1 else "frames", f"what{k}"))

        parts[f"current{k}"] = Current(snn[k - 1], snn[k], strides[k - 1])
        parts[f"where{k}"] = LIF(torch.full((snn[k], 1, 1), 0.013), learn=("tau",))
        links += [
            Transmission(f"where{k - 1}" if k > 1 else "events", f"current{k}"),
            Transmission(f"current{k}", f"where{k}"),
        ]
        if k in depths:
            unit = HybridUnit(nonlinearity=nn.Conv2d(ann[k], snn[k], 1))
            links.append(Transmission(f"what{k}", f"current{k}", unit, held=True, into="added", name=f"unit{k}"))

    cells = CROP // 4
    parts["step"] = nn.Sequential(nn.Flatten(), nn.Linear(FEATURES[-1] * cells**2, 2))
    parts["place"] = Integrator(float("inf"))
    links += [Transmission("where3", "step"), Transmission("step", "place")]
    inputs = {"events": every(DT)} | ({"frames": every(num_bins * DT)} if depths else {})

    return HybridNetwork(dt=DT, inputs=inputs, parts=parts, links=links, outputs=["place"])


def samples_of(split: str, scenes: int) -> TrackingSamples:
    """Crops of generated scenes, in training forward and backward in time."""
    parts = [
        cut_samples(recording, frames, CROP, both_ways=split == "train")
        for recording, frames in generated_parts(split, scenes)
    ]
    return TrackingSamples(**{name: torch.cat([getattr(part, name) for part in parts], AXES[name]) for name in AXES})


def batches(samples: TrackingSamples) -> Batches:
    """Training samples, flipped and transposed at random."""
    tensors = {"frames": samples.frames, "events": samples.events, "truths": samples.truths}
    return Batches(tensors, batch={"frames": 0, "events": 1, "truths": 1}, augment=_flipped)


def _flipped(batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    across, down, swap = (torch.rand(3, generator=generator) < 0.5).tolist()
    truths = batch["truths"]
    pictures = {name: batch[name] for name in ("frames", "events")}

    for is_flipped, axis in ((across, 0), (down, 1)):
        if is_flipped:
            pictures = {name: x.flip(-1 - axis) for name, x in pictures.items()}
            truths = truths * torch.where(torch.arange(2) == axis, -1.0, 1.0)

    if swap:
        pictures = {name: x.transpose(-1, -2) for name, x in pictures.items()}
        truths = truths.flip(-1)

    return {**pictures, "truths": truths}


def places(network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """The place of the target relative to that in the frame, at the end of each bin [px]."""
    answer: Tensor = network(_inputs(network, batch), ticks=len(batch["events"]))[0]["place"]
    return answer


def objective(network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Smooth distance to the truth [px]."""
    return nn.functional.smooth_l1_loss(places(network, batch), batch["truths"])


def trained(
    depths: tuple[int, ...], seed: int, samples: TrackingSamples, scored: TrackingSamples, epochs: int
) -> dict[str, float]:
    """The distance on other scenes, and the cost of the network."""
    torch.manual_seed(seed)
    network = network_of(depths, len(samples.events))
    phase = Phase(
        "depths",
        WHOLE,
        objective,
        epochs,
        partial(torch.optim.AdamW, lr=4e-3, weight_decay=0.01),
        partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=4e-3, total_steps=epochs + 1),
        clip=1.0,
    )

    fit(network, [phase], batches(samples), settings=Settings(seed=seed, batch_size=32, accelerator="cpu", quiet=True))
    batch = {"frames": scored.frames, "events": scored.events}

    with evaluating(network):
        # a first pass, which is slower, is not measured
        network(_inputs(network, batch), ticks=len(scored.events))
        start = time.process_time()
        error = (places(network, batch) - scored.truths).norm(dim=-1)
        seconds = time.process_time() - start

    return {
        "distance_px": float(error.mean()),
        "last_bin_px": float(error[-1].mean()),
        "cpu_us_a_bin": 1e6 * seconds / error.numel(),
        **cost(network, batch),
    }


def _inputs(network: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    inputs = {"frames": batch["frames"][None], "events": batch["events"]}
    return {name: x for name, x in inputs.items() if name in network.inputs}  # type: ignore[operator]


def cost(network: HybridNetwork, batch: dict[str, Tensor]) -> dict[str, float]:
    """Weights, and operations a bin: products of the ANN and the units, additions of the SNN."""
    counted = count_cost(network, _inputs(network, {"frames": batch["frames"][:16], "events": batch["events"][:, :16]}))
    bins = len(batch["events"])

    return {
        "weights": sum(parameter.numel() for parameter in network.parameters()),
        "macs_a_bin": counted.total.macs / bins,
        "synops_a_bin": counted.total.synops / bins,
    }


def baselines(scored: TrackingSamples) -> dict[str, float]:
    """Distances of a resting target, and of one that moves on as between the last two frames [px]."""
    age = torch.arange(1, len(scored.truths) + 1)[:, None, None] / len(scored.truths)
    return {
        "standing still": float(scored.truths.norm(dim=-1).mean()),
        "constant velocity, both boxes known": float((age * scored.motion - scored.truths).norm(dim=-1).mean()),
    }


def row_of(name: str, results: list[dict[str, float]]) -> dict[str, Any]:
    """A place of units, over seeds."""
    return {"units": name, **{key: spread([result[key] for result in results], 3) for key in results[0]}}


def run(quick: bool) -> Results:
    """Scores of all places of the units, seed after seed, saved after each training; a stopped run resumes."""
    seeds = 3
    scenes = (16, 8)
    epochs = 20
    chosen = PLACES

    if quick:
        seeds = 1
        scenes = (1, 1)
        epochs = 1
        chosen = {name: PLACES[name] for name in ("none", "1, 2, 3")}

    samples = samples_of("train", scenes[0])
    scored = samples_of("test", scenes[1])
    results: Results = {
        "baselines_px": {name: round(value, 3) for name, value in baselines(scored).items()},
        "samples": {"trained": samples.frames.shape[0], "scored": scored.frames.shape[0]},
        "planned": seeds * len(chosen),
        "epochs": epochs,
    }

    plan = (
        (name, seed, partial(trained, depths, seed, samples, scored, epochs))
        for seed in range(seeds)
        for name, depths in chosen.items()
    )

    def rows(finished: dict[str, list[Results]]) -> list[Results]:
        return [row_of(name, [step["result"] for step in steps]) for name, steps in finished.items()]

    return run_plan("depths", plan, results, rows, quick)


if __name__ == "__main__":
    main("depths", __doc__, run)
