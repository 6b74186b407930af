"""The sensing network with fused weights for one target: linear layers behind the spikes are moved into the template.

    h = F u,    <h, T_d> = <F u, T_d> = <u, (F' T)_d>

`u` is the leaky sum of the SNN's output, `F` the unit's map, `F'` its adjoint, `T_d` the template moved by d. `Sensing`
maps `u` in every bin; here `F'` maps the template once a frame, and a bin needs the convolutions of its events and
spikes, the leak, and one correlation. A batch norm is fused with its convolution, convolutions of the same input run as
one, and the head evaluates only the displacements within the search distance.

Results equal those of `Sensing` to rounding, except at the edge of the crop: `Sensing` cuts `h` off there, the fused
form sees half of F more. That matters only where the displaced template reaches the edge.

The convolution behind the spikes stays in the bin: moved into the template as well, each spike would add a number to
every displacement for each time constant of the unit, many more than the weights that it is multiplied by here.
"""

from copy import deepcopy
from math import inf
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from spikebridge.hybrid import Exponential, Kernel, Sum
from spikebridge.networks.sensing.model.backbones import WhatPathway, WherePathway, log_intensity
from spikebridge.networks.sensing.model.heads import MARGIN, ChangeHead, cell_places, cut_out
from spikebridge.networks.sensing.model.motion_prior import MotionPrior, MotionPriorNp, StartUncertainty, to_numpy
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.native.fixed_convolution import FixedConvolution, FixedConvolutions
from spikebridge.networks.sensing.native.pathway import PATHWAY_STEP, NativePathway, fits_pathway
from spikebridge.networks.sensing.tracker.head import (
    FusedHead,
    FusedMotionFusion,
    Response,
    ellipse_masks,
    trained_head,
)
from spikebridge.neurons import LIF
from spikebridge.neurons.lif import LIFState, lif_step
from spikebridge.ops.selection import select


class _MappedTemplate(NamedTuple):
    """The template of a frame, mapped by the adjoint of the unit's map."""

    # autocorrelation of the template at each displacement, minus that at displacement 0
    deficit: Float[np.ndarray, "K K"]
    # its conjugate spectrum, displacements from `-reach` on; or, where the bins of the stream run natively, the
    # template among zeros, for sums at some displacements
    kernel: Complex[Tensor, "C N M"] | Float[Tensor, "H W C"]
    # the bins run natively
    is_native: bool


class FusedState(NamedTuple):
    """The template, the motion prior, the membranes, the carry of the leaky sum, and the uncertainty of a restart."""

    template: _MappedTemplate
    expected: MotionPriorNp
    membranes: LIFState
    carry: Any
    uncertainty: StartUncertainty | None = None


def can_fuse(sensing: Sensing) -> bool:
    """True if a network can be fused: it has the pathways and the head of `Sensing`, and a unit with a linear map."""
    kinds = {"what": WhatPathway, "where": WherePathway, "head": ChangeHead}
    if set(sensing.units) != {"unit"} or any(type(sensing.parts[name]) is not kinds[name] for name in kinds):
        return False

    unit = sensing.units["unit"]
    return type(unit.kernel) in (Exponential, Sum) and unit.discretizer is None and _is_linear_map(unit.nonlinearity)


