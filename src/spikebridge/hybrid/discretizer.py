"""Q, the discretizer: makes spikes for an SNN, or integrates time away for an ANN (R. Zhao et al., 2022, eq. 6).

It maps the M values that each of K windows holds, `(K, M, B, *N)`, to M' values. Three kinds:

| kind | M' | where it can stand |
|---|---|---|
| `"steps"` | M: value by value | any window |
| `"reduces"` | 1: time is integrated away | after a cut window that was kept |
| `"expands"` | L: the spikes of one held value | after a cut window of one value |
"""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from spikebridge.axes import Windows
from spikebridge.errors import ConfigError
from spikebridge.hybrid.randomness import DrawState, draw_uniform, start_draws
from spikebridge.neurons.base import Stateful
from spikebridge.neurons.state import State
from spikebridge.neurons.surrogate import Arctan, Surrogate, Triangle


class Discretizer(nn.Module):
    """What all discretizers share."""

    kind: Literal["steps", "reduces", "expands"] = "steps"

    def forward(self, h: Windows, length: int, state: State = None) -> tuple[Tensor, State]:
        """`(K, M, B, *N)` to `(K, M', B, *N)`; `length` is the number of steps L of a window."""
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

    Draws are explicit: the seed of each sample and the number of draws are state. In training a new stream takes its seed
    from the global generator (as dropout does, so that one run seed decides all); in evaluation it is `seed`.

    Args:
        seed: seed of a new stream in evaluation.

    Example:
        >>> spikes, _ = Bernoulli().eval()(torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1), length=1)
        >>> spikes.flatten().tolist()
        [0.0, 1.0]
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def forward(self, h: Windows, length: int, state: DrawState | None = None) -> tuple[Tensor, DrawState]:
        if state is None:
            seed = int(torch.randint(2**31, ())) if self.training else self.seed
            state = start_draws(seed, h.shape[2], h.device)
        uniform, state = draw_uniform(state, h.shape[0] * h.shape[1], h.shape[3:])
        probability = h.clamp(0, 1)
        spikes = (uniform.reshape(h.shape) < probability).to(h.dtype)
        return straight_through(spikes, probability), state


class Threshold(Discretizer):
    """A spike wherever `h` reaches the threshold, each step alone, with a surrogate gradient.

    Args:
        v_threshold: where a spike is fired.
        surrogate: derivative of the spike.

    Example:
        >>> Threshold(0.5)(torch.tensor([0.4, 0.5]).reshape(1, 2, 1, 1), length=2)[0].flatten().tolist()
        [0.0, 1.0]
    """

    def __init__(self, v_threshold: float = 1.0, surrogate: Surrogate = Arctan()) -> None:
        super().__init__()
        self.v_threshold = v_threshold
        self.surrogate = surrogate

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Tensor, None]:
        return self.surrogate(h - self.v_threshold), None


class Fire(Discretizer):
    """A spiking layer makes the spikes; its membranes live on from window to window.

    Args:
        layer: any stateful layer.

    Example:
        >>> from spikebridge.neurons import IF
        >>> spikes, _ = Fire(IF(reset="soft"))(torch.full((2, 2, 1, 1), 0.5), length=2)
        >>> spikes.flatten().tolist()
        [0.0, 1.0, 0.0, 1.0]
    """

    def __init__(self, layer: Stateful) -> None:
        super().__init__()
        if not isinstance(layer, Stateful):
            raise ConfigError(f"Fire needs a Stateful layer, but got {type(layer).__name__}")
        self.layer = layer

    def forward(self, h: Windows, length: int, state: State = None) -> tuple[Tensor, State]:
        spikes, state = self.layer(h.flatten(0, 1), state)
        return spikes.reshape(*h.shape[:2], *spikes.shape[1:]), state


class FirstSpike(Discretizer):
    """One spike, the earlier the larger the value: a value v in 0..1 fires in step `floor((1 - v) L)`, 0 in the last one.

    The gradient moves the spike between neighbouring steps: its value, `sum (1 - k / L) s_k`, has slope 1 everywhere.

    Example:
        >>> spikes, _ = FirstSpike()(torch.tensor([1.0, 0.6]).reshape(1, 1, 1, 2), length=4)
        >>> spikes[0, :, 0].T.tolist()  # 0.4 * 4 = 1.6: the second step
        [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]
    """

    kind = "expands"

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Tensor, None]:
        value = h[:, :1].clamp(0, 1)
        step = torch.arange(length, device=h.device, dtype=h.dtype).reshape(1, -1, *[1] * (h.ndim - 2))
        time = ((1 - value) * length).floor().clamp(max=length - 1)
        edge = Triangle(width=1 / length)
        # a value that crosses the lower edge of a step moves the spike there; above the first step there is no other
        crossed = edge(value - (length - 1 - step) / length) + (step == 0) * edge(value - 1)
        soft = crossed.diff(dim=1, prepend=torch.zeros_like(crossed[:, :1]))
        return straight_through((time == step).to(h.dtype), soft), None


