"""Synchrony: a value is how often two neurons fire together, while both fire equally often whatever the value is.

The temporal correlation of W. Singer and C. M. Gray, Annual Review of Neuroscience 18 (1995), read by a coincidence
detector (M. Abeles, Israel Journal of Medical Sciences 18, 1982). Time is cut into slots of two halves, each `width`
steps long. The first neuron, the reference, fires at the start of every slot. The second one fires there too (in phase)
or at the start of the slot's second half. With two slots, `width=2` and the value 1/2:

```
reference  1 0 0 0  1 0 0 0
second     1 0 0 0  0 0 1 0
```
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.axes import Step, Windows
from spikebridge.coding.coder import Decoder, Encoder
from spikebridge.coding.rate import spread_evenly
from spikebridge.errors import ShapeError
from spikebridge.hybrid import Discretizer, Hold, Kernel, Tumbling
from spikebridge.hybrid.unit.finite_response import FIRCarry
from spikebridge.hybrid.unit.window import checked_integer
from spikebridge.ops.precision import state_dtype
from spikebridge.ops.saturation import clip, saturate


class Pair(nn.Module):
    """A value with the reference, which is always in phase: `(B, *N)` to `(B, *N, 2)`, the first of them 1.

    Example:
        >>> Pair()(torch.tensor([[0.25]])).tolist()
        [[[1.0, 0.25]]]
    """

    def forward(self, x: Float[Tensor, "rows *N"]) -> Float[Tensor, "rows *N 2"]:
        return torch.stack([torch.ones_like(x), saturate(x)], dim=-1)


class InPhase(Discretizer):
    """One spike a slot: at its start in `round(v n)` of the window's n slots, evenly spread, else half a slot later.

    The gradient goes straight through to the value: up in phase, down out of phase.

    Args:
        width: steps in half a slot.

    Example:
        >>> spikes, _ = InPhase(width=1)(torch.tensor([0.5]).reshape(1, 1, 1, 1), length=4)
        >>> spikes.flatten().tolist()  # in phase, then out of phase
        [1.0, 0.0, 0.0, 1.0]
    """

    kind = "expands"

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = checked_integer("InPhase", "width", width)

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Tensor, None]:
        in_phase = spread_evenly(clip(h[:, :1], 0, 1), length // (2 * self.width))
        # a slot is two halves, one of which begins with the spike
        halves = torch.stack([in_phase, 1 - in_phase], dim=2)
        silence = halves.new_zeros((*halves.shape[:3], self.width - 1, *halves.shape[3:]))

        return torch.cat([halves.unsqueeze(3), silence], dim=3).flatten(1, 3), None


def _pulse_step(x_t: Step, carry: FIRCarry) -> tuple[Step, FIRCarry]:
    """One step of `Pulse`: the sum of this step and of the `width - 1` steps in the carry."""
    last = torch.cat([carry.last, x_t.unsqueeze(1)], dim=1)

    return last.sum(1), FIRCarry(last[:, 1:])


class Pulse(Kernel):
    """Makes every spike last `width` steps: the sum over the last steps.

    Args:
        width: steps, the spike's own included.

    Example:
        >>> Pulse(2)(torch.tensor([1.0, 0.0, 0.0]).reshape(3, 1, 1))[0].flatten().tolist()
        [1.0, 1.0, 0.0]
    """

    step_function = staticmethod(_pulse_step)

    def __init__(self, width: int) -> None:
        super().__init__(keep=True)
        self.width = checked_integer("Pulse", "width", width)

    def initial_state(self, x_t: Step) -> FIRCarry:
        return FIRCarry(x_t.new_zeros((x_t.shape[0], self.width - 1, *x_t.shape[1:]), dtype=state_dtype(x_t.dtype)))


class Coincidence(nn.Module):
    """Twice the product of a pair: `(B, *N, 2)` to `(B, *N)`.

    Twice, for a pulse fills half a slot: where the pair always fires together, the average over time is then 1.

    Raises:
        ShapeError: the last axis is not a pair.

    Example:
        >>> Coincidence()(torch.tensor([[1.0, 1.0], [1.0, 0.0]])).tolist()
        [2.0, 0.0]
    """

    def forward(self, pulses: Float[Tensor, "rows *N 2"]) -> Float[Tensor, "rows *N"]:
        if pulses.ndim < 2 or pulses.shape[-1] != 2:
            raise ShapeError(
                "synchrony needs the reference and the second neuron as the last axis, (T, B, *N, 2), but one step has "
                f"shape {tuple(pulses.shape)}"
            )

        return 2 * pulses[..., 0] * pulses[..., 1]


class _TimeAverage(Discretizer):
    """The mean over a window's steps."""

    kind = "reduces"

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Tensor, None]:
        return h.sum(1, keepdim=True) / length, None


class SynchronyDecoder(Decoder):
    """The share of slots in which a pair fires together: W `Tumbling`, H `Pulse`, F `Coincidence`, Q the mean.

    A spike is still together with one that comes d steps earlier or later, but counts `1 - d / width`: with `width=1`
    only the same step counts, with more the decoder tolerates some jitter.

    Args:
        num_slots: n, spikes of each neuron a value.
        width: steps in half a slot, and of a pulse.

    Example:
        >>> pair = torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).reshape(4, 1, 2)
        >>> SynchronyDecoder(2)(pair)[0].item()  # together in the first of two slots
        0.5
    """

    def __init__(self, num_slots: int, width: int = 1) -> None:
        window = Tumbling(_length("SynchronyDecoder", num_slots, width))
        super().__init__(window, Pulse(width), Coincidence(), _TimeAverage())


class SynchronyEncoder(Encoder):
    """Two neurons fire together in `round(v n)` of n slots: W `Hold`, F `Pair`, Q `InPhase`.

    `(T, B, *N)` becomes `(2 n width T, B, *N, 2)`, the reference first. Both neurons fire n times, so the rate of
    neither depends on the value.

    **Bound** `1 / (2 n)`: in phase, the pulses of a slot overlap for all their `width` steps, out of phase for none,
    and no pulse leaves its slot; so the decoder reads `round(v n) / n`, and rounding moves `v n` by at most 1/2. It is
    attained where `v n` lies halfway between two integers. If spikes of the second neuron come up to `d < width`
    steps late, at most `d / width` is added: in each slot the overlap changes by at most d of `width` steps.

    Args:
        num_slots: n, spikes of each neuron a value.
        width: steps in half a slot.

    Example:
        >>> encoder = SynchronyEncoder(2)
        >>> spikes, _ = encoder(torch.tensor([0.6]).reshape(1, 1, 1))  # 0.6 * 2 = 1.2
        >>> spikes.reshape(4, 2).T.tolist(), encoder.decoder()(spikes)[0].item(), encoder.bound
        ([[1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0]], 0.5, 0.25)
    """

    def __init__(self, num_slots: int, width: int = 1) -> None:
        window = Hold(_length("SynchronyEncoder", num_slots, width))
        super().__init__(window, None, Pair(), InPhase(width))
        self.num_slots = num_slots
        self.width = width

    @property
    def bound(self) -> float:
        return 1 / (2 * self.num_slots)

    def decoder(self) -> SynchronyDecoder:
        return SynchronyDecoder(self.num_slots, self.width)


def _length(name: str, num_slots: int, width: int) -> int:
    return 2 * checked_integer(name, "num_slots", num_slots) * checked_integer(name, "width", width)
