"""The methods that the modulation recipe compares: every one a setting of the same loop and the same branch."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from spikebridge.errors import ConfigError
from spikebridge.training.continual.ewc import EWC
from spikebridge.training.continual.metaplasticity import Metaplasticity
from spikebridge.training.continual.quadratic import Fisher
from spikebridge.training.continual.regularizer import Consolidation
from spikebridge.training.continual.si import SynapticIntelligence

Gates: TypeAlias = Literal["none", "random", "group", "projection", "untrained", "similarity", "dissimilarity", "bins"]
Keep: TypeAlias = Literal["none", "ewc", "si", "meta"]
UNITS = ("projection", "untrained", "similarity", "dissimilarity", "bins")


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Args:
        about: in a few words.
        gates: where a task's open neurons come from; `group` is told the group of each task.
        keep: what holds old tasks.
        neuron: of the branch.
        size: `gated` has C neurons a layer, `plain` those of an ungated network, `wide` the parameters of HMN with its
            backbone and gate table.
        alone: a fresh network for each task, of as many neurons as a task opens: the ceiling.
        per_sample: each sample opens neurons by itself, in training too.
        shares: of its open neurons, what a task takes over from the nearest task before it, if one is near.
    """

    about: str
    gates: Gates = "none"
    keep: Keep = "none"
    neuron: Literal["snn", "ann"] = "snn"
    size: Literal["gated", "plain", "wide"] = "plain"
    alone: bool = False
    per_sample: bool = False
    shares: float = 0.0

    @property
    def has_unit(self) -> bool:
        """Whether hybrid units make the gates, so that a task need not be named at test."""
        return self.gates in UNITS

    @property
    def is_gated(self) -> bool:
        """Whether a task opens a part of the neurons."""
        return self.gates != "none"


SHARES = 0.9  # chosen on tuning tasks

METHODS = {
    "hmn": Method("learned unit (dissimilarity), EWC", "dissimilarity", "ewc", size="gated"),
    "hmn_shared": Method(
        "learned unit, alike tasks share a gate, EWC", "dissimilarity", "ewc", size="gated", shares=SHARES
    ),
    "hmn_similarity": Method("learned unit (similarity), EWC", "similarity", "ewc", size="gated"),
    "hmn_bins": Method("learned unit of bins, EWC", "bins", "ewc", size="gated"),
    "hmn_no_ewc": Method("learned unit (dissimilarity), nothing kept", "dissimilarity", size="gated"),
    "projection": Method("fixed random projection, EWC", "projection", "ewc", size="gated"),
    "projection_shared": Method(
        "fixed random projection, alike tasks share a gate, EWC", "projection", "ewc", size="gated", shares=SHARES
    ),
    "untrained": Method("untrained backbone, EWC", "untrained", "ewc", size="gated"),
    "xdg": Method("XdG: a random gate a task", "random", size="gated"),
    "xdg_ewc": Method("XdG, EWC", "random", "ewc", size="gated"),
    "xdg_si": Method("XdG, SI", "random", "si", size="gated"),
    "group": Method("oracle: a random gate a group", "group", size="gated"),
    "group_ewc": Method("oracle: a random gate a group, EWC", "group", "ewc", size="gated"),
    "snn": Method("SNN, nothing kept"),
    "snn_ewc": Method("SNN, EWC", keep="ewc"),
    "snn_si": Method("SNN, SI", keep="si"),
    "snn_meta": Method("SNN, metaplasticity", keep="meta"),
    "wide_ewc": Method("SNN with HMN's parameters, EWC", keep="ewc", size="wide"),
    "ann": Method("ANN, nothing kept", neuron="ann"),
    "ann_ewc": Method("ANN, EWC", keep="ewc", neuron="ann"),
    "gated_ann": Method("ANN with HMN's gates, EWC", "dissimilarity", "ewc", neuron="ann", size="gated"),
    "per_sample": Method(
        "learned unit, each sample its own gate, EWC", "dissimilarity", "ewc", size="gated", per_sample=True
    ),
    "single": Method("a network a task: the ceiling", alone=True),
}

# (learning rate, strength) a method, chosen on tuning tasks of their own: benchmarks/results/modulation_tuning.json
TUNED: dict[str, dict[str, tuple[float, float]]] = {
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
    },
}
# these take over what was found for another one
LIKE = {
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
UNTUNED = {"none": (0.2, 0.0), "ewc": (0.2, 100.0), "si": (0.2, 0.1), "meta": (0.2, 1.0)}


def tuned(dataset: str, name: str) -> tuple[float, float]:
    """Learning rate and strength of a method: those chosen for the data set, else those of digits."""
    method = METHODS[name]
    for known in (TUNED.get(dataset, {}), TUNED["digits"]):
        for one in (name, LIKE.get(name, name)):
            if one in known:
                lr, strength = known[one]
                return lr, strength if method.keep != "none" else 0.0
    lr, strength = UNTUNED[method.keep]
    return (0.05 if method.neuron == "ann" else lr), strength


def consolidation(method: Method, strength: float, num_fisher: int, seed: int, chunk_size: int) -> Consolidation:
    """What holds old tasks, with its strength.

    Args:
        method: names it.
        strength: lambda, c or m.
        num_fisher: samples of a task for the Fisher information.
        seed: of its draws.
        chunk_size: samples at a time.
    """
    if method.keep == "ewc":
        return EWC(strength, fisher=Fisher(num_samples=num_fisher, chunk_size=chunk_size, seed=seed))
    if method.keep == "si":
        return SynapticIntelligence(strength)
    if method.keep == "meta":
        return Metaplasticity(strength)
    if method.keep == "none":
        return Consolidation()
    raise ConfigError(f"no way to keep {method.keep!r}; known: none, ewc, si, meta")
