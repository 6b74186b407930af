"""Coding schemes: designed hybrid units, an encoder and a decoder each, with the bound of their round trip."""

from spikebridge.coding.burst import BurstDecoder, BurstEncoder, RunLength
from spikebridge.coding.coder import Decoder, Encoder, Saturate
from spikebridge.coding.delta import DeltaDecoder, DeltaEncoder
from spikebridge.coding.latency import Earliness, LatencyDecoder, LatencyEncoder
from spikebridge.coding.phase import BinaryFraction, PhaseDecoder, PhaseEncoder
from spikebridge.coding.population import CentreOfMass, PopulationDecoder, PopulationEncoder, Tuning
from spikebridge.coding.rate import BernoulliEncoder, EvenlySpaced, RateDecoder, RateEncoder
from spikebridge.coding.synchrony import Coincidence, InPhase, Pair, Pulse, SynchronyDecoder, SynchronyEncoder

__all__ = [
    "BernoulliEncoder",
    "BinaryFraction",
    "BurstDecoder",
    "BurstEncoder",
    "CentreOfMass",
    "Coincidence",
    "Decoder",
    "DeltaDecoder",
    "DeltaEncoder",
    "Earliness",
    "Encoder",
    "EvenlySpaced",
    "InPhase",
    "LatencyDecoder",
    "LatencyEncoder",
    "Pair",
    "PhaseDecoder",
    "PhaseEncoder",
    "PopulationDecoder",
    "PopulationEncoder",
    "Pulse",
    "RateDecoder",
    "RateEncoder",
    "RunLength",
    "Saturate",
    "SynchronyDecoder",
    "SynchronyEncoder",
    "Tuning",
]
