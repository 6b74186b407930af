"""Continual learning: an ANN that measures the similarity of tasks gates the neurons of an SNN.

Its exports are listed in `__init__.pyi`; a name is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
