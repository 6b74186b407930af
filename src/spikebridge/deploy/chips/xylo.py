"""Xylo, version 2: neurons with one or two synaptic currents, decays by shifts, states of 16 bits that saturate.

`i <- i + spikes`, spike by spike with saturation; `i -= decay(i)`; `v <- v - decay(v) + i + bias`; while `v` is at
least the threshold, a spike more and `v -= threshold`. `decay(x) = x >> dash`, but -1 or 1 in place of 0 where `x` is
not 0.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from spikebridge.deploy.chips.chip import ChipSpec
from spikebridge.deploy.chips.core import Connection, Core, Population

_MAX = (1 << 15) - 1
_MAX_DASH = 15


class XyloSteps:
    """The steps of hidden and of read-out neurons; constants `decay` and `decay_syn` are dashes."""

    max_current = _MAX
    reads_decayed_current = True

    @staticmethod
    def decay_numbers(decay: Any) -> Any:
        """Factors as the nearest dashes."""
        with np.errstate(divide="ignore"):
            return np.clip(np.rint(-np.log2(1 - decay)), 1, _MAX_DASH).astype(np.int64)

    synapse_numbers = decay_numbers

    @staticmethod
    def decays(numbers: Any) -> Any:
        """The factors of a step that the numbers stand for."""
        return 1 - 0.5**numbers

    def decayed(self: Any, x: Any, dash: Any) -> Any:
        change = self.shift_down(x, dash)
        # a small negative number shifts to -1, a small positive one to 0
        return x - (change + ((x > 0) & (change == 0)))

    def synapse(self: Any, i: Any, current: Any) -> Any:
        return self.decayed(self._saturated(i + current), self["decay_syn"])

    def membrane(self: Any, v: Any, current: Any) -> Any:
        # neurons with two synapses have a second axis
        current = current if current.ndim == v.ndim else current.sum(-1)
        change = self._saturated(self.decayed(v, self["decay"]) - v + current)
        return self._saturated(v + self._saturated(change + self["bias"]))

    def fire(self: Any, v: Any, threshold: Any) -> Any:
        return self.spike_counts(v, threshold, self.settings["max_spikes"])

    def bound(self: Any, q: Any) -> Any:
        return self._saturated(q)

    def _saturated(self: Any, q: Any) -> Any:
        return self.clip(q, -_MAX - 1, _MAX)


XYLO = ChipSpec(
    name="xylo",
    steps=XyloSteps,
    sources=(
        "H. Bos, D. Muir, Sub-mW neuromorphic SNN audio processing with Rockpool and Xylo, arXiv:2208.12991, 2022",
        "SynSense, Overview of the Xylo family, Xylo Audio 2, https://rockpool.ai/devices/xylo-overview.html",
    ),
    weight=(-128, 127),
    unit=1,
    max_shift=7,
    shared_shift=True,
    threshold_per_neuron=True,
    max_threshold=_MAX,
    max_state=_MAX,
    max_bias=_MAX,
    reset="subtract",
    needs_synapse=True,
    max_input_spikes=15,
    max_spikes=31,
    inputs=16,
    neurons=1000,
    fan_in=None,
    fan_out=64,
    outputs=8,
    read_out=True,
    input_delay=0,
    memory=None,
    convolutions=False,
)


def xylo_core(numbers: Mapping[str, Any]) -> Core:
    """A network from the arrays of the chip's registers, as the recordings and the exported file name them."""
    arrays = {name: np.asarray(value).astype(np.int64) for name, value in numbers.items()}
    two = "inp2" in arrays
    shifts = [int(shift) for shift in arrays["shifts"]]

    def weights(name: str) -> Any:
        return np.stack([arrays[name], arrays[f"{name}2"]], -1) if two else arrays[name]

    def neurons(suffix: str, dash_syn: Any) -> dict[str, Any]:
        bias = arrays[f"bias{suffix}"] * arrays["has_bias"]
        quantities = {"v_threshold": arrays[f"threshold{suffix}"], "bias": bias, "decay": arrays[f"dash_mem{suffix}"]}
        return {**quantities, "decay_syn": dash_syn}

    hidden = neurons("", arrays["dash_syn"] if two else arrays["dash_syn"][:, 0]) | {"alias": arrays["alias"]}
    inputs = [Connection("input", weights("inp"), shifts[0]), Connection("hidden", weights("rec"), shifts[1])]
    read_out = neurons("_out", arrays["dash_syn_out"][:, 0])

    return Core(
        XYLO,
        [
            Population("hidden", inputs, hidden, XYLO.max_spikes),
            Population("read-out", [Connection("hidden", arrays["out"], shifts[2])], read_out),
        ],
    )
