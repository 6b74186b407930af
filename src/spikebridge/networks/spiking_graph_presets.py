"""Sizes of weights in a spiking concept graph: how far a spike is from its threshold, and what that buys.

Three sizes make the logic. A *drive* `D` fires a neuron alone, a *gate* `D - s` does not, a *channel* `s` or `-s`
decides: AND is a gate with any channel, a filter is a hold that is dismissed (`- s`) unless a channel brings it back.
"""

from dataclasses import dataclass, replace

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.neurons.lif import decay_of


@dataclass(frozen=True)
class Preset:
    """Weight sizes, threshold and leak of a graph.

    Args:
        name: what it is called.
        drive: `D`.
        step: `s`.
        v_threshold: where a neuron fires.
        saturates: positive channels end on a branch that gives `s` once their sum is `s / 2`, and nothing below.
        exact: scene rules, compiler and read-out by spikes that agree with the executor; else those of the paper.
        decay: share of the membrane (where positive) that is left after a step, 0 to 1.
        copies: neurons for each concept, each connection split among the copies, read-out by majority.

    Raises:
        ConfigError: a leak that would reach half a channel, or a number that cannot be meant.

    Example:
        >>> PRESETS["compartment"].gate, PRESETS["compartment"].margin
        (1.0, 0.5)
        >>> PRESETS["paper"].margin  # a spike needs exactly the threshold
        0.0
    """

    name: str
    drive: float
    step: float
    v_threshold: float
    saturates: bool = False
    exact: bool = True
    decay: float = 0.0
    copies: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.step < self.drive or not self.drive - self.step < self.v_threshold <= self.drive:
            raise ConfigError(
                "a preset needs 0 < step < drive and a threshold above the gate (drive - step), up to the drive, but "
                f"got drive={self.drive}, step={self.step}, v_threshold={self.v_threshold}"
            )
        if not isinstance(self.copies, int) or isinstance(self.copies, bool) or self.copies < 1:
            raise ConfigError(f"a preset needs copies as a whole number of at least 1, but got {self.copies!r}")
        if self.decay != 0 and not 0 < self.decay < self.most_decay:
            raise ConfigError(
                f"preset {self.name!r} bears a decay of 0, or below {self.most_decay:.3g} a step, or what is left of a "
                f"membrane reaches the threshold, but got {self.decay:.3g}; take a shorter tau, or 'compartment'"
            )

    @property
    def gate(self) -> float:
        """`G = D - s`: not enough alone."""
        return self.drive - self.step

    @property
    def margin(self) -> float:
        """Distance of the threshold from the nearest level on either side, as long as channels do not pile up."""
        return min(self.drive - self.v_threshold, self.v_threshold - self.gate)

    @property
    def most_decay(self) -> float:
        """Where decay becomes unbearable: a silent membrane that is charged again and again reaches the threshold.

        The highest silent charge is a gate `G`; with its remainders it is `G (1 + d + d^2 + ...) = G / (1 - d)`.
        """
        return self.margin / (self.gate + self.margin)

    def leaking(self, tau: float, dt: float) -> "Preset":
        """The same preset with membranes that leak instead of forgetting at once.

        Args:
            tau: time constant [s].
            dt: step of the graph's clock [s].

        Example:
            >>> round(PRESETS["compartment"].leaking(tau=0.001, dt=0.002).decay, 3)  # exp(-2)
            0.135
        """
        return replace(self, decay=float(decay_of(tau, dt)))

    def copied(self, copies: int) -> "Preset":
        """The same preset with several neurons for each concept."""
        return replace(self, copies=copies)


PRESETS = {
    "paper": Preset("paper", drive=100.0, step=1.0, v_threshold=100.0, exact=False),
    "scaled": Preset("scaled", drive=100.0, step=8.0, v_threshold=96.0),
    "compartment": Preset("compartment", drive=2.0, step=1.0, v_threshold=1.5, saturates=True),
}
"""`paper` reproduces the published behaviour, `scaled` has a margin of 4, `compartment` one of 0.5 at any fan-in."""


def preset_of(preset: str | Preset) -> Preset:
    """A preset by name, or the one given.

    Raises:
        ConfigError: there is none of that name.

    Example:
        >>> preset_of("scaled").v_threshold
        96.0
    """
    if isinstance(preset, Preset):
        return preset
    if preset not in PRESETS:
        raise ConfigError(f"there is no preset {preset!r}; {did_you_mean(preset, PRESETS)}")
    return PRESETS[preset]
