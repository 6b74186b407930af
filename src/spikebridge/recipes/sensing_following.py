"""Training what follows between frames: objectives, and samples turned at random.

| objective | what it trains | labels |
|---|---|---|
| `objective` | everything at once | at bins |
| `frames_objective` | the ANN and the head: what changes between two frames shows the way (eq. 8) | at frames |
| `events_objective` | the SNN and its unit, on labels and on the change between two frames | at bins |
| `change_objective` | the SNN and its unit on that change alone, `L_F` (eq. 13) | none |

Boxes are wrong in half of the samples, as a tracker's are. A bin without a label counts for nothing; the last one,
that of the next frame, always has one.

Source: R. Zhao et al., Nature Communications 13:3427 (2022).
"""

from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.networks.sensing import Sensing
from spikebridge.networks.sensing_motion import Start
from spikebridge.networks.sensing_samples import Samples
from spikebridge.networks.tracking_losses import feature_change, feature_size, map_presence
from spikebridge.recipes.sensing_turning import drawn_ways, turned_pairs, turned_pictures

Batch = dict[str, Tensor]
Result = tuple[Tensor, dict[str, Tensor]]


class Shaken(NamedTuple):
    """Samples whose boxes are wrong.

    Args:
        samples: turned at random.
        boxes: as the network is told them.
        here: by how much they are off [px].
        start: what the network makes of them.
    """

    samples: Samples
    boxes: Float[Tensor, "B 4"]
    here: Float[Tensor, "B 2"]
    start: Start


def objective(network: Sensing, batch: Batch, *, shake: float) -> Result:
    """Mean distance between answer and truth, where there is one, rounded off near 0; turned samples, shaken boxes."""
    one = shaken(network, batch, shake)
    places, _ = network.follow(one.samples.frames, one.samples.events, one.boxes, one.start)
    known = one.samples.truths.isfinite().all(-1)
    # chosen first: what is not known would also spoil the gradient of what is
    away = (places + one.here - one.samples.truths)[known].square().sum(-1)
    return (away + 0.25).sqrt().mean(), {"distance_px": away.sqrt().mean()}


def frames_objective(network: Sensing, batch: Batch, *, shake: float, quiet: float = 1e-3) -> Result:
    """`L_c + L_1 + L_R`: where the target is in the next frame, from the change of the ANN's features.

    Args:
        network: of the additive form with a change head.
        batch: samples.
        shake: in half of them boxes are moved, by up to this standard deviation [px].
        quiet: weight of `L_R`; too strong, and the features die.
    """
    one = shaken(network, batch, shake)
    what = network.parts["what"]
    now, after = what(torch.cat([one.samples.frames, one.samples.after])).chunk(2)
    response = network.parts["head"](network.cut(now, one.boxes), after - now)
    places, _ = network.locate(response, torch.ones(len(now)), one.start)
    truth = one.samples.truths[-1] - one.here
    away = (places - truth).square().sum(-1)
    presence = map_presence(response, truth + response.shape[-1] // 2, sigma=network.stride)
    loss = 0.1 * presence + (away + 0.25).sqrt().mean() + quiet * feature_size(now)
    return loss, {"distance_px": away.sqrt().mean()}


def events_objective(network: Sensing, batch: Batch, *, shake: float, alike: float = 1.0) -> Result:
    """`L_1 + L_F`: the answers at every bin, and the change at the last one. The ANN is only looked at.

    Args:
        network: of the additive form.
        batch: samples.
        shake: as above.
        alike: weight of `L_F`.
    """
    loss, shown = objective(network, batch, shake=shake)
    change, _ = change_objective(network, batch)
    return loss + alike * change, {**shown, "change": change}


def change_objective(network: Sensing, batch: Batch) -> Result:
    """`L_F` alone: the unit's change at the end of the interval against that between the two frames. No label is read.

    Args:
        network: of the additive form.
        batch: samples.
    """
    samples = turned(Samples(**batch))
    with torch.no_grad():  # what is aimed at stands still, or the best features were those that never change
        now, after = network.parts["what"](torch.cat([samples.frames, samples.after])).chunk(2)
    loss = feature_change(network.change(samples.events, now)[-1], now, after)
    return loss, {"distance": loss.detach()}


def shaken(network: Sensing, batch: Batch, shake: float) -> Shaken:
    """A batch as the network is told it.

    Args:
        network: makes the start.
        batch: samples.
        shake: half of the boxes are moved, by up to this standard deviation [px].
    """
    samples = turned(Samples(**batch))
    size = len(samples.boxes)
    noise = shake * torch.rand(size, 1) * (torch.rand(size, 1) < 0.5)
    here, before = noise * torch.randn(size, 2), noise * torch.randn(size, 2)
    boxes = torch.cat([samples.boxes[:, :2] + here, samples.boxes[:, 2:]], 1)
    start = network.begin(samples.frames, boxes, samples.before, samples.motion + here - before)
    return Shaken(samples, boxes, here, start)


def turned(samples: Samples) -> Samples:
    """Each sample as it is, mirrored, or with rows and columns swapped, at random: pictures, boxes and ways together.

    Args:
        samples: of one batch; pictures and events may be bytes, which are turned faster.
    """
    ways = drawn_ways(len(samples.boxes))
    pictures = partial(turned_pictures, ways=ways)
    places, sizes = samples.boxes.split(2, 1)
    return Samples(
        frames=pictures(samples.frames).float(),
        before=pictures(samples.before).float(),
        events=pictures(samples.events, axis=1).float(),
        boxes=torch.cat([turned_pairs(places, ways), turned_pairs(sizes, ways, signed=False)], 1),
        motion=turned_pairs(samples.motion, ways),
        truths=turned_pairs(samples.truths, ways),
        after=pictures(samples.after).float(),
    )
