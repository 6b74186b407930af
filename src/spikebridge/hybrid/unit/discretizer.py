"""Q, the discretizer: makes spikes for an SNN, or integrates time away for an ANN (R. Zhao et al., 2022, eq. 6).

It maps the M values of each of K windows, `(K, M, B, *N)`, to M' values. There are three kinds:

| kind | M' | where it can be used | discretizer | what it gives |
|---|---|---|---|---|
| `"steps"` | M: value by value | any window | `Bernoulli` | a spike with the probability of the value |
| | | | `Threshold` | a spike where the value reaches the threshold |
| | | | `SpikingLayer` | the spikes of a layer of neurons |
| | | | `SignedDelta` | signed spikes where the value has changed |
| | | | `PoissonPopulation` | the spikes of independent neurons, all at the rate of the value |
| `"expands"` | L: the spikes of one held value | a framed window of one value | `FirstSpike` | one, early if large |
| | | | `PhaseCode` | the bits of the value |
| | | | `Burst` | consecutive spikes, more for larger values |
| `"reduces"` | 1: time is integrated away | a framed window whose steps are kept | `Integrate` | sum |
| | | | `Last`, `Count`, `FirstTime` | last step, number of spikes, time of the first |

Randomness is explicit: a random number is a function of a seed, a draw index and a place (a counter-based generator).
So a whole sequence, single steps and a stream cut anywhere draw the same numbers, and a sample's numbers do not depend
on the rest of the batch. A stage without a seed of its own takes that of its path in the network (`seed_of_path`): two
stages draw independently, and a network that is built again draws the same. The hash mixes 32-bit words with
multipliers below 2^31, so that no product leaves the 64 bits of an integer tensor.
"""

import zlib
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.axes import Windows
from spikebridge.errors import ConfigError, in_words, is_positive
from spikebridge.hybrid.unit.window import checked_integer
from spikebridge.neurons.base import Stateful
from spikebridge.neurons.neuron import Neuron
from spikebridge.neurons.quantity import Quantified, Quantity, names_to_learn, refuse_ambiguous
from spikebridge.neurons.state import State, TensorForm, TupleForm, allow_states_of, refuse_other_form
from spikebridge.neurons.surrogate import ARCTAN, Surrogate, Triangle, check_surrogate
from spikebridge.ops.checks import number_on_cpu
from spikebridge.ops.precision import HALF, cast_for, upcast
from spikebridge.ops.saturation import clip

_WORD = 0xFFFFFFFF


