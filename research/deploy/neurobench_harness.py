"""The measures of `analysis.neurobench` beside those of the NeuroBench harness, on three models that both can count.

    python -m venv nb && nb/bin/pip install neurobench -e .
    nb/bin/python research/deploy/neurobench_harness.py

The harness has an environment of its own, since it brings packages under the GPL. It counts neurons of snnTorch alone:
each network with neurons has a twin of snnTorch with the same weights, decays and resets, stepped by the harness. All
measures but the footprint are its figures of the twin. Its footprint is that of the network itself, whose neurons need
no buffers (a layer of the twin has 20 bytes of them). Images are scikit-learn's digits, weights are random, a third of
them zero. Every figure must be the same digit by digit, or the exit code is 1.

Writes research/deploy/results/neurobench_harness.json.
"""

import contextlib
import io
import json
import math
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import snntorch
import torch
from neurobench.benchmarks import Benchmark
from neurobench.metrics.static import ConnectionSparsity, Footprint, ParameterCount
from neurobench.metrics.workload import (
    R2,
    SMAPE,
    ActivationSparsity,
    ClassificationAccuracy,
    MembraneUpdates,
    SynapticOperations,
)
from neurobench.models import SNNTorchModel, TorchModel
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from spikebridge.analysis.neurobench import neurobench
from spikebridge.hybrid import HybridNetwork, HybridUnit, Sum, Transmission, Tumbling, every
from spikebridge.neurons import LIF, Sequential
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "neurobench_harness.json"
STATIC = [Footprint, ConnectionSparsity, ParameterCount]
COUNTED = [ActivationSparsity, SynapticOperations, MembraneUpdates]
BATCHES = (64, 64, 37)
STEPS = 12
WINDOW = 4
TAU = 1 / math.log(1.25)  # the decay is .8 a step
Batches = list[tuple[Tensor, Tensor]]


def pruned(module: nn.Module) -> nn.Module:
    """Weights of which a third is zero."""
    with torch.no_grad():
        for child in module.modules():
            if isinstance(child, nn.Linear | nn.Conv2d):
                child.weight *= torch.rand_like(child.weight) > 1 / 3

    return module.eval()


def images() -> tuple[Tensor, Tensor]:
    data = load_digits()
    number = sum(BATCHES)
    return torch.tensor(data.data[:number] / 16, dtype=torch.float32), torch.tensor(data.target[:number])


def batched(x: Tensor, targets: Tensor) -> Batches:
    return list(zip(x.split(BATCHES), targets.split(BATCHES), strict=True))


def spiking(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images as spikes, `(B, T, pixels)`."""
    x, labels = images()
    make = torch.Generator().manual_seed(seed)
    return (torch.rand(len(x), STEPS, 64, generator=make) < x[:, None] * 0.7).float(), labels


def leaky(threshold: float) -> nn.Module:
    """snnTorch's neuron with the equation of `LIF(TAU, dt=1)`."""
    # by default snnTorch resets one step late
    return snntorch.Leaky(
        beta=math.exp(-1 / TAU), threshold=threshold, reset_mechanism="zero", init_hidden=True, reset_delay=False
    )


def by_harness(model: Any, batches: Batches, measures: list[Any], static: list[Any], post: list[Any]) -> dict[str, Any]:
    """The figures of the harness; a measure that it could not take is an error here."""
    x, targets = (torch.cat(several) for several in zip(*batches, strict=True))
    loader = DataLoader(TensorDataset(x, targets), batch_sampler=places())
    said = io.StringIO()

    # the harness prints that a measure failed, and goes on without it
    with contextlib.redirect_stdout(said):
        results = Benchmark(model, loader, [], post, [static, measures]).run(quiet=False)

    if "Error" in said.getvalue():
        raise SystemExit(said.getvalue())

    return results


def places() -> list[list[int]]:
    """The samples of each batch."""
    starts = [sum(BATCHES[:i]) for i in range(len(BATCHES))]
    return [list(range(start, start + size)) for start, size in zip(starts, BATCHES, strict=True)]


def ann() -> tuple[dict[str, Any], dict[str, Any]]:
    """A convolutional network: the harness counts the very same modules."""
    torch.manual_seed(0)
    net = pruned(
        nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, 6, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(6, 8, 3, stride=2),
            nn.Sigmoid(),
            nn.Flatten(),
            nn.Linear(72, 10),
        )
    )

    batches = batched(*images())
    ours = neurobench(net, batches, lambda y: y.argmax(-1), scores=("ClassificationAccuracy",))
    harness = by_harness(TorchModel(net), batches, [*COUNTED, ClassificationAccuracy], STATIC, [lambda y: y.argmax(-1)])

    return ours, harness


