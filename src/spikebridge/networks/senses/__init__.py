"""Several senses with clocks of their own: an SNN on what is always on, an ANN on what looks when it has to.

Its exports are listed in `__init__.pyi`; a name is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
