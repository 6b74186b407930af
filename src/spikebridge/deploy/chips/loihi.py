"""Loihi: LIF neurons with a synaptic current, decays in parts of 2^12 that round towards 0.

`u <- u (4096 - (du + 1)) / 4096 + 64 (W x)`, `v <- v (4096 - dv) / 4096 + u + 64 bias`, a spike where `v > 64 vth`,
then `v = 0`. A spike arrives one step after it was sent.
"""

from typing import Any

import numpy as np

from spikebridge.deploy.chips.chip import ChipSpec
from spikebridge.deploy.chips.core import QUANTITIES, Core, Numbers, Population

_DECAY_BITS = 12
_MAX_MEMBRANE = (1 << 23) - 1
UNIT = 64
"""States are held in parts of 64 of weights, thresholds and biases."""


class _LoihiSteps:
    """The steps of a layer; constants `decay` and `decay_syn` are factors in parts of 2^12."""

    max_current = None
    reads_decayed_current = False

    @staticmethod
    def decay_numbers(decay: Any) -> Any:
        """Factors of membranes as the nearest parts of 2^12, `4096 - dv`."""
        return np.clip(np.rint(decay * (1 << _DECAY_BITS)), 1, 1 << _DECAY_BITS).astype(np.int64)

    @staticmethod
    def synapse_numbers(decay: Any) -> Any:
        """Factors of currents as the nearest parts of 2^12, `4095 - du`."""
        return np.clip(np.rint(decay * (1 << _DECAY_BITS)), 0, (1 << _DECAY_BITS) - 1).astype(np.int64)

    @staticmethod
    def decays(numbers: Any) -> Any:
        """The factors of a step that the numbers stand for."""
        return numbers / (1 << _DECAY_BITS)

    def leak(self: Any, v: Any, decay: Any, rest: Any = 0) -> Any:
        return self.shift_to_zero(v * decay, _DECAY_BITS)

    def synapse(self: Any, i: Any, current: Any) -> Any:
        return self.leak(i, self["decay_syn"]) + UNIT * current

    def membrane(self: Any, v: Any, current: Any) -> Any:
        charged = self.leak(v, self["decay"]) + current + UNIT * self["bias"]
        return self.clip(charged, -_MAX_MEMBRANE, _MAX_MEMBRANE)

    def fire(self: Any, v: Any, threshold: Any) -> Any:
        # a spike needs more than the threshold, and membranes are integers
        return self.spike_counts(v, UNIT * threshold + 1, 1)


def _board_numbers(core: Core) -> dict[str, Any]:
    """The layers with the arguments of Lava's processes `Dense` (or `Conv`) and `LIF`, its bit-exact fixed-point ones.

    Signed weights of 8 bits are even integers of 9 bits there, so that they are doubled and their exponent is one less.
    """
    return {"layers": [_layer(core.numbers, one) for one in core.populations]}


def _layer(numbers: Numbers, one: Population) -> dict[str, Any]:
    (connection,) = one.connections
    weight = 2 * numbers[f"{one.name}/weight_0"]
    own = {name: numbers[f"{one.name}/{name}"] for name in QUANTITIES}
    synapses = {"weights": weight if connection.convolution else weight.T, "weight_exp": connection.shift - 1}
    neurons = {
        "shape": own["v_threshold"].shape,
        "du": (1 << _DECAY_BITS) - 1 - own["decay_syn"],
        "dv": (1 << _DECAY_BITS) - own["decay"],
        "vth": int(own["v_threshold"][0]),
        "bias_mant": own["bias"],
        # 64 times the bias
        "bias_exp": 6,
    }
    return {
        "name": one.name,
        "convolution": connection.convolution,
        "synapses": {**synapses, "num_weight_bits": 8},
        "neurons": neurons,
    }


_LOADING = """\
import json, numpy
from lava.proc.dense.process import Dense
from lava.proc.lif.process import LIF
arrays = lambda own: {{name: numpy.array(one) if isinstance(one, list) else one for name, one in own.items()}}
records = json.load(open("{file}"))["layers"]
layers = [(Dense(**arrays(one["synapses"])), LIF(**arrays(one["neurons"]))) for one in records]
"""


LOIHI = ChipSpec(
    name="loihi",
    steps=_LoihiSteps,
    sources=(
        "M. Davies et al., Loihi: a neuromorphic manycore processor with on-chip learning, IEEE Micro 38(1), 2018",
        "C. Michaelis et al., Brian2Loihi: an emulator for the neuromorphic chip Loihi, Front. Neuroinform. 16, 2022",
    ),
    weight=(-128, 127),
    unit=UNIT,
    max_shift=7,
    shared_shift=False,
    threshold_per_neuron=False,
    max_threshold=(1 << 17) - 1,
    max_state=_MAX_MEMBRANE // UNIT,
    max_bias=4095,
    reset="zero",
    needs_synapse=False,
    max_input_spikes=1,
    max_spikes=1,
    inputs=128 * 4096,
    neurons=128 * 1024,
    fan_in=4096,
    fan_out=None,
    outputs=None,
    read_out=False,
    input_delay=1,
    memory=128 * (128 << 10),
    convolutions=True,
    board=_board_numbers,
    loading=_LOADING,
)
