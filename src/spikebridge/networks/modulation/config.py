"""Settings of the modulation recipe: its methods, sizes and rates."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from spikebridge._moved import left_networks, refuse_left_networks
from spikebridge.errors import ConfigError
from spikebridge.training.settings import check_chosen, check_minimum, check_positive

DatasetName: TypeAlias = Literal["digits", "mnist"]
LOGIT_SCALE = 0.2
# fields of the last release that are gone, each with the value that stands for its absence
_REMOVED: dict[str, Any] = {"split": "test", "seen": [1, 2], "branch": "default", "logit_scale": LOGIT_SCALE}
_REMOVED |= {"hidden": [], "scale": 5.0, "momentum": 0.9, "execution": "cut"}


@dataclass(frozen=True)
class Method:
    """One row of the table, with its tuned learning rate and strength of EWC."""

    description: str
    # none: all neurons are open; random: XdG; units: hybrid units that are trained on pairs of tasks
    gates: Literal["none", "random", "units"] = "none"
    neuron: Literal["snn", "ann"] = "snn"
    has_ewc: bool = True
    lr: float = 0.2
    strength: float = 0.0

    @property
    def has_unit(self) -> bool:
        """True if hybrid units make the gates, so that no task number is needed at test time."""
        return self.gates == "units"

    @property
    def is_gated(self) -> bool:
        """True if a task uses a part of the neurons."""
        return self.gates != "none"


# rates and strengths were chosen on other tasks and images: research/modulation/results/tuning.json
METHODS = {
    "hmn": Method("learned unit (dissimilarity), EWC", "units", lr=0.1, strength=300.0),
    "ann_ewc": Method("ANN, EWC", neuron="ann", strength=30.0),
    "xdg_ewc": Method("XdG, EWC", "random", strength=300.0),
    "snn": Method("SNN, nothing kept", has_ewc=False, lr=0.1),
}


@dataclass(frozen=True)
class DataConfig:
    """The images."""

    dataset: DatasetName = "digits"
    """digits (8 x 8 pixels) needs no file."""
    num_train: int | None = None
    """Number of training images; None is all."""
    num_test: int | None = None
    """Number of images to score; None is all."""

    REMOVED_FIELDS: ClassVar[dict[str, Any]] = _REMOVED


@dataclass(frozen=True)
class TaskConfig:
    """The task sequence."""

    num_tasks: int = 20
    """Tasks to learn, in whole groups."""
    num_prior: int = 400
    """Other tasks, to train the backbone."""
    group_size: int = 4
    """Tasks in a group of similar tasks."""

    REMOVED_FIELDS: ClassVar[dict[str, Any]] = _REMOVED


@dataclass(frozen=True)
class BranchConfig:
    """The branch: the SNN whose neurons are gated."""

    num_hidden: int = 2000
    """Neurons of a hidden layer, gated."""
    num_plain: int = 400
    """Neurons of a hidden layer without gates."""
    rho: float = 0.1
    """Share of open neurons in a layer."""
    num_steps: int = 5
    """Time steps of an image."""

    REMOVED_FIELDS: ClassVar[dict[str, Any]] = _REMOVED


@dataclass(frozen=True)
class UnitConfig:
    """The backbone and its hybrid units."""

    num_pairs: int = 800
    """Pairs of tasks, to train the backbone."""
    lr: float = 3e-3
    """Learning rate of the backbone."""

    REMOVED_FIELDS: ClassVar[dict[str, Any]] = _REMOVED


@dataclass(frozen=True)
class TrainingConfig:
    """The training of each task."""

    epochs: int = 6
    """Passes over the images of a task."""
    batch_size: int = 32
    """Images of a training step."""
    lr: float | None = None
    """Learning rate; None: that of the method."""
    strength: float | None = None
    """Strength of EWC; None: of the method."""
    num_fisher: int = 400
    """Images for the Fisher information."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Device of the training."""

    REMOVED_FIELDS: ClassVar[dict[str, Any]] = _REMOVED


@dataclass(frozen=True)
class Config:
    """Settings of the modulation recipe."""

    methods: tuple[str, ...] = tuple(METHODS)
    """Methods to train and compare."""
    seed: int = 0
    """The first seed of all that is random."""
    num_seeds: int = 1
    """Consecutive seeds, each a comparison."""
    snapshots: bool = False
    """Keep sub-networks for later transfer."""
    data: DataConfig = DataConfig()
    """The images."""
    tasks: TaskConfig = TaskConfig()
    """The task sequence."""
    network: BranchConfig = BranchConfig()
    """The branch: the SNN whose neurons are gated."""
    units: UnitConfig = UnitConfig()
    """The backbone and its hybrid units."""
    training: TrainingConfig = TrainingConfig()
    """The training of each task."""

    # run folders of release 0.1 are flat; fields without an entry kept their names
    RENAMED_FIELDS: ClassVar[dict[str, str]] = {"unit_lr": "units.lr", "unit_scale": "units.scale", "lr": "training.lr"}
    REMOVED_FIELDS: ClassVar[dict[str, Any]] = _REMOVED

    def __post_init__(self) -> None:
        """Checks the settings."""
        check_minimum(self, seed=0, num_seeds=1)
        check_minimum(self.data, "data", num_train=1, num_test=1)
        check_minimum(self.tasks, "tasks", num_tasks=1, num_prior=1, group_size=1)
        check_minimum(self.network, "network", num_hidden=1, num_plain=1, num_steps=1)
        check_minimum(self.units, "units", num_pairs=1)
        check_positive(self.units, ["lr"], "units")
        check_minimum(self.training, "training", epochs=1, batch_size=1, num_fisher=1, strength=0.0)
        check_positive(self.training, ["lr"], "training")

        check_chosen("method", self.methods, [*METHODS, *left_networks("modulation", self.methods)])

        size = self.tasks.group_size
        if self.tasks.num_tasks % size or self.tasks.num_prior % size:
            raise ConfigError(
                f"num_tasks and num_prior should be whole groups of {size} tasks, but are {self.tasks.num_tasks} "
                f"and {self.tasks.num_prior}"
            )

        if not 0 < self.network.rho <= 1:
            raise ConfigError(f"rho, the share of open neurons, should be above 0 to 1, but is {self.network.rho}")

    def trial(self, name: str, seed: int | None = None) -> "TrialSettings":
        """One method with one seed, by default the first."""
        refuse_left_networks("modulation", [name])
        return TrialSettings(self, METHODS[name], self.seed if seed is None else seed)


@dataclass(frozen=True)
class TrialSettings:
    """One method with one seed."""

    config: Config
    method: Method
    seed: int

    @property
    def lr(self) -> float:
        """Learning rate; a tenth of it after half of the epochs."""
        lr = self.config.training.lr
        return self.method.lr if lr is None else lr

    @property
    def strength(self) -> float:
        """Strength of EWC."""
        strength = self.config.training.strength
        return self.method.strength if strength is None else strength
