"""Families of generated scenes that differ from training data in one property each.

A family draws its scenes from a seed: size and speed of the target vary in all of them, and one property is its own.
`scene_seeds` splits the seeds into train, validation and test scenes.

| family | its own property |
|---|---|
| plain | `MovingObjects` with two distractors |
| dim | a tenth to a quarter of the light |
| deforming | an object that tumbles and changes its outline (`TumblingObjects`) |
| textured | fine texture of high contrast on target and background |
| uniform | a target of nearly one grey |
| distractors | three objects that go with the target, beside it |
| smooth | steady speed, no stops |
| jerky | displaced by several pixels, several times a second |
| small, large | a sensor of 88 x 88 or 232 x 176 pixels, and targets to match |
| high-thresholds, noisy | event pixels with high thresholds; with low ones, leak and noise |
| moving-camera | the background moves by 40 px to each side |
| long-exposure | frames blurred by an exposure of 12 ms |

A family measures the effect of one property. In a `varied` scene all of them are drawn at once, for training: to a
network trained on many unlike cameras a real one is one more of them (J. Tobin et al., IROS 2017, domain
randomization). `dark` scenes are drawn likewise, with less light, more contrast of textures, faster motion, longer
exposures and noisy frames. `photographs` are drawn as varied scenes, with parts of real photographs as target,
distractors and background; those of train, validation and test scenes differ (`data/images/photographs.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import exp, log
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

from spikebridge.data.images.photographs import photograph_texture
from spikebridge.data.recordings.recording import Recording
from spikebridge.data.simulation.event_camera import EventCamera
from spikebridge.data.simulation.moving_objects import MovingObjects
from spikebridge.data.simulation.render import FrameCamera, Stimulus, render_recording, split_of_seed
from spikebridge.data.simulation.textures import canvas_size, fractal_noise
from spikebridge.data.simulation.tumbling_objects import TumblingObjects
from spikebridge.errors import ConfigError, did_you_mean

_DT = 1 / 240
_CAMERA = EventCamera()
_SENSORS = ((112, 112), (144, 144), (144, 144), (144, 192))  # rows and columns of varied scenes
_DARK = "dark"
_PHOTOGRAPHS = "photographs"
_BRIGHT_QUANTILE = 0.99  # of the intensities of a dark scene: its brightest parts


class _Ranges(NamedTuple):
    """Ranges of the properties of scenes of which a seed draws everything."""

    number: int  # of the generator
    speed: tuple[float, float]  # of the target [its sizes a second]
    light: tuple[float, float]  # share of the light; of dark scenes the intensity of their brightest parts
    gamma: tuple[float, float]  # exponent of intensities
    exposure: tuple[float, float]  # of frames; none below 0 [s]
    frame_noise: tuple[float, float]  # standard deviation [grey levels]


# scenes of which a seed draws everything; they are none of `SCENE_FAMILIES`
_DRAWN = {
    "varied": _Ranges(20, (2, 10), (0.4, 1.0), (0.6, 2.2), (-0.008, 0.012), (0, 0)),
    _DARK: _Ranges(21, (3, 14), (0.15, 1.0), (1.5, 4.0), (-0.008, 0.016), (0.3, 3)),
    _PHOTOGRAPHS: _Ranges(22, (2, 10), (0.4, 1.0), (0.7, 1.6), (-0.008, 0.012), (0, 2)),
}


@dataclass(frozen=True, eq=False)
class _Photographed:
    """A scene through optics: other light, other contrast between dark and bright, out of focus."""

    scene: Stimulus
    light: float  # share
    gamma: float = 1.0  # exponent of intensities; above 1 most of the image is dark, and some of it is bright
    blur: float = 0.0  # standard deviation of the defocus [px]

    @property
    def height(self) -> int:
        """Rows of the image."""
        return self.scene.height

    @property
    def width(self) -> int:
        """Columns of the image."""
        return self.scene.width

    def image(self, t: float) -> Float[np.ndarray, "H W"]:
        """The image at a time [s]."""
        image = np.minimum(self.light * self.scene.image(t) ** self.gamma, 1.0)
        return gaussian_filter(image, self.blur, truncate=2.5) if self.blur > 0.3 else image

    def box(self, t: float) -> Float[np.ndarray, "4"]:
        """The box of the target at a time [s]."""
        return self.scene.box(t)


class _Setup(NamedTuple):
    """A scene before a camera."""

    scene: Stimulus
    events: EventCamera = _CAMERA
    exposure: float = 0.0


def family_recording(family: str, seed: int, seconds: float = 0.5, frame_rate: float = 40.0) -> Recording:
    """A scene of a family, or a "varied", "dark" or "photographs" one, with bins and boxes at 240 Hz."""
    check_family(family)
    if family in _DRAWN:
        return _drawn(family, seed, seconds, frame_rate)

    generator = np.random.default_rng([seed, SCENE_FAMILIES.index(family)])
    size = float(generator.uniform(18, 36))
    speed = float(generator.uniform(100, 320))
    setup = _FAMILIES[family](MovingObjects(seed=seed, size=size, speed=speed), generator)
    frames = FrameCamera(frame_rate, setup.exposure)

    return render_recording(setup.scene, seconds, _DT, _DT / 2, setup.events, frames, seed, name=f"{family} {seed}")


def check_family(family: str) -> None:
    """Refuses a name that is no family of scenes."""
    if family not in (known := (*SCENE_FAMILIES, *_DRAWN)):
        raise ConfigError(f"there is no family of scenes {family!r}: {did_you_mean(family, known)}")


def _drawn(family: str, seed: int, seconds: float, frame_rate: float) -> Recording:
    """A scene of which the seed draws look, light, motion, optics and pixels of the event camera."""
    ranges = _DRAWN[family]
    generator = np.random.default_rng([seed, ranges.number])
    uniform = generator.uniform
    height, width = _SENSORS[generator.integers(len(_SENSORS))]
    size = _log_uniform(generator, 14, 0.36 * height)

    scene = TumblingObjects(
        height=height,
        width=width,
        seed=seed,
        size=size,
        speed=size * _log_uniform(generator, *ranges.speed),
        num_distractors=int(generator.integers(0, 6)),
        num_panels=int(generator.integers(0, 10)),
        scale_change=uniform(1, 1.6),
        light_change=uniform(0, 0.3),
        camera_motion=_log_uniform(generator, 2, 40),
        turning=uniform(0, 1.2),
        tumbling=uniform(0, 1),
        leaves=True,
    )
    if family == _PHOTOGRAPHS:
        scene = with_photographs(scene)

    light = _log_uniform(generator, *ranges.light)
    gamma = _log_uniform(generator, *ranges.gamma)
    if family == _DARK:
        light /= float(np.quantile(scene.image(0.0) ** gamma, _BRIGHT_QUANTILE))

    photographed = _Photographed(scene, light, gamma, blur=uniform(0, 0.8))
    threshold = _log_uniform(generator, 0.1, 0.5)
    camera = EventCamera(
        threshold_mean=threshold,
        threshold_sd=threshold * uniform(0.05, 0.3),
        log_offset=_log_uniform(generator, 2, 16) / 255,
        refractory=uniform(0, 1e-3),
        leak=uniform(0, 1),
        shot_noise=_log_uniform(generator, 0.1, 8),
        first_event_per_group=1 / frame_rate if generator.random() < 0.3 else None,
    )

    exposure = max(0.0, uniform(*ranges.exposure))
    noise = uniform(*ranges.frame_noise)
    frames = FrameCamera(frame_rate, exposure, noise)

    return render_recording(photographed, seconds, _DT, _DT / 2, camera, frames, seed, name=f"{family} {seed}")


def with_photographs(scene: TumblingObjects) -> TumblingObjects:
    """A scene with parts of photographs as target, distractors and background, those of the split of its seed."""
    generator = np.random.default_rng([scene.seed, 3])
    split = split_of_seed(scene.seed)
    # the middle third of a texture is visible at first
    side = round(3 * scene.size)
    canvas = photograph_texture(split, *canvas_size(scene.height, scene.width, scene.camera_motion), generator)
    parts = (photograph_texture(split, side, side, generator) for _ in range(1 + scene.num_distractors))

    return replace(scene, textures=tuple(parts), background=canvas)


def _log_uniform(generator: np.random.Generator, low: float, high: float) -> float:
    return exp(generator.uniform(log(low), log(high)))


def _dim(scene: MovingObjects, generator: np.random.Generator) -> _Setup:
    return _Setup(_Photographed(scene, generator.uniform(0.1, 0.25)))


def _deforming(scene: MovingObjects, generator: np.random.Generator) -> _Setup:
    tumbling = generator.uniform(0.6, 1.0)
    return _Setup(TumblingObjects(seed=scene.seed, size=scene.size, speed=scene.speed, tumbling=tumbling))


def _textured(scene: MovingObjects, generator: np.random.Generator) -> _Setup:
    side = round(scene.size)
    texture = fractal_noise(side, side, generator, largest=4, smallest=1)
    background = fractal_noise(scene.height + 24, scene.width + 24, generator, largest=8, smallest=1)
    return _Setup(replace(scene, texture=texture, background=background))


def _uniform(scene: MovingObjects, generator: np.random.Generator) -> _Setup:
    grey = generator.choice([0.15, 0.85])
    return _Setup(replace(scene, texture=np.clip(grey + generator.normal(0, 0.02, (8, 8)), 0, 1)))


_Family: TypeAlias = Callable[[MovingObjects, np.random.Generator], _Setup]


def _resized(height: int, width: int, factor: float) -> _Family:
    def setup(scene: MovingObjects, generator: np.random.Generator) -> _Setup:
        size = factor * scene.size
        speed = factor * scene.speed
        return _Setup(replace(scene, height=height, width=width, size=size, speed=speed))

    return setup


def _changed(events: EventCamera = _CAMERA, exposure: float = 0.0, **settings: Any) -> _Family:
    return lambda scene, _: _Setup(replace(scene, **settings), events, exposure)


_FAMILIES: dict[str, _Family] = {
    "plain": _changed(),
    "dim": _dim,
    "deforming": _deforming,
    "textured": _textured,
    "uniform": _uniform,
    "distractors": _changed(num_distractors=3, beside=True),
    "smooth": _changed(stops=0.0),
    "jerky": _changed(jitter=5.0),
    "small": _resized(88, 88, 0.6),
    "large": _resized(176, 232, 1.3),
    "high-thresholds": _changed(EventCamera(threshold_mean=0.5, threshold_sd=0.08)),
    "noisy": _changed(EventCamera(threshold_mean=0.12, threshold_sd=0.04, leak=2.0, shot_noise=4.0)),
    "moving-camera": _changed(camera_motion=40.0),
    "long-exposure": _changed(exposure=0.012),
}
SCENE_FAMILIES = tuple(_FAMILIES)
