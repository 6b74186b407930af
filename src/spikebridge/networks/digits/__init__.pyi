from .model import KINDS, Answer, Sensitize, matched, num_parameters, what_where

__all__ = [
    "KINDS",
    "Answer",
    "Sensitize",
    "matched",
    "num_parameters",
    "what_where",
]
