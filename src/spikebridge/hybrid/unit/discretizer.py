"""Q, the discretizer: makes spikes for an SNN, or integrates time away for an ANN (R. Zhao et al., 2022, eq. 6).

It maps the M values that each of K windows holds, `(K, M, B, *N)`, to M' values. Three kinds:

| kind | M' | where it can stand |
|---|---|---|
| `"steps"` | M: value by value | any window |
| `"reduces"` | 1: time is integrated away | after a cut window that was kept |
| `"expands"` | L: the spikes of one held value | after a cut window of one value |

Those that work step by step are here, the others in `expansion.py` and `reduction.py`.

Explicit randomness: a number is a function of a seed, a draw index and a place.

No generator is hidden anywhere, so a whole sequence, single steps and a cut stream draw the same numbers, and a
sample's numbers do not depend on its batch mates. The hash mixes 32-bit words with multipliers below 2^31, so that no
product leaves the 64 bits of an integer tensor.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.axes import Windows
from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.hybrid.unit.window import whole_number
from spikebridge.neurons.base import Stateful
from spikebridge.neurons.quantity import Quantity
from spikebridge.neurons.state import State
from spikebridge.neurons.surrogate import ARCTAN, Surrogate

_WORD = 0xFFFFFFFF


class DrawState(NamedTuple):
    """A seed for each sample `(B,)`, and how many steps have been drawn."""

    seed: Tensor
    num_draws: int


def start_draws(seed: int, batch: int, device: torch.device) -> DrawState:
    """Draws for a new stream: each sample of the batch has a seed of its own."""
    samples = torch.arange(batch, device=device)
    return DrawState(_mix(samples + (seed * 0x3C6EF372 & _WORD)), 0)


def draw_uniform(state: DrawState, num_steps: int, shape: torch.Size | tuple[int, ...]) -> tuple[Tensor, DrawState]:
    """Uniform numbers in [0, 1), `(num_steps, B, *shape)` in float32, and the state after them.

    Example:
        >>> state = start_draws(seed=0, batch=2, device=torch.device("cpu"))
        >>> both, _ = draw_uniform(state, 2, (3,))
        >>> first, state = draw_uniform(state, 1, (3,))
        >>> second, state = draw_uniform(state, 1, (3,))
        >>> torch.equal(both, torch.cat([first, second]))
        True
    """
    device = state.seed.device
    index = torch.arange(state.num_draws, state.num_draws + num_steps, device=device)
    streams = _mix(_mix(index).unsqueeze(1) ^ state.seed)
    places = _mix(torch.arange(int(torch.Size(shape).numel()), device=device) + 0x1B873593)
    words = _mix(_mix(streams.unsqueeze(-1) ^ places))
    # 24 bits: every value is exact in float32, so all dtypes see the same numbers
    uniform = (words >> 8).to(torch.float32) / (1 << 24)
    return uniform.reshape(num_steps, len(state.seed), *shape), DrawState(state.seed, state.num_draws + num_steps)


def _mix(words: Tensor) -> Tensor:
    words = words & _WORD
    words = (words ^ (words >> 16)) * 0x7FEB352D & _WORD
    words = (words ^ (words >> 15)) * 0x31848BAB & _WORD
    words = (words ^ (words >> 14)) * 0x5BD1E995 & _WORD
    return words ^ (words >> 16)


class Discretizer(nn.Module):
    """What all discretizers share."""

    kind: Literal["steps", "reduces", "expands"] = "steps"

    def initial_state(self, batch: int, device: torch.device) -> State:
        """The state of a new stream where it has to be drawn; None where the first windows make it."""
        return None

    def forward(self, h: Windows, length: int, state: State = None) -> tuple[Float[Tensor, "K M B *N2"], State]:
        """What M values a window become.

        Args:
            h: `(K, M, B, *N)`.
            length: the steps L of a window.
            state: after the windows before, None at the start of a stream.

        Returns:
            `(K, M', B, *N)` and the state.
        """
        raise NotImplementedError


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of `hard` with the gradient of `soft`.

    Example:
        >>> x = torch.tensor(0.3, requires_grad=True)
        >>> y = straight_through(x.round(), 2 * x)
        >>> y.backward()
        >>> y.item(), x.grad.item()
        (0.0, 2.0)
    """
    return hard.detach() + (soft - soft.detach())