class Discretizer(Quantified):
    """Base of all discretizers. Subclasses give `forward` and, unless they give as many values as they get, `kind`.

    `forward` gets values in float32 or float64: half-precision values are upcast, its state is never in half precision,
    and its output is rounded to the dtype of the values.
    """

    kind: Literal["steps", "reduces", "expands"] = "steps"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        allow_states_of(cls)

    def bind_path(self, path: str) -> None:
        """Gives the path in the network that the discretizer is built into; a stochastic one takes a seed from it."""

    def __call__(self, h: Windows, length: int, state: State = None) -> tuple[Tensor, State]:
        y, state = super().__call__(upcast(h) if h.dtype in HALF else h, length, state)
        return y.to(h.dtype), state

    def initial_state(self, batch: int, device: torch.device) -> State:
        """The state of a new stream that draws random numbers; None where the first windows make the state."""
        return None

    def forward(self, h: Windows, length: int, state: State = None) -> tuple[Float[Tensor, "K M B *N2"], State]:
        """Maps the M values of each window to M' values.

        Args:
            h: `(K, M, B, *N)`.
            length: the steps L of a window.
            state: after the windows before, None at the start of a stream.

        Returns:
            `(K, M', B, *N)` and the state.
        """
        raise NotImplementedError


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of `hard` with the gradient of `soft`."""
    return hard.detach() + (soft - soft.detach())


def seed_of_path(path: str) -> int:
    """The seed of a stochastic stage from its path in a network, below 2^31."""
    return zlib.crc32(path.encode()) >> 1


class DrawState(NamedTuple):
    """A seed for each sample `(B,)`, and the number of steps drawn so far."""

    seed: Tensor
    num_draws: int


def start_draws(seed: int, batch: int, device: torch.device) -> DrawState:
    """The draw state of a new stream: each sample of the batch has its own seed."""
    samples = torch.arange(batch, device=device)
    return DrawState(_mix(samples + (seed * 0x3C6EF372 & _WORD)), 0)


def draw_uniform(state: DrawState, num_steps: int, shape: torch.Size | tuple[int, ...]) -> tuple[Tensor, DrawState]:
    """Uniform numbers in [0, 1), `(num_steps, B, *shape)` in float32, and the state after them."""
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


class _Stochastic(Discretizer):
    """Base of discretizers that draw random numbers: a seed of its own, or that of its path in a network."""

    def __init__(self, seed: int | None) -> None:
        super().__init__()
        if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
            raise ConfigError(f"{type(self).__name__} needs an integer as its seed, but got {seed!r}")
        self.seed = 0 if seed is None else seed
        self._is_unbound = seed is None

    def bind_path(self, path: str) -> None:
        if self._is_unbound:
            self.seed = seed_of_path(path)
            self._is_unbound = False

    def initial_state(self, batch: int, device: torch.device) -> DrawState:
        # drawn on the CPU for every device, so that one run seed gives the same numbers on all of them
        seed = int(torch.randint(2**31, (), device="cpu").numpy()) if self.training else self.seed
        return start_draws(seed, batch, device)

    def _state_before(self, h: Windows, state: DrawState | None) -> DrawState:
        """The state before windows, a new one at the start of a stream."""
        if state is None:
            return self.initial_state(h.shape[2], h.device)

        seeds = TensorForm(h.shape[2:3], torch.int64, h.device)
        refuse_other_form(self, state, TupleForm(DrawState, {"seed": seeds, "num_draws": int}))

        return state


class Bernoulli(_Stochastic):
    """A spike with probability `h`, clipped to 0..1; the gradient goes straight through to the probability.

    Draws are explicit: the seed of each sample and the number of draws are state. In training a new stream takes its
    seed from the global generator (as dropout does, so that one run seed decides all); in evaluation it is `seed`.

    Args:
        seed: seed of a new stream in evaluation, an integer; None takes that of the unit's path in its network, so that
            no two units draw the same. Outside of a network it is 0: there give every unit a seed.

    Example:
        >>> spikes, _ = Bernoulli().eval()(torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1), length=1)
        >>> spikes.flatten().tolist()
        [0.0, 1.0]
    """

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed)

    def forward(self, h: Windows, length: int, state: DrawState | None = None) -> tuple[Windows, DrawState]:
        state = self._state_before(h, state)
        uniform, state = draw_uniform(state, h.shape[0] * h.shape[1], h.shape[3:])
        probability = clip(h, 0, 1)
        spikes = (uniform.reshape(h.shape) < probability).to(h.dtype)

        return straight_through(spikes, probability), state


class Threshold(Discretizer):
    """A spike wherever `h` reaches the threshold, each step on its own, with a surrogate gradient.

    Args:
        v_threshold: threshold of a spike: a number, or a tensor of one value a neuron.
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
        learned = names_to_learn("Threshold", learn, ["v_threshold"])
        check_surrogate("Threshold", surrogate)
        Threshold.v_threshold.store(self, v_threshold, learn=bool(learned))
        self.surrogate = surrogate

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Windows, None]:
        v_threshold = self.v_threshold
        refuse_ambiguous("v_threshold of Threshold", v_threshold, h.shape[3:])
        return self.surrogate(h - v_threshold), None


