"""Modules of other libraries as parts of a hybrid network, with their state taken out.

SpikingJelly, snnTorch and sinabs keep a state inside their modules, where streams meet and forgotten resets live. Here
it is put in before a call and taken out after it: between calls such a module remembers nothing, so whole = step = cut
holds as for our own layers, streams never mix, and a state_dict does not depend on the size of a batch.
"""

from typing import NamedTuple

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.neurons.base import Stateful, refuse_timeless, refuse_unknown
from spikebridge.neurons.quantity import Modulated
from spikebridge.neurons.state import State

LIBRARIES = ("spikingjelly", "snntorch", "norse", "sinabs")


class Place(NamedTuple):
    """Where a module of another library keeps something from step to step."""

    owner: nn.Module
    name: str


class AdaptedState(NamedTuple):
    """What the places hold, in order, each with the batch first; None for what holds nothing yet."""

    held: tuple[Tensor | None, ...]


class Adapted(Stateful):
    """A module that remembers inside, as a layer with explicit state. Its weights stay where they are, in `module`.

    Subclasses, one a library, say where things are kept (`places`, `read`, `write`), what is there before the first
    step (`begin`, `empty`) and how the module runs over a sequence (`run`).

    Args:
        module: of the other library. It must not be called by others between our calls.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._clear()

    def places(self) -> list[Place]:
        """Where the module remembers."""
        raise NotImplementedError

    def read(self, place: Place) -> Tensor | None:
        """What is kept at a place, None for what is no tensor."""
        value = getattr(place.owner, place.name)
        return value if isinstance(value, Tensor) else None

    def write(self, place: Place, value: Tensor) -> None:
        """Puts something there."""
        setattr(place.owner, place.name, value)

    def begin(self, place: Place, like: Tensor) -> Tensor:
        """What is there before the first step."""
        return torch.zeros_like(like)

    def empty(self, place: Place) -> None:
        """Takes away what is there."""
        raise NotImplementedError

    def run(self, x: Shaped[Tensor, "T B *N"]) -> Tensor:
        """The module over a sequence, from what the places hold."""
        raise NotImplementedError

    def initial_state(self, x_t: Shaped[Tensor, "B *N"]) -> AdaptedState:
        """What is there before the first step; a step of zeros, which leaves no trace, shows the shapes."""
        training = {child: child.training for child in self.module.modules()}
        self.module.eval()
        self._clear()
        try:
            with torch.no_grad():
                self.run(torch.zeros_like(x_t).unsqueeze(0))
            held = [(place, self.read(place)) for place in self.places()]
            return AdaptedState(tuple(None if like is None else self.begin(place, like) for place, like in held))
        finally:
            self._clear()
            for child, was in training.items():
                child.training = was

    def step(
        self, x_t: Shaped[Tensor, "B *N"], state: State, **modulation: Modulated
    ) -> tuple[Shaped[Tensor, "B *M"], AdaptedState]:
        y, state = self._whole(x_t.unsqueeze(0), state, modulation)
        return y[0], state

    def forward(
        self, x: Shaped[Tensor, "T B *N"], state: State = None, **modulation: Modulated
    ) -> tuple[Shaped[Tensor, "T B *M"], AdaptedState]:
        refuse_timeless(self, x)
        if len(x) == 0:
            return super().forward(x, state, **modulation)
        return self._whole(x, state if state is not None else self.initial_state(x[0]), modulation)

    def _whole(self, x: Tensor, state: AdaptedState, modulation: dict[str, Modulated]) -> tuple[Tensor, AdaptedState]:
        refuse_unknown(self, modulation)
        places = self.places()
        if len(state.held) != len(places):
            raise ConfigError(f"the state is of {len(state.held)} places, but this module remembers at {len(places)}")
        try:
            for place, value in zip(places, state.held, strict=True):
                if value is not None:
                    self.write(place, value)
            y = self.run(x)
            return y, AdaptedState(tuple(self.read(place) for place in places))
        finally:
            self._clear()

    def _clear(self) -> None:
        for place in self.places():
            self.empty(place)


def over_steps(module: nn.Module, x: Shaped[Tensor, "T B *N"]) -> Tensor:
    """A module that takes one step, over all steps; of several results the first one is the output."""
    outputs = []
    for x_t in x.unbind(0):
        y_t = module(x_t)
        outputs.append(y_t[0] if isinstance(y_t, tuple) else y_t)
    return torch.stack(outputs)


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
    libraries = [name for name in LIBRARIES if name in found]
    if not libraries:
        raise ConfigError(
            f"{type(module).__name__} has no layer of {', '.join(LIBRARIES)}; a plain module is a part as it is, and a "
            "loop over time of your own becomes one as a spikebridge.neurons.Stateful"
        )
    if len(libraries) > 1:
        raise ConfigError(
            f"{type(module).__name__} mixes layers of {' and '.join(libraries)}; make each its own part, or put "
            "adapted layers in a row with spikebridge.neurons.Sequential"
        )
    # each adapter builds on this file
    from spikebridge.deploy.adapters.norse import Norse
    from spikebridge.deploy.adapters.sinabs import Sinabs
    from spikebridge.deploy.adapters.snntorch import SnnTorch
    from spikebridge.deploy.adapters.spikingjelly import SpikingJelly

    kinds: dict[str, type[Stateful]] = {
        "spikingjelly": SpikingJelly,
        "snntorch": SnnTorch,
        "norse": Norse,
        "sinabs": Sinabs,
    }
    return kinds[libraries[0]](module)
