"""The package on a GPU: the same numbers as on the CPU, its layers against SpikingJelly's, and the cost of neurons.

    pip install triton                   # once, where PyTorch did not bring it: SpikingJelly's kernels
    python research/speed/gpu.py           # needs an NVIDIA GPU with CUDA
    python research/speed/gpu.py --quick   # a look: fewer rounds and sizes, nothing is written

1. Parity: layers, hybrid units and hybrid networks with the same weights and inputs on the CPU and on the GPU, forward
   and backward, in float32 (without TF32) and in float64. In float64 a distance near 1e-15 says that both do the same
   sums; in float32 a membrane that ends on the other side of its threshold makes a larger one.
2. Speed: works A (a layer), B and C (training steps) and E (peak memory) of `peers.py`, and a linear layer
   with neurons of the size that public tables of GPUs use. Rows take turns; each waits for the GPU. Aims are ratios
   to SpikingJelly, whose implementation (Triton, or PyTorch where there is no Triton) is named in the row.
3. Hybrid: a training step of a hybrid network against its twin without neurons.

Writes research/speed/results/gpu.json.
"""

import argparse
import importlib
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from research.speed.beside_peers.layers import Ours, SnnTorch, SpikingJelly
from research.speed.beside_peers.taking_turns import take_turns
from research.speed.beside_peers.works import Convolutional, Dense, layer_alone, memory_traffic, training_step
from spikebridge.hybrid import (
    FIR,
    Exponential,
    Gain,
    Gaussian,
    HybridNetwork,
    HybridUnit,
    Mean,
    Modulation,
    Sliding,
    Threshold,
    Transmission,
    Tumbling,
    every,
    ticks,
)
from spikebridge.networks.digits import recipe as digits
from spikebridge.neurons import LIF, PLIF, AdaptiveLIF, CubaLIF, Integrator, Izhikevich, Recurrent, Sequential
from spikebridge.ops import reference
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "gpu.json"
DT = 1e-3
LAYERS = [(100, 16, 1024), (100, 16, 4096), (16, 32, 4096), (1000, 1, 1000)]
NETWORKS: dict[str, tuple[Callable[..., nn.Module], tuple[int, ...]]] = {
    "B": (Dense, (25, 128, 784)),
    "C": (Convolutional, (8, 32, 1, 28, 28)),
}
LINEAR = [(500, 16, 4096), (500, 16, 16384)]  # public tables: seconds forward and backward, batch 16
LENGTHS = [25, 100, 400]
HYBRID = (32, 32, 32)  # T, B, side of the pictures
Makers = Mapping[str, Callable[[], nn.Module]]
Case = tuple[nn.Module, dict[str, Tensor]]


def cases() -> dict[str, Case]:
    """Modules and their inputs, on the CPU: a signal `(T, B, *N)`, or signals by name of a network."""
    torch.manual_seed(0)
    x = torch.rand(20, 4, 6)
    pictures = torch.rand(12, 2, 1, 8, 8)

    layers: dict[str, nn.Module] = {
        "LIF, hard reset": LIF(0.02, dt=DT, v_threshold=0.8),
        "LIF, soft reset, refractory": LIF(0.02, dt=DT, reset="subtract", refractory=2 * DT),
        "PLIF": PLIF(0.02, dt=DT),
        "AdaptiveLIF": AdaptiveLIF(0.02, dt=DT, v_threshold=0.8),
        "CubaLIF": CubaLIF(0.02, 0.005, dt=DT),
        "Izhikevich": Sequential(Gain(40.0), Izhikevich(dt=DT)),
        "Integrator": Integrator(0.02, dt=DT),
        "Recurrent": Recurrent(LIF(0.02, dt=DT), nn.Linear(6, 6)),
        "unit: taps, linear layer": HybridUnit(Tumbling(5), FIR(5, (6,)), nn.Linear(6, 3)),
        "unit: learned decay, spikes": HybridUnit(None, Exponential(0.01, dt=DT, learn="tau"), None, Threshold(0.5)),
        "unit: sliding windows, Gaussian": HybridUnit(Sliding(5, 2), Gaussian(2 * DT, DT, dt=DT)),
    }

    row = Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        LIF(0.02, dt=DT, v_threshold=0.3),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 3),
    )

    config = digits.PRESETS["quick"]
    example = digits.example(config)
    built = {f"digits: {name}": network for name, network in digits.build(config).items()}

    return {
        **{name: (layer, {"x": x}) for name, layer in layers.items()},
        "convolution, LIF, pooling, linear": (row, {"x": pictures}),
        "network: loop, modulation, two clocks": (loop(), {"frames": torch.rand(5, 4, 3), "events": x}),
        **{n: (one, {k: v for k, v in example.items() if k in one.inputs}) for n, one in built.items()},
    }


