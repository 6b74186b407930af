"""A residual hybrid network with learned delays and weights of 4 bits, in every form that it can be exported to.

    python research/deploy/residual_delays.py            # needs a C compiler and: pip install openvino
    python research/deploy/residual_delays.py --check    # whether the table of the notes is that of the results

An ANN with a skip connection sees frames. An SNN sees events behind a delay for each channel; around its hidden layer
leads a skip connection. Its adapting neurons have no node in NIR, so that it is an ONNX step with the delays inside. A
second learned delay is the kernel of the link from the events. A unit turns the spikes into values for the read-out.

Weights and delays are trained for 40 steps on a generated task: the class is the channel that spikes 6 steps before
another one. Then every weight is rounded to the 15 values of 4 bits that its channel has. Float forms compute with
these weights, and integer forms with the same integers. Float forms are held against torch, integer forms against the
quantised network; how far the quantised network is from that of floats is stated, not judged. The training only gives
delays that are learned: it moves them by up to 2 steps, but is too short to solve the task (the results say how far).

Writes research/deploy/results/residual_delays.json and the table of research/deploy/NOTES.md.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from research.deploy.openvino_session import OpenVinoSession, has_openvino, openvino_level
from research.pages.made_page import measured, write_or_check
from spikebridge.deploy import Bundle, QConfig, QConfigMapping, Runner, Tolerance, add_integers, compare_bundle, export
from spikebridge.deploy import quantize as quantize_network
from spikebridge.deploy.c.export import bundle_sample, write_c
from spikebridge.hybrid import Delay, HybridNetwork, HybridUnit, Mean, Transmission, Tumbling, every
from spikebridge.neurons import LIF, AdaptiveLIF, Sequential, Stateful
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "residual_delays.json"
DT = 0.001
STEPS = 24
CHANNELS = 4
LAG = 6
TRAIN_STEPS = 40
BATCH = 32
FLOATS = Tolerance(values=1e-6, spikes=0.0)
BITS = 4


class ResidualAnn(nn.Module):
    """Two layers with a way around the second."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(CHANNELS, 6)
        self.second = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        """Features `(B, 6)` of frames `(B, 4)`."""
        y = self.first(x).relu()
        return y + self.second(y).relu()


class ResidualSnn(Stateful):
    """A spiking layer behind learned delays, with a way around it into neurons that adapt."""

    def __init__(self) -> None:
        super().__init__()
        delay = Delay(torch.linspace(0, 0.006, 8), max_delay=0.008, dt=DT, learn="delay")
        self.inlet = nn.Linear(CHANNELS, 8)
        self.hidden = Sequential(late=delay, fire=LIF(tau=0.004, dt=DT, v_threshold=0.3), out=nn.Linear(8, 8))
        self.last = AdaptiveLIF(0.005, 0.02, dt=DT, jump=0.2, v_threshold=0.4)

    def initial_state(self, x_t: Tensor) -> Any:
        y_t = self.inlet(x_t)
        return self.hidden.initial_state(y_t), self.last.initial_state(y_t)

    def step(self, x_t: Tensor, state: Any, **modulation: Any) -> tuple[Tensor, Any]:
        y_t = self.inlet(x_t)
        around, hidden = self.hidden.step(y_t, state[0])
        spikes, last = self.last.step(y_t + around, state[1])
        return spikes, (hidden, last)


