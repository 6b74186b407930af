"""The optimizers of a phase: one, or several that share its parameters; their schedules and learning rates.

To the loop several are one: clipping and a gradient scaler see the whole gradient, and a checkpoint has all states.

A module may declare that a parameter is measured in a unit of its own: `rate_scales`, `{name: scale}`, says by how much
its learning rate is multiplied. A learned delay [s] does, or a rate that suits weights would carry it across its range.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import nn
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from spikebridge.errors import ConfigError, in_words
from spikebridge.training.phase import Phase, find

T = TypeVar("T")
_RATES = ("lr", "initial_lr", "max_lr", "min_lr")  # of a group, under a schedule


class SeveralOptimizers(Optimizer):
    """Optimizers by name, each with parameters of its own, that step together."""

    def __init__(self, members: Mapping[str, Optimizer]) -> None:
        self.members = dict(members)
        super().__init__(self._groups(), {})

    def step(self, closure: Any = None) -> Any:
        for member in self.members.values():
            member.step()

    def state_dict(self) -> dict[str, Any]:
        return {name: member.state_dict() for name, member in self.members.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, member in self.members.items():
            member.load_state_dict(state_dict[name])
        self.param_groups = self._groups()

    def _groups(self) -> list[dict[str, Any]]:
        return [group for member in self.members.values() for group in member.param_groups]


def parameters_of(optimizer: Optimizer) -> list[Parameter]:
    """All parameters of an optimizer."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def divide_parameters(phase: Phase, network: nn.Module) -> dict[Parameter, str]:
    """The optimizer of each trained parameter, of several by name; a `ConfigError` where that is not exactly one."""
    if not isinstance(phase.optimizer, Mapping):
        return {}

    trained = {parameter: path for path, parameter in network.named_parameters() if parameter.requires_grad}
    owners: dict[Parameter, list[str]] = {parameter: [] for parameter in trained}
    for name in phase.optimizer:
        part = find(network, name)
        own = [p for p in (part.parameters() if isinstance(part, nn.Module) else [part]) if p in trained]
        if not own:
            raise ConfigError(f"phase {phase.name!r} trains nothing of its optimizer {name!r}: name it in train, too")
        for parameter in own:
            owners[parameter].append(name)

    for parameter, names in owners.items():
        if len(names) != 1:
            raise ConfigError(
                f"phase {phase.name!r}: {trained[parameter]!r} belongs to {' and '.join(map(repr, names)) or 'none'} "
                "of its optimizers, but needs exactly one: name it, or a part that holds it, in one alone"
            )

    return {parameter: name for parameter, (name,) in owners.items()}


def make_optimizer(
    phase: Phase, network: nn.Module, trained: list[Parameter], owners: Mapping[Parameter, str], state: Any
) -> Optimizer:
    """The optimizer of the trained parameters, or several as one; `state` is a saved one that it will take."""
    scales = _rate_scales(network, state)
    made: dict[str, Optimizer] = {}
    for name, make in phase.optimizers.items():
        own = [parameter for parameter in trained if owners.get(parameter, "") == name]
        made[name] = _make("optimizer", phase, make, own, Optimizer)
        _separate(made[name], scales)

    return SeveralOptimizers(made) if isinstance(phase.optimizer, Mapping) else made[""]


def make_schedulers(phase: Phase, optimizer: Optimizer) -> dict[str, LRScheduler]:
    """The schedules of the learning rates, by the name of their optimizer."""
    members = _members(optimizer)
    made = {}
    for name, make in phase.schedulers.items():
        rates = [group["lr"] for group in members[name].param_groups]
        made[name] = _make("scheduler", phase, make, members[name], LRScheduler)
        _scale_schedule(made[name], members[name], rates)

    return made


def learning_rates(optimizer: Optimizer) -> dict[str, float]:
    """The learning rates of all groups of parameters, by column; `lr` is that of the first."""
    rates: dict[str, float] = {}
    for name, member in _members(optimizer).items():
        first = f"lr/{name}" if name else "lr"
        for number, group in enumerate(member.param_groups):
            rates[f"{first}/{group.get('path', number)}" if number else first] = float(group["lr"])

    return {"lr": next(iter(rates.values())), **rates}


def _members(optimizer: Optimizer) -> dict[str, Optimizer]:
    return optimizer.members if isinstance(optimizer, SeveralOptimizers) else {"": optimizer}


def _rate_scales(network: nn.Module, state: Any) -> dict[Parameter, tuple[float, str]]:
    """The declared scales of parameters, with their paths; none for a saved state that began without them."""
    groups = (state or {}).get("param_groups", [])
    if groups and not any("path" in group for group in groups):
        return {}

    parameters = dict(network.named_parameters(remove_duplicate=False))
    return {
        parameters[place]: (scale, place)
        for path, module in network.named_modules()
        for name, scale in getattr(module, "rate_scales", {}).items()
        if (place := f"{path}.{name}".lstrip(".")) in parameters
    }


def _make(what: str, phase: Phase, make: Callable[[Any], Any], argument: Any, kind: type[T]) -> T:
    """The optimizer or the schedule that a function of the user's makes."""
    try:
        made = make(argument)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the {what} of phase {phase.name!r} cannot be made: {error}") from error

    if not isinstance(made, kind):
        raise ConfigError(f"phase {phase.name!r} has one {kind.__name__}, but {in_words(made)} was made")
    return made


def _separate(optimizer: Optimizer, scales: Mapping[Parameter, tuple[float, str]]) -> None:
    """Gives parameters with a declared scale groups of their own, if the optimizer was made with one group for all."""
    if len(optimizer.param_groups) > 1 or not scales.keys() & {*parameters_of(optimizer)}:
        return

    group = optimizer.param_groups[0]
    options = {name: value for name, value in group.items() if name != "params"}
    apart: dict[float, list[Parameter]] = {1.0: []}
    for parameter in group["params"]:
        scale, _ = scales.get(parameter, (1.0, ""))
        apart.setdefault(scale, []).append(parameter)

    optimizer.param_groups.clear()
    for scale, parameters in apart.items():
        if parameters:
            own = {} if scale == 1 else {"path": scales[parameters[0]][1], "rate_scale": scale}
            optimizer.add_param_group({**options, "params": parameters, "lr": options["lr"] * scale, **own})


def _scale_schedule(scheduler: LRScheduler, optimizer: Optimizer, rates: list[float]) -> None:
    """Scales the rates of a schedule that sets one rate for all groups, such as `OneCycleLR(max_lr=...)`."""
    groups = optimizer.param_groups
    first = [group.get("initial_lr", rate) for group, rate in zip(groups, rates, strict=True)]
    if first == rates or len(set(first)) > 1:
        return

    for number, group in enumerate(groups):
        if (scale := group.get("rate_scale", 1.0)) == 1:
            continue

        group.update({name: group[name] * scale for name in _RATES if name in group})
        for of_groups in (getattr(scheduler, name, None) for name in ("base_lrs", "max_lrs")):
            if of_groups is not None:
                of_groups[number] *= scale
