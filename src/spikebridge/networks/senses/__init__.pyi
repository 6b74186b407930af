from .model.network import VARIANTS

__all__ = ["VARIANTS"]