def snn() -> tuple[dict[str, Any], dict[str, Any]]:
    """Two layers of neurons on spikes; the answer is the neuron with most spikes."""
    torch.manual_seed(1)
    first = pruned(nn.Linear(64, 40))
    last = pruned(nn.Linear(40, 10))
    part = Sequential(first=first, lif=LIF(TAU, dt=1.0), last=last, out=LIF(TAU, dt=1.0, v_threshold=0.4))
    net = HybridNetwork(
        dt=1.0, inputs={"x": every(1.0)}, parts={"snn": part}, links=[Transmission("x", "snn")], outputs=["snn"]
    )
    batches = batched(*spiking())

    ours = neurobench(
        net,
        [({"x": x.transpose(0, 1)}, labels) for x, labels in batches],
        lambda y: y["snn"].sum(0).argmax(-1),
        scores=("ClassificationAccuracy",),
    )

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = first
            self.lif = leaky(1.0)
            self.last = last
            self.out = leaky(0.4)

        def forward(self, x: Tensor) -> tuple[Tensor, None]:
            return self.out(self.last(self.lif(self.first(x)))), None

    # the footprint is that of our network: the neurons of snnTorch keep more buffers than they use
    post = [lambda y: y.sum(1).argmax(-1)]
    harness = by_harness(SNNTorchModel(Twin()), batches, [*COUNTED, ClassificationAccuracy], STATIC[1:], post)

    return ours, {**harness, "Footprint": Footprint()(TorchModel(net))}


def hybrid() -> tuple[dict[str, Any], dict[str, Any]]:
    """An SNN, a unit that sums windows, and an ANN that tells two numbers of the picture."""
    torch.manual_seed(2)
    first = pruned(nn.Linear(64, 30))
    hidden = pruned(nn.Linear(30, 12))
    last = pruned(nn.Linear(12, 2))

    net = HybridNetwork(
        dt=1.0,
        inputs={"x": every(1.0)},
        parts={"snn": Sequential(fc=first, lif=LIF(TAU, dt=1.0)), "ann": nn.Sequential(hidden, nn.ReLU(), last)},
        links=[Transmission("x", "snn"), Transmission("snn", "ann", HybridUnit(Tumbling(WINDOW), Sum()))],
        outputs=["ann"],
    )

    x, _ = spiking(3)
    picture = images()[0].reshape(-1, 8, 8)
    targets = torch.stack([picture[:, :4].mean((1, 2)), picture[:, :, :4].mean((1, 2))], 1)
    batches = batched(x, targets)

    ours = neurobench(
        net,
        [({"x": x.transpose(0, 1)}, labels) for x, labels in batches],
        lambda y: y["ann"].mean(0),
        scores=("R2", "SMAPE"),
    )

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = first
            self.lif = leaky(1.0)
            self.hidden = hidden
            self.relu = nn.ReLU()
            self.last = last

        def forward(self, x: Tensor) -> Tensor:
            # the neurons hold the membranes of the batch before
            snntorch.utils.reset(self)
            answers = []
            spikes = torch.zeros(())

            for t, x_t in enumerate(x.unbind(1), start=1):
                spikes = spikes + self.lif(self.fc(x_t))
                if t % WINDOW == 0:
                    answers.append(self.last(self.relu(self.hidden(spikes))))
                    spikes = torch.zeros(())

            return torch.stack(answers)

    post = [lambda y: y.mean(1)]
    twin = SNNTorchModel(Twin(), custom_forward=True)
    harness = by_harness(twin, batches, [*COUNTED, R2, SMAPE], STATIC[1:], post)

    return ours, {**harness, "Footprint": Footprint()(TorchModel(net))}


def main() -> int:
    """Counts all models by both."""
    rows = []
    for make in (ann, snn, hybrid):
        with torch.no_grad():
            ours, harness = make()
        ordered = {key: harness.get(key) for key in ours}
        rows.append({"model": make.__name__, "ours": ours, "harness": ordered})

        for key, value in ours.items():
            print(f"{make.__name__:7s} {key:22s} {value} {'same' if value == ordered[key] else f'NOT {ordered[key]}'}")

    versions = {name: version(name) for name in ("neurobench", "snntorch", "torch")}
    text = {"command": "research/deploy/neurobench_harness.py", "versions": versions, "models": rows}
    RESULTS.write_text(json.dumps(text | {"environment": describe_environment()}, indent=1) + "\n")

    return 0 if all(row["ours"] == row["harness"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
