"""Objectives of training: all that tracks between frames, and the target detector.

| objective | trained parts | labels |
|---|---|---|
| `tracking_objective` | ANN, SNN, unit, head and prior at once | at bins |
| `detection_objective` | the target detector | at frames |

Half of the boxes have errors, as those of a tracker do. A bin without a label is left out; the last one, that of the
next frame, always has one. The detector gets predicted boxes with errors of place and size, large in a fifth of all,
and a newest template with the same kind of error, since in a closed loop a tracker's errors persist. Some samples do
not show the target, so that the detector learns its own confidence; some have no newest template, as after a loss.

Source: R. Zhao et al., Nature Communications 13:3427 (2022).
"""

from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from spikebridge.errors import ConfigError
from spikebridge.networks.sensing.model.detector import PATCH_SIDE, Detection, TargetDetector, patch_side
from spikebridge.networks.sensing.model.motion_prior import MotionPrior
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.training.augmentation import (
    box_centers,
    box_corners,
    correlated_jitter,
    draw_flips,
    flip_images,
    flip_vectors,
    jitter_aspect,
    jitter_boxes,
    jitter_illumination,
    lower_resolution,
    random_flip,
    swap_background,
    vary_camera,
)
from spikebridge.networks.sensing.training.samples import TrackingSamples

Batch = dict[str, Tensor]
Result = tuple[Tensor, dict[str, Tensor]]

# largest standard deviation of the error of a given box along each axis [px]; chosen on the validation frames
BOX_NOISE = 2.0
# share of the samples of the pathways with such errors
_ERROR_SHARE = 0.5
# the detector: shares of samples with the background of another one, with another frame, and without a newest
# template; chosen on the validation frames, too
_SWAP_SHARE = 0.4
_ABSENT_SHARE = 0.1
_NO_NEWEST_SHARE = 0.15
# noise of the newest template's box, relative to that of the predicted box
_TEMPLATE_NOISE = 0.3
# weights of the terms of the detector's loss, of about one size
_CORNER_WEIGHT = 10
_PRESENCE_WEIGHT = 0.1
_SPREAD_WEIGHT = 0.1
# a claimed spread below half a pixel gains nothing [px^2]
_MIN_VARIANCE = 0.25
_MAX_SPREAD_LOSS = 50


class JitteredSamples(NamedTuple):
    """Flipped samples, their boxes with errors as the network gets them, the errors [px], and the motion prior."""

    samples: TrackingSamples
    boxes: Float[Tensor, "B 4"]
    errors: Float[Tensor, "B 2"]
    start: MotionPrior


def tracking_objective(
    network: Sensing, batch: Batch, *, box_noise: float = BOX_NOISE, lose_events: float = 0.0, contrast: float = 0.0
) -> Result:
    """Mean distance between answer and truth, where there is one, smooth near 0; flipped samples, boxes with errors.

    Up to a share `lose_events` of a sample's events is removed, and its contrast changes by up to `contrast`, a
    logarithm.
    """
    samples, boxes, errors, start = jitter_samples(network, vary_camera(batch, lose_events, contrast), box_noise)
    places, _ = network.track(samples.frames, samples.events, boxes, start)
    is_known = samples.truths.isfinite().all(-1)

    # unknown truths first: they would also spoil the gradient of the others
    square = (places + errors - samples.truths)[is_known].square().sum(-1)
    return (square + 0.25).sqrt().mean(), {"distance_px": square.sqrt().mean()}


def jitter_samples(network: Sensing, batch: Batch, box_noise: float) -> JitteredSamples:
    """A flipped batch in which half of the boxes have errors of up to a standard deviation of `box_noise` [px]."""
    samples = random_flip_samples(TrackingSamples(**batch))
    size = len(samples.boxes)
    noise = box_noise * torch.rand(size, 1) * (torch.rand(size, 1) < _ERROR_SHARE)
    errors = noise * torch.randn(size, 2)
    errors_before = noise * torch.randn(size, 2)
    boxes = torch.cat([samples.boxes[:, :2] + errors, samples.boxes[:, 2:]], 1)
    start = network.begin(samples.frames, boxes, samples.before, samples.motion + errors - errors_before)

    return JitteredSamples(samples, boxes, errors, start)


def random_flip_samples(samples: TrackingSamples) -> TrackingSamples:
    """Each sample flipped and transposed at random: pictures, events, boxes and motions together.

    Pictures and events may be bytes, which are flipped faster.
    """
    flips = draw_flips(len(samples.boxes))
    flipped = partial(flip_images, flips=flips)
    places, sizes = samples.boxes.split(2, 1)

    return TrackingSamples(
        frames=flipped(samples.frames).float(),
        before=flipped(samples.before).float(),
        events=flipped(samples.events, axis=1).float(),
        boxes=torch.cat([flip_vectors(places, flips), flip_vectors(sizes, flips, signed=False)], 1),
        motion=flip_vectors(samples.motion, flips),
        truths=flip_vectors(samples.truths, flips),
        after=flipped(samples.after).float(),
    )


