from .model import VARIANTS, Readout, ThresholdFactor, num_parameters, parameter_matched, what_where

__all__ = ["VARIANTS", "Readout", "ThresholdFactor", "num_parameters", "parameter_matched", "what_where"]
