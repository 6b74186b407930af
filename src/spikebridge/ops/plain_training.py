"""Where a gradient may be summed up in another way: ordinary training in float32 on a CPU, and nobody who traces it."""

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from spikebridge.ops.reference import is_reference


def is_plain_training(x: Tensor, weight: Tensor) -> bool:
    """Whether the gradient of a weight is asked for in this way.

    Args:
        x: what the weight meets.
        weight: of a layer.

    Example:
        >>> is_plain_training(torch.ones(2, 3), nn.Linear(3, 1).weight)
        True
    """
    if torch.compiler.is_compiling() or is_reference() or not torch.is_grad_enabled():
        return False
    if (
        torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or torch.is_autocast_enabled("cpu")
    ):
        return False
    plain = type(x) in (Tensor, nn.Parameter) and x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu"
    return plain and x.numel() > 0 and weight.requires_grad
