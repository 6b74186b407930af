"""The scheme of `scheme.py` in plain C, where the installation has it: float32 on a CPU.

`forward_steps` and `backward_steps` have the signatures of those in `steps.py`; `serves` says whether they can take a
case. `available()` and `why_not()` speak of the library as such.
"""

from torch import Tensor

from spikebridge.ops.scheme import Scheme, Values


def available() -> bool:
    """Whether the native library is there and fits."""
    return False


def why_not() -> str:
    """Why it is not, in a line; empty where it is."""
    return "not built yet"


def serves(scheme: Scheme, x: Tensor, values: Values) -> bool:
    """Whether the native steps can run this case: float32 on a CPU, with a surrogate that they know (or none)."""
    return False