class Bernoulli(Discretizer):
    """A spike with probability `h`, clipped to 0..1; the gradient goes straight through to the probability.

    Draws are explicit: the seed of each sample and the number of draws are state. In training a new stream takes its
    seed from the global generator (as dropout does, so that one run seed decides all); in evaluation it is `seed`.

    Args:
        seed: seed of a new stream in evaluation, a whole number.

    Example:
        >>> spikes, _ = Bernoulli().eval()(torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1), length=1)
        >>> spikes.flatten().tolist()
        [0.0, 1.0]
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise ConfigError(f"Bernoulli needs a whole number as its seed, but got {seed!r}")
        self.seed = seed

    def initial_state(self, batch: int, device: torch.device) -> DrawState:
        seed = int(torch.randint(2**31, ())) if self.training else self.seed
        return start_draws(seed, batch, device)

    def forward(self, h: Windows, length: int, state: DrawState | None = None) -> tuple[Windows, DrawState]:
        if state is None:
            state = self.initial_state(h.shape[2], h.device)
        uniform, state = draw_uniform(state, h.shape[0] * h.shape[1], h.shape[3:])
        probability = h.clamp(0, 1)
        spikes = (uniform.reshape(h.shape) < probability).to(h.dtype)
        return straight_through(spikes, probability), state


class Threshold(Discretizer):
    """A spike wherever `h` reaches the threshold, each step alone, with a surrogate gradient.

    Args:
        v_threshold: where a spike is fired: a number, or a tensor of one value a neuron.
        surrogate: derivative of the spike.
        learn: `("v_threshold",)` to train it.

    Example:
        >>> Threshold(0.5)(torch.tensor([0.4, 0.5]).reshape(1, 2, 1, 1), length=2)[0].flatten().tolist()
        [0.0, 1.0]
    """

    v_threshold = Quantity()

    def __init__(
        self, v_threshold: Tensor | float = 1.0, surrogate: Surrogate = ARCTAN, learn: str | Iterable[str] = ()
    ) -> None:
        super().__init__()
        for name in (learned := {learn} if isinstance(learn, str) else set(learn)):
            if name != "v_threshold":
                raise ConfigError(f"Threshold cannot learn {name!r}; {did_you_mean(name, ['v_threshold'])}")
        Threshold.v_threshold.store(self, v_threshold, learn=bool(learned))
        self.surrogate = surrogate

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Windows, None]:
        return self.surrogate(h - self.v_threshold), None


class SpikingLayer(Discretizer):
    """A spiking layer makes the spikes; its membranes live on from window to window.

    Args:
        layer: any stateful layer.

    Example:
        >>> from spikebridge.neurons import IF
        >>> spikes, _ = SpikingLayer(IF(reset="subtract"))(torch.full((2, 2, 1, 1), 0.5), length=2)
        >>> spikes.flatten().tolist()
        [0.0, 1.0, 0.0, 1.0]
    """

    record_name = "Fire"  # in the files of bundles and integer models

    def __init__(self, layer: Stateful) -> None:
        super().__init__()
        if not isinstance(layer, Stateful):
            raise ConfigError(f"SpikingLayer needs a Stateful layer, but got {type(layer).__name__}")
        self.layer = layer

    def forward(self, h: Windows, length: int, state: State = None) -> tuple[Float[Tensor, "K M B *N2"], State]:
        spikes, state = self.layer(h.flatten(0, 1), state)
        return spikes.reshape(*h.shape[:2], *spikes.shape[1:]), state


class SignedDeltaState(NamedTuple):
    """How many quanta the receiver has by now: a whole number, so that a long stream does not drift."""

    total: Tensor


class SignedDelta(Discretizer):
    """Send on change: a signed whole number of quanta, the nearest to how far the value has moved since the last one.

    The sum of all that was sent, times the quantum, is the value to within half a quantum. The gradient goes straight
    through to the change: that of the sum is the present value's alone.

    Args:
        quantum: the change that one spike stands for, above 0.
        limit: most spikes in one step, for a channel that carries only so many; None sends any number.

    Example:
        >>> spikes, _ = SignedDelta(0.5)(torch.tensor([0.6, 0.6, -0.5]).reshape(3, 1, 1, 1), length=1)
        >>> spikes.flatten().tolist()
        [1.0, 0.0, -2.0]
    """

    def __init__(self, quantum: float, limit: int | None = None) -> None:
        super().__init__()
        if not 0 < quantum < float("inf"):
            raise ConfigError(f"SignedDelta needs quantum > 0, but got {quantum}")
        self.quantum = quantum
        self.limit = None if limit is None else whole_number("SignedDelta", "its limit", limit)

    def forward(
        self, h: Windows, length: int, state: SignedDeltaState | None = None
    ) -> tuple[Windows, SignedDeltaState]:
        total = h.new_zeros(h.shape[2:]) if state is None else state.total
        sent = []
        for h_t in h.flatten(0, 1).unbind(0):
            change = h_t / self.quantum - total
            number = change.detach().round()
            if self.limit is not None:
                number = number.clamp(-self.limit, self.limit)
            sent.append(straight_through(number, change))
            total = total + sent[-1]
        spikes = torch.stack(sent).reshape(h.shape) if sent else torch.empty_like(h)
        return spikes, SignedDeltaState(total)
