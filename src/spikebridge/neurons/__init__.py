"""Layers with a membrane, and containers that thread their state."""

from spikebridge.neurons.adaptive_lif import AdaptiveLIF, AdaptiveLIFState, adaptive_lif_step
from spikebridge.neurons.base import Stateful, scan
from spikebridge.neurons.cuba_lif import CubaLIF, CubaLIFState, cuba_lif_step
from spikebridge.neurons.integrator import Integrator, IntegratorState, integrator_step
from spikebridge.neurons.izhikevich import Izhikevich, IzhikevichState, izhikevich_step
from spikebridge.neurons.lif import IF, LIF, PLIF, FiringNeuron, LIFState, lif_step
from spikebridge.neurons.memory import DiagonalStateSpace, Memory
from spikebridge.neurons.memoryless import Memoryless
from spikebridge.neurons.neuron import Neuron
from spikebridge.neurons.quantity import Effect, Quantified, Quantity
from spikebridge.neurons.recurrent import Recurrent
from spikebridge.neurons.sequential import Sequential, SequentialState
from spikebridge.neurons.state import detach, load_state, save_state, select, to, where
from spikebridge.neurons.surrogate import Arctan, FastSigmoid, Rectangle, Surrogate, Triangle

__all__ = [
    "IF",
    "LIF",
    "PLIF",
    "AdaptiveLIF",
    "AdaptiveLIFState",
    "Arctan",
    "CubaLIF",
    "CubaLIFState",
    "DiagonalStateSpace",
    "Effect",
    "FastSigmoid",
    "FiringNeuron",
    "Integrator",
    "IntegratorState",
    "Izhikevich",
    "IzhikevichState",
    "LIFState",
    "Memory",
    "Memoryless",
    "Neuron",
    "Quantified",
    "Quantity",
    "Rectangle",
    "Recurrent",
    "Sequential",
    "SequentialState",
    "Stateful",
    "Surrogate",
    "Triangle",
    "adaptive_lif_step",
    "cuba_lif_step",
    "detach",
    "integrator_step",
    "izhikevich_step",
    "lif_step",
    "load_state",
    "save_state",
    "scan",
    "select",
    "to",
    "where",
]