class Phase(Discretizer):
    """The bits of a value in 0..1, the largest first: a spike in step k is worth `2^-(k + 1)` (J. Kim et al., 2018).

    Args:
        surrogate: derivative of each bit; None goes straight through, since every bit rises once over the whole range.

    Example:
        >>> spikes, _ = Phase()(torch.tensor([0.625]).reshape(1, 1, 1, 1), length=3)
        >>> spikes.flatten().tolist()  # 1/2 + 1/8
        [1.0, 0.0, 1.0]
    """

    kind = "expands"

    def __init__(self, surrogate: Surrogate | None = None) -> None:
        super().__init__()
        self.surrogate = surrogate

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Tensor, None]:
        value = rest = h[:, 0].clamp(0, 1)
        spikes = []
        for k in range(length):
            worth = 2.0 ** -(k + 1)
            hard = (rest >= worth).to(h.dtype)
            bit = self.surrogate(rest - worth) if self.surrogate else straight_through(hard, value)
            rest = rest - bit.detach() * worth
            spikes.append(bit)
        return torch.stack(spikes, dim=1), None


class Burst(Discretizer):
    """A burst at the start of the window: `round(v L)` spikes side by side for a value v in 0..1.

    The gradient spreads over the burst's last spike: a bump as wide as one spike's worth.

    Example:
        >>> Burst()(torch.tensor([0.5]).reshape(1, 1, 1, 1), length=4)[0].flatten().tolist()
        [1.0, 1.0, 0.0, 0.0]
    """

    kind = "expands"

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Tensor, None]:
        value = h[:, :1].clamp(0, 1) * length
        step = torch.arange(length, device=h.device, dtype=h.dtype).reshape(1, -1, *[1] * (h.ndim - 2))
        return Triangle(width=1.0)(value - step - 0.5), None


class SignedDeltaState(NamedTuple):
    """How many quanta the receiver has by now: a whole number, so that a long stream does not drift."""

    total: Tensor


class SignedDelta(Discretizer):
    """Send on change: a signed whole number of quanta, the nearest to how far the value has moved since it was last sent.

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
        if not quantum > 0:
            raise ConfigError(f"SignedDelta needs quantum > 0, but got {quantum}")
        self.quantum = quantum
        self.limit = limit

    def forward(
        self, h: Windows, length: int, state: SignedDeltaState | None = None
    ) -> tuple[Tensor, SignedDeltaState]:
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


class Integrate(Discretizer):
    """The sum over a window's steps.

    Example:
        >>> Integrate()(torch.tensor([1.0, 0.5]).reshape(1, 2, 1, 1), length=2)[0].flatten().tolist()
        [1.5]
    """

    kind = "reduces"

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Tensor, None]:
        return h.sum(1, keepdim=True), None


class Last(Discretizer):
    """The last of a window's steps.

    Example:
        >>> Last()(torch.tensor([1.0, 0.5]).reshape(1, 2, 1, 1), length=2)[0].flatten().tolist()
        [0.5]
    """

    kind = "reduces"

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Tensor, None]:
        return h[:, -1:], None


class Count(Discretizer):
    """How many of a window's steps are not zero, whatever their sign; the gradient is that of the sum of their sizes.

    Example:
        >>> Count()(torch.tensor([1.0, 0.0, -1.0]).reshape(1, 3, 1, 1), length=3)[0].flatten().tolist()
        [2.0]
    """

    kind = "reduces"

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Tensor, None]:
        count = (h != 0).to(h.dtype).sum(1, keepdim=True)
        return straight_through(count, h.abs().sum(1, keepdim=True)), None


class FirstTime(Discretizer):
    """The step of a window's first spike, counted from 0; L where there is none.

    As a sum over steps of "no spike yet" it has a gradient: a spike that grows earlier makes the time shorter.

    Example:
        >>> FirstTime()(torch.tensor([0.0, 1.0, 1.0]).reshape(1, 3, 1, 1), length=3)[0].flatten().tolist()
        [1.0]
    """

    kind = "reduces"

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Tensor, None]:
        return (1 - h).cumprod(1).sum(1, keepdim=True), None


def describe(stage: Any) -> str:
    """A stage's name for people, "-" where there is none."""
    return "-" if stage is None else type(stage).__name__
