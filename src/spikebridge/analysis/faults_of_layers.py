"""Layers that never spike, and layers that always do."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spikebridge.analysis.activity import LayerActivity, recording
from spikebridge.analysis.finding import Finding, Inputs, run
from spikebridge.analysis.membrane import membrane_trace
from spikebridge.analysis.visits import Visit, shown_path, unwrapped, visiting
from spikebridge.hybrid import Discretizer, Gain, Gate, SignedDelta
from spikebridge.neurons import Stateful

ALWAYS = 0.999
_RECTIFIERS = (nn.ReLU, nn.ReLU6)


def silent_and_saturated_layers(network: nn.Module, inputs: Inputs) -> list[Finding]:
    """Every layer that was silent, or never silent, over a run."""
    with torch.no_grad(), recording(network) as activity:
        run(network, inputs)
    modules = {shown_path(network, name): module for name, module in network.named_modules()}
    dead = [path for path, one in activity.layers.items() if _is_dead(modules[path], one)]
    full = [path for path, one in activity.layers.items() if _is_saturated(modules[path], one)]
    drives = _drives(network, inputs, {*dead, *full})
    # a layer that gets nothing from a dead one before it is not ill itself
    causes = [path for path in dead if drives[path].size > 0 or path == dead[0]]
    return [_dead(path, modules[path], drives[path]) for path in causes] + [
        _saturated(path, modules[path], drives[path]) for path in full
    ]


@dataclass
class Drive:
    """What came into a layer: the largest size and value of its inputs, and the largest membrane."""

    size: float = 0.0
    largest: float = float("-inf")
    membrane: float = float("-inf")


def _is_dead(module: nn.Module, activity: LayerActivity) -> bool:
    if isinstance(module, _RECTIFIERS):
        return activity.largest <= 0
    return _spikes(module, activity) and activity.num_spikes == 0


def _is_saturated(module: nn.Module, activity: LayerActivity) -> bool:
    return _spikes(module, activity) and not isinstance(module, SignedDelta) and activity.share_nonzero >= ALWAYS


def _spikes(module: nn.Module, activity: LayerActivity) -> bool:
    if isinstance(module, Gain | Gate) or (isinstance(module, Discretizer) and module.kind == "reduces"):
        return False
    return activity.kind == "spikes"


def _drives(network: nn.Module, inputs: Inputs, paths: set[str]) -> dict[str, Drive]:
    """What came into some layers, from a second run."""
    drives = {path: Drive() for path in paths}
    busy = False

    def leave(visit: Visit) -> None:
        nonlocal busy
        if busy or visit.path not in drives or not isinstance(visit.args[0], Tensor):
            return
        drive, x = drives[visit.path], unwrapped(visit.args[0])[0]
        drive.size = max(drive.size, float(x.abs().max()))
        drive.largest = max(drive.largest, float(x.max()))
        if isinstance(visit.module, Stateful) and "v" in getattr(type(visit.output[1]), "_fields", ()):
            busy = True
            drive.membrane = max(drive.membrane, float(membrane_trace(visit.module, *visit.args, **visit.kwargs).max()))
            busy = False

    if paths:
        with torch.no_grad(), visiting(network, leave):
            run(network, inputs)
    return drives


def _dead(path: str, module: nn.Module, drive: Drive) -> Finding:
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


def _saturated(path: str, module: nn.Module, drive: Drive) -> Finding:
    if hasattr(module, "v_threshold"):
        remedy = f"raise v_threshold to about {2 * drive.largest:.3g}, or scale its input down"
    else:
        remedy = "scale its input down in the layer or the nonlinearity before it"
    return Finding("saturated", path, "every neuron spikes at every step, so its spikes say nothing", remedy)
