"""Checks of layers, gradients and batches: dead or saturated layers, missing gradients, dependent samples."""

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spikebridge.analysis.activity import LayerActivity, membrane_trace, record_activity
from spikebridge.analysis.doctor.finding import Finding, Inputs, Loss, run
from spikebridge.analysis.hooks import Call, display_path, trace_calls, unwrap_vmap
from spikebridge.errors import ShapeError
from spikebridge.hybrid import Discretizer, Gain, Gate, HybridNetwork, HybridUnit, SignedDelta
from spikebridge.neurons import Stateful

# the same shapes run in the same order, so that a sample alone in its row is equal to the bit or very near
_TOLERANCE = 1e-5


def batch_dependence(network: nn.Module, inputs: Inputs) -> list[Finding]:
    """Whether the outputs of the first sample change when the sample beside it does."""
    patient = deepcopy(network)
    for module in patient.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()  # chance is not what is looked for

    axis = 1 if isinstance(network, HybridNetwork | HybridUnit | Stateful) else 0
    with torch.no_grad():
        one, other = (run(patient, _pair(inputs, axis, same)) for same in (True, False))

    changed = [name for name in one if _differs(one[name].select(axis, 0), other[name].select(axis, 0))]
    if not changed:
        return []

    norms = [
        display_path(network, name)
        for name, module in network.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or not module.track_running_stats)
    ]

    what = f"the output {', '.join(changed)} of a sample changes with the sample beside it"
    if norms:
        remedy = (
            f"{', '.join(norms)} takes its statistics from the batch: call .eval() before you judge the network, or "
            "use nn.GroupNorm"
        )
        return [Finding("batch-dependent", norms[0], what, remedy, "error")]

    remedy = "leave out the operation that mixes samples: a mean, a maximum or a softmax over the batch axis"
    return [Finding("batch-dependent", changed[0], what, remedy, "error")]


def _pair(inputs: Inputs, axis: int, same: bool) -> Inputs:
    """The first sample with itself beside it, or with nothing."""

    def pair(x: Tensor) -> Tensor:
        first = x.narrow(axis, 0, 1)
        return torch.cat([first, first if same else torch.zeros_like(first)], dim=axis)

    return {name: pair(x) for name, x in inputs.items()} if isinstance(inputs, Mapping) else pair(inputs)


def _differs(a: Tensor, b: Tensor) -> bool:
    return a.shape != b.shape or not torch.allclose(a.double(), b.double(), rtol=_TOLERANCE, atol=_TOLERANCE)


# below this share of the largest gradient of the network a part does not learn in step with the others
_VANISHING = 1e-6


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
        elif size < _VANISHING * largest:
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
            "round, argmax) by one that passes it: Threshold, SpikingLayer or a surrogate; or freeze it"
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


_ALWAYS = 0.999
_RECTIFIERS = (nn.ReLU, nn.ReLU6)


def silent_and_saturated_layers(network: nn.Module, inputs: Inputs) -> list[Finding]:
    """Every layer that was silent, or never silent, over a run."""
    with torch.no_grad(), record_activity(network) as activity:
        run(network, inputs)

    modules = {display_path(network, name): module for name, module in network.named_modules()}
    dead = [path for path, one in activity.layers.items() if _is_dead(modules[path], one)]
    full = [path for path, one in activity.layers.items() if _is_saturated(modules[path], one)]
    drives = _drives(network, inputs, {*dead, *full})

    # a layer that gets nothing from a dead one before it is not ill itself
    causes = [path for path in dead if drives[path].size > 0 or path == dead[0]]
    return [_dead(path, modules[path], drives[path]) for path in causes] + [
        _saturated(path, modules[path], drives[path]) for path in full
    ]


@dataclass
class _Drive:
    """What came into a layer: the largest size and value of its inputs, and the largest membrane."""

    size: float = 0.0
    largest: float = float("-inf")
    membrane: float = float("-inf")


def _is_dead(module: nn.Module, activity: LayerActivity) -> bool:
    if isinstance(module, _RECTIFIERS):
        return activity.largest <= 0
    return _spikes(module, activity) and activity.num_spikes == 0


def _is_saturated(module: nn.Module, activity: LayerActivity) -> bool:
    return _spikes(module, activity) and not isinstance(module, SignedDelta) and activity.share_nonzero >= _ALWAYS


def _spikes(module: nn.Module, activity: LayerActivity) -> bool:
    if isinstance(module, Gain | Gate) or (isinstance(module, Discretizer) and module.kind == "reduces"):
        return False
    return activity.kind == "spikes"


def _drives(network: nn.Module, inputs: Inputs, paths: set[str]) -> dict[str, _Drive]:
    """What came into some layers, from a second run."""
    drives = {path: _Drive() for path in paths}
    busy = False

    def leave(call: Call) -> None:
        nonlocal busy
        if busy or call.path not in drives or not isinstance(call.args[0], Tensor):
            return

        drive = drives[call.path]
        x = unwrap_vmap(call.args[0])[0]
        drive.size = max(drive.size, float(x.abs().max()))
        drive.largest = max(drive.largest, float(x.max()))

        if isinstance(call.module, Stateful) and "v" in getattr(type(call.output[1]), "_fields", ()):
            busy = True
            drive.membrane = max(drive.membrane, float(membrane_trace(call.module, *call.args, **call.kwargs).max()))
            busy = False

    if paths:
        with torch.no_grad(), trace_calls(network, leave):
            run(network, inputs)

    return drives


def _dead(path: str, module: nn.Module, drive: _Drive) -> Finding:
    threshold = getattr(module, "v_threshold", None)
    peak = drive.membrane if isinstance(module, Stateful) else drive.largest

    if drive.size == 0:
        what = "gets nothing but zeros"
        remedy = "mend what feeds it: the signal and the layers before it are silent"
    elif isinstance(module, _RECTIFIERS):
        what = f"never lets anything through: its largest input is {drive.largest:.3g}"
        remedy = "initialise the layer before it anew, give that layer a positive bias, or use nn.LeakyReLU"
    elif threshold is None:
        what = f"never spikes: its largest input is {drive.largest:.3g}"
        remedy = "scale its input up in the layer or the nonlinearity before it"
    elif peak > 0:
        least = float(torch.as_tensor(threshold).min())
        what = f"never spikes: its membranes reach {peak:.3g} at most, and its threshold is {least:.3g}"
        remedy = f"lower v_threshold to about {peak / 2:.3g}, or scale its input by {2 * least / peak:.3g}"
    else:
        what = f"never spikes: its membranes never rise above 0 (its largest input is {drive.largest:.3g})"
        remedy = "initialise the layer before it anew, or give that layer a positive bias"

    return Finding("dead", path, what, remedy)


def _saturated(path: str, module: nn.Module, drive: _Drive) -> Finding:
    if hasattr(module, "v_threshold"):
        remedy = f"raise v_threshold to about {2 * drive.largest:.3g}, or scale its input down"
    else:
        remedy = "scale its input down in the layer or the nonlinearity before it"

    return Finding("saturated", path, "every neuron spikes at every step, so its spikes say nothing", remedy)