class ReadOut(nn.Module):
    """Classes of what both sides give."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, CHANNELS)

    def forward(self, features: Tensor, values: Tensor) -> Tensor:
        """`(B, 4)` of `(B, 6)` each."""
        return self.layer(torch.cat([features, values], -1))


def build() -> HybridNetwork:
    """The network before training."""
    wait = Delay(torch.tensor([0.001, 0.003, 0.0, 0.002]), max_delay=0.004, learn="delay")
    return HybridNetwork(
        dt=DT,
        inputs={"frames": every(4 * DT), "events": every(DT)},
        parts={"ann": ResidualAnn(), "snn": ResidualSnn(), "answer": ReadOut()},
        links=[
            Transmission("frames", "ann"),
            Transmission("events", "snn", HybridUnit(None, wait)),
            Transmission("ann", "answer", held=True),
            Transmission("snn", "answer", HybridUnit(Tumbling(4), Mean(), nn.Linear(8, 6))),
        ],
        outputs=["answer", "snn"],
    )


def samples(number: int, seed: int) -> tuple[dict[str, Tensor], Tensor]:
    """Frames of noise, events of which one channel is repeated by the next one 6 steps later, and that channel."""
    make = torch.Generator().manual_seed(seed)
    label = torch.randint(0, CHANNELS, (number,), generator=make)
    events = (torch.rand(STEPS, number, CHANNELS, generator=make) < 0.3).float()
    rows = torch.arange(number)
    events[LAG:, rows, (label + 1) % CHANNELS] = events[:-LAG, rows, label]

    return {"frames": torch.rand(STEPS // 4, number, CHANNELS, generator=make), "events": events}, label


def trained() -> HybridNetwork:
    """The network after 40 steps, in eval mode, every weight of a layer rounded to 4 bits."""
    torch.manual_seed(0)
    network = build()
    # a step of the size that suits weights would carry a delay across its whole range
    optimizer = torch.optim.Adam(
        [
            {"params": [p for name, p in network.named_parameters() if name.endswith("delay")], "lr": 1e-4},
            {"params": [p for name, p in network.named_parameters() if not name.endswith("delay")], "lr": 1e-2},
        ]
    )

    for step in range(TRAIN_STEPS):
        # new samples at each step, so that no training set has to be kept
        inputs, label = samples(BATCH, seed=step)
        loss = F.cross_entropy(network(inputs)[0]["answer"].mean(0), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    round_weights(network)
    return network.eval()


def round_weights(network: nn.Module) -> None:
    """Rounds the weights of linear layers to -7 to 7 times a scale for each output channel."""
    most = 2 ** (BITS - 1) - 1
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Linear):
                scale = layer.weight.abs().amax(1, keepdim=True) / most
                layer.weight.copy_((layer.weight / scale).round() * scale)


def bundle_of(network: HybridNetwork, folder: Path) -> Bundle:
    """The bundle of the trained network, with its integers."""
    inputs = samples(4, seed=1000)[0]
    plan = QConfigMapping((QConfig(weights=BITS, membranes=20),))
    return add_integers(export(network, inputs, folder), network, quantize_network(network, inputs, plan))


def compared(bundle: Bundle) -> list[dict[str, Any]]:
    """A row for each form but C: the largest difference, its limit, and how many parts and units were compared."""
    further: dict[str, Any] = {}
    if has_openvino():
        whole = Runner(bundle, open_session=OpenVinoSession)
        further["openvino"] = (openvino_level(bundle), FLOATS)
        further["openvino network"] = (whole.run_recorded, FLOATS)

    rows: dict[str, list[Any]] = {}
    for row in compare_bundle(bundle, FLOATS, further=further).rows:
        rows.setdefault(row.level, []).append(row)

    return [
        {
            "form": level,
            "compared": len(level_rows),
            "largest difference": max(row.largest for row in level_rows),
            "relative": max(row.largest / max(1.0, row.largest_value) for row in level_rows),
            "spikes that differ": max((row.share for row in level_rows if row.share is not None), default=0.0),
            "answer": next((row.largest for row in level_rows if row.name == "answer"), None),
            "passed": None if level_rows[0].passed is None else all(row.passed for row in level_rows),
        }
        for level, level_rows in rows.items()
    ]


def compared_c(bundle: Bundle, folder: Path, compiler: str = "cc") -> dict[str, Any]:
    """The row of C: values that differ from the integer model."""
    model_c = write_c(*bundle_sample(bundle), folder)
    words = [compiler, "-std=c99", f"{model_c.name}.c", "check.c", "-o", "check"]
    subprocess.run(words, cwd=model_c.folder, check=True, timeout=60)
    said = subprocess.run(["./check"], cwd=model_c.folder, capture_output=True, text=True, timeout=60).stdout
    match = re.fullmatch(r"\d+ ticks, (\d+) values, (\d+) differ\n", said)

    if match is None:
        raise SystemExit(f"the program of the C form said: {said}")

    return {"form": "C", "compared": int(match[1]), "values that differ": int(match[2]), "passed": match[2] == "0"}


def measure() -> dict[str, Any]:
    """Trains, exports, compares."""
    if not has_openvino():
        raise SystemExit("OpenVINO is not installed; install it with: pip install openvino")

    start = build()
    network = trained()
    first = {name: p for name, p in start.named_parameters() if name.endswith("delay")}
    moved = {
        name: float((p - first[name]).detach().abs().max()) for name, p in network.named_parameters() if name in first
    }

    with tempfile.TemporaryDirectory() as folder:
        bundle = bundle_of(network, Path(folder) / "residual.bundle")
        rows = [*compared(bundle), compared_c(bundle, Path(folder) / "residual_c")]

    inputs, label = samples(400, seed=2000)
    right = (network(inputs)[0]["answer"].mean(0).argmax(-1) == label).float().mean()

    return {"rows": rows, "largest change of a delay [s]": moved, "accuracy, 400 new samples": float(right)}


WORDS = {
    "onnxruntime": ("ANN parts and ONNX steps alone, onnxruntime", "torch, floats"),
    "openvino": ("ANN parts, ONNX steps and nonlinearities alone, OpenVINO", "torch, floats"),
    "units": ("units alone, numpy and onnxruntime", "torch, floats"),
    "rebuilt": ("the network rebuilt in torch", "torch, floats"),
    "runner": ("the network, numpy and onnxruntime", "torch, floats"),
    "openvino network": ("the network, numpy and OpenVINO", "torch, floats"),
    "integers": ("the integer model, numpy", "torch, quantised"),
    "C": ("the integer model in C", "the integer model"),
    "quantised": ("the quantised network, torch", "torch, floats"),
}


def table_row(row: dict[str, Any]) -> tuple[str, ...]:
    """A row of the page."""
    form, against = WORDS[row["form"]]
    if row["form"] == "C":
        return form, against, f"{row['values that differ']} of {row['compared']} values differ", "0"

    if row["form"] == "quantised":
        apart = f"answer {row['answer']:.2g}, {row['spikes that differ']:.1%} of spikes"
        return form, against, apart, "stated only"

    limit = "0" if row["form"] == "integers" else "1e-6"
    return form, against, f"{row['relative']:.2g}", limit


def main() -> int:
    """Measures, unless the page is only checked, and writes the table."""
    if "--check" not in sys.argv:
        results = {
            "command": "python research/deploy/residual_delays.py",
            **measure(),
            "environment": describe_environment(),
        }
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")

    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    table = measured(("form", "held against", "largest difference", "limit"), [table_row(row) for row in rows])

    return write_or_check(Path(__file__), __doc__, {"residual_delays": table})


if __name__ == "__main__":
    sys.exit(main())
