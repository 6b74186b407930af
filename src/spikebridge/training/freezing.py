"""Training some of a network and leaving the rest alone."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn import Parameter

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.training.evaluation import kept_modes


def find(module: nn.Module, name: str) -> nn.Module | Parameter:
    """What a name means in a network: a dotted path, or a part or unit of a hybrid network.

    Args:
        module: the network.
        name: `"where.lif1"`, `"where.lif1.log_tau"` (a parameter), the name of a part or of a unit, `""` for
            everything. A path wins over a part, a part over a unit.

    Raises:
        ConfigError: nothing of that name; the message lists what there is.

    Example:
        >>> find(nn.Sequential(nn.ReLU(), nn.Linear(2, 1)), "1")
        Linear(in_features=2, out_features=1, bias=True)
        >>> find(nn.Linear(2, 1), "weigth")
        Traceback (most recent call last):
        spikebridge.errors.ConfigError: nothing is called 'weigth' in Linear: did you mean 'weight'? Known: ...
    """
    known: dict[str, nn.Module | Parameter] = {"": module}
    for group in ("units", "parts"):
        holder = getattr(module, group, None)
        if isinstance(holder, nn.Module):
            known.update({path: part for path, part in _everything(holder) if path})
    known.update(_everything(module))
    if name not in known:
        near = [path for path in known if path and path.count(".") <= name.count(".")]
        raise ConfigError(f"nothing is called {name!r} in {type(module).__name__}: {did_you_mean(name, near)}")
    return known[name]


def _everything(module: nn.Module) -> Iterator[tuple[str, nn.Module | Parameter]]:
    yield from module.named_modules(remove_duplicate=False)
    yield from module.named_parameters(remove_duplicate=False)


@contextmanager
def only(module: nn.Module, names: Iterable[str]) -> Iterator[None]:
    """Trains what is named and freezes the rest, until the block ends.

    Named parameters get gradients (also those that were frozen before: naming is asking), all others none. Named
    modules are in training mode, all others in eval mode; a parameter named by its path leaves the mode of its module
    alone. Afterwards everything is as it was, and no gradient is left behind.

    Args:
        module: the network.
        names: see `find`.

    Raises:
        ConfigError: an unknown name, or one without parameters.

    Example:
        >>> network = nn.ModuleDict({"what": nn.Linear(1, 1), "where": nn.Linear(1, 1)})
        >>> with only(network, ["where"]):
        ...     [name for name, parameter in network.named_parameters() if parameter.requires_grad]
        ['where.weight', 'where.bias']
        >>> all(parameter.requires_grad for parameter in network.parameters())
        True
    """
    chosen = [(name, find(module, name)) for name in names]
    for name, thing in chosen:
        if isinstance(thing, nn.Module) and next(thing.parameters(), None) is None:
            raise ConfigError(f"{name!r} has no parameters, so it cannot be trained: leave it out of the phase")
    before = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    with kept_modes(module):
        module.eval().requires_grad_(False)
        for _, thing in chosen:
            thing.requires_grad_(True)
            if isinstance(thing, nn.Module):
                thing.train()
        try:
            yield
        finally:
            for parameter, requires_grad in before:
                parameter.requires_grad_(requires_grad)
                parameter.grad = None
