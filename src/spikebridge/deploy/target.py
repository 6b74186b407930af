"""A further target: some parts of a bundle run elsewhere, the rest here, and everything is compared.

A target is a class with `step` (`runner_parts.PartRunner`), made from the part's file; it may call a chip, a simulator
or a program. What it cannot hold it refuses when it is made.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from numpy.typing import NDArray

from spikebridge.deploy.bundle.bundle import Bundle
from spikebridge.deploy.runtime.parts import PartRunner
from spikebridge.deploy.runtime.runner import Runner
from spikebridge.errors import ConfigError, did_you_mean

Values: TypeAlias = NDArray[Any]
_Level: TypeAlias = Callable[[dict[str, Values], int], dict[str, dict[str, Values]]]


def target_level(bundle: Bundle, parts: Mapping[str, PartRunner]) -> _Level:
    """A level for `compare_bundle`: the whole bundle with some parts on another target.

    Args:
        bundle: an opened one.
        parts: what runs them, by the name of the part; the others run as in the bundle.

    Raises:
        ConfigError: the bundle has no such part.
    """
    for name in parts:
        if name not in bundle.manifest.parts:
            raise ConfigError(f"{bundle.path} has no part {name!r}; {did_you_mean(name, bundle.manifest.parts)}")

    return lambda inputs, ticks: Runner(bundle, parts).run_recorded(inputs, ticks)
