"""Which adapter a module of another library takes."""

from torch import nn

from spikebridge.deploy.adapters.libraries import Norse, Sinabs, SnnTorch, SpikingJelly
from spikebridge.errors import ConfigError
from spikebridge.neurons.base import Stateful

_ADAPTERS: dict[str, type[Stateful]] = {
    "spikingjelly": SpikingJelly,
    "snntorch": SnnTorch,
    "norse": Norse,
    "sinabs": Sinabs,
}


def adapt(module: nn.Module) -> Stateful:
    """A module of SpikingJelly, snnTorch, Norse or sinabs as a part: `y, state = part(x, state)`, time first.

    Args:
        module: a layer or a network of one of these libraries, plain PyTorch layers among them.

    Raises:
        ConfigError: it is of none of them, or of more than one.

    Example:
        >>> adapt(nn.Linear(2, 2))
        Traceback (most recent call last):
        ...
        spikebridge.errors.ConfigError: Linear has no layer of spikingjelly, snntorch, norse, sinabs; a plain module ...
    """
    found = dict.fromkeys(type(child).__module__.split(".")[0] for child in module.modules())
    libraries = [name for name in _ADAPTERS if name in found]
    if not libraries:
        raise ConfigError(
            f"{type(module).__name__} has no layer of {', '.join(_ADAPTERS)}; a plain module is a part as it is, and a "
            "loop over time of your own becomes one as a spikebridge.neurons.Stateful"
        )

    if len(libraries) > 1:
        raise ConfigError(
            f"{type(module).__name__} mixes layers of {' and '.join(libraries)}; make each its own part, or put "
            "adapted layers in a row with spikebridge.neurons.Sequential"
        )

    return _ADAPTERS[libraries[0]](module)
