"""The methods that the modulation recipe compares: each is a setting of one training loop and one branch."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from spikebridge.errors import ConfigError
from spikebridge.networks.modulation.model.branch import BranchSettings
from spikebridge.training.continual.ewc import EWC, Fisher
from spikebridge.training.continual.metaplasticity import Metaplasticity
from spikebridge.training.continual.regularizer import Consolidation
from spikebridge.training.continual.si import SynapticIntelligence

_GateSource: TypeAlias = Literal[
    "none", "random", "group", "projection", "untrained", "similarity", "dissimilarity", "bins"
]
_UNIT_GATES = ("projection", "untrained", "similarity", "dissimilarity", "bins")


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Args:
        description: a few words.
        gates: the source of a task's gate. `random` draws one for each task (XdG), `group` one for each group (the
            oracle, which needs the group's number). The others are made by hybrid units.
        regularizer: protects the weights of earlier tasks.
        neuron: of the branch.
        size: `gated` has C neurons in a layer, `plain` the size of an ungated network, `wide` as many parameters as HMN
            with its backbone and gate table.
        one_network_a_task: a new network for each task, with as many neurons as a gate opens: the upper bound.
        per_sample: each sample has its own gate, in training too.
        shared_fraction: share of open neurons that a task copies from the most similar earlier task, if one is similar.
    """

    description: str
    gates: _GateSource = "none"
    regularizer: Literal["none", "ewc", "si", "meta"] = "none"
    neuron: Literal["snn", "ann"] = "snn"
    size: Literal["gated", "plain", "wide"] = "plain"
    one_network_a_task: bool = False
    per_sample: bool = False
    shared_fraction: float = 0.0

    @property
    def has_unit(self) -> bool:
        """Whether hybrid units make the gates, so that no task number is needed at test time."""
        return self.gates in _UNIT_GATES

    @property
    def is_gated(self) -> bool:
        """Whether a task uses a part of the neurons."""
        return self.gates != "none"


_SHARED_FRACTION = 0.9  # chosen on tuning tasks

METHODS = {
    "hmn": Method("learned unit (dissimilarity), EWC", "dissimilarity", "ewc", size="gated"),
    "hmn_shared": Method(
        "learned unit, alike tasks share a gate, EWC",
        "dissimilarity",
        "ewc",
        size="gated",
        shared_fraction=_SHARED_FRACTION,
    ),
    "hmn_similarity": Method("learned unit (similarity), EWC", "similarity", "ewc", size="gated"),
    "hmn_bins": Method("learned unit of bins, EWC", "bins", "ewc", size="gated"),
    "hmn_no_ewc": Method("learned unit (dissimilarity), nothing kept", "dissimilarity", size="gated"),
    "projection": Method("fixed random projection, EWC", "projection", "ewc", size="gated"),
    "projection_shared": Method(
        "fixed random projection, alike tasks share a gate, EWC",
        "projection",
        "ewc",
        size="gated",
        shared_fraction=_SHARED_FRACTION,
    ),
    "untrained": Method("untrained backbone, EWC", "untrained", "ewc", size="gated"),
    "xdg": Method("XdG: a random gate a task", "random", size="gated"),
    "xdg_ewc": Method("XdG, EWC", "random", "ewc", size="gated"),
    "xdg_si": Method("XdG, SI", "random", "si", size="gated"),
    "group": Method("oracle: a random gate a group", "group", size="gated"),
    "group_ewc": Method("oracle: a random gate a group, EWC", "group", "ewc", size="gated"),
    "snn": Method("SNN, nothing kept"),
    "snn_ewc": Method("SNN, EWC", regularizer="ewc"),
    "snn_si": Method("SNN, SI", regularizer="si"),
    "snn_meta": Method("SNN, metaplasticity", regularizer="meta"),
    "wide_ewc": Method("SNN with HMN's parameters, EWC", regularizer="ewc", size="wide"),
    "ann": Method("ANN, nothing kept", neuron="ann"),
    "ann_ewc": Method("ANN, EWC", regularizer="ewc", neuron="ann"),
    "gated_ann": Method("ANN with HMN's gates, EWC", "dissimilarity", "ewc", neuron="ann", size="gated"),
    "per_sample": Method(
        "learned unit, each sample its own gate, EWC", "dissimilarity", "ewc", size="gated", per_sample=True
    ),
    "single": Method("a network a task: the ceiling", one_network_a_task=True),
}

