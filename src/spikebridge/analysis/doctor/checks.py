"""Checks of layers, gradients and batches: dead or saturated layers, missing gradients, dependent samples."""

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spikebridge.analysis.activity import LayerActivity, membrane_trace, record_activity
from spikebridge.analysis.doctor.finding import Finding, Loss, run
from spikebridge.analysis.hooks import Call, Inputs, display_path, trace_calls, unwrap_vmap
from spikebridge.errors import ShapeError
from spikebridge.hybrid import Discretizer, Gain, Gate, HybridNetwork, HybridUnit, SignedDelta
from spikebridge.neurons import Stateful

# the same shapes run in the same order, so that equal samples give outputs that are equal to the bit or very near
_TOLERANCE = 1e-5
# below this share of the largest gradient of the network a part does not learn in step with the others
_MIN_GRADIENT = 1e-6
# one missing spike in a thousand says as little as none
_SATURATED_SHARE = 0.999
_RECTIFIERS = (nn.ReLU, nn.ReLU6)


def batch_dependence(network: nn.Module, inputs: Inputs) -> list[Finding]:
    """Finds an output of a sample that changes when another sample of the batch changes."""
    network = deepcopy(network)
    for module in network.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            # random masks are no dependence
            module.eval()

    axis = 1 if isinstance(network, HybridNetwork | HybridUnit | Stateful) else 0
    with torch.no_grad():
        with_itself, with_zeros = (run(network, _pair(inputs, axis, repeated)) for repeated in (True, False))

    changed = [name for name, y in with_itself.items() if _differ(y.select(axis, 0), with_zeros[name].select(axis, 0))]
    if not changed:
        return []

    norms = [
        display_path(network, name)
        for name, module in network.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or not module.track_running_stats)
    ]

    what = f"the output {', '.join(changed)} of a sample changes with the other sample of the batch"
    remedy = "leave out the operation that mixes samples: a mean, a maximum or a softmax over the batch axis"
    if norms:
        remedy = (
            f"{', '.join(norms)} takes its statistics from the batch: call .eval() before you judge the network, or "
            "use nn.GroupNorm"
        )

    return [Finding("batch-dependent", (norms or changed)[0], what, remedy, "error")]


def _pair(inputs: Inputs, axis: int, repeated: bool) -> Inputs:
    """A batch of two: the first sample twice, or the first sample and zeros."""

    def pair(x: Tensor) -> Tensor:
        first = x.narrow(axis, 0, 1)
        return torch.cat([first, first if repeated else torch.zeros_like(first)], dim=axis)

    return {name: pair(x) for name, x in inputs.items()} if isinstance(inputs, Mapping) else pair(inputs)


def _differ(a: Tensor, b: Tensor) -> bool:
    return a.shape != b.shape or not torch.allclose(a.double(), b.double(), rtol=_TOLERANCE, atol=_TOLERANCE)


def missing_gradients(network: nn.Module, inputs: Inputs, loss: Loss) -> list[Finding]:
    """Finds parts, units or layers whose gradient is absent, zero, or far smaller than that of others."""
    network.zero_grad()
    with torch.enable_grad():
        outputs = run(network, inputs)
        value = loss(outputs if isinstance(network, HybridNetwork) else outputs["output"])

    if not isinstance(value, Tensor) or value.numel() != 1:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ShapeError(f"a loss gives one number, but this one gave {got}; take its mean")

    if value.requires_grad:
        value.backward()

    gradients = {owner: _gradient(module) for owner, module in _learning_modules(network).items()}
    largest = max((gradient or 0.0 for gradient in gradients.values()), default=0.0)
    findings = []

    for owner, gradient in gradients.items():
        if not gradient:
            findings.append(_no_gradient(owner, is_zero=gradient == 0))
        elif gradient < _MIN_GRADIENT * largest:
            what = f"its gradient is {gradient:.1e}, that of others up to {largest:.1e} (root mean square)"
            remedy = "widen the surrogate's width, scale its output up, or shrink the saturated layers behind it"
            findings.append(Finding("vanishing gradient", owner, what, remedy))

    network.zero_grad()
    return findings


def _learning_modules(network: nn.Module) -> dict[str, nn.Module]:
    """The trained modules by name: parts and units of a hybrid network, layers of any other."""
    if isinstance(network, HybridNetwork):
        modules = {**dict(network.parts.items()), **dict(network.units.items())}
    else:
        modules = dict(network.named_children()) or {type(network).__name__: network}

    return {name: module for name, module in modules.items() if any(p.requires_grad for p in module.parameters())}


def _gradient(module: nn.Module) -> float | None:
    """The root mean square of a module's gradient; None without a gradient."""
    gradients = [p.grad for p in module.parameters() if p.requires_grad and p.grad is not None]
    if not gradients:
        return None

    total = sum(float(gradient.double().square().sum()) for gradient in gradients)
    return math.sqrt(total / sum(gradient.numel() for gradient in gradients))


