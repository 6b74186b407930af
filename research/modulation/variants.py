"""A recipe: methods that the modulation recipe compared earlier, each as a change of its training.

    spikebridge train research/modulation/variants.py --methods hmn hmn_shared group_ewc single

They are bounds (`single`, `group_ewc`), weaker protections of earlier tasks, level with the default (`hmn_similarity`,
`hmn_bins`), networks without gates, or units that are not trained. The methods of the recipe itself may be named too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from research.modulation.consolidation import Metaplasticity, SynapticIntelligence
from research.modulation.gates import (
    bin_gating,
    group_gates,
    projection_gating,
    shared_gates,
    similarity_gating,
    untrained_gating,
)
from research.modulation.similarity import reshuffled_accuracies
from spikebridge.networks.modulation import recipe as modulation
from spikebridge.networks.modulation.config import METHODS, Method, TrialSettings
from spikebridge.networks.modulation.evaluation.evaluate import save_trial
from spikebridge.networks.modulation.evaluation.scores import inference_modes, score
from spikebridge.networks.modulation.model.branch import Branch
from spikebridge.networks.modulation.model.gating import Gating
from spikebridge.networks.modulation.recipe import build, evaluate, example, report
from spikebridge.networks.modulation.report import compare
from spikebridge.networks.modulation.training.tasks import LabelledInputs, TaskSequence
from spikebridge.networks.modulation.training.trial import (
    Trial,
    build_branch,
    continual_method,
    initialise_branch,
    run_trial,
)
from spikebridge.networks.modulation.training.units import make_gating, task_gates, task_prototypes
from spikebridge.training.continual.ewc import EWC, Fisher
from spikebridge.training.continual.loop import fit_tasks
from spikebridge.training.continual.regularizer import Consolidation
from spikebridge.training.continual.task import ContinualResult, ContinualSettings
from spikebridge.training.run.run import Run

__all__ = ["PRESETS", "Config", "build", "evaluate", "example", "report", "train"]

Learn = Callable[[TrialSettings, TaskSequence, Run | None], Trial]


def plain(settings: TrialSettings, sequence: TaskSequence, run: Run | None) -> Trial:
    """As the recipe itself."""
    return run_trial(settings, sequence, run, quiet=True)


@dataclass(frozen=True)
class Variant:
    """A method with the function that learns all tasks."""

    method: Method
    learn: Learn = plain


def learn_tasks(
    settings: TrialSettings,
    sequence: TaskSequence,
    run: Run | None = None,
    *,
    branch: Branch | None = None,
    gating: Gating | None = None,
    gates: list[Tensor] | None = None,
    test_all_after: tuple[int, ...] | None = None,
    **changes: Any,
) -> Trial:
    """All tasks with given units, gates or branch, and with changes of the `ContinualMethod`; resumes a stopped run."""
    gates = task_gates(settings, sequence, gating) if gates is None else gates
    prototypes = None if gating is None else task_prototypes(gating, sequence)
    branch = branch or initialise_branch(build_branch(settings), settings, gates)
    training = settings.config.training
    loop = ContinualSettings(
        training.epochs,
        training.batch_size,
        settings.seed,
        test_batch_size=2000,
        test_all_after=test_all_after,
        quiet=True,
    )
    method = replace(continual_method(settings, branch, gates), **changes)
    result = fit_tasks(branch, sequence.tasks(), method, settings=loop, run=None if run is None else run.child("tasks"))

    return Trial(branch, gates, gating, prototypes, result, {}, None)


def with_shares(
    settings: TrialSettings,
    sequence: TaskSequence,
    run: Run | None,
    share: float | None = None,
    make: Callable[..., Gating] | None = None,
) -> Trial:
    """A task copies a share of the open neurons from the most similar earlier task; `make` makes other units."""
    if make is not None:
        gating = make(settings, sequence)
    else:
        gating, _ = make_gating(settings, sequence, None if run is None else run.child("units"))

    shares = {} if share is None else {"share": share}
    return learn_tasks(settings, sequence, run, gating=gating, gates=shared_gates(gating, sequence, **shares))


def with_group_gates(settings: TrialSettings, sequence: TaskSequence, run: Run | None) -> Trial:
    """A random gate for each group."""
    return learn_tasks(settings, sequence, run, gates=group_gates(settings, sequence))


def with_units(make: Callable[..., Gating]) -> Learn:
    """Learns with units that a function makes."""
    return lambda settings, sequence, run: learn_tasks(settings, sequence, run, gating=make(settings, sequence))


def with_consolidation(make: Callable[[float], Consolidation]) -> Learn:
    """Learns with another protection of earlier tasks, of the strength of the method."""
    return lambda settings, sequence, run: learn_tasks(settings, sequence, run, consolidation=make(settings.strength))


def wide(settings: TrialSettings, sequence: TaskSequence, run: Run | None) -> Trial:
    """An ungated branch with as many parameters as HMN's branch, heads and gate table together."""
    network = settings.config.network
    width = matched_width(sequence.train.inputs.shape[-1], network.num_hidden, len(sequence.numbers))
    config = replace(settings.config, network=replace(network, num_plain=width))

    return run_trial(replace(settings, config=config), sequence, run, quiet=True)


