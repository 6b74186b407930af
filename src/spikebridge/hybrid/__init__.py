"""The hybrid unit, `Y = Q . F . H . W (X)`, and the network made of parts and units."""

from spikebridge.hybrid.clock import Clock, Every, every
from spikebridge.hybrid.difference import Difference
from spikebridge.hybrid.discretizer import Bernoulli, Discretizer, Fire, SignedDelta, Threshold
from spikebridge.hybrid.expansion import Burst, FirstSpike, Phase
from spikebridge.hybrid.kernel import Kernel, Mean, Sum
from spikebridge.hybrid.link import Modulation, Transmission
from spikebridge.hybrid.modulation import Gain, Gate, GateModulation, ThresholdModulation, modulable_paths
from spikebridge.hybrid.network import HybridNetwork, NetworkState
from spikebridge.hybrid.parametric import Alpha, Exponential
from spikebridge.hybrid.reduction import Count, FirstTime, Integrate, Last
from spikebridge.hybrid.taps import Gaussian, Taps
from spikebridge.hybrid.unit import HybridUnit, Stages, UnitState
from spikebridge.hybrid.window import Hold, Since, Sliding, Tumbling, Window

__all__ = [
    "Alpha",
    "Bernoulli",
    "Burst",
    "Clock",
    "Count",
    "Difference",
    "Discretizer",
    "Every",
    "Exponential",
    "Fire",
    "FirstSpike",
    "FirstTime",
    "Gain",
    "Gate",
    "GateModulation",
    "Gaussian",
    "Hold",
    "HybridNetwork",
    "HybridUnit",
    "Integrate",
    "Kernel",
    "Last",
    "Mean",
    "Modulation",
    "NetworkState",
    "Phase",
    "SignedDelta",
    "Since",
    "Sliding",
    "Stages",
    "Sum",
    "Taps",
    "Threshold",
    "ThresholdModulation",
    "Transmission",
    "Tumbling",
    "UnitState",
    "Window",
    "every",
    "modulable_paths",
]
