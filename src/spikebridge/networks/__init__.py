"""The reference networks and their parts."""

from spikebridge.networks.what_where import KINDS, Answer, Sensitize, matched, num_parameters, what_where

__all__ = ["KINDS", "Answer", "Sensitize", "matched", "num_parameters", "what_where"]
