from .model.network import VARIANTS, SensesShape, senses_network

__all__ = ["VARIANTS", "SensesShape", "senses_network"]
