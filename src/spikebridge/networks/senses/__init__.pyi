from .data.trials import Trials, read_trials
from .model.network import VARIANTS, SenseShape, Shape, senses_network

__all__ = ["VARIANTS", "SenseShape", "Shape", "Trials", "read_trials", "senses_network"]