def detection_objective(detector: TargetDetector, batch: Batch, *, box_noise: float, template_rate: float) -> Result:
    """Error of the detected boxes, cross-entropy of the odds, and likelihood of the spread.

    `batch` is of a `DetectorDataset`; a `box_noise` of 1 is about a sixth of the target's size.
    """
    samples = random_flip(batch)
    samples = swap_background(samples, _SWAP_SHARE)
    samples = jitter_illumination(lower_resolution(jitter_aspect(samples)))
    frame, is_absent = _without_some_targets(samples["frame"], samples["has_target"])

    predicted = jitter_boxes(samples["box"], box_noise)
    first, newest = _templates(detector, samples, predicted, box_noise)
    detection = detector(
        frame, samples["before"], samples["events"], samples["behind"], predicted, first, newest, template_rate
    )

    truth = samples["box"]
    is_present = (~is_absent).float()
    side = patch_side(predicted)
    box_loss, overlap = _box_loss(detection.boxes, truth, side)
    loss = (
        (is_present * box_loss).mean()
        + _PRESENCE_WEIGHT * _presence_loss(detection, predicted, truth, is_present)
        + _spread_loss(detection, truth, is_absent, side)
    )

    return loss, {"overlap": (is_present * overlap).sum() / is_present.sum().clamp(min=1)}


def _templates(detector: TargetDetector, samples: Batch, predicted: Tensor, box_noise: float) -> tuple[Tensor, Tensor]:
    """The first template, and the newest one with an error like that of the predicted box."""
    wrong = correlated_jitter(samples["box_before"], samples["box"], predicted)
    first = detector.template(samples["first"], samples["box_first"])
    newest = detector.template(samples["before"], jitter_boxes(wrong, _TEMPLATE_NOISE * box_noise))
    has_none = torch.rand(len(predicted), 1, 1, 1) < _NO_NEWEST_SHARE

    return first, torch.where(has_none, first, newest)


def _without_some_targets(
    frames: Float[Tensor, "B 1 S S"], has_target: Bool[Tensor, " B"]
) -> tuple[Float[Tensor, "B 1 S S"], Bool[Tensor, " B"]]:
    """The frames, some replaced by that of another sample, and True where the target is absent."""
    is_other = torch.rand(len(frames)) < _ABSENT_SHARE
    return torch.where(is_other[:, None, None, None], frames.roll(1, 0), frames), is_other | ~has_target


def _box_loss(
    boxes: Float[Tensor, "B 4"], truth: Float[Tensor, "B 4"], side: Float[Tensor, " B"]
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Error of the corners in halves of the patch, smooth near 0, with the missing overlap; and the overlap."""
    error = (box_corners(boxes) - box_corners(truth)) / side[:, None] * 2
    overlap = box_overlap(boxes, truth)
    smooth = F.smooth_l1_loss(error, torch.zeros_like(error), beta=0.05, reduction="none")

    return _CORNER_WEIGHT * smooth.mean(1) + 1 - overlap, overlap


def _presence_loss(detection: Detection, predicted: Tensor, truth: Tensor, is_present: Tensor) -> Float[Tensor, ""]:
    """Cross-entropy of the odds, of the samples in which there is a target."""
    side = patch_side(predicted)[:, None]
    place = (box_centers(truth) - box_centers(predicted)) / side * PATCH_SIDE + PATCH_SIDE / 2
    cells = (place - 0.5) / (PATCH_SIDE / detection.odds.shape[-1])
    chosen = is_present > 0

    # a loss of 0 that has a gradient
    return map_presence(detection.odds[chosen], cells[chosen]) if chosen.any() else detection.odds.sum() * 0


def _spread_loss(detection: Detection, truth: Tensor, is_absent: Tensor, side: Tensor) -> Float[Tensor, ""]:
    """Negative log-likelihood of the error of the centre; an absent target has an error of half the patch."""
    error = box_centers(detection.boxes) - box_centers(truth)
    square = torch.where(is_absent, side.square() / 4, error.detach().square().sum(1))
    variance = (detection.spread.square() + _MIN_VARIANCE) / side.square()
    loss = square / side.square() / (2 * variance) + variance.log()

    return _SPREAD_WEIGHT * loss.clamp(max=_MAX_SPREAD_LOSS).mean()


def box_overlap(boxes: Float[Tensor, "*S 4"], others: Float[Tensor, "*R 4"]) -> Float[Tensor, "*Q"]:
    """Intersection over union, 0 to 1, of boxes that broadcast against each other; 0 where both are empty."""
    start = torch.maximum(boxes[..., :2], others[..., :2])
    stop = torch.minimum(boxes[..., :2] + boxes[..., 2:], others[..., :2] + others[..., 2:])
    shared = (stop - start).clamp(min=0).prod(-1)
    union = boxes[..., 2:].prod(-1) + others[..., 2:].prod(-1) - shared

    # the inner condition keeps a division by 0 out of the gradient
    return torch.where(union > 0, shared / union.where(union > 0, torch.ones_like(union)), torch.zeros_like(shared))


def map_presence(
    response: Float[Tensor, "B H W"], centers: Float[Tensor, "B 2"], sigma: float = 1.0
) -> Float[Tensor, ""]:
    """Cross-entropy between the softmax of a map and a Gaussian of `sigma` cells at the true place [nats].

    `centers` are `(x, y)` in cells, `(0, 0)` in the middle of the first one. Outside of the map the nearest cells
    count.
    """
    if not sigma > 0:
        raise ConfigError(f"map_presence needs sigma > 0 cells, but got {sigma}")

    rows, columns = (torch.arange(n, dtype=response.dtype, device=response.device) for n in response.shape[1:])
    square = (rows - centers[:, 1:]).square().unsqueeze(2) + (columns - centers[:, :1]).square().unsqueeze(1)
    wanted = (-square / (2 * sigma**2)).flatten(1).softmax(1)

    return -(wanted * response.flatten(1).log_softmax(1)).sum(1).mean()