def _no_gradient(owner: str, is_zero: bool) -> Finding:
    if is_zero:
        what = "its gradient is exactly zero"
        remedy = (
            "repair a dead layer behind it, widen the surrogate's width so that gradients pass far from the threshold, "
            "and let no stage after it multiply by zero"
        )
    else:
        what = "no gradient comes back to it from the loss"
        remedy = (
            "use an output that it acts on in the loss, and replace a stage after it that cuts the gradient (detach, "
            "round, argmax) by one that passes it: Threshold, SpikingLayer or a surrogate; or freeze it"
        )

    return Finding("no gradient", owner, what, remedy, "error")


def silent_and_saturated_layers(network: nn.Module, inputs: Inputs) -> list[Finding]:
    """Finds layers that are silent at every step of a run, or spike at every step."""
    with torch.no_grad(), record_activity(network) as activity:
        run(network, inputs)

    modules = {display_path(network, name): module for name, module in network.named_modules()}
    silent = [path for path, layer in activity.layers.items() if _is_silent(modules[path], layer)]
    saturated = [path for path, layer in activity.layers.items() if _is_saturated(modules[path], layer)]
    peaks = _record_peaks(network, inputs, {*silent, *saturated})

    # a layer that gets only zeros from a silent one is healthy itself
    dead = [path for path in silent if peaks[path].magnitude > 0 or path == silent[0]]
    return [_dead(path, modules[path], peaks[path]) for path in dead] + [
        _saturated(path, modules[path], peaks[path]) for path in saturated
    ]


@dataclass
class _Peaks:
    """The largest magnitude and value of a layer's inputs, and its highest membrane."""

    magnitude: float = 0.0
    value: float = float("-inf")
    membrane: float = float("-inf")


def _is_silent(module: nn.Module, activity: LayerActivity) -> bool:
    if isinstance(module, _RECTIFIERS):
        return activity.largest <= 0
    return _spikes(module, activity) and activity.num_spikes == 0


def _is_saturated(module: nn.Module, activity: LayerActivity) -> bool:
    is_full = activity.share_nonzero >= _SATURATED_SHARE
    return _spikes(module, activity) and not isinstance(module, SignedDelta) and is_full


def _spikes(module: nn.Module, activity: LayerActivity) -> bool:
    if isinstance(module, Gain | Gate) or (isinstance(module, Discretizer) and module.kind == "reduces"):
        return False
    return activity.kind == "spikes"


def _record_peaks(network: nn.Module, inputs: Inputs, paths: set[str]) -> dict[str, _Peaks]:
    """The peaks of some layers, from a second run."""
    peaks = {path: _Peaks() for path in paths}
    is_tracing = False

    def record(call: Call) -> None:
        nonlocal is_tracing
        # the second run of a layer, for its membrane, is not recorded
        if is_tracing or call.path not in peaks or not isinstance(call.args[0], Tensor):
            return

        peak = peaks[call.path]
        x = unwrap_vmap(call.args[0])[0]
        peak.magnitude = max(peak.magnitude, float(x.abs().max()))
        peak.value = max(peak.value, float(x.max()))

        if isinstance(call.module, Stateful) and hasattr(call.output[1], "v"):
            is_tracing = True
            peak.membrane = max(peak.membrane, float(membrane_trace(call.module, *call.args, **call.kwargs).max()))
            is_tracing = False

    if paths:
        with torch.no_grad(), trace_calls(network, record):
            run(network, inputs)

    return peaks


def _dead(path: str, module: nn.Module, peaks: _Peaks) -> Finding:
    threshold = getattr(module, "v_threshold", None)
    highest = peaks.membrane if isinstance(module, Stateful) else peaks.value

    if peaks.magnitude == 0:
        what = "gets nothing but zeros"
        remedy = "repair its source: the signal and the layers before it are silent"
    elif isinstance(module, _RECTIFIERS):
        what = f"never lets anything through: its largest input is {peaks.value:.3g}"
        remedy = "initialise the layer before it again, give that layer a positive bias, or use nn.LeakyReLU"
    elif threshold is None:
        what = f"never spikes: its largest input is {peaks.value:.3g}"
        remedy = "scale its input up in the layer or the nonlinearity before it"
    elif highest > 0:
        lowest = float(torch.as_tensor(threshold).min())
        what = f"never spikes: its membranes reach {highest:.3g} at most, and its threshold is {lowest:.3g}"
        remedy = f"lower v_threshold to about {highest / 2:.3g}, or scale its input by {2 * lowest / highest:.3g}"
    else:
        what = f"never spikes: its membranes never rise above 0 (its largest input is {peaks.value:.3g})"
        remedy = "initialise the layer before it again, or give that layer a positive bias"

    return Finding("dead", path, what, remedy)


def _saturated(path: str, module: nn.Module, peaks: _Peaks) -> Finding:
    remedy = "scale its input down in the layer or the nonlinearity before it"
    if hasattr(module, "v_threshold"):
        remedy = f"raise v_threshold to about {2 * peaks.value:.3g}, or scale its input down"

    return Finding("saturated", path, "every neuron spikes at every step, so its spikes carry no information", remedy)