class FusedWhat(nn.Module):
    """`WhatPathway` with one convolution of the frame instead of two and a batch norm."""

    def __init__(self, what: WhatPathway) -> None:
        super().__init__()
        first, norm, _, last = list[Any](what.bent)
        both = _joined(what.straight, fuse_conv_bn_eval(first, norm))

        # the linear branch is added to the other one
        last = FixedConvolution(deepcopy(last), shortcut=True)
        self.layers = FixedConvolutions(FixedConvolution(both, relu_from=what.straight.out_channels), last)
        self.requires_grad_(False)

    def forward(self, frames: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B C H2 W2"]:
        """Features of grey levels 0 to 255."""
        return self.of_light(log_intensity(frames))

    def of_light(self, light: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B C H2 W2"]:
        """Features of the output of `log_intensity`."""
        features: Tensor = self.layers(light)
        return features


class FusedInference(nn.Module):
    """A trained network for which `can_fuse`, in eval mode, on crops of a side [px]; see `Inference`.

    Its weights are read once.
    """

    mapping: Tensor | None
    first_shift: Tensor

    def __init__(self, sensing: Sensing, crop: int) -> None:
        super().__init__()
        what: Any = sensing.parts["what"]
        where: Any = sensing.parts["where"]
        unit: Any = sensing.units["unit"]
        head: Any = sensing.parts["head"]
        spiking = where.spiking
        self.what = FusedWhat(what)
        self.events = _joined(where.straight, fuse_conv_bn_eval(spiking.conv, spiking.norm))
        self.membranes = _Membranes(spiking.lif)
        self.leak = _Leak(unit.kernel)
        self.out = deepcopy(spiking.out)
        self.requires_grad_(False)
        self.pathway = _native_pathway(self.events, self.membranes, self.leak, self.out)

        self.search = sensing.search
        self.stride = sensing.stride
        self.trust = None if sensing.trust is None else FusedMotionFusion(sensing.trust)
        self.back = None if sensing.back is None else FusedHead(sensing.back)
        self.head = FusedHead(head, sensing.prior)
        self.trained = trained_head(head, sensing.prior)

        # as in the head, so that nothing wraps around; and no less than is read of it
        self.side = max(-(-crop // sensing.stride), head.reach + 1) + head.reach
        weight = None if unit.nonlinearity is None else unit.nonlinearity.weight.detach()
        self.adjoint = None if weight is None else _adjoint_convolution(weight)
        self.register_buffer("mapping", None if weight is None else self._adjoint_spectrum(weight), persistent=False)
        self.register_buffer("first_shift", self._shift(head.reach), persistent=False)

    def open(
        self,
        frame: Float[Tensor, "1 1 H W"],
        box: Float[Tensor, "1 4"],
        before: Float[Tensor, "1 1 H W"] | None = None,
        motion: Float[Tensor, "1 2"] | None = None,
        start: MotionPrior | None = None,
    ) -> tuple[MotionPrior, FusedState]:
        """See `Inference.open`; the template is mapped by the adjoint of the unit's map."""
        features = self.what(frame if before is None else torch.cat([frame, before]))
        places = cell_places(features.shape[-1], features, self.stride).numpy()
        target = cut_out(features[:1], ellipse_masks(places, box.double().numpy(), MARGIN))
        spectrum = self._spectrum(target[0])
        template = spectrum.conj() * self.first_shift
        deficit = self.head.deficit((spectrum.real.square() + spectrum.imag.square()).sum(0) * self.first_shift)

        if start is None:
            expected = self._expected(features, motion, template, deficit)
            start = MotionPrior(*(torch.tensor(np.array(part)[None], dtype=box.dtype) for part in expected))
        else:
            expected = to_numpy(start)

        if self.pathway is not None and select(PATHWAY_STEP, frame, self.events, self.out) == "native":
            mapped = _MappedTemplate(deficit, self._padded_template(target), is_native=True)
        else:
            mapped = _MappedTemplate(deficit, self._mapped_spectrum(template), is_native=False)

        return start, self._new_state(mapped, expected, features)

    def restart_events(self, state: FusedState, start: MotionPrior) -> FusedState:
        """See `Inference.restart_events`."""
        place, motion, spread = to_numpy(start)
        uncertainty = StartUncertainty(spread, self.head.unchanged(state.template.deficit))
        fresh = self._new_state(state.template, MotionPriorNp(place, motion, 0.0), state.membranes.v)

        return fresh._replace(uncertainty=uncertainty)

    def forward(
        self, events: Float[Tensor, "1 2 H W"], state: FusedState, age: float
    ) -> tuple[Float[np.ndarray, "2"], float, FusedState]:
        """See `Inference.__call__`."""
        response, state = self._respond(events, state)
        deficit = state.template.deficit
        place, spread = self.head.answer(response, deficit, state.expected, age, self.search, state.uncertainty)

        return place, spread, state

    def fits(
        self, events: Float[Tensor, "1 2 H W"], state: FusedState, window: tuple[slice, slice]
    ) -> tuple[Float[np.ndarray, "h w"], FusedState]:
        """See `Inference.fits`."""
        response, state = self._respond(events, state)
        return self.head.fits_by_pixel(response, window), state

    def changes(self, state: FusedState) -> Float[np.ndarray, "D D"]:
        """See `Inference.changes`."""
        return self.head.unchanged(state.template.deficit) / (-self.head.scale * self.head.g)

    def accumulate(self, events: Float[Tensor, "1 2 H W"], state: FusedState) -> FusedState:
        """See `Inference.accumulate`."""
        return self._sum(events, state)[1]

    def _expected(
        self, features: Tensor, motion: Tensor | None, template: Tensor, deficit: Float[np.ndarray, "K K"]
    ) -> MotionPriorNp:
        """The prior from the boxes and the pictures of this frame and the one before; unknown without them."""
        if self.trust is None or self.back is None or motion is None or len(features) == 1:
            return MotionPriorNp(np.zeros(2), np.zeros(2), inf)

        spectrum = self._spectrum(features[1] - features[0])
        response = self.back.response_of_spectrum((spectrum * template).sum(0))
        by_box = motion[0].double().numpy()
        backwards = MotionPriorNp(np.zeros(2), -by_box, 0.0)
        back, _ = self.back.answer(response, deficit, backwards, 1.0, self.search)

        return self.trust(by_box, -back)

    def _new_state(self, template: _MappedTemplate, expected: MotionPriorNp, like: Tensor) -> FusedState:
        """A stream whose membranes and sum are at rest."""
        zeros = like.new_zeros((1, *like.shape[1:]))
        if self.pathway is not None:
            zeros = zeros.contiguous(memory_format=torch.channels_last)
        return FusedState(template, expected, self.membranes.at_rest(zeros), self.leak.at_rest(zeros))

    def _respond(self, events: Tensor, state: FusedState) -> tuple[Response, FusedState]:
        total, state = self._sum(events, state)
        kernel = state.template.kernel
        if state.template.is_native:
            return self.head.response_of_sums(total, kernel), state
        return self.head.response_of_spectrum((self._spectrum(total[0]) * kernel).sum(0)), state

    def _sum(self, events: Tensor, state: FusedState) -> tuple[Float[Tensor, "1 C H2 W2"], FusedState]:
        """The leaky sum after a bin of events."""
        if self.pathway is not None and state.template.is_native:
            v, total = self.pathway.step(events, state.membranes.v, state.carry.total)
            membranes = state.membranes._replace(v=v)
            return total, state._replace(membranes=membranes, carry=state.carry._replace(total=total))

        straight, current = self.events(events).chunk(2, 1)
        spikes, membranes = self.membranes(current, state.membranes)
        total, carry = self.leak(self.out(spikes) + straight, state.carry)

        return total, state._replace(membranes=membranes, carry=carry)

    def _spectrum(self, maps: Float[Tensor, "*S H2 W2"]) -> Complex[Tensor, "*S N M"]:
        # rows first: those of the padding are never transformed
        return torch.fft.fft(torch.fft.rfft(maps, self.side), self.side, -2)

    def _adjoint_spectrum(self, weight: Float[Tensor, "O C K K"]) -> Complex[Tensor, "O C N M"]:
        """Factors of the unit's map on a signal's spectrum, and of its adjoint on that of the conjugate template."""
        reach = weight.shape[-1] // 2
        padded = F.pad(weight, (0, self.side - weight.shape[-1]) * 2).roll((-reach, -reach), (-2, -1))
        return self._spectrum(padded).conj().resolve_conj()

    def _mapped_spectrum(self, template: Complex[Tensor, "C N M"]) -> Complex[Tensor, "C N M"]:
        """The spectrum of a template, mapped by the adjoint of the unit's map."""
        return template if self.mapping is None else (self.mapping * template[:, None]).sum(0)

    def _padded_template(self, target: Float[Tensor, "1 C H W"]) -> Float[Tensor, "H2 W2 C"]:
        """The mapped template itself, padded so that displacement `d` reads from `reach - d` on."""
        mapped = target if self.adjoint is None else self.adjoint(target)
        margin = (mapped.shape[-1] - target.shape[-1]) // 2
        return F.pad(mapped, [self.head.reach - margin] * 4)[0].permute(1, 2, 0).contiguous()

    def _shift(self, reach: int) -> Complex[Tensor, "N M"]:
        """The spectrum that puts the displacement `-reach` first."""
        impulse = torch.zeros(self.side, self.side, dtype=torch.float32)
        impulse[reach, reach] = 1.0
        return self._spectrum(impulse)


class _Membranes(nn.Module):
    """One step of a layer of neurons, with its arguments computed once."""

    def __init__(self, lif: LIF) -> None:
        super().__init__()
        self.at_rest = deepcopy(lif).requires_grad_(False).initial_state
        with torch.no_grad():
            self.arguments = lif.arguments(lif.quantities(5, {}))

    def forward(self, current: Float[Tensor, "1 C H W"], state: LIFState) -> tuple[Tensor, LIFState]:
        return lif_step(current, state, **self.arguments)

    def counted(self, output: tuple[Tensor, LIFState]) -> dict[str, float]:
        """An update a neuron, for `count_cost`."""
        return {"updates": output[0].numel()}


class _Leak(nn.Module):
    """One step of the unit's kernel, with its arguments computed once."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        kernel = deepcopy(kernel).requires_grad_(False)
        self.at_rest = kernel.initial_state
        self.step = kernel.bound_step(torch.empty(1, dtype=torch.float32))

    def forward(self, change: Float[Tensor, "1 C H W"], carry: Any) -> tuple[Tensor, Any]:
        return self.step(change, carry)

    def counted(self, output: tuple[Tensor, Any]) -> dict[str, float]:
        """A multiply-accumulate a value, for `count_cost`."""
        return {"macs": output[0].numel()}


def _native_pathway(events: nn.Conv2d, membranes: _Membranes, leak: _Leak, out: nn.Conv2d) -> NativePathway | None:
    """The layers of a bin in one native call; None for neurons or layers that it does not have."""
    settings = dict(membranes.arguments)
    decay = torch.as_tensor(settings.pop("decay"))
    threshold = settings.pop("v_threshold")
    plain = {"reset": "zero", "v_reset": 0.0, "v_leak": 0.0, "r": 1.0, "refractory": 0}

    if any(settings.get(name) != value for name, value in plain.items()) or not isinstance(threshold, float):
        return None

    leak_decay = torch.as_tensor(getattr(leak.step, "keywords", {}).get("decay", 1.0))
    return NativePathway(events, out, decay, leak_decay, threshold) if fits_pathway(events, out) else None


def _is_linear_map(module: nn.Module | None) -> bool:
    """True for no map, and for a centred convolution without a bias."""
    if module is None:
        return True
    if type(module) is not nn.Conv2d or module.bias is not None or module.padding_mode != "zeros":
        return False

    sides = module.kernel_size
    plain = module.stride == module.dilation == (1, 1) and module.groups == 1

    return plain and all(n % 2 for n in sides) and module.padding == tuple(n // 2 for n in sides)


def _joined(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """Two convolutions of the same input as one, their channels one after the other."""
    both = deepcopy(first)
    both.out_channels += second.out_channels
    biases = [conv.weight.new_zeros(len(conv.weight)) if conv.bias is None else conv.bias for conv in (first, second)]
    both.weight = nn.Parameter(torch.cat([first.weight, second.weight]).detach())
    both.bias = nn.Parameter(torch.cat(biases).detach())

    return both


def _adjoint_convolution(weight: Float[Tensor, "O C K K"]) -> FixedConvolution:
    """The adjoint of a convolution, with all places that its outputs reach."""
    num_outputs, num_inputs, _, side = weight.shape
    adjoint = nn.Conv2d(num_outputs, num_inputs, side, padding=side - 1, bias=False, dtype=weight.dtype)
    adjoint.requires_grad_(False)
    adjoint.weight.copy_(weight.transpose(0, 1).flip(-2, -1))

    return FixedConvolution(adjoint)
