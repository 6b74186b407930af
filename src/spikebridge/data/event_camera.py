"""The settings of an event camera, and what they mean.

Each pixel remembers a reference of log intensity. An event is sent each time the log intensity has left the reference
by a threshold (ON: brighter, OFF: darker), and the reference follows by that threshold. Log intensity is
`log(I + log_offset)` with I in [0, 1]; the offset stands for the dark current of the photodiode.
"""

from dataclasses import dataclass
from math import inf, isfinite

from spikebridge.errors import ConfigError


@dataclass(frozen=True)
class EventCamera:
    """Settings of a simulated event camera.

    Args:
        threshold_mean: mean contrast threshold, in units of log intensity.
        threshold_sd: standard deviation of the thresholds over pixels; ON and OFF are drawn apart.
        threshold_floor: no threshold is below this.
        log_offset: added to intensities in [0, 1] before the logarithm.
        refractory: seconds for which a pixel sleeps after an event; it wakes with a fresh reference.
        leak: ON events per pixel and second that appear without any change of light.
        shot_noise: events per pixel and second, ON and OFF alike, that appear by chance.
        first_event_per_group: seconds; where set, each pixel keeps only its first event of each polarity in every
            group of this length (as in recordings that were binned once before).

    Raises:
        ConfigError: a setting cannot be meant.

    Example:
        >>> EventCamera(threshold_mean=0.25, threshold_sd=0.0).threshold_mean
        0.25
    """

    threshold_mean: float = 0.2
    threshold_sd: float = 0.03
    threshold_floor: float = 0.05
    log_offset: float = 8 / 255
    refractory: float = 0.0
    leak: float = 0.0
    shot_noise: float = 0.0
    first_event_per_group: float | None = None

    def __post_init__(self) -> None:
        """Refuse settings that cannot be meant."""
        for name in ("threshold_mean", "threshold_floor", "log_offset"):
            _check_setting(name, getattr(self, name), above=0.0)
        for name in ("threshold_sd", "refractory", "leak", "shot_noise"):
            _check_setting(name, getattr(self, name), at_least=0.0)
        if self.first_event_per_group is not None:
            _check_setting("first_event_per_group", self.first_event_per_group, above=0.0)


def _check_setting(name: str, value: float, above: float = -inf, at_least: float = -inf) -> None:
    if not (isfinite(value) and value > above and value >= at_least):
        bound = f"above {above:g}" if above > -inf else f"{at_least:g} or more"
        raise ConfigError(f"EventCamera needs {name} {bound}, but got {value!r}.")
