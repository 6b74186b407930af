"""Gains and gates of whole numbers: a signal times a factor that a link may set."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from spikebridge.deploy.quantize_arithmetic import snap, up_to_power_of_two
from spikebridge.deploy.quantize_config import Region
from spikebridge.deploy.quantize_layers import Numbers, Record, Value
from spikebridge.deploy.quantize_modulated import HEADROOM, WholeLayer, in_time
from spikebridge.hybrid import Gain, Gate
from spikebridge.neurons import Effect


class WholeFactor(WholeLayer):
    """A gain or a gate. Its scale is a power of two, so that a gate that is open changes nothing.

    Args:
        layer: `Gain` or `Gate`.
        region: its widths; the factor has those of a membrane.
        path: for messages.
    """

    factor_scale: Tensor

    def __init__(self, layer: Gain | Gate, region: Region, path: str) -> None:
        super().__init__(layer, region, path)
        (self.name,) = layer.modulable
        self.modulable = (self.name,)  # type: ignore[misc]
        self.most = 0.0
        self.register_buffer("factor_scale", torch.ones((), dtype=torch.float64))

    @property
    def scale(self) -> Tensor:
        return self.factor_scale

    def settle(self) -> None:
        most = max(self.most, float(self.quantity(self.name).abs().max())) or 1.0
        self.factor_scale.copy_(up_to_power_of_two(torch.tensor(most * HEADROOM / self.high, dtype=torch.float64)))

    def forward(
        self, values: Sequence[Value], batch: int, state: Any, effects: Mapping[str, list[Effect]]
    ) -> tuple[Value, None]:
        """Rows `(T * B, *N)`."""
        (value,) = values
        x = in_time(value.x, batch)
        if value.scale is None:
            factor = self.layer.quantities(x.ndim, dict(effects))[self.name]
            self.most = max(self.most, float(torch.as_tensor(factor).abs().max()))
            return Value((x * factor).flatten(0, 1)), None
        y = x * self.modulated(self.name, self._whole(), effects, x)
        return Value(y.flatten(0, 1), value.scale * self.scale), None

    def counted(self, output: tuple[Value, None]) -> dict[str, float]:
        """One product a value."""
        return {"macs": output[0].x.numel()}

    def record(self, scales: list[Tensor], bounds: list[tuple[int, int]]) -> Record:
        """The integer operation."""
        numbers: Numbers = {self.name: self._whole().long(), **self.effect_numbers()}
        return Record("factor", {"quantity": self.name, "high": self.high}, numbers, scales[0] * self.scale)

    def _whole(self) -> Tensor:
        return self.bounded(snap(self.quantity(self.name) / self.scale))