def loop() -> HybridNetwork:
    """An ANN that sets thresholds of an SNN, whose spikes come back to it two ticks later."""
    return HybridNetwork(
        dt=DT,
        inputs={"frames": every(4 * DT), "events": every(DT)},
        parts={
            "ann": nn.Sequential(nn.Linear(3, 6), nn.Softplus()),
            "snn": Sequential(fc=nn.Linear(6, 6), lif=LIF(0.01, dt=DT, v_threshold=0.3)),
            "echo": Recurrent(LIF(0.01, v_threshold=0.5), nn.Linear(6, 6)),
        },
        links=[
            Transmission("frames", "ann"),
            Transmission("events", "snn"),
            Modulation("ann", "snn.lif.v_threshold"),
            Modulation("echo", "snn.lif.r", HybridUnit(None, Mean(), nn.Softplus()), delay=ticks(2)),
            Transmission("snn", "echo", HybridUnit(Tumbling(2), Mean())),
        ],
        outputs=["echo"],
    )


def forward_and_backward(case: Case, device: str, dtype: torch.dtype) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Outputs and gradients by name, back on the CPU in float64; a copy of the module is moved."""
    module = deepcopy(case[0]).to(device, dtype)
    inputs = {name: x.to(device, dtype, copy=True).requires_grad_() for name, x in case[1].items()}
    y, _ = module(inputs) if isinstance(module, HybridNetwork) else module(inputs["x"])
    outputs = y if isinstance(y, dict) else {"y": y}

    # a weight for each value, so that no gradient cancels
    weights = {
        name: torch.linspace(0.5, 1.5, y.numel(), dtype=torch.float64).reshape(y.shape) for name, y in outputs.items()
    }

    sum((y * weights[name].to(device, dtype)).sum() for name, y in outputs.items()).backward()
    leaves = {**inputs, **dict(module.named_parameters())}
    gradients = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}

    return _at_home(outputs), _at_home(gradients)


def _at_home(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().double() for name, tensor in tensors.items()}


def parity(device: str, only: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """A row a module and precision: the distance of the device from the CPU."""
    rows = []
    for name, case in cases().items():
        if only is not None and name not in only:
            continue

        for dtype in (torch.float32, torch.float64):
            (y, dy), (ours, dours) = (forward_and_backward(case, where, dtype) for where in ("cpu", device))
            rows.append(
                {
                    "module": name,
                    "precision": str(dtype).removeprefix("torch."),
                    "outputs": distance(y, ours),
                    "differing values": max(float((y[key] != ours[key]).double().mean()) for key in y),
                    "gradients": distance(dy, dours),
                }
            )

            print(rows[-1], flush=True)

    return rows


def distance(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    """The largest difference, each tensor relative to its largest value.

    Example:
        >>> distance({"y": torch.tensor([1.0, 4.0])}, {"y": torch.tensor([1.0, 3.0])})
        0.25
    """
    assert first.keys() == second.keys()
    pairs = [(a, second[name]) for name, a in first.items() if a.numel()]

    return max(float((a - b).abs().max() / a.abs().max().clamp(min=1e-30)) for a, b in pairs)


def libraries(device: str) -> Makers:
    """Functions that make a layer, by name; a library that is not installed is left out."""
    makers: dict[str, Callable[[], nn.Module]] = {
        "here": partial(Ours, nullcontext),
        "here, loop": partial(Ours, reference),
    }

    # SpikingJelly reads the variable when its kernels are first loaded
    os.environ.setdefault("SJ_LIF_CUDA_IMPLEMENTATION", "triton" if find_spec("triton") else "torch")
    if find_spec("spikingjelly"):
        functional = importlib.import_module("spikingjelly.activation_based.functional")
        implementation = functional.neuron_implementation("lif", torch.device(device))["implementation"]
        makers[f"SpikingJelly, {implementation}"] = SpikingJelly

    if find_spec("snntorch"):
        makers["snnTorch"] = SnnTorch

    return makers


def synchronized(run: Callable[[], Tensor], device: str) -> Callable[[], Tensor]:
    """A work that ends when the device has done it."""

    def synchronous() -> Tensor:
        y = run()
        if device != "cpu":
            torch.cuda.synchronize()
        return y

    return synchronous


def in_turns(title: str, works: Mapping[str, Callable[[], Tensor]], device: str, rounds: int) -> dict[str, Any]:
    """A table of works that take turns, printed."""
    rows = take_turns({name: synchronized(run, device) for name, run in works.items()}, rounds)
    kept = ("name", "ms", "ratio", "ratio_interval", "rounds", "spike_rate", "first_s")
    rows = [{key: row[key] for key in kept} for row in rows]
    print(f"\n{title}")

    for row in rows:
        print(f"  {row['name']:<36}{row['ms']:>10.3f} ms{row['ratio']:>8.2f}{row['spike_rate']:>8.3f}", flush=True)

    return {"work": title, "rows": rows}


def speed(
    device: str,
    makers: Makers,
    rounds: int,
    layers: Sequence[tuple[int, ...]] = LAYERS,
    networks: Mapping[str, tuple[Callable[..., nn.Module], tuple[int, ...]]] = NETWORKS,
    linear: Sequence[tuple[int, int, int]] = LINEAR,
) -> list[dict[str, Any]]:
    """Works A, B, C and the linear layer: a table each."""
    tables = []
    for shape in layers:
        works = {name: layer_alone(make(), shape, device) for name, make in makers.items()}
        works["floor"] = memory_traffic(shape, device)
        tables.append(in_turns(f"A  LIF {shape}, forward and backward", works, device, rounds))

    for name, (network, shape) in networks.items():
        steps = {**makers, "no neurons": nn.Identity}
        works = {n: training_step(network, make, shape, device=device) for n, make in steps.items()}
        tables.append(in_turns(f"{name}  training step {shape}", works, device, rounds))

    for shape in linear:
        # the loop over steps is left out: too slow at these lengths
        some = {n: make for n, make in makers.items() if n != "here, loop"}
        works = {
            n: layer_alone(nn.Sequential(nn.Linear(shape[-1], shape[-1]), make()), shape, device)
            for n, make in some.items()
        }
        tables.append(in_turns(f"linear layer and LIF {shape}, forward and backward", works, device, rounds))

    return tables


def memory(makers: Makers) -> list[dict[str, Any]]:
    """E: peak memory of B on the GPU [MB] as time grows."""
    rows = []
    for name, make in {**makers, "no neurons": nn.Identity}.items():
        peaks = []
        for num_steps in LENGTHS:
            run = training_step(Dense, make, (num_steps, 128, 784), device="cuda")
            torch.cuda.reset_peak_memory_stats()
            run()
            peaks.append(torch.cuda.max_memory_allocated() / 1e6)
            # the next peak begins without the memory of this one
            del run
            torch.cuda.empty_cache()

        rows.append({"name": name, "num_steps": LENGTHS, "mb": peaks})
        print(rows[-1], flush=True)

    return rows


def hybrid_network(neurons: Callable[[], nn.Module]) -> HybridNetwork:
    """A convolutional SNN on events, windows of four steps with learned taps, and an ANN that also sees frames."""
    snn = [nn.Conv2d(2, 16, 3, padding=1), neurons(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), neurons()]
    ann = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(512, 10))
    frames = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(512, 10)
    )

    return HybridNetwork(
        dt=DT,
        inputs={"events": every(DT), "frames": every(4 * DT, phase=3 * DT)},
        parts={"snn": Sequential(*snn), "ann": ann, "frames_ann": frames},
        links=[
            Transmission("events", "snn"),
            Transmission("snn", "ann", HybridUnit(Tumbling(4), FIR(4, (32, 1, 1)))),
            Transmission("frames", "frames_ann"),
        ],
        outputs=["ann", "frames_ann"],
    )


def hybrid_step(neurons: Callable[[], nn.Module], size: tuple[int, int, int], device: str) -> Callable[[], Tensor]:
    """A training step of the hybrid network with these layers as its neurons."""
    torch.manual_seed(0)
    num_steps, batch, side = size
    network = hybrid_network(neurons).to(device)
    generator = torch.Generator().manual_seed(0)
    # strong events, so that neurons fire from the first steps on
    inputs = {
        "events": 3.0 * (torch.rand(num_steps, batch, 2, side, side, generator=generator) < 0.2).to(device),
        "frames": torch.rand(num_steps // 4, batch, 1, side, side, generator=generator).to(device),
    }

    targets = torch.randint(10, (batch,), generator=generator).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)

    def run() -> Tensor:
        optimizer.zero_grad()
        outputs, _ = network(inputs)
        F.cross_entropy((outputs["ann"] + outputs["frames_ann"]).mean(0), targets).backward()
        optimizer.step()

        return outputs["ann"].detach()

    return run


def hybrid(device: str, rounds: int, size: tuple[int, int, int] = HYBRID) -> dict[str, Any]:
    """A hybrid training step against its twin without neurons."""
    layers: Makers = {"no neurons": nn.Identity, "LIF": partial(LIF, 2 * DT)}
    works = {name: hybrid_step(make, size, device) for name, make in layers.items()}
    return in_turns(f"hybrid training step {size}", works, device, rounds)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the three tables on the GPU and writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and sizes; nothing is written")
    quick = parser.parse_args(arguments).quick

    if not torch.cuda.is_available():
        raise SystemExit(
            f"research/speed/gpu.py needs an NVIDIA GPU with CUDA, but PyTorch {torch.__version__} finds none; "
            "research/speed/peers.py measures the CPU"
        )

    warnings.simplefilter("ignore")
    # TF32 keeps 10 bits of a factor, which would count as a difference between the devices
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    makers = libraries("cuda")
    rounds = 5 if quick else 21
    sizes: dict[str, Any] = {"layers": LAYERS[-2:], "linear": LINEAR[:1]} if quick else {}

    content = {
        "command": "python research/speed/gpu.py",
        "device": torch.cuda.get_device_name(),
        "parity": parity("cuda"),
        "speed": speed("cuda", makers, rounds, **sizes),
        "memory": memory(makers),
        "hybrid": hybrid("cuda", rounds),
        "environment": describe_environment(
            cuda=torch.version.cuda, **{name: _version(name) for name in ("spikingjelly", "snntorch", "triton")}
        ),
    }
    if not quick:
        RESULTS.write_text(json.dumps(content, indent=1) + "\n")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
