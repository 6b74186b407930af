"""Objectives of training: of the pathways between frames, and of the target detector.

| objective | what it trains | labels |
|---|---|---|
| `tracking_objective` | everything at once | at bins |
| `frames_objective` | the ANN and the head, on the change between two frames (eq. 8) | at frames |
| `events_objective` | the SNN and its unit, on labels and on the change between two frames | at bins |
| `change_objective` | the SNN and its unit on that change alone, `L_F` (eq. 13) | none |

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
from jaxtyping import Float
from torch import Tensor

from spikebridge.networks.sensing.model.detector import PATCH_SIDE, Detection, TargetDetector, patch_side
from spikebridge.networks.sensing.model.losses import box_overlap, feature_change, feature_size, map_presence
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


class _JitteredSamples(NamedTuple):
    """Samples with errors of their boxes.

    Args:
        samples: flipped at random.
        boxes: as the network gets them.
        here: their errors [px].
        start: the motion prior that the network makes of them.
    """

    samples: TrackingSamples
    boxes: Float[Tensor, "B 4"]
    here: Float[Tensor, "B 2"]
    start: MotionPrior


def tracking_objective(
    network: Sensing, batch: Batch, *, box_noise: float, lose_events: float = 0.0, contrast: float = 0.0
) -> Result:
    """Mean distance between answer and truth, where there is one, smooth near 0; flipped samples, boxes with noise.

    Args:
        network: of any form.
        batch: samples.
        box_noise: half of the boxes are moved, by up to this standard deviation [px].
        lose_events: largest share of the events of a sample that are removed.
        contrast: largest change of the contrast of the frames of a sample, as a logarithm.
    """
    one = jitter_samples(network, vary_camera(batch, lose_events, contrast), box_noise)
    places, _ = network.track(one.samples.frames, one.samples.events, one.boxes, one.start)
    known = one.samples.truths.isfinite().all(-1)

    # chosen first: what is not known would also spoil the gradient of what is
    away = (places + one.here - one.samples.truths)[known].square().sum(-1)
    return (away + 0.25).sqrt().mean(), {"distance_px": away.sqrt().mean()}


def frames_objective(network: Sensing, batch: Batch, *, box_noise: float, quiet: float = 1e-3) -> Result:
    """`L_c + L_1 + L_R`: where the target is in the next frame, from the change of the ANN's features.

    Args:
        network: of the additive form with a change head.
        batch: samples.
        box_noise: in half of them boxes are moved, by up to this standard deviation [px].
        quiet: weight of `L_R`; too strong, and the features die.
    """
    one = jitter_samples(network, batch, box_noise)
    what = network.parts["what"]
    now, after = what(torch.cat([one.samples.frames, one.samples.after])).chunk(2)
    response = network.parts["head"](network.cut(now, one.boxes), after - now)
    places, _ = network.locate(response, torch.ones(len(now)), one.start)
    truth = one.samples.truths[-1] - one.here
    away = (places - truth).square().sum(-1)
    presence = map_presence(response, truth + response.shape[-1] // 2, sigma=network.stride)
    loss = 0.1 * presence + (away + 0.25).sqrt().mean() + quiet * feature_size(now)

    return loss, {"distance_px": away.sqrt().mean()}


def events_objective(network: Sensing, batch: Batch, *, box_noise: float, alike: float = 1.0) -> Result:
    """`L_1 + L_F`: the answers at every bin, and the change at the last one. The ANN is only looked at.

    Args:
        network: of the additive form.
        batch: samples.
        box_noise: as above.
        alike: weight of `L_F`.
    """
    loss, shown = tracking_objective(network, batch, box_noise=box_noise)
    change, _ = change_objective(network, batch)

    return loss + alike * change, {**shown, "change": change}


def change_objective(network: Sensing, batch: Batch) -> Result:
    """`L_F` alone: the unit's change at the end of the interval against that between the two frames. No label is read.

    Args:
        network: of the additive form.
        batch: samples.
    """
    samples = random_flip_samples(TrackingSamples(**batch))
    with torch.no_grad():  # what is aimed at stands still, or the best features were those that never change
        now, after = network.parts["what"](torch.cat([samples.frames, samples.after])).chunk(2)

    loss = feature_change(network.change(samples.events, now)[-1], now, after)
    return loss, {"distance": loss.detach()}


def jitter_samples(network: Sensing, batch: Batch, box_noise: float) -> _JitteredSamples:
    """A batch with errors of its boxes.

    Args:
        network: makes the motion prior.
        batch: samples.
        box_noise: half of the boxes are moved, by up to this standard deviation [px].
    """
    samples = random_flip_samples(TrackingSamples(**batch))
    size = len(samples.boxes)
    noise = box_noise * torch.rand(size, 1) * (torch.rand(size, 1) < 0.5)
    here = noise * torch.randn(size, 2)
    before = noise * torch.randn(size, 2)
    boxes = torch.cat([samples.boxes[:, :2] + here, samples.boxes[:, 2:]], 1)
    start = network.begin(samples.frames, boxes, samples.before, samples.motion + here - before)

    return _JitteredSamples(samples, boxes, here, start)


def random_flip_samples(samples: TrackingSamples) -> TrackingSamples:
    """Each sample flipped and transposed at random: pictures, events, boxes and motions together.

    Args:
        samples: of one batch; pictures and events may be bytes, which are turned faster.
    """
    ways = draw_flips(len(samples.boxes))
    pictures = partial(flip_images, ways=ways)
    places, sizes = samples.boxes.split(2, 1)

    return TrackingSamples(
        frames=pictures(samples.frames).float(),
        before=pictures(samples.before).float(),
        events=pictures(samples.events, axis=1).float(),
        boxes=torch.cat([flip_vectors(places, ways), flip_vectors(sizes, ways, signed=False)], 1),
        motion=flip_vectors(samples.motion, ways),
        truths=flip_vectors(samples.truths, ways),
        after=pictures(samples.after).float(),
    )


_ABSENT_SHARE = 0.1
_FIRST_TEMPLATE_SHARE = 0.15  # of the samples, the first template in place of the newest


def detection_objective(
    detector: TargetDetector,
    batch: dict[str, Tensor],
    *,
    box_noise: float,
    background_swaps: float,
    template_error: float,
    a: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Error of the detected boxes, cross-entropy of the odds, and likelihood of the spread.

    Args:
        detector: what is trained.
        batch: of a `DetectorDataset`.
        box_noise: errors of the predicted boxes; 1 is about a sixth of the target's size.
        background_swaps: share of the samples with the background of another one.
        template_error: the newest template is wrong by up to this share of the error of the predicted box.
        a: share of the newest template.
    """
    one = jitter_illumination(lower_resolution(jitter_aspect(swap_background(random_flip(batch), background_swaps))))
    now, absent = _without_some(one["now"], one["is_there"])
    predicted = jitter_boxes(one["box"], box_noise)
    wrong = correlated_jitter(one["box_before"], one["box"], predicted, template_error)
    first = detector.template(one["given"], one["box_given"])
    newest = detector.template(one["before"], jitter_boxes(wrong, 0.3 * box_noise))
    newest = torch.where(torch.rand(len(now), 1, 1, 1) < _FIRST_TEMPLATE_SHARE, first, newest)
    found = detector(now, one["before"], one["events"], one["behind"], predicted, first, newest, a)
    there = (~absent).float()
    side = patch_side(predicted)
    away = (box_corners(found.boxes) - box_corners(one["box"])) / side[:, None] * 2
    overlap = box_overlap(found.boxes, one["box"])
    off = box_centers(found.boxes) - box_centers(one["box"])
    place = 10 * F.smooth_l1_loss(away, torch.zeros_like(away), beta=0.05, reduction="none").mean(1) + 1 - overlap

    loss = (
        (there * place).mean()
        + 0.1 * _presence(found, predicted, one["box"], there)
        + _spread_likelihood(found, off, absent, side)
    )
    return loss, {"overlap": (there * overlap).sum() / there.sum().clamp(min=1)}


