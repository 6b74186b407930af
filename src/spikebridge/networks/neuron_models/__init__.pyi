from .channels import ExponentialParameters, MembraneParameters
from .model import adaptive_exponential, hodgkin_huxley, two_compartments

__all__ = ["ExponentialParameters", "MembraneParameters", "adaptive_exponential", "hodgkin_huxley", "two_compartments"]
