"""Many tasks without forgetting: an ANN that measures the similarity of tasks opens and closes the neurons of an SNN.

    spikebridge train modulation                      # digits, 20 tasks, HMN and its rivals
    spikebridge train modulation --preset quick       # 4 tasks, in seconds

Each task permutes the pixels of the same images; permutations of a group are similar. Hybrid units turn the training
images of a task into gates, so that similar tasks share neurons. One unlabelled image is enough to infer the gate.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikebridge.data.tasks.permuted import GroupedPermutations
from spikebridge.deploy.web.inputs import WebInputs
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.modulation import report as report_page
from spikebridge.networks.modulation.config import (
    BranchConfig,
    Config,
    DataConfig,
    TaskConfig,
    TrainingConfig,
    TrialSettings,
    UnitConfig,
)
from spikebridge.networks.modulation.evaluation.evaluate import (
    Evaluation,
    evaluate_trial,
    find_trial,
    load_networks,
    read_inputs,
    save_trial,
)
from spikebridge.networks.modulation.evaluation.scores import MethodScore, score
from spikebridge.networks.modulation.model.branch import Branch
from spikebridge.networks.modulation.model.gating import Gating
from spikebridge.networks.modulation.model.network import hybrid_modulation_network
from spikebridge.networks.modulation.training.tasks import NUM_FEATURES, LabelledInputs, TaskSequence, load_inputs
from spikebridge.networks.modulation.training.trial import build_branch, run_trial
from spikebridge.networks.modulation.training.units import build_gating
from spikebridge.training.run.config_io import from_plain, reproduce_command
from spikebridge.training.run.run import Run, train_children

__all__ = ["PRESETS", "Config", "Evaluation", "build", "evaluate", "example", "report", "train"]

_SHOWN_TASKS = 8
_SLOWDOWN = 100.0  # a picture of a few ms is shown for half a second
_MNIST = Config(
    data=DataConfig("mnist"),
    network=BranchConfig(num_hidden=1000),
    training=TrainingConfig(epochs=3, batch_size=64),
)
PRESETS = {
    "quick": Config(
        methods=("hmn", "xdg_ewc", "snn"),
        data=DataConfig(num_train=400, num_test=200),
        tasks=TaskConfig(num_tasks=4, num_prior=40),
        network=BranchConfig(num_hidden=500, num_plain=200, rho=0.2),
        units=UnitConfig(num_pairs=96),
        training=TrainingConfig(epochs=4, num_fisher=50),
    ),
    "default": Config(),
    "mnist": _MNIST,
    # the weights of the package: HMN alone, with the snapshots that its evaluation on other images needs
    "shipped": replace(_MNIST, methods=("hmn",), snapshots=True, tasks=TaskConfig(num_tasks=40)),
}


def build(config: Config) -> dict[str, HybridNetwork]:
    """HMN as a hybrid network, untrained: each image sets its own gates."""
    return {"hmn": hybrid_modulation_network(*_parts(config))}


def trained(run: Run) -> dict[str, HybridNetwork]:
    """HMN as a hybrid network, with the weights of a run."""
    branch, gating = _parts(run.config_as(Config))
    load_networks(find_trial(run), branch, gating)
    return {"hmn": hybrid_modulation_network(branch, gating)}


def _parts(config: Config) -> tuple[Branch, Gating]:
    return build_branch(config.trial("hmn")), build_gating(config.network, NUM_FEATURES[config.data.dataset])


def example(config: Config) -> dict[str, Tensor]:
    """A few images of noise."""
    generator = torch.Generator().manual_seed(0)
    return {"pictures": torch.rand(1, 4, NUM_FEATURES[config.data.dataset], generator=generator)}


def recordings(config: Config, data: Path | None = None) -> tuple[LabelledInputs, LabelledInputs]:
    """The images to train on and to score, not permuted."""
    train, scored = load_inputs(config.data.dataset, data)
    return train.first(config.data.num_train), scored.first(config.data.num_test)


def task_sequence(config: Config, seed: int, train: LabelledInputs, scored: LabelledInputs) -> TaskSequence:
    """The tasks of one seed, the same for every method."""
    tasks = config.tasks
    generator = torch.Generator().manual_seed(seed)
    number = tasks.num_prior + tasks.num_tasks
    permutations = GroupedPermutations(train.inputs.shape[-1], number, tasks.group_size, generator=generator)
    # the first and the last task of a learned group are new to the backbone
    split = permutations.split(tasks.num_tasks // tasks.group_size, tuple(range(1, tasks.group_size - 1)))

    return TaskSequence(permutations, split, train, scored)


def train(config: Config, run: Run, quiet: bool = False) -> dict[str, Any]:
    """Trains every method with every seed, scores it, and writes the table."""
    # a method that left is refused before any is trained
    settings = {name: config.trial(name) for name in config.methods}
    inputs = recordings(config)

    def train_method(name: str, seed: int, child: Run) -> None:
        train_trial(replace(settings[name], seed=seed), child, inputs, quiet)

    seeds = range(config.seed, config.seed + config.num_seeds)
    results = report_page.compare(train_children(run, config.methods, seeds, train_method, MethodScore))
    run.save_results(results)

    return results


def train_trial(
    settings: TrialSettings, run: Run, inputs: tuple[LabelledInputs, LabelledInputs], quiet: bool = False
) -> None:
    """Trains one method with one seed, and saves its results."""
    tasks = task_sequence(settings.config, settings.seed, *inputs)
    trial = run_trial(settings, tasks, run, quiet=quiet)
    save_trial(trial, tasks, run)
    run.save_results(score(trial, settings, tasks))


def evaluate(run: Run, data: Path | None = None, options: Evaluation | None = None) -> dict[str, Any]:
    """Scores the trained HMN of a run on its own test images, or on those of a file."""
    config = run.config_as(Config)
    options = options or Evaluation()
    child = find_trial(run)
    settings = config.trial("hmn")

    if data is None or data.is_dir():
        train, scored = recordings(config, data)
    else:
        # of the training images only the shape is needed
        train = scored = read_inputs(data, NUM_FEATURES[config.data.dataset])

    return evaluate_trial(child, settings, task_sequence(config, config.seed, train, scored), options)


def calibration(config: Config, num_samples: int, data: Path | None = None) -> dict[str, Tensor]:
    """Training images of all tasks in turn, on which quantisation is calibrated."""
    images, _ = recordings(config, data)
    return {"pictures": _of_tasks(config, images.inputs[:num_samples])}


def measure(network: HybridNetwork, config: Config, data: Path | None = None) -> dict[str, float]:
    """The accuracy that quantisation may reduce, where each image sets its own gates."""
    _, scored = recordings(config, data)
    with torch.no_grad():
        outputs, _ = network({"pictures": _of_tasks(config, scored.inputs)})

    answers = outputs["answer"][-1].argmax(-1)
    return {"accuracy": float((answers == scored.labels).float().mean())}


def _of_tasks(config: Config, images: Tensor) -> Tensor:
    """Images `(1, B, d)`, each in the order of another task."""
    orders = _orders(config)
    chosen = orders[torch.arange(len(images)) % len(orders)]
    return images.float().gather(1, chosen)[None]


def _orders(config: Config) -> Tensor:
    """The permutations of the tasks that are learned, `(K, d)`."""
    nothing = LabelledInputs(torch.zeros(0, NUM_FEATURES[config.data.dataset]), torch.zeros(0, dtype=torch.long))
    return task_sequence(config, config.seed, nothing, nothing).permutations


def web(config: Mapping[str, Any], results: Mapping[str, Any]) -> WebInputs:
    """The inputs of a page: pictures whose pixels each task orders in its own way."""
    settings = from_plain(Config, dict(config))
    _, scored = recordings(settings)
    chosen = [scored.inputs[scored.labels == digit][0].numpy() for digit in range(10)]

    return WebInputs(
        kind="tasks",
        title="Tasks that open and close neurons",
        about="Every task has its own order of the pixels. An ANN sees which task it is, and opens neurons of the SNN.",
        restart=settings.network.num_steps,
        slowdown=_SLOWDOWN,
        answer="answer",
        classes=[str(digit) for digit in range(10)],
        networks={"hmn": "an SNN whose neurons an ANN gates"},
        examples=chosen,
        tasks=_orders(settings)[:_SHOWN_TASKS].tolist(),
    )


def report(run: Run) -> Path:
    """Writes report.html: accuracy over tasks, table of methods, confusions, memory."""
    config = run.config_as(Config)
    groups = (config.data, config.tasks, config.network, config.training)
    facts = {name: value for group in groups for name, value in asdict(group).items() if value is not None}

    return report_page.write(run, facts, build(config), reproduce_command("modulation", config))
