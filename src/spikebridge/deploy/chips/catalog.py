"""The chips of the package by name."""

from spikebridge.deploy.chips.chip import ChipSpec
from spikebridge.deploy.chips.loihi import LOIHI
from spikebridge.deploy.chips.xylo import XYLO
from spikebridge.errors import ConfigError, did_you_mean

CHIPS = {chip.name: chip for chip in (LOIHI, XYLO)}


def chip_of(name: str) -> ChipSpec:
    """A chip by name."""
    if name not in CHIPS:
        raise ConfigError(f"there is no chip {name!r}; {did_you_mean(name, CHIPS)} A file FILE.py gives its own CHIP")
    return CHIPS[name]
