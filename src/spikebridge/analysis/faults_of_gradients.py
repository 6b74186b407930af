"""Parts and units that nothing to learn from reaches."""

import math

import torch
from torch import Tensor, nn

from spikebridge.analysis.finding import Finding, Inputs, Loss, run
from spikebridge.errors import ShapeError
from spikebridge.hybrid import HybridNetwork

# below this share of the largest gradient of the network a part does not learn in step with the others
VANISHING = 1e-6


def missing_gradients(network: nn.Module, inputs: Inputs, loss: Loss) -> list[Finding]:
    """Parts, units or layers whose gradient is absent, zero, or far smaller than that of others."""
    network.zero_grad()
    with torch.enable_grad():
        outputs = run(network, inputs)
        value = loss(outputs if isinstance(network, HybridNetwork) else outputs["output"])
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ShapeError(f"a loss gives one number, but this one gave {got}; take its mean")
    if value.requires_grad:
        value.backward()
    sizes = {owner: _rms(module) for owner, module in _owners(network).items()}
    largest = max((size for size in sizes.values() if size is not None), default=0.0)
    findings = []
    for owner, size in sizes.items():
        if size is None or size == 0:
            findings.append(_absent(owner, size))
        elif size < VANISHING * largest:
            findings.append(_vanishing(owner, size, largest))
    network.zero_grad()
    return findings


def _owners(network: nn.Module) -> dict[str, nn.Module]:
    """What learns, by name: parts and links of a hybrid network, layers of any other."""
    if isinstance(network, HybridNetwork):
        owners = {**dict(network.parts.items()), **dict(network.units.items())}
    else:
        owners = dict(network.named_children()) or {type(network).__name__: network}
    return {name: module for name, module in owners.items() if any(p.requires_grad for p in module.parameters())}


def _rms(module: nn.Module) -> float | None:
    """The root mean square of a module's gradient, None where it got none at all."""
    gradients = [p.grad for p in module.parameters() if p.requires_grad and p.grad is not None]
    if not gradients:
        return None
    total = sum(float(gradient.double().square().sum()) for gradient in gradients)
    return math.sqrt(total / sum(gradient.numel() for gradient in gradients))


def _absent(owner: str, size: float | None) -> Finding:
    if size is None:
        what = "no gradient comes back to it from the loss"
        remedy = (
            "use an output that it acts on in the loss, and replace a stage after it that cuts the gradient (detach, "
            "round, argmax) by one that passes it: Threshold, Fire or a surrogate; or freeze it"
        )
    else:
        what = "its gradient is exactly zero"
        remedy = (
            "wake a dead layer behind it, widen the surrogate's width so that gradients pass far from the threshold, "
            "and let no stage after it multiply by zero"
        )
    return Finding("no gradient", owner, what, remedy, "error")


def _vanishing(owner: str, size: float, largest: float) -> Finding:
    what = f"its gradient is {size:.1e}, that of others up to {largest:.1e} (root mean square)"
    remedy = "widen the surrogate's width, scale up what it gives or shrink the saturated layers behind it"
    return Finding("vanishing gradient", owner, what, remedy)
