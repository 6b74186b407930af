"""Xylo, version 2: neurons with one or two synaptic currents, decays by shifts, states of 16 bits that saturate.

`i <- i + spikes`, spike by spike with saturation; `i -= decay(i)`; `v <- v - decay(v) + i + bias`; while `v` is at
least the threshold, a spike more and `v -= threshold`. `decay(x) = x >> dash`, but -1 or 1 in place of 0 where `x` is
not 0.
"""

from typing import Any

import numpy as np

from spikebridge.deploy.chips.chip import ChipSpec
from spikebridge.deploy.chips.core import Core

_MAX = (1 << 15) - 1
_MAX_DASH = 15
REGISTERS = {"threshold": "v_threshold", "bias": "bias", "dash_mem": "decay", "dash_syn": "decay_syn"}
_SYNAPSES = {"in": "inp", "rec": "rec"}


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


def registers(core: Core) -> dict[str, Any]:
    """The arrays of the chip's registers for a chain of populations, the last one the read-out neurons.

    Hidden populations stand one after the other: the first one has the weights of the input, each of the others the
    recurrent weights from the one before.
    """
    numbers = core.numbers
    *hidden, last = [one.name for one in core.populations]
    weights = [numbers[f"{name}/weight_0"] for name in (*hidden, last)]
    starts = np.cumsum([0, *(numbers[f"{name}/v_threshold"].size for name in hidden)])
    inp = np.zeros((len(weights[0]), starts[-1]), np.int64)
    rec = np.zeros((starts[-1], starts[-1]), np.int64)
    out = np.zeros((starts[-1], weights[-1].shape[1]), np.int64)
    inp[:, : starts[1]] = weights[0]
    out[starts[-2] :] = weights[-1]
    for k, weight in enumerate(weights[1:-1], 1):
        rec[starts[k - 1] : starts[k], starts[k] : starts[k + 1]] = weight

    shifts = [one.connections[0].shift for one in core.populations]
    arrays = {"inp": inp, "rec": rec, "out": out, "alias": np.full(starts[-1], -1)}
    arrays["shifts"] = np.array([shifts[0], shifts[1] if len(hidden) > 1 else 0, shifts[-1]])
    for register, name in REGISTERS.items():
        arrays[register] = np.concatenate([numbers[f"{one}/{name}"] for one in hidden])
        arrays[f"{register}_out"] = numbers[f"{last}/{name}"]

    return {**arrays, "has_bias": np.array(bool(arrays["bias"].any() or arrays["bias_out"].any()))}


def _board_numbers(core: Core) -> dict[str, Any]:
    """The registers under the names of `config_from_specification` of Rockpool, the tool of the board."""
    arrays = registers(core)
    weights = {f"weights_{name}": np.stack([arrays[key], 0 * arrays[key]], -1) for name, key in _SYNAPSES.items()}
    shifts = {f"weight_shift_{name}": int(arrays["shifts"][k]) for k, name in enumerate(("in", "rec", "out"))}
    plain = ("dash_mem", "dash_mem_out", "dash_syn", "dash_syn_out", "threshold", "threshold_out")
    biases = {"bias_hidden": arrays["bias"], "bias_out": arrays["bias_out"]} if arrays["has_bias"] else {}
    return {
        **weights,
        "weights_out": arrays["out"],
        **shifts,
        **{name: arrays[name] for name in plain},
        # no weight leads to the second synapse
        "dash_syn_2": arrays["dash_syn"],
        **biases,
    }


_LOADING = """\
import json, numpy
from rockpool.devices.xylo.syns61201 import config_from_specification
arrays = {{name: numpy.array(one) if isinstance(one, list) else one for name, one in json.load(open("{file}")).items()}}
names = [name for name in arrays if name not in ("chip", "part", "dt", "delay", "input")]
config, is_valid, message = config_from_specification(**{{name: arrays[name] for name in names}})
"""

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
    costs={},
    assumed=(),
    board=_board_numbers,
    loading=_LOADING,
)
