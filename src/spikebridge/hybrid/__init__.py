"""The hybrid unit, `Y = Q . F . H . W (X)`, and the network made of parts and units."""

from spikebridge.hybrid.clock import Clock, Every, Ticks, every, ticks
from spikebridge.hybrid.modulation import Gain, Gate, GateModulation, ThresholdModulation, modulable_paths
from spikebridge.hybrid.network.compiled import CompiledNetwork
from spikebridge.hybrid.network.link import Initialisation, Modulation, Transmission, Wake
from spikebridge.hybrid.network.network import HybridNetwork, NetworkState
from spikebridge.hybrid.network.single_samples import restart, run_lengths
from spikebridge.hybrid.twins import Twin, match_parameters
from spikebridge.hybrid.unit.discretizer import (
    Bernoulli,
    Burst,
    Count,
    Discretizer,
    FirstSpike,
    FirstTime,
    Integrate,
    KWinners,
    Last,
    PhaseCode,
    PoissonPopulation,
    SignedDelta,
    SpikingLayer,
    Threshold,
)
from spikebridge.hybrid.unit.finite_response import FIR, Delay, Difference, Gaussian, TappedDelay, narrow_delays
from spikebridge.hybrid.unit.kernel import Alpha, Exponential, Kernel, Mean, Sum
from spikebridge.hybrid.unit.set_pool import SetPool
from spikebridge.hybrid.unit.unit import HybridUnit
from spikebridge.hybrid.unit.window import Hold, Since, Sliding, Tumbling, Window

__all__ = [
    "FIR",
    "Alpha",
    "Bernoulli",
    "Burst",
    "Clock",
    "CompiledNetwork",
    "Count",
    "Delay",
    "Difference",
    "Discretizer",
    "Every",
    "Exponential",
    "FirstSpike",
    "FirstTime",
    "Gain",
    "Gate",
    "GateModulation",
    "Gaussian",
    "Hold",
    "HybridNetwork",
    "HybridUnit",
    "Initialisation",
    "Integrate",
    "KWinners",
    "Kernel",
    "Last",
    "Mean",
    "Modulation",
    "NetworkState",
    "PhaseCode",
    "PoissonPopulation",
    "SetPool",
    "SignedDelta",
    "Since",
    "Sliding",
    "SpikingLayer",
    "Sum",
    "TappedDelay",
    "Threshold",
    "ThresholdModulation",
    "Ticks",
    "Transmission",
    "Tumbling",
    "Twin",
    "Wake",
    "Window",
    "every",
    "match_parameters",
    "modulable_paths",
    "narrow_delays",
    "restart",
    "run_lengths",
    "ticks",
]
