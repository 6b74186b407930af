"""The sensing network with fused weights for one target: linear layers behind the spikes are moved into the template.

    h = F u,    <h, T_d> = <F u, T_d> = <u, (F' T)_d>

`u` is the leaky sum of what the SNN gave, `F` the unit's map, `F'` its adjoint, `T_d` the template moved by d.
`Sensing` maps `u` in every bin; here `F'` maps the template once a frame, and a bin needs the convolutions of its
events and spikes, the leak, and one correlation. A batch norm is fused with its convolution, convolutions of the same
input run as one, and the head evaluates only the displacements within the search distance.

Results equal those of `Sensing` to rounding, except at the edge of the crop: `Sensing` cuts `h` off there, the fused
form sees half of F more. That matters only where the displaced template reaches the edge.

The convolution behind the spikes stays in the bin: moved into the template as well, each spike would add a number to
every displacement for each time constant of the unit, many more than the weights that it is multiplied by now.
"""

from collections.abc import Callable
from copy import deepcopy
from math import exp, inf, log
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from spikebridge.hybrid import Exponential, Kernel, Sum
from spikebridge.networks.sensing.model.backbones import WhatPathway, WherePathway, log_intensity
from spikebridge.networks.sensing.model.heads import ChangeHead, between_cells, cell_places, cut_out
from spikebridge.networks.sensing.model.motion_prior import (
    UNKNOWN_VELOCITY_FACTOR,
    ConstantVelocityPrior,
    MotionFusion,
    MotionPrior,
    MotionPriorNp,
    StartUncertainty,
    bayes_update,
    search_slice,
    to_numpy,
)
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.tracker.calibration import TrainedHead
from spikebridge.neurons import LIF
from spikebridge.neurons.lif import LIFState, lif_step
from spikebridge.ops.layers.correlation import correlate
from spikebridge.ops.layers.fixed_convolution import FixedConvolution, FixedConvolutions
from spikebridge.ops.selection import select
from spikebridge.ops.sparse.pathway import NativePathway, fits_pathway


class _MappedTemplate(NamedTuple):
    """The template of a frame, mapped by the adjoint of the unit's map.

    Args:
        deficit: autocorrelation of the template at each displacement, minus that at displacement 0.
        kernel: its conjugate spectrum, displacements from `-reach` on; or, where the bins of the stream run natively,
            the template among zeros, for sums at some displacements.
        is_native: whether they do.
    """

    deficit: Float[np.ndarray, "K K"]
    kernel: Complex[Tensor, "C N M"] | Float[Tensor, "H W C"]
    is_native: bool


_Response = Callable[[range, range], Float[np.ndarray, "I J"]]
"""The correlation of a change with a template, by rows and columns of displacements in cells, from `-reach` on."""


class FusedState(NamedTuple):
    """The template, the motion prior, the membranes, the carry of the leaky sum, and the uncertainty of a restart."""

    template: _MappedTemplate
    expected: MotionPriorNp
    membranes: LIFState
    carry: Any
    uncertainty: StartUncertainty | None = None


def can_fuse(sensing: Sensing) -> bool:
    """Whether a network can be fused: small pathways, change head, and a unit with a linear map.

    Example:
        >>> from spikebridge.networks.sensing.model.units import SensingOptions
        >>> can_fuse(Sensing(1 / 240)), can_fuse(Sensing(1 / 240, SensingOptions(unit="none")))
        (True, False)
    """
    kinds = {"what": WhatPathway, "where": WherePathway, "head": ChangeHead}
    if set(sensing.units) != {"unit"} or any(type(sensing.parts[name]) is not kinds[name] for name in kinds):
        return False

    unit = sensing.units["unit"]
    return type(unit.kernel) in (Exponential, Sum) and unit.discretizer is None and _is_linear_map(unit.nonlinearity)


def trained_head(head: ChangeHead, prior: ConstantVelocityPrior | None) -> TrainedHead | None:
    """The numbers that calibration starts from; None where there is no prior or the gain is not above 0.

    Args:
        head: of the network.
        prior: of the network.
    """
    gain = head.g.item()
    if prior is None or not gain > 0:
        return None

    return TrainedHead(
        gain, exp(head.log_scale.item()) / gain, (exp(prior.log_start.item()), exp(prior.log_growth.item()))
    )


