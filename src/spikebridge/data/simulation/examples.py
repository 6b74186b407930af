"""Small recordings and samples to begin with; `spikebridge data make` writes them."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from spikebridge.data.events.binned import bin_sparse
from spikebridge.data.events.events import make_events
from spikebridge.data.images.digits import load_digits
from spikebridge.data.images.labelled import LabelledImages
from spikebridge.data.recordings.recording import Recording
from spikebridge.data.simulation.families import family_recording
from spikebridge.data.simulation.moving_objects import MovingObjects
from spikebridge.data.simulation.render import render_recording
from spikebridge.data.simulation.saccades import Saccades, hybrid_camera
from spikebridge.errors import ConfigError

_DT = 1 / 240
_DIGIT_SACCADES = Saccades(num_steps=12, frame_period=3, dt=0.025)  # those of the digits recipe


def moving_object(seconds: float = 1.0, seed: int = 0, family: str | None = None) -> Recording:
    """An object of 32 px at 250 px/s before a textured background, 144 x 144 pixels, or a scene of a family.

    Frames come at 40 Hz, boxes at 240 Hz; the recording lasts at most 60 s.
    """
    _check_seconds(seconds)
    if family is not None:
        return family_recording(family, seed, seconds)

    scene = MovingObjects(seed=seed)
    return render_recording(scene, seconds, _DT, image_interval=_DT / 2, seed=seed, name="moving object")


def moving_digit(seconds: float = 0.3, seed: int = 0) -> Recording:
    """A digit of the test set before the simulated camera of the digits recipe: 16 x 16 pixels, without noise.

    The camera moves around a triangle in 0.3 s; `seconds` is rounded to full rounds, at most 60.
    """
    _check_seconds(seconds)
    saccades = _DIGIT_SACCADES
    generator = torch.Generator().manual_seed(seed)
    test = load_digits().test
    index = torch.randint(len(test.labels), (1,), generator=generator)
    digit = test.select(index)
    num_rounds = max(1, round(seconds / (saccades.num_steps * saccades.dt)))
    rounds = [hybrid_camera(digit.images, digit.labels, generator, saccades) for _ in range(num_rounds)]

    frames = torch.cat([one.frames[:, 0, 0] for one in rounds])
    counts = torch.cat([one.events[:, 0] for one in rounds])

    return _as_recording(frames, counts, saccades, f"digit {index.item()}")


def task_digits(num_images: int = 400, seed: int = 0) -> LabelledImages:
    """Test digits of scikit-learn in the format of MNIST: 20 x 20 pixels in the middle of 28 x 28."""
    test = load_digits().test
    if not 1 <= num_images <= len(test.labels):
        raise ConfigError(f"there are {len(test.labels)} test digits: take 1 to {len(test.labels)}, not {num_images}")

    order = torch.randperm(len(test.labels), generator=torch.Generator().manual_seed(seed))
    digits = test.select(order[:num_images])
    enlarged = F.interpolate(digits.images[:, None], (20, 20), mode="bicubic", align_corners=False).clamp(0, 1)

    return LabelledImages(F.pad(enlarged[:, 0], (4, 4, 4, 4)), digits.labels)


def _check_seconds(seconds: float) -> None:
    if not 0.1 <= seconds <= 60:
        raise ConfigError(f"a recording is 0.1 to 60 seconds long, but got {seconds}")


def _as_recording(frames: Tensor, counts: Tensor, saccades: Saccades, name: str) -> Recording:
    """A recording of frames in [0, 1] `(F, H, W)` and numbers of ON and OFF events `(T, 2, H, W)`, without boxes."""
    steps, polarities, rows, columns = counts.numpy().nonzero()
    times = ((steps + 0.5) * saccades.dt * 1e6).astype(np.int64)
    order = np.argsort(times, kind="stable")
    events = make_events(*(values[order] for values in (times, columns, rows, polarities == 0)))
    bins = bin_sparse(events, saccades.sensor, saccades.sensor, saccades.dt, len(counts))
    frame_bins = np.arange(len(frames)) * saccades.frame_period

    return Recording(
        name=name,
        dt=saccades.dt,
        events=bins,
        frames=(frames * 255).round().byte().numpy(),
        frame_times=frame_bins * saccades.dt,
        frame_events=bins.edges[frame_bins].astype(np.int64),
        frame_boxes=np.full((len(frames), 4), np.nan),
        boxes=np.full((len(counts), 4), np.nan),
    )