def matched_width(num_inputs: int, num_hidden: int, num_tasks: int, num_classes: int = 10) -> int:
    """The size of each hidden layer of an ungated branch with the parameters of a gated one and its units."""
    branch = num_inputs * num_hidden + num_hidden**2 + num_hidden * num_classes
    heads = 2 * (num_inputs + 1) * num_hidden
    table = num_tasks * 2 * num_hidden / 32  # bits, as words of 32
    linear = num_inputs + num_classes

    # n^2 + linear n = branch + heads + table
    return round((-linear + (linear**2 + 4 * (branch + heads + table)) ** 0.5) / 2)


def one_network_a_task(settings: TrialSettings, sequence: TaskSequence, run: Run | None) -> Trial:
    """A new network for each task, with as many neurons as a gate opens: the upper bound.

    Its accuracy is that of an untrained network before its task, and constant after it.
    """
    network = settings.config.network
    size = max(1, round(network.rho * network.num_hidden))
    single = replace(settings, config=replace(settings.config, network=replace(network, num_plain=size)))
    num_tasks = len(sequence.numbers)
    accuracies = torch.zeros(num_tasks + 1, num_tasks, dtype=torch.float64)
    seconds = []

    for k, task in enumerate(sequence.tasks()):
        branch = initialise_branch(build_branch(single), single, None)
        loop = ContinualSettings(
            settings.config.training.epochs,
            settings.config.training.batch_size,
            settings.seed,
            test_batch_size=2000,
            quiet=True,
        )
        found = fit_tasks(branch, [task], continual_method(single, branch, None), settings=loop)
        accuracies[: k + 1, k] = found.accuracies[0, 0]
        accuracies[k + 1 :, k] = found.accuracies[1, 0]
        seconds += found.seconds

    return Trial(branch, None, None, None, ContinualResult(accuracies, seconds, []), {}, None)


def gate_of_each_sample(settings: TrialSettings, sequence: TaskSequence, run: Run | None) -> Trial:
    """Each sample has its own gate, in training too."""
    gating, _ = make_gating(settings, sequence, None if run is None else run.child("units"))
    size = settings.config.network.num_hidden
    # the whole branch runs, so the gradients of few samples fit into memory
    chunk_size = max(1, min(64, int(5e7 / size**2)))
    fisher = Fisher(num_samples=settings.config.training.num_fisher, chunk_size=chunk_size, seed=settings.seed)

    return learn_tasks(
        settings,
        sequence,
        run,
        gating=gating,
        subnetworks=None,
        forward=partial(_logits_with_own_gates, gating=gating),
        consolidation=EWC(settings.strength, fisher=fisher),
    )


def _logits_with_own_gates(module: nn.Module, x: Tensor, quantities: Mapping[str, Any], *, gating: Gating) -> Tensor:
    with torch.no_grad():
        gates = gating.gates(gating.preactivations(x.unsqueeze(0)), num_samples=1)

    branch: Any = module
    y: Tensor = branch(x.unsqueeze(0), **branch.modulation([gate.to(x.dtype) for gate in gates]))
    return y


