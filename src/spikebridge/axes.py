"""Legend of the axes. Time comes first, always.

| letter | axis |
|---|---|
| `T` | time: steps of one signal's own clock |
| `B` | batch: independent samples |
| `*N` | the shape of a layer: `(N,)` or `(C, H, W)` or any other |
| `K` | windows of a signal in a hybrid unit |
| `L` | steps inside one window |

A whole signal is `(T, B, *N)`, one step of it `(B, *N)`, a framed signal `(K, L, B, *N)`. A state holds tensors whose
first axis is `B`, so that samples can be selected from any state.
"""

from typing import TypeAlias

from jaxtyping import Float
from torch import Tensor

Signal: TypeAlias = Float[Tensor, "T B *N"]
Step: TypeAlias = Float[Tensor, "B *N"]
Windows: TypeAlias = Float[Tensor, "K L B *N"]
