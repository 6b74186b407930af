from .load import load_recipe
from .recipe import Recipe
from .sweep.sweep import train_all

__all__ = ["Recipe", "load_recipe", "train_all"]
