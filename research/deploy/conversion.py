"""Conversion of two ANNs: score and energy of every choice of spiking layers and steps.

    python research/deploy/conversion.py [--tasks digits detector] [--seeds 3]     # writes results/conversion.json

A seed that stands in the results with the same settings is not measured again.

`digits` is the ANN of the digits recipe, trained as `spikebridge train digits --networks ann` does it; the score is the
accuracy on single noisy frames. `detector` is the convolutional body of the shipped target
detector; the score is the overlap of its boxes on generated scenes. Thresholds, and the choice of layers and steps,
come from the validation part, the table from the test part. "All spiking" has neurons in place of every ReLU.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge import load_pretrained
from spikebridge.analysis import Conversion, convert, count_cost, energy, hardware_profile, hybridise
from spikebridge.networks.digits import recipe as digits
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.data import generated_parts
from spikebridge.networks.sensing.training.detector_samples import detector_samples
from spikebridge.networks.sensing.training.objectives import detection_objective
from spikebridge.ops.modes import evaluating
from spikebridge.training import fit
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "conversion.json"
STEPS = {"digits": (1, 2, 3, 4, 6, 8, 12, 16), "detector": (2, 4, 8, 12, 16, 24, 32)}
ALLOWED_LOSS = 0.005  # of a score, for two networks to count as equal
NUM_SCENES = 12
NUM_SAMPLES = 192  # of the detector


class Fixed(nn.Module):
    """A module that gives the same output for any input."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: Tensor) -> Tensor:
        return self.output


@dataclass(frozen=True)
class Task:
    """An ANN with examples of one split, and the score of its outputs for them."""

    ann: nn.Sequential
    inputs: Tensor
    score: Callable[[Tensor], float]


def digits_task(split: str, seed: int, ann: nn.Sequential | None = None) -> Task:
    """The ANN of the digits on single frames."""
    config = digits.Config(networks=("ann",), num_seeds=1)
    frames, labels = frames_of(config, split, seed)
    return Task(ann or trained_ann(config, seed), frames, lambda y: (y.argmax(-1) == labels).float().mean().item())


def detector_task(split: str, seed: int, ann: nn.Sequential | None = None) -> Task:
    """The body of the shipped target detector on pairs of frames of generated scenes."""
    detector = load_pretrained("sensing").detector.eval()
    body = detector.body
    data = detector_samples(generated_parts(split, NUM_SCENES), seed=seed)
    indices = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:NUM_SAMPLES]
    batch = data.select(indices)

    def overlap(layers: nn.Module) -> float:
        detector.body = layers
        # the same noise of boxes and pictures for all
        torch.manual_seed(seed)
        with torch.no_grad():
            _, metrics = detection_objective(detector, batch, box_noise=1.0, template_rate=sensing.TEMPLATE_RATE)
        return metrics["overlap"].item()

    inputs: list[Tensor] = []
    handle = body.register_forward_pre_hook(lambda module, arguments: inputs.append(arguments[0]))
    overlap(body)
    handle.remove()

    return Task(ann or body, inputs[0], lambda y: overlap(Fixed(y)))


TASKS = {"digits": digits_task, "detector": detector_task}


def trained_ann(config: digits.Config, seed: int) -> nn.Sequential:
    """The ANN as layers in a row, trained on the noisy frames of recordings."""
    torch.manual_seed(seed)
    network = digits.build(config)["ann"]
    training, _ = digits.recordings(config)
    fit(
        network,
        [digits._phase(config, "ann", seed)],
        digits.noisy_batches(config, training),
        settings=digits._settings(config, seed, quiet=True),
    )

    return nn.Sequential(*network.parts["what"], network.parts["answer"].linear).eval()


