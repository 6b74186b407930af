"""Layers of whole numbers whose quantities other networks may set: what neurons, gains and gates share."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from spikebridge.deploy.quantize_arithmetic import double, rescale
from spikebridge.deploy.quantize_config import Region
from spikebridge.deploy.quantize_grid import Quantizer
from spikebridge.deploy.quantize_layers import Numbers, ratio_numbers
from spikebridge.neurons import Effect
from spikebridge.neurons.neuron import Neuron

HEADROOM = 2.0  # what remembers may rise to so many times what was seen of it


class WholeLayer(nn.Module):
    """A layer with quantities in one scale, `y, state = layer(values, batch, state, effects)`.

    Args:
        layer: what it was.
        region: its widths.
        path: for messages.

    Attributes:
        modulable: names of the quantities that links may act on.
        effects: for each modulated quantity, the grids of the signals that act on it, in the order of the links.
    """

    modulable: ClassVar[tuple[str, ...]]

    def __init__(self, layer: Neuron, region: Region, path: str) -> None:
        super().__init__()
        self.layer, self.region, self.path = layer, region, path
        self.effects: dict[str, list[Quantizer]] = {}

    @property
    def scale(self) -> Tensor:
        """Of its quantities."""
        raise NotImplementedError

    @property
    def high(self) -> int:
        """The largest whole number of what remembers; the lowest is as far below 0."""
        return 2 ** (self.region.membranes - 1) - 1

    def settle(self) -> None:
        """Chooses the scale on what was seen."""
        raise NotImplementedError

    def effect_numbers(self) -> Numbers:
        """How what acts on a quantity comes into its scale."""
        numbers: Numbers = {}
        for name, quantizers in self.effects.items():
            for i, quantizer in enumerate(quantizers):
                for by, ratio in (("multiply", quantizer.scale), ("add", quantizer.scale / self.scale)):
                    numbers |= {f"{name}.{by}_{i}.{key}": n for key, n in ratio_numbers(ratio).items()}
        return numbers

    def modulated(self, name: str, base: Tensor, effects: Mapping[str, Sequence[Effect]], x: Tensor) -> Tensor:
        """A quantity under what acts on it.

        Args:
            name: of the quantity.
            base: its whole number.
            effects: by quantity.
            x: a signal `(T, B, *N)` of the layer's.
        """
        for effect, quantizer in zip(effects.get(name, ()), self.effects.get(name, []), strict=False):
            q = quantizer.enter(effect.signal)
            q = q.reshape(*q.shape, *[1] * (x.ndim - q.ndim))
            if effect.by == "multiply":
                base = rescale(base * q, quantizer.scale)
            else:
                moved = rescale(q, quantizer.scale / self.scale)
                base = moved if effect.by == "replace" else base + moved
            base = self.bounded(base)
        return base

    def bounded(self, q: Tensor) -> Tensor:
        """A quantity inside its width."""
        # one above the highest membrane: a threshold out of reach stays out of reach
        return q.clamp(-self.high, self.high + 1)

    def quantity(self, name: str) -> Tensor:
        """A quantity of the layer, in float64."""
        default = {"r": 1.0}.get(name, 0.0)
        return double(getattr(self.layer, name, default))


def effects_at(effects: Mapping[str, Sequence[Effect]], t: int) -> dict[str, list[Effect]]:
    """What acts at one step."""

    def at(effect: Effect) -> Effect:
        return effect if len(effect.signal) == 1 else Effect(effect.signal[t : t + 1], effect.by)

    return {name: [at(effect) for effect in several] for name, several in effects.items()}


def in_time(rows: Tensor, batch: int) -> Tensor:
    """Rows `(T * B, *N)` as a signal; T may be 0.

    Example:
        >>> import torch
        >>> in_time(torch.zeros(6, 5), batch=2).shape
        torch.Size([3, 2, 5])
    """
    return rows.reshape(len(rows) // max(batch, 1), batch, *rows.shape[1:])