# (learning rate, strength) a method, chosen on tuning tasks of their own: research/modulation/results/tuning.json
_TUNED: dict[str, dict[str, tuple[float, float]]] = {
    "digits": {
        "single": (0.2, 0.0),
        "hmn": (0.1, 300.0),
        "hmn_shared": (0.2, 100.0),
        "projection": (0.2, 30000.0),
        "xdg_ewc": (0.2, 300.0),
        "group_ewc": (0.2, 300.0),
        "snn_ewc": (0.1, 30.0),
        "ann_ewc": (0.2, 30.0),
        "xdg_si": (0.2, 10.0),
        "snn_si": (0.2, 0.1),
        "snn_meta": (0.1, 30.0),
        "gated_ann": (0.2, 3000.0),
    }
}
# these use the values of another method
_TUNED_AS = {
    "projection_shared": "hmn_shared",
    "hmn_similarity": "hmn",
    "hmn_bins": "hmn",
    "untrained": "hmn",
    "per_sample": "hmn",
    "hmn_no_ewc": "hmn",
    "xdg": "xdg_ewc",
    "group": "group_ewc",
    "ann": "ann_ewc",
    "snn": "snn_ewc",
    "wide_ewc": "snn_ewc",
}
_DEFAULT_TUNING = {"none": (0.2, 0.0), "ewc": (0.2, 100.0), "si": (0.2, 0.1), "meta": (0.2, 1.0)}


def tuned(dataset: str, name: str) -> tuple[float, float]:
    """Learning rate and strength of a method: those chosen for the data set, else those of digits."""
    method = METHODS[name]
    for known in (_TUNED.get(dataset, {}), _TUNED["digits"]):
        for one in (name, _TUNED_AS.get(name, name)):
            if one in known:
                lr, strength = known[one]
                return lr, strength if method.regularizer != "none" else 0.0

    lr, strength = _DEFAULT_TUNING[method.regularizer]
    return (0.05 if method.neuron == "ann" else lr), strength


@dataclass(frozen=True)
class UnitSettings:
    """How the backbone and its units are made and trained.

    Args:
        num_hidden: neurons C of each hidden layer of the branch.
        rho: share of open neurons.
        hidden: sizes of the backbone's ReLU layers; the method `untrained` has one of 256 where none is given.
        num_pairs: pairs of tasks.
        num_samples: samples on each side of a pair.
        lr: learning rate of Adam, a tenth of it in the last pass.
        scale: slope of the sigmoid.
        weight: lambda of the objective.
        floor: mu, the penalty of a mean gate below `rho`.
    """

    num_hidden: tuple[int, int]
    rho: float
    hidden: tuple[int, ...] = ()
    num_pairs: int = 1600
    num_samples: int = 8
    lr: float = 3e-3
    scale: float = 5.0
    weight: float = 1.0
    floor: float = 10.0


@dataclass(frozen=True)
class TrialSettings:
    """One method and one seed, with all sizes and rates.

    Args:
        method: what is trained.
        seed: of weights, batches and draws.
        units: the backbone and its units.
        branch: neurons and read-out.
        num_plain: neurons of a layer of an ungated branch.
        scale_by_open_fan_in: scale initial weights by the open neurons, not by all.
        epochs, batch_size, lr, momentum: of each task; the rate falls to a tenth after `lr_milestone` epochs.
        strength: of the regularizer: lambda, c or m.
        num_fisher: samples of a task for the Fisher information.
        extract: train sub-networks of open neurons; False trains the whole branch with masks.
        device: where tasks are learned.
        test_all_after: numbers of learned tasks after which all tasks are tested; None: after each.
    """

    method: Method
    seed: int
    units: UnitSettings
    branch: BranchSettings
    num_plain: int
    scale_by_open_fan_in: bool
    epochs: int
    batch_size: int
    lr: float
    lr_milestone: int
    momentum: float
    strength: float
    num_fisher: int
    extract: bool
    device: str = "cpu"
    test_all_after: tuple[int, ...] | None = None


def make_consolidation(settings: TrialSettings, chunk_size: int) -> Consolidation:
    """The regularizer of a method with its strength.

    Args:
        settings: method and strength.
        chunk_size: samples at a time for the Fisher information.
    """
    kind = settings.method.regularizer
    strength = settings.strength
    if kind == "ewc":
        return EWC(strength, fisher=Fisher(num_samples=settings.num_fisher, chunk_size=chunk_size, seed=settings.seed))
    if kind == "si":
        return SynapticIntelligence(strength)
    if kind == "meta":
        return Metaplasticity(strength)
    if kind == "none":
        return Consolidation()

    raise ConfigError(f"no regularizer {kind!r}; known: none, ewc, si, meta")
