"""Films of photographs: frames alone, 30 a second, as ordinary clips."""

from typing import Any

import numpy as np

from research.sensing.variants.panned_picture import PannedPicture
from spikebridge.data.images.photographs import photograph_texture
from spikebridge.data.recordings.recording import Recording
from spikebridge.data.simulation.event_camera import EventCamera
from spikebridge.data.simulation.families import with_photographs
from spikebridge.data.simulation.render import FrameCamera, Stimulus, render_recording, scene_seeds, split_of_seed
from spikebridge.data.simulation.tumbling_objects import TumblingObjects
from spikebridge.networks.sensing.data import RecordingPart

_RATE = 30.0
_SECONDS = 2.0
_SENSOR = (180, 240)
# ranges of the logarithms of: size [px], speed [sizes a second], motion of the camera [px]
_SIZES = (16.0, 64.0)
_SPEEDS = (0.3, 4.0)
_CAMERA = (2.0, 60.0)


def film_parts(split: str, num_films: int) -> list[RecordingPart]:
    """Films of two seconds; the split is that of the photographs, too. It needs the extra `photographs`.

    In every second film parts of photographs move over another one; in the others the target is a part of the
    photograph before which the camera moves, turns and zooms.
    """
    films = [_film(seed, is_panned=number % 2 > 0) for number, seed in enumerate(scene_seeds(split, num_films))]
    return [RecordingPart(film, range(1, film.num_frames)) for film in films]


def _film(seed: int, is_panned: bool) -> Recording:
    generator = np.random.default_rng([seed, 2])
    uniform = generator.uniform
    size, pace, camera = (float(np.exp(uniform(*np.log(limits)))) for limits in (_SIZES, _SPEEDS, _CAMERA))
    height, width = _SENSOR

    drawn: dict[str, Any] = {
        "height": height,
        "width": width,
        "seed": seed,
        "size": size,
        "speed": pace * size,
        "scale_change": uniform(1, 2),
        "light_change": uniform(0, 0.3),
        "turning": uniform(0, 1.5),
        "tumbling": uniform(0, 1),
    }

    scene: Stimulus
    if is_panned:
        scene = PannedPicture(photograph_texture(split_of_seed(seed), 2 * height, 2 * width, generator), **drawn)
    else:
        others = int(generator.integers(0, 5))
        scene = with_photographs(TumblingObjects(**drawn, num_distractors=others, camera_motion=camera))

    # thresholds that nothing crosses: no events
    blind = EventCamera(threshold_mean=1e3)
    frames = FrameCamera(_RATE, noise=uniform(0, 3))
    dt = 1 / _RATE

    return render_recording(scene, _SECONDS, dt, dt, blind, frames, seed, name=f"film {seed}")