def frames_of(config: digits.Config, split: str, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy frames of the recordings of a split, each alone, and their labels."""
    _, scored = digits.recordings(replace(config, split=split))
    generator = torch.Generator().manual_seed(seed)
    frames = digits.with_noise(config.camera, scored.frames, scored.events, generator)["frames"]
    return frames.flatten(0, 1), scored.labels.repeat(len(frames))


def measured(one: Conversion, task: Task) -> dict[str, Any]:
    """Score and energy on examples that took no part in the choice."""
    return {
        "layers": one.layers,
        "steps": one.steps,
        **scored(one.network, task, is_ann=one.layers == 0),
        "score_in_choice": one.score,
    }


def scored(network: nn.Module, task: Task, is_ann: bool = False) -> dict[str, float]:
    """Score and energy of a network."""
    inputs: Any = task.inputs if is_ann else {"x": task.inputs.unsqueeze(0)}
    with torch.no_grad(), evaluating(network):
        outputs = network(inputs)
        cost = count_cost(network, inputs)

    score = task.score(outputs if is_ann else outputs[0]["ann"][0])
    return {"score": score, "nanojoules": 1e9 * energy(cost, hardware_profile()).total}


def with_progress(score: Callable[[Tensor], float], number: int) -> Callable[[Tensor], float]:
    """A score that prints how many of a number of networks have been scored."""
    begin = time.monotonic()
    done: list[float] = []

    def printing(y: Tensor) -> float:
        done.append(score(y))
        print(f"    {len(done)} of {number}: {done[-1]:.4f}, {time.monotonic() - begin:.0f} s", flush=True)
        return done[-1]

    return printing


def run(name: str, seed: int) -> dict[str, Any]:
    """The front of one seed, and of it the ANN and the cheapest network that is as good."""
    choice = TASKS[name]("validation", seed)
    unseen = TASKS[name]("test", 1000 + seed, choice.ann)
    num_relus = sum(isinstance(layer, nn.ReLU) for layer in choice.ann.modules())
    score = with_progress(choice.score, 1 + num_relus * len(STEPS[name]))
    front = hybridise(choice.ann, choice.inputs, score, steps=STEPS[name])
    (ann,) = hybridise(choice.ann, choice.inputs, choice.score, steps=())
    rows = [measured(one, unseen) for one in front]
    whole = measured(ann, unseen)
    equal = next((row for row in rows if row["score_in_choice"] >= ann.score - ALLOWED_LOSS), whole)
    spiking = [(steps, convert(choice.ann, choice.inputs, steps=steps)) for steps in STEPS[name]]

    return {
        "task": name,
        "seed": seed,
        "settings": settings_of(name),
        "ann": whole,
        "equal": equal,
        "all_spiking": [{"steps": steps, **scored(network, unseen)} for steps, network in spiking],
        "front": rows,
    }


def settings_of(name: str) -> dict[str, Any]:
    """The settings on which the results of a task depend."""
    sizes = {"scenes": NUM_SCENES, "samples": NUM_SAMPLES} if name == "detector" else {}
    return {"steps": list(STEPS[name]), "thresholds": "least squares", **sizes}


def print_run(one: dict[str, Any]) -> None:
    """Prints the ANN, the networks of all spiking neurons and the front."""
    print(f"{one['task']}, seed {one['seed']}: score and energy of unseen examples")
    ann = one["ann"]
    print(f"  the ANN: {ann['score']:.3f} ({ann['score_in_choice']:.3f} in the choice), {ann['nanojoules']:9.1f} nJ")
    for row in one["all_spiking"]:
        print(f"  all spiking, {row['steps']:2} steps: {row['score']:.3f}, {row['nanojoules']:9.1f} nJ")

    for row in one["front"]:
        print(
            f"  front: {row['layers']} layers, {row['steps']:2} steps: {row['score']:.3f} "
            f"({row['score_in_choice']:.3f} in the choice), {row['nanojoules']:9.1f} nJ",
            flush=True,
        )


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    # results of other tasks stay
    runs = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    for name in options.tasks:
        for seed in range(options.seeds):
            found = [one for one in runs if (one["task"], one["seed"]) == (name, seed)]
            if found and found[0].get("settings") == settings_of(name):
                print_run(found[0])
                continue

            one = run(name, seed)
            print_run(one)
            runs = sorted([r for r in runs if r not in found] + [one], key=lambda r: (r["task"], r["seed"]))
            write(runs)

    write(runs)


def write(runs: list[dict[str, Any]]) -> None:
    """Writes the results so far, and prints the ratio of energies of each task."""
    ratios = {
        name: [one["ann"]["nanojoules"] / one["equal"]["nanojoules"] for one in runs if one["task"] == name]
        for name in sorted({one["task"] for one in runs})
    }
    for name, values in ratios.items():
        print(
            f"{name}: the ANN needs {statistics.mean(values):.2f} times the energy of the network within half a point"
        )

    record = {"runs": runs, "ratios": ratios, "environment": describe_environment(threads=1)}
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
