from .model import VARIANTS, Readout, ThresholdFactor, what_where

__all__ = ["VARIANTS", "Readout", "ThresholdFactor", "what_where"]
