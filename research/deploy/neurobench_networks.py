"""The measures of the NeuroBench harness for the project's own hybrid networks, by `analysis.neurobench`.

    spikebridge train digits --preset quick --networks learned ann snn --out runs/quick3
    python research/deploy/neurobench_networks.py --digits runs/quick3

Digits: all test samples with one draw of noise, scored by the sum of all logits. Sensing and signals: the shipped
weights on the recipe's example (a generated scene; noise), where only operations, sparsity and sizes are of interest,
so nothing is scored. Writes research/deploy/results/neurobench_networks.json.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikebridge.analysis import neurobench
from spikebridge.networks.digits import recipe as digits
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.signals import recipe as signals
from spikebridge.pretrained import shipped_run
from spikebridge.training import Run
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "neurobench_networks.json"
BATCH = 128


def main() -> None:
    """Measures network after network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digits", type=Path, default=Path("runs/digits"))
    options = parser.parse_args()
    rows = [*digits_rows(Run.open(options.digits)), *shipped_rows()]

    text = {
        "command": "python research/deploy/neurobench_networks.py",
        "networks": rows,
        "environment": describe_environment(),
    }

    RESULTS.write_text(json.dumps(text, indent=1) + "\n")


def digits_rows(run: Run) -> list[dict[str, Any]]:
    """Every trained network of a run of digits, on the test samples."""
    config = run.config_as(digits.Config)
    scored = digits.recordings(config)[1]
    inputs = digits.with_noise(config.camera, scored.frames, scored.events, torch.Generator().manual_seed(1000))
    batches = list(zip(split(inputs), scored.labels.split(BATCH), strict=True))
    rows = []

    for path, child in run.children().items():
        if not (child.path / "weights.safetensors").is_file():
            continue

        name = path.partition("/")[0]
        network = digits.build(config)[name]
        child.load_weights(network)
        some = [({key: x for key, x in batch.items() if key in network.inputs}, labels) for batch, labels in batches]
        results = neurobench(
            network, some, lambda y: next(iter(y.values())).sum(0).argmax(-1), scores=("ClassificationAccuracy",)
        )
        rows.append(shown("digits", name, results))

    return rows


def split(inputs: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Batches of recordings, `(T, B, *N)` each."""
    parts = {name: x.split(BATCH, dim=1) for name, x in inputs.items()}
    return [dict(zip(parts, several, strict=True)) for several in zip(*parts.values(), strict=True)]


def shipped_rows() -> list[dict[str, Any]]:
    """Shipped weights of sensing and of the signals of a watch."""
    rows = []
    for name, recipe in (("sensing", sensing), ("signals_watch", signals)):
        run: Any = shipped_run(name)
        config = run.config_as(recipe.Config)
        inputs = recipe.example(config)
        path, child = next((p, one) for p, one in run.children().items() if p.partition("/")[0] == "learned")
        network = recipe.build(config)[path.partition("/")[0]]
        child.load_weights(network)
        rows.append(shown(name, "learned", neurobench(network, [({n: inputs[n] for n in network.inputs}, None)])))

    return rows


def shown(recipe: str, network: str, results: dict[str, Any]) -> dict[str, Any]:
    """A row, printed."""
    row = {"recipe": recipe, "network": network, **results}
    print(json.dumps(row), flush=True)
    return row


if __name__ == "__main__":
    main()