class SpikingLayer(Discretizer):
    """The spikes of a layer of neurons, whose state is kept from window to window.

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
            raise ConfigError(f"SpikingLayer needs a Stateful layer, but got {in_words(layer)}")
        self.layer = layer

    def forward(self, h: Windows, length: int, state: State = None) -> tuple[Float[Tensor, "K M B *N2"], State]:
        # neurons compute in float32 by themselves; plain modules among them take the dtype of their parameters
        x = h if isinstance(self.layer, Neuron) else cast_for(self.layer, h)
        spikes, state = self.layer(x.flatten(0, 1), state)
        return spikes.reshape(*h.shape[:2], *spikes.shape[1:]), state


class KWinners(Discretizer):
    """Opens the `round(rho C)` neurons of a layer with the largest values, or one, in each window and sample.

    Ties go to the lower index. The gradient goes straight through to the sigmoid of the value.

    Args:
        rho: share of open neurons, above 0 to 1.

    Raises:
        ConfigError: a share out of range.

    Example:
        >>> KWinners(0.5)(torch.tensor([0.1, 3.0, -1.0, 0.2]).reshape(1, 1, 1, 4), length=1)[0].flatten().tolist()
        [0.0, 1.0, 0.0, 1.0]
    """

    def __init__(self, rho: float) -> None:
        super().__init__()
        if not isinstance(rho, int | float) or not 0 < rho <= 1:
            raise ConfigError(f"KWinners needs rho, the share of open neurons, above 0 and at most 1, but got {rho!r}")

        self.rho = rho

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Windows, None]:
        number = max(1, round(self.rho * h.shape[-1]))
        order = h.detach().sort(dim=-1, descending=True, stable=True).indices
        rank = order.argsort(-1)
        hard = (rank < number).to(h.dtype)

        # NaN has a rank too, but is no value of a gate
        hard = torch.where(h.isnan(), h.detach(), hard)
        return straight_through(hard, h.sigmoid()) if h.requires_grad else hard, None

    def extra_repr(self) -> str:
        return f"rho={self.rho:g}"


class PoissonPopulation(_Stochastic):
    """The spikes of a population: its neurons fire as independent Poisson processes, all at the rate of the value.

    A value is the mean number of spikes of a neuron in a step; `(B, *N)` becomes `(B, *N, C)` with C neurons. The
    spikes of the whole population are one Poisson process, whose arrivals over the axis of neurons have exponential
    gaps: the work grows with the number of spikes, not with that of neurons. A neuron may fire more than once a step.
    Values below 0 are silence, values above 1 count as 1. The gradient goes straight through to the value.

    Args:
        num_neurons: C, at least 1.
        seed: seed of a new stream, as in `Bernoulli`.

    Raises:
        ConfigError: a number of neurons or a seed that is no integer.

    Example:
        >>> spikes, _ = PoissonPopulation(1000, seed=0).eval()(torch.full((1, 100, 1), 0.01), length=1)
        >>> spikes.shape, bool(spikes.sum() / 1000 > 0.9), bool(spikes.sum() / 1000 < 1.1)  # 1000 spikes expected
        (torch.Size([1, 100, 1, 1000]), True, True)
    """

    def __init__(self, num_neurons: int, seed: int | None = None) -> None:
        super().__init__(seed)
        self.num_neurons = checked_integer("PoissonPopulation", "num_neurons", num_neurons)

    def forward(
        self, h: Windows, length: int, state: DrawState | None = None
    ) -> tuple[Float[Tensor, "K M B *N C"], DrawState]:
        state = self._state_before(h, state)
        expected = h.detach().flatten(0, 1).clamp(0, 1) * self.num_neurons  # spikes of the population in a step
        gaps, state = draw_uniform(state, len(expected), (self._max_spikes(expected), *h.shape[3:]))
        arrivals = -torch.log1p(-gaps).cumsum(2)
        scale = expected.unsqueeze(2)
        neuron = (arrivals / scale * self.num_neurons).clamp(max=self.num_neurons)
        neuron = torch.where(arrivals < scale, neuron, self.num_neurons).long().movedim(2, -1)
        spikes = h.new_zeros(*expected.shape, self.num_neurons + 1)
        spikes = spikes.scatter_add_(-1, neuron, torch.ones_like(neuron, dtype=h.dtype))[..., :-1]
        value = h.unsqueeze(-1)

        # 0 where the value is finite, NaN else
        return straight_through(spikes.reshape(*h.shape, self.num_neurons) + 0 * value.detach(), value), state

    def counted(self, output: tuple[Tensor, DrawState]) -> dict[str, float]:
        """The arrivals that are drawn in a call, one a spike and one beyond the last, for counts of operations."""
        spikes = output[0]
        return {"compares": float(spikes.detach().sum()) + spikes[..., 0].numel()}

    def _max_spikes(self, expected: Tensor) -> int:
        """The spikes of a step that are drawn: more than 8 standard deviations above the largest mean."""
        mean = float(self.num_neurons)
        # the largest value on a device would have to be waited for
        if expected.is_cpu and expected.numel() and not torch.compiler.is_compiling():
            mean = min(mean, number_on_cpu(expected.nan_to_num(0.0).max()))

        return int(mean + 8 * mean**0.5 + 16)


class _SignedDeltaState(NamedTuple):
    """The number of quanta sent so far: an integer, so that a long stream does not drift."""

    total: Tensor


def _is_like(total: Any, h: Windows) -> bool:
    """True if a total fits the values of windows: a quick look at the usual case."""
    is_placed = isinstance(total, Tensor) and total.dtype == h.dtype and total.device == h.device
    return is_placed and total.shape == h.shape[2:]


class SignedDelta(Discretizer):
    """Send on change: a signed integer number of quanta, the nearest to the change of the value since the last spikes.

    The sum of all that was sent, times the quantum, is the value to within half a quantum. The gradient goes straight
    through to the change: that of the sum is the present value's alone.

    Args:
        quantum: the change that one spike stands for, above 0.
        limit: maximum of spikes in one step, for a channel of limited rate; None sends any number.

    Example:
        >>> spikes, _ = SignedDelta(0.5)(torch.tensor([0.6, 0.6, -0.5]).reshape(3, 1, 1, 1), length=1)
        >>> spikes.flatten().tolist()
        [1.0, 0.0, -2.0]
    """

    def __init__(self, quantum: float, limit: int | None = None) -> None:
        super().__init__()
        if not is_positive(quantum):
            raise ConfigError(f"SignedDelta needs quantum > 0, but got {in_words(quantum)}")
        self.quantum = quantum
        self.limit = None if limit is None else checked_integer("SignedDelta", "its limit", limit)

    def forward(
        self, h: Windows, length: int, state: _SignedDeltaState | None = None
    ) -> tuple[Windows, _SignedDeltaState]:
        if state is None:
            state = _SignedDeltaState(h.new_zeros(h.shape[2:]))
        elif type(state) is not _SignedDeltaState or not _is_like(state.total, h):
            form = TupleForm(_SignedDeltaState, {"total": TensorForm(h.shape[2:], h.dtype, h.device)})
            refuse_other_form(self, state, form)

        total = state.total
        sent = []

        for h_t in h.flatten(0, 1).unbind(0):
            change = h_t / self.quantum - total
            number = change.detach().round()
            if self.limit is not None:
                number = number.clamp(-self.limit, self.limit)
            # the receiver adds up the spikes as they were sent, also those of a limited rate
            sent.append(straight_through(number, change))
            total = total + sent[-1]

        spikes = torch.stack(sent).reshape(h.shape) if sent else torch.empty_like(h)
        return spikes, _SignedDeltaState(total)


class FirstSpike(Discretizer):
    """One spike, the earlier the larger the value: v in 0..1 fires in step `floor((1 - v) L)`, and 0 in the last one.

    The gradient moves the spike between neighbouring steps: its value, `sum (1 - k / L) s_k`, has slope 1 everywhere.

    Example:
        >>> spikes, _ = FirstSpike()(torch.tensor([1.0, 0.6]).reshape(1, 1, 1, 2), length=4)
        >>> spikes[0, :, 0].T.tolist()  # 0.4 * 4 = 1.6: the second step
        [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]
    """

    kind = "expands"

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Float[Tensor, "K L2 B *N"], None]:
        value = clip(h[:, :1], 0, 1)
        step = torch.arange(length, device=h.device, dtype=h.dtype).reshape(1, -1, *[1] * (h.ndim - 2))
        time = ((1 - value) * length).floor().clamp(max=length - 1)
        edge = Triangle(width=1 / length)

        # a value that crosses the lower edge of a step moves the spike there; no step comes before the first
        crossed = edge(value - (length - 1 - step) / length) + (step == 0) * edge(value - 1)
        soft = crossed.diff(dim=1, prepend=torch.zeros_like(crossed[:, :1]))

        return straight_through((time == step).to(h.dtype), soft), None


class PhaseCode(Discretizer):
    """The bits of a value in 0..1, the largest first: a spike in step k is worth `2^-(k + 1)` (J. Kim et al., 2018).

    Args:
        surrogate: derivative of each bit; None goes straight through, since every bit rises once over the whole range.

    Example:
        >>> spikes, _ = PhaseCode()(torch.tensor([0.625]).reshape(1, 1, 1, 1), length=3)
        >>> spikes.flatten().tolist()  # 1/2 + 1/8
        [1.0, 0.0, 1.0]
    """

    kind = "expands"

    record_name = "Phase"  # in the files of bundles and integer models

    def __init__(self, surrogate: Surrogate | None = None) -> None:
        super().__init__()
        if surrogate is not None:
            check_surrogate("PhaseCode", surrogate)
        self.surrogate = surrogate

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Float[Tensor, "K L2 B *N"], None]:
        value = rest = clip(h[:, 0], 0, 1)
        min_worth = torch.finfo(h.dtype).tiny  # a bit below would round to 0, which every value reaches
        spikes = []

        for k in range(length):
            worth = max(2.0 ** -(k + 1), min_worth)
            hard = (rest >= worth).to(h.dtype)
            bit = self.surrogate(rest - worth) if self.surrogate else straight_through(hard, value)
            rest = rest - bit.detach() * worth
            spikes.append(bit)

        return torch.stack(spikes, dim=1), None


class Burst(Discretizer):
    """A burst at the start of the window: `round(v L)` consecutive spikes for a value v in 0..1.

    The gradient spreads over the burst's last spike: a bump as wide as one spike's worth.

    Example:
        >>> Burst()(torch.tensor([0.5]).reshape(1, 1, 1, 1), length=4)[0].flatten().tolist()
        [1.0, 1.0, 0.0, 0.0]
    """

    kind = "expands"

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Float[Tensor, "K L2 B *N"], None]:
        value = clip(h[:, :1], 0, 1) * length
        step = torch.arange(length, device=h.device, dtype=h.dtype).reshape(1, -1, *[1] * (h.ndim - 2))
        return Triangle(width=1.0)(value - step - 0.5), None


class Integrate(Discretizer):
    """The sum over a window's steps.

    Example:
        >>> Integrate()(torch.tensor([1.0, 0.5]).reshape(1, 2, 1, 1), length=2)[0].flatten().tolist()
        [1.5]
    """

    kind = "reduces"

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Float[Tensor, "K 1 B *N"], None]:
        return h.sum(1, keepdim=True), None


class Last(Discretizer):
    """The last of a window's steps.

    Example:
        >>> Last()(torch.tensor([1.0, 0.5]).reshape(1, 2, 1, 1), length=2)[0].flatten().tolist()
        [0.5]
    """

    kind = "reduces"

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Float[Tensor, "K 1 B *N"], None]:
        return h[:, -1:], None


class Count(Discretizer):
    """The number of a window's steps that are not zero; the gradient is that of the sum of their absolute values.

    Example:
        >>> Count()(torch.tensor([1.0, 0.0, -1.0]).reshape(1, 3, 1, 1), length=3)[0].flatten().tolist()
        [2.0]
    """

    kind = "reduces"

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Float[Tensor, "K 1 B *N"], None]:
        count = (h != 0).to(h.dtype).sum(1, keepdim=True)
        return straight_through(count, _size(h).sum(1, keepdim=True)), None


class FirstTime(Discretizer):
    """The step of a window's first spike of any sign, counted from 0; L where there is none.

    The gradient is that of a sum over steps of "no spike yet": a spike that grows earlier makes the time shorter.

    Example:
        >>> FirstTime()(torch.tensor([0.0, 1.0, 1.0]).reshape(1, 3, 1, 1), length=3)[0].flatten().tolist()
        [1.0]
    """

    kind = "reduces"

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Float[Tensor, "K 1 B *N"], None]:
        time = (h == 0).to(h.dtype).cumprod(1).sum(1, keepdim=True)
        return straight_through(time, clip(1 - _size(h), low=0).cumprod(1).sum(1, keepdim=True)), None


def _size(h: Tensor) -> Tensor:
    """The absolute value with slope 1 at 0 (`abs` has slope 0 there), so that a silent step can learn to fire."""
    return torch.where(h < 0, -h, h)
