"""Tracking between frames: an ANN reads frames, an SNN reads events, a hybrid unit adds the change since a frame.

The exported names stand in `__init__.pyi`; a name is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
