from .model.network import VARIANTS, Shape, senses_network

__all__ = ["VARIANTS", "Shape", "senses_network"]
