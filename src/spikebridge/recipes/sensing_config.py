"""Settings of the sensing recipe, and those that have a name."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.recipes.sensing_phases import Schedule

KINDS: dict[str, dict[str, Any]] = {
    "learned": {},
    "fixed": {"unit": "fixed"},
    "none": {"unit": "none"},
    "no_prior": {"prior": False},
    "fixed_no_prior": {"unit": "fixed", "prior": False},
    "none_no_prior": {"unit": "none", "prior": False},
    "memoryless": {"memory": False},
    "correlation": {"head": "correlation"},
    "kernel": {"mode": "kernel"},
    "kernel_fixed": {"mode": "kernel", "unit": "fixed"},
    "kernel_none": {"mode": "kernel", "unit": "none"},
    "kernel_no_prior": {"mode": "kernel", "prior": False},
    "kernel_fixed_no_prior": {"mode": "kernel", "unit": "fixed", "prior": False},
}


@dataclass(frozen=True)
class Config:
    """Settings of the sensing recipe."""

    networks: tuple[str, ...] = ("learned",)
    """Which networks to train and compare: learned, fixed, none, no_prior, memoryless, correlation, kernel, ..."""
    seed: int = 0
    """The first seed: of initial weights, order of samples and augmentation."""
    num_seeds: int = 1
    """Trainings of each network, with seeds one after the other."""
    recording: Literal["auto", "real", "generated", "both"] = "auto"
    """real is the recording of FE240hz in SPIKEBRIDGE_DATA; auto takes it where it is, else generated scenes; both
    trains on both and scores the real one."""
    split: Literal["test", "validation"] = "test"
    """What the figures are measured on; settings are chosen on validation."""
    num_scenes: int = 12
    """Generated scenes to train on."""
    following_scenes: int = 2
    """With both, the pathways learn from so many of them; more take from the real recording. The finder sees all."""
    thinning: int = 1
    """Only each so-many-th frame is used."""
    crop: int = 96
    """Side of the square around the target that the network sees [px]."""
    reach: int = 16
    """Displacements are looked at up to so many cells of 2 px."""
    search: float = 10.0
    """And no further than this from the predicted place [px]."""
    num_features: int = 8
    """Channels of both pathways."""
    shake: float = 2.0
    """In training half of the boxes are moved, by up to this standard deviation [px]."""
    schedule: Schedule = "joint"
    """joint trains everything at once; alternate the ANN on frames, then the SNN and its unit, twice; label_free the
    ANN on labelled frames, then the SNN and its unit without any label."""
    size: Literal["small", "resnet"] = "small"
    """Of the pathways: a few thousand weights, or the bottlenecks of the paper's size."""
    epochs: int = 5
    """Passes over the training samples, each forwards and backwards in time."""
    batch_size: int = 16
    """Samples of a step."""
    lr: float = 3e-3
    """Learning rate of kernels; numbers of a whole channel or network learn at the rate of `lr_scalars`."""
    lr_scalars: float = 2e-2
    """Learning rate of time constants, gains and the like."""
    finding_scenes: int = 4
    """Generated scenes that are hard to hold on to, for the finder alone."""
    clips: bool = False
    """The finder also learns from video clips of OTB and VOT in SPIKEBRIDGE_DATA, which have no events."""
    finding_epochs: int = 10
    """Passes over pairs of frames for the finder, which looks for the target at frames; 0 leaves it out."""
    finding_lr: float = 3e-3
    """Learning rate of the finder."""
    finding_shake: float = 1.0
    """How wrong the boxes are that the finder is given in training; 1 is about a sixth of the target's size."""
    finding_abroad: float = 0.4
    """Share of the finder's samples in which the target stands before what is around another one."""
    finding_lasting: float = 1.0
    """The newest template is wrong by up to this share of what the believed box is wrong by, as in a closed loop."""
    finding_lost: float = 0.2
    """So many more samples, as a share, show where the target is not."""
    finders: str = ""
    """A run whose finders are taken, seed by seed, instead of training them."""
    pathways: str = ""
    """A run of which all but the finders is taken, seed by seed, instead of training it."""
    renewal: float = 0.3
    """Share of the newest template beside the first one."""
    recall: float = 0.5
    """Share of the way from the tracker's own answer to what the finder says of a frame."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot be meant."""
        for name in self.networks:
            if name not in KINDS:
                raise ConfigError(f"no network {name!r}; {did_you_mean(name, KINDS)}")
        for name in ("num_seeds", "num_scenes", "thinning", "epochs", "batch_size", "lr", "lr_scalars"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} needs to be above 0, but got {getattr(self, name)}")
        if self.pathways and (self.finders or not self.finding_epochs):
            raise ConfigError("with pathways of another run only the finders are trained: leave out finders, or train")
        for name in ("shake", "finding_shake", "finding_epochs", "finding_scenes", "following_scenes"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} needs to be 0 or more, but got {getattr(self, name)}")
        for name in ("finding_abroad", "finding_lasting", "finding_lost"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is a share, from 0 to 1, but got {getattr(self, name)}")


_BOTH = Config(
    recording="both", clips=True, num_scenes=6, finding_scenes=30, epochs=8, finding_epochs=18, finding_shake=1.2
)

PRESETS = {
    "quick": Config(recording="generated", num_scenes=2, epochs=3, finding_epochs=2, finding_scenes=1),
    "default": Config(),
    "shipped": _BOTH,
    "three": replace(_BOTH, num_seeds=3),
    "large": replace(_BOTH, num_features=32),
    # stride 8 and three bottlenecks, as the demonstration that the authors released; their crops have 145 px
    "paper": replace(_BOTH, size="resnet", num_features=1024, crop=144, reach=4),
    "ablation": Config(
        networks=tuple(name for name in KINDS if name != "correlation"), num_seeds=3, epochs=5, finding_epochs=0
    ),
}