def _presence(found: Detection, predicted: Tensor, truth: Tensor, there: Tensor) -> Tensor:
    """Cross-entropy of the odds, of the samples in which there is a target."""
    side = patch_side(predicted)[:, None]
    inside = (box_centers(truth) - box_centers(predicted)) / side * PATCH_SIDE + PATCH_SIDE / 2
    cells = (inside - 0.5) / (PATCH_SIDE / found.odds.shape[-1])
    chosen = there > 0

    return map_presence(found.odds[chosen], cells[chosen]) if chosen.any() else found.odds.sum() * 0


def _spread_likelihood(found: Detection, off: Tensor, absent: Tensor, side: Tensor) -> Tensor:
    """Negative log-likelihood of the error of the centre; a missing target has an error of half the patch."""
    square = torch.where(absent, side.square() / 4, off.detach().square().sum(1))
    spread = (found.spread.square() + 0.25) / side.square()
    return 0.1 * (square / side.square() / (2 * spread) + spread.log()).clamp(max=50).mean()


def _without_some(now: Tensor, is_there: Tensor) -> tuple[Tensor, Tensor]:
    """Replaces the picture of some samples by another one; returns where the target is missing."""
    other = torch.rand(len(now)) < _ABSENT_SHARE
    return torch.where(other[:, None, None, None], now.roll(1, 0), now), other | ~is_there