# rates and strengths: results/tuning.json; units as those of hmn, what protects nothing as its twin with EWC
_SHARED = {"lr": 0.2, "strength": 100.0}
_HMN = {"lr": 0.1, "strength": 300.0}
VARIANTS = {
    "hmn": Variant(METHODS["hmn"]),
    "projection": Variant(
        Method("fixed random projection, EWC", "units", strength=30000.0), with_units(projection_gating)
    ),
    "snn_ewc": Variant(Method("SNN, EWC", lr=0.1, strength=30.0)),
    **{name: Variant(METHODS[name]) for name in ("ann_ewc", "xdg_ewc", "snn")},
    "hmn_shared": Variant(Method("learned unit, similar tasks share a gate, EWC", "units", **_SHARED), with_shares),
    "projection_shared": Variant(
        Method("fixed random projection, similar tasks share a gate, EWC", "units", **_SHARED),
        partial(with_shares, make=projection_gating),
    ),
    "hmn_similarity": Variant(Method("learned unit (similarity), EWC", "units", **_HMN), with_units(similarity_gating)),
    "hmn_bins": Variant(Method("learned unit of bins, EWC", "units", **_HMN), with_units(bin_gating)),
    "hmn_no_ewc": Variant(Method("learned unit (dissimilarity), nothing kept", "units", has_ewc=False, lr=0.1)),
    "untrained": Variant(Method("untrained backbone, EWC", "units", **_HMN), with_units(untrained_gating)),
    "per_sample": Variant(Method("learned unit, a gate for each sample, EWC", "units", **_HMN), gate_of_each_sample),
    "xdg": Variant(Method("XdG: a random gate a task", "random", has_ewc=False)),
    "xdg_si": Variant(Method("XdG, SI", "random", strength=10.0), with_consolidation(SynapticIntelligence)),
    "group": Variant(Method("oracle: a random gate a group", "random", has_ewc=False), with_group_gates),
    "group_ewc": Variant(Method("oracle: a random gate a group, EWC", "random", strength=300.0), with_group_gates),
    "snn_si": Variant(Method("SNN, SI", strength=0.1), with_consolidation(SynapticIntelligence)),
    "snn_meta": Variant(Method("SNN, metaplasticity", lr=0.1, strength=30.0), with_consolidation(Metaplasticity)),
    "wide_ewc": Variant(Method("SNN with HMN's parameters, EWC", lr=0.1, strength=30.0), wide),
    "ann": Variant(Method("ANN, nothing kept", neuron="ann", has_ewc=False)),
    "gated_ann": Variant(Method("ANN with HMN's gates, EWC", "units", neuron="ann", strength=3000.0)),
    "single": Variant(Method("a network a task: the ceiling", has_ewc=False), one_network_a_task),
}
# stored numbers of each parameter, where the package's count does not hold
_BUFFERS = {"xdg_si": 3, "snn_si": 3, "snn_meta": 0}


@dataclass(frozen=True)
class Config(modulation.Config):
    """Settings of the modulation recipe, with all methods."""

    methods: tuple[str, ...] = tuple(VARIANTS)
    """Methods to train and compare."""


PRESETS = {
    "default": Config(),
    "quick": Config(**{**vars(modulation.PRESETS["quick"]), "methods": ("hmn_shared", "group_ewc", "single")}),
    "table": Config(num_seeds=4, tasks=replace(Config().tasks, num_tasks=40)),
}


def settings_of(config: Config, name: str, seed: int | None = None) -> TrialSettings:
    """One method with one seed, by default the first."""
    return TrialSettings(config, VARIANTS[name].method, config.seed if seed is None else seed)


def train(config: Config, run: Run, quiet: bool = False) -> dict[str, Any]:
    """Trains every method with every seed, scores it, and writes the table."""
    inputs = modulation.recordings(config)
    scores: dict[str, list[dict[str, Any]]] = {name: [] for name in config.methods}

    for seed in range(config.seed, config.seed + config.num_seeds):
        for name in config.methods:
            child = run.child(f"{name}/seed-{seed}")
            scores[name].append(train_variant(name, settings_of(config, name, seed), child, inputs))

    results = compare(scores, {name: variant.method for name, variant in VARIANTS.items()})
    run.save_results(results)

    return results


def train_variant(
    name: str, settings: TrialSettings, run: Run, inputs: tuple[LabelledInputs, LabelledInputs]
) -> dict[str, Any]:
    """One method and one seed, unless its results exist already."""
    if not run.finished:
        sequence = modulation.task_sequence(settings.config, settings.seed, *inputs)
        trial = VARIANTS[name].learn(settings, sequence, run)
        save_trial(trial, sequence, run)
        run.save_results(figures(name, trial, settings, sequence))

    return run.results()


def figures(name: str, trial: Trial, settings: TrialSettings, sequence: TaskSequence) -> dict[str, Any]:
    """The figures of the recipe, and the accuracy on tasks that are similar to learned ones."""
    found = score(trial, settings, sequence)
    modes = inference_modes(trial, sequence)
    memory = found["memory"]

    if name == "single":
        memory["branch"] *= len(sequence.numbers)
    if name in _BUFFERS:
        memory["buffers"] = _BUFFERS[name] * memory["branch"]
    if name in ("hmn_shared", "projection_shared"):
        # a task's own gate is stored too: later tasks are compared with it
        memory["table bits a task"] *= 2

    if name == "per_sample":
        # the table of gates plays no part
        found["modes"] = {"given": found["acc"], "inferred": {"1": {"accuracy": modes.direct(1)}}}  # type: ignore[union-attr]
    elif modes is not None and settings.seed == settings.config.seed:
        found["reshuffled"] = reshuffled_accuracies(modes)

    return found
