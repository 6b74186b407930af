"""From the trained network to other machines: bundles, NIR, ONNX, integers, and a runner that needs no torch.

The exported names are in `__init__.pyi`; a name is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
