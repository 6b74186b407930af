"""The networks that the sensing recipe compares: what `Sensing` is given for each."""

from collections.abc import Sequence
from typing import Any

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.networks.sensing_graph import ChangeMap, check_options

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


def check_kinds(names: Sequence[str], change_map: ChangeMap, counts: bool) -> None:
    """Refuses names of networks that there are not, and options that one of them has no use for.

    Args:
        names: of `KINDS`.
        change_map: of all of them.
        counts: of all of them.

    Raises:
        ConfigError: see above.

    Example:
        >>> check_kinds(["learned", "memoryless"], "joined", counts=True)
    """
    for name in names:
        if name not in KINDS:
            raise ConfigError(f"no network {name!r}; {did_you_mean(name, KINDS)}")
        check_options(change_map, counts, **KINDS[name])