class FusedWhat(nn.Module):
    """`WhatPathway` with one convolution of the frame instead of two and a batch norm.

    Args:
        what: in eval mode.

    Example:
        >>> what, frames = WhatPathway(4).eval(), 255 * torch.rand(1, 1, 16, 16)
        >>> torch.allclose(FusedWhat(what)(frames), what(frames), atol=1e-5)
        True
    """

    def __init__(self, what: WhatPathway) -> None:
        super().__init__()
        first, norm, _, last = list[Any](what.bent)
        both = _joined(what.straight, fuse_conv_bn_eval(first, norm))

        # the linear branch is added to the other one
        last = FixedConvolution(deepcopy(last), shortcut=True)
        self.layers = FixedConvolutions(FixedConvolution(both, relu_from=what.straight.out_channels), last)
        self.requires_grad_(False)

    def forward(self, frames: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B C H2 W2"]:
        """Grey levels 0 to 255 to features."""
        return self.of_light(log_intensity(frames))

    def of_light(self, light: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B C H2 W2"]:
        """Features of what `log_intensity` gives.

        Args:
            light: of frames.
        """
        features: Tensor = self.layers(light)
        return features


class FusedInference(nn.Module):
    """A trained network, ready to follow one target.

    Args:
        sensing: in eval mode, of a form for which `can_fuse`. Its weights are read once.
        crop: side of the square that it sees [px].

    Example:
        >>> folded = FusedInference(Sensing(dt=1 / 240).eval(), crop=96)
        >>> frame, box = 255 * torch.rand(1, 1, 96, 96), torch.tensor([[0.0, 0.0, 20.0, 20.0]])
        >>> start, state = folded.open(frame, box)
        >>> place, spread, state = folded(torch.zeros(1, 2, 96, 96), state, age=1.0)
        >>> place.shape
        (2,)
    """

    mapping: Tensor | None
    first_shift: Tensor

    def __init__(self, sensing: Sensing, crop: int) -> None:
        super().__init__()
        where: Any = sensing.parts["where"]
        unit: Any = sensing.units["unit"]
        head: Any = sensing.parts["head"]
        what: Any = sensing.parts["what"]
        spiking = where.spiking
        self.what = FusedWhat(what)
        self.cut = sensing.cut.margin, sensing.cut.hardness
        self.events = _joined(where.straight, fuse_conv_bn_eval(spiking.conv, spiking.norm))
        self.membranes = _Membranes(spiking.lif)
        self.leak = _Leak(unit.kernel)
        self.out = deepcopy(spiking.out)
        self.trust = None if sensing.trust is None else _FusedMotionFusion(sensing.trust)
        self.requires_grad_(False)
        self.pathway = _native_pathway(self.events, self.membranes, self.leak, self.out)
        self.search = sensing.search
        self.stride = sensing.stride

        # as in the head, so that nothing comes in again from the other side; and no less than what is read of it
        self.side = max(-(-crop // sensing.stride), head.reach + 1) + head.reach
        self.head = _FusedHead(head, sensing.prior)
        self.back = None if sensing.back is None else _FusedHead(sensing.back)
        self.trained = trained_head(head, sensing.prior)
        weight = None if unit.nonlinearity is None else unit.nonlinearity.weight.detach()
        self.adjoint = None if weight is None else _adjoint_convolution(weight)
        self.register_buffer("mapping", None if weight is None else self._adjoint(weight), persistent=False)
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
        mask = ellipse_masks(places, box.double().numpy(), *self.cut)
        target = cut_out(features[:1], mask)
        spectrum = self._spectrum(target[0])
        own = (spectrum.real.square() + spectrum.imag.square()).sum(0) * self.first_shift
        template = spectrum.conj() * self.first_shift
        deficit = self.head.deficit(own)

        if start is not None:
            expected = to_numpy(start)
        else:
            expected = self._expected(features, motion, template, deficit)
            start = MotionPrior(*(torch.tensor(np.array(part)[None], dtype=box.dtype) for part in expected))

        if self.pathway is not None and select("pathway step", frame, self.events, self.out) == "native":
            mapped = _MappedTemplate(deficit, self._cells(target), is_native=True)
        else:
            mapped = _MappedTemplate(deficit, self._mapped(template), is_native=False)

        return start, self._new(mapped, expected, features)

    def restart_events(self, state: FusedState, start: MotionPrior) -> FusedState:
        """See `Inference.restart_events`."""
        place, motion, spread = to_numpy(start)
        uncertainty = StartUncertainty(spread, self.head.unchanged(state.template.deficit))

        return self._new(state.template, MotionPriorNp(place, motion, 0.0), state.membranes.v)._replace(
            uncertainty=uncertainty
        )

    def forward(
        self, events: Float[Tensor, "1 2 H W"], state: FusedState, age: float
    ) -> tuple[Float[np.ndarray, "2"], float, FusedState]:
        """See `Inference.__call__`."""
        response, state = self._respond(events, state)
        template = state.template
        expected = state.expected
        place, spread = self.head.answer(response, template.deficit, expected, age, self.search, state.uncertainty)

        return place, spread, state

    def fits(
        self, events: Float[Tensor, "1 2 H W"], state: FusedState, window: tuple[slice, slice]
    ) -> tuple[Float[np.ndarray, "h w"], FusedState]:
        """See `Inference.fits`."""
        response, state = self._respond(events, state)
        return self.head.per_pixel(response, window), state

    def changes(self, state: FusedState) -> Float[np.ndarray, "D D"]:
        """See `Inference.changes`."""
        return self.head.unchanged(state.template.deficit) / (-self.head.scale * self.head.g)

    def accumulate(self, events: Float[Tensor, "1 2 H W"], state: FusedState) -> FusedState:
        """See `Inference.accumulate`."""
        return self._sum(events, state)[1]

    def _expected(
        self, features: Tensor, motion: Tensor | None, template: Tensor, deficit: Float[np.ndarray, "K K"]
    ) -> MotionPriorNp:
        if self.trust is None or self.back is None or motion is None or len(features) == 1:
            return MotionPriorNp(np.zeros(2), np.zeros(2), inf)

        seen = self.back.transformed((self._spectrum(features[1] - features[0]) * template).sum(0))
        gone = motion[0].double().numpy()
        came, _ = self.back.answer(seen, deficit, MotionPriorNp(np.zeros(2), -gone, 0.0), 1.0, self.search)

        return self.trust(gone, -came)

    def _new(self, template: _MappedTemplate, expected: MotionPriorNp, like: Tensor) -> FusedState:
        nothing = like.new_zeros((1, *like.shape[1:]))
        if self.pathway is not None:
            nothing = nothing.contiguous(memory_format=torch.channels_last)
        return FusedState(template, expected, self.membranes.at_rest(nothing), self.leak.at_rest(nothing))

    def _respond(self, events: Tensor, state: FusedState) -> tuple[_Response, FusedState]:
        total, state = self._sum(events, state)
        _, kernel, is_native = state.template
        if is_native:
            return self.head.summed(total, kernel), state
        return self.head.transformed((self._spectrum(total[0]) * kernel).sum(0)), state

    def _sum(self, events: Tensor, state: FusedState) -> tuple[Float[Tensor, "1 C H2 W2"], FusedState]:
        if self.pathway is not None and state.template.is_native:
            v, total = self.pathway.step(events, state.membranes.v, state.carry.total)
            membranes = state.membranes._replace(v=v)
            carry = state.carry._replace(total=total)
            return total, state._replace(membranes=membranes, carry=carry)

        straight, current = self.events(events).chunk(2, 1)
        spikes, membranes = self.membranes(current, state.membranes)
        total, carry = self.leak(self.out(spikes) + straight, state.carry)

        return total, state._replace(membranes=membranes, carry=carry)

    def _spectrum(self, maps: Float[Tensor, "*S H2 W2"]) -> Complex[Tensor, "*S N M"]:
        # rows first: those that only make room are never transformed
        return torch.fft.fft(torch.fft.rfft(maps, self.side), self.side, -2)

    def _adjoint(self, weight: Float[Tensor, "O C K K"]) -> Complex[Tensor, "O C N M"]:
        """By what the unit's map multiplies the spectrum of a signal, and so its adjoint the conjugate template's."""
        reach = weight.shape[-1] // 2
        room = F.pad(weight, (0, self.side - weight.shape[-1]) * 2).roll((-reach, -reach), (-2, -1))
        return self._spectrum(room).conj().resolve_conj()

    def _mapped(self, template: Complex[Tensor, "C N M"]) -> Complex[Tensor, "C N M"]:
        """The spectrum of a template, mapped by the adjoint of the unit's map."""
        return template if self.mapping is None else (self.mapping * template[:, None]).sum(0)

    def _cells(self, target: Float[Tensor, "1 C H W"]) -> Float[Tensor, "H2 W2 C"]:
        """The same of the template itself, among so many zeros that displacement `d` reads from `reach - d` on."""
        mapped = target if self.adjoint is None else self.adjoint(target)
        num_more = (mapped.shape[-1] - target.shape[-1]) // 2
        return F.pad(mapped, [self.head.reach - num_more] * 4)[0].permute(1, 2, 0).contiguous()

    def _shift(self, reach: int) -> Complex[Tensor, "N M"]:
        """The spectrum that puts the displacement `-reach` first."""
        place = torch.zeros(self.side, self.side, dtype=torch.float32)
        place[reach, reach] = 1.0
        return self._spectrum(place)


class _Membranes(nn.Module):
    """One step of a layer of neurons, with its arguments worked out once."""

    def __init__(self, lif: LIF) -> None:
        super().__init__()
        self.at_rest = deepcopy(lif).requires_grad_(False).initial_state
        with torch.no_grad():
            self.arguments = lif.arguments(lif.quantities(5, {}))

    def forward(self, current: Float[Tensor, "1 C H W"], state: LIFState) -> tuple[Tensor, LIFState]:
        return lif_step(current, state, **self.arguments)

    def counted(self, output: tuple[Tensor, LIFState]) -> dict[str, float]:
        """An update a neuron."""
        return {"updates": output[0].numel()}


class _Leak(nn.Module):
    """One step of the unit's kernel, with its arguments worked out once."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        kernel = deepcopy(kernel).requires_grad_(False)
        self.at_rest = kernel.initial_state
        self.step = kernel.bound_step(torch.empty(1, dtype=torch.float32))

    def forward(self, change: Float[Tensor, "1 C H W"], carry: Any) -> tuple[Tensor, Any]:
        return self.step(change, carry)

    def counted(self, output: tuple[Tensor, Any]) -> dict[str, float]:
        """A multiply-accumulate a value."""
        return {"macs": output[0].numel()}


def _native_pathway(events: nn.Conv2d, membranes: _Membranes, leak: _Leak, out: nn.Conv2d) -> NativePathway | None:
    """The layers of a bin in one native call; None for neurons or layers that it does not have."""
    settings = dict(membranes.arguments)
    decay = torch.as_tensor(settings.pop("decay"))
    threshold = settings.pop("v_threshold")
    plain = {"reset": "zero", "v_reset": 0.0, "v_leak": 0.0, "r": 1.0, "refractory": 0}

    if any(settings.get(name) != value for name, value in plain.items()) or not isinstance(threshold, float):
        return None

    remembered = torch.as_tensor(getattr(leak.step, "keywords", {}).get("decay", 1.0))
    return NativePathway(events, out, decay, remembered, threshold) if fits_pathway(events, out) else None


def _is_linear_map(module: nn.Module | None) -> bool:
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


class _FusedMotionFusion:
    """A `MotionFusion` in numbers. Weights are read once.

    Args:
        trust: that it answers for.

    Example:
        >>> ready = _FusedMotionFusion(MotionFusion())
        >>> bool(0 < ready(np.array([4.0, 0.0]), np.array([6.0, 0.0])).place[0] < 1)
        True
    """

    def __init__(self, trust: MotionFusion) -> None:
        self.place, self.motion = (
            (base.item(), slope.item())
            for base, slope in ((trust.place_base, trust.place_slope), (trust.motion_base, trust.motion_slope))
        )
        self.spread = exp(trust.log_spread.item())

    def __call__(self, by_box: Float[np.ndarray, "2"], by_picture: Float[np.ndarray, "2"]) -> MotionPriorNp:
        """Two motions [px] to what is expected."""
        away = by_picture - by_box
        square = float(away @ away)
        place, motion = (
            away / (1 + exp(-base - slope * log(square + 0.1))) for base, slope in (self.place, self.motion)
        )

        return MotionPriorNp(place, by_box + motion, self.spread * (square + 1e-6) ** 0.5)


def ellipse_masks(
    places: Float[np.ndarray, " N"], boxes: Float[np.ndarray, "K 4"], margin: float, hardness: float
) -> Float[Tensor, "K 1 N N"]:
    """See `Template.mask`.

    Args:
        places: of the cells, relative to the centre of the crop [px].
        boxes: middle of the target beside that of the crop, and its size [px].
        margin: added to the half axes [px].
        hardness: how fast the mask falls.
    """
    middles = boxes[:, :2, None]
    halves = 0.55 * boxes[:, 2:, None] + margin
    away = ((places - middles) / halves) ** 2
    masks = 1 / (1 + np.exp(np.minimum(hardness * (np.sqrt(away[:, :1] + away[:, 1, :, None]) - 1), 80.0)))

    return torch.from_numpy(masks.astype(np.float32))[:, None]


class _FusedHead:
    """A `ChangeHead` that is given spectra, and its answer with a prior. Weights are read once.

    Args:
        head: that it answers for.
        prior: of the place; without it all places near the expected one are alike.

    Example:
        >>> head = _FusedHead(ChangeHead(reach=2))
        >>> head.between.shape, head.between[4].tolist()  # a pixel on a cell reads that cell alone
        ((9, 5), [0.0, 0.0, 1.0, 0.0, 0.0])
    """

    def __init__(self, head: ChangeHead, prior: ConstantVelocityPrior | None = None) -> None:
        self.reach = head.reach
        self.g = head.g.item()
        self.scale = exp(head.log_scale.item())
        num_cells = 2 * head.reach + 1
        num_pixels = 2 * head.stride * head.reach + 1
        self.between: NDArray[np.float64] = between_cells(num_cells, num_pixels).double().numpy()
        self.half = num_pixels // 2
        used = self.between != 0
        first = used.argmax(1)
        last = num_cells - 1 - used[:, ::-1].argmax(1)

        # of the cells that pixels from here on read, the first, and of those that pixels up to here read, the last
        self.first = np.minimum.accumulate(first[::-1])[::-1].tolist()
        self.last = np.maximum.accumulate(last).tolist()
        steps = np.arange(num_pixels, dtype=np.float64) - self.half
        self.powers: NDArray[np.float64] = np.stack([np.ones(num_pixels), steps, steps**2])

        # of its variance: at the beginning, and what it has grown by at age 1
        logs = () if prior is None else (prior.log_start, prior.log_growth)
        self.prior = None if prior is None else tuple(exp(2 * log.item()) for log in logs)

    def deficit(self, own: Complex[Tensor, "N M"]) -> Float[np.ndarray, "K K"]:
        """How much less than at its place the template is like itself at each displacement, below 0.

        Args:
            own: spectrum of the correlation of the template with itself, its displacements from `-reach` on.
        """
        alike = self._cells(own)
        return alike - alike[self.reach, self.reach]

    def answer(
        self,
        response: _Response,
        deficit: Float[np.ndarray, "K K"],
        expected: MotionPriorNp,
        age: float,
        search: float,
        uncertainty: StartUncertainty | None = None,
    ) -> tuple[Float[np.ndarray, "2"], float]:
        """The mean place near the predicted one, and its standard deviation along an axis [px].

        Args:
            response: of the change since the frame.
            deficit: of the template.
            expected: of the stream.
            age: time since it began, in parts of the time in which the target goes as far as `expected.motion`.
            search: how far from the prediction is looked, along each axis; a prior without a velocity has it look
                further [px].
            uncertainty: of the start of a restarted stream; None if the stream started with its frame.
        """
        if uncertainty is not None:
            every = range(2 * self.reach + 1)
            fits = self.scale * (self.between @ response(every, every) @ self.between.T)
            return bayes_update(fits, uncertainty, expected, self._variance(expected, age), age, search)

        middle = expected.motion * age
        if self.prior is not None and expected.spread == inf:
            search *= UNKNOWN_VELOCITY_FACTOR

        columns, rows = (search_slice(place, search, self.half) for place in middle.tolist())
        # a constant counts for nothing, so the place that was never left need not have 0
        (y, of_rows), (x, of_columns) = self._read_by(rows), self._read_by(columns)
        score = self.scale * (response(y, x) + self.g * deficit[y.start : y.stop, x.start : x.stop])
        odds = of_rows @ score @ of_columns.T

        if self.prior is not None:
            away = (self.powers[1, :, None] - middle[::-1]) ** 2 / (2 * self._variance(expected, age))
            odds -= away[rows, :1] + away[columns, 1]

        share = np.exp(odds - odds.max())
        # rows for 1, y, y^2 and columns for 1, x, x^2
        moments = self.powers[:, rows] @ share @ self.powers[:, columns].T
        sums = moments[0, 1], moments[1, 0], moments[0, 2] + moments[2, 0]
        along_x, along_y, second = (float(value / moments[0, 0]) for value in sums)
        variance = (second - along_x * along_x - along_y * along_y) / 2

        return expected.place + np.array([along_x, along_y]), max(variance, 1e-6) ** 0.5

    def per_pixel(self, response: _Response, window: tuple[slice, slice]) -> Float[np.ndarray, "h w"]:
        """The correlation of the change with the template, one a pixel, minus that at displacement 0.

        Args:
            response: as for `answer`.
            window: rows and columns of the whole map.
        """
        (rows, of_rows), (columns, of_columns) = (self._read_by(pixels) for pixels in window)
        cells = response(rows, columns)
        middle = self.reach
        if middle in rows and middle in columns:
            still = cells[middle - rows.start, middle - columns.start]
        else:
            still = response(range(middle, middle + 1), range(middle, middle + 1))[0, 0]

        return of_rows @ cells @ of_columns.T - still

    def transformed(self, spectrum: Complex[Tensor, "N M"]) -> _Response:
        """The response of a spectrum, whose displacements begin with `-reach`."""
        cells = self._cells(spectrum)
        return lambda rows, columns: cells[rows.start : rows.stop, columns.start : columns.stop]

    def summed(self, change: Float[Tensor, "1 C H W"], template: Float[Tensor, "H2 W2 C"]) -> _Response:
        """The response as sums over cells, where they are asked for; see `_MappedTemplate`."""
        most = 2 * self.reach + 1

        def response(rows: range, columns: range) -> NDArray[np.float64]:  # made in each bin: a plain type costs less
            backwards = (range(most - part.stop, most - part.start) for part in (rows, columns))
            return correlate(change, template, *backwards)[::-1, ::-1]

        return response

    def unchanged(self, deficit: Float[np.ndarray, "K K"]) -> Float[np.ndarray, "D D"]:
        """The log-odds of displacements where nothing has changed, one a pixel.

        Args:
            deficit: of the template.
        """
        return self.scale * self.g * (self.between @ deficit @ self.between.T)

    def _read_by(self, pixels: slice) -> tuple[range, Float[np.ndarray, "P N"]]:
        """The cells between which pixels lie, and their weights at each pixel."""
        cells = range(self.first[pixels.start], self.last[pixels.stop - 1] + 1)
        return cells, self.between[pixels, cells.start : cells.stop]

    def _variance(self, expected: MotionPriorNp, age: float) -> float:
        """Of the way since the stream began; see `ConstantVelocityPrior`."""
        if self.prior is None:
            return inf
        start, growth = self.prior
        return start + growth * age**2 + (expected.spread * age) ** 2

    def _cells(self, spectrum: Tensor) -> NDArray[np.float64]:
        """The correlation at shifts from `-reach` to `reach` cells."""
        number = 2 * self.reach + 1
        rows = torch.fft.ifft(spectrum, dim=-2)[:number]
        return torch.fft.irfft(rows, spectrum.shape[-2])[:, :number].double().numpy()
