"""The simulated hybrid camera before a drawing, in arrays: what a page feeds to the networks of the digits recipe.

The camera moves along the triangle of `data.simulation.saccades` again and again. Frames have noise that is close to a
normal distribution; every pixel has thresholds of its own, and events get lost and appear by chance, as in training.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from spikebridge.data.images.digits import load_digits
from spikebridge.data.simulation.event_camera import EventCamera, event_counts
from spikebridge.data.simulation.saccades import DIGIT_CAMERA, Saccades, triangle_path
from spikebridge.deploy.front_ends.arrays import Values
from spikebridge.deploy.web.inputs import FrontEnd, Slider, WebInputs
from spikebridge.networks.digits.model import VARIANTS

_LABELS = {"noise": "noise of frames", "event_loss": "events lost", "spurious": "false events"}
_HIGHEST = {"noise": 2.0, "event_loss": 1.0, "spurious": 0.2}
_BLOCK = 4  # rows and columns of a drawing for one pixel of the small digits


class _CameraState(NamedTuple):
    """The step in a recording, log intensities of the last events, and seeds of every pixel."""

    step: Values
    reference: Values
    frame_seeds: Values
    loss_seeds: Values
    spurious_seeds: Values


@dataclass(frozen=True)
class _DrawingCamera:
    """A hybrid camera before a drawing, a step at a time.

    Args:
        saccades: motion and sampling rates.
        camera: thresholds and dark current.
        image: rows and columns of the image that the networks were trained on.
        grid: rows and columns of the drawing; a pixel of the image is the mean of a block of it.
        seed: of thresholds and noise.
    """

    saccades: Saccades
    camera: EventCamera
    image: int
    grid: int
    seed: int = 0

    @property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the drawing, from 0 to 1, and of the settings."""
        return {"drawing": (self.grid, self.grid), "noise": (1,), "event_loss": (1,), "spurious": (1,)}

    def start(self) -> _CameraState:
        """The state before the first step."""
        size = self.saccades.sensor
        chance = np.random.default_rng(self.seed)

        def seeds(*shape: int) -> NDArray[np.float64]:
            return chance.integers(1, 2**31 - 1, shape).astype(np.float64)

        zeros = np.zeros((size, size))
        return _CameraState(np.zeros(()), zeros, seeds(size, size), seeds(2, size, size), seeds(2, size, size))

    def arrays(self, a: Any, inputs: dict[str, Values], state: _CameraState) -> tuple[dict[str, Values], _CameraState]:
        """One step of the camera in the arrays of an arithmetic: `frames` `(1, H, W)` and `events` `(1, 2, H, W)`."""
        block = self.grid // self.image
        drawing = inputs["drawing"].reshape(self.image, block, self.image, block)
        image = a.mean(a.mean(drawing, 3), 1)
        view = self._view(a, image, state.step)
        following = self._view(a, image, state.step + 1.0)

        # a recording begins with a camera at rest
        offset = self.camera.log_offset
        reference = a.where(state.step < 0.5, a.log(view + offset), state.reference)
        thresholds = self._thresholds()
        on, off = event_counts(a.log(following + offset) - reference, thresholds[0], thresholds[1])
        reference = reference + on * thresholds[0] - off * thresholds[1]

        normal, frame_seeds = a.normal(state.frame_seeds)
        frames = view + inputs["noise"] * normal
        events = a.minimum(a.concatenate([on[None], off[None]]), 1.0)
        draw, loss_seeds = a.uniform(state.loss_seeds)
        events = a.where(draw < inputs["event_loss"], 0.0, events)
        draw, spurious_seeds = a.uniform(state.spurious_seeds)
        events = a.where(draw < inputs["spurious"], 1.0, events)

        step = a.where(state.step > self.saccades.num_steps - 1.5, 0.0, state.step + 1.0)
        after = _CameraState(step, reference, frame_seeds, loss_seeds, spurious_seeds)
        return {"frames": frames[None], "events": events[None]}, after

    def _thresholds(self) -> NDArray[np.float64]:
        size = self.saccades.sensor
        camera = self.camera
        spread = np.random.default_rng(self.seed + 1).standard_normal((2, size, size))
        return np.maximum(camera.threshold_mean + camera.threshold_sd * spread, camera.threshold_floor)

    def _view(self, a: Any, image: Values, step: Values) -> Values:
        """The image on the sensor at a step of the path: bilinear, black outside."""
        saccades = self.saccades
        progress = torch.linspace(0, 1, saccades.num_steps + 1, dtype=torch.float64)
        start = torch.zeros(1, dtype=torch.float64)
        path = triangle_path(progress, start, torch.full((1,), saccades.side, dtype=torch.float64))[:, 0].numpy()
        places = np.arange(len(path), dtype=np.float64)
        shift = a.dot(a.where(abs(step - places) < 0.5, 1.0, 0.0), path)

        rows = self._weights(a, shift[1])
        columns = self._weights(a, shift[0])
        by_rows = a.sum(rows[:, :, None] * image[None], 1)
        return a.sum(by_rows[:, None] * columns[None], 2)

    def _weights(self, a: Any, shift: Values) -> Values:
        """The weight of every row of the image in every row of the sensor, `(H, h)`."""
        size = self.saccades.sensor
        scale = (size - 2 * self.saccades.border) / self.image
        centres = (np.arange(size)[:, None] + 0.5 - size / 2) / scale + (self.image - 1) / 2
        distance = abs(centres - shift / scale - np.arange(self.image, dtype=np.float64))

        return a.maximum(1.0 - distance, 0.0)


def drawn_digits(saccades: Saccades, image: int, noise: Mapping[str, float]) -> WebInputs:
    """The inputs of a page of digits of `image` rows and columns; `noise` has the values of the sliders at first."""
    digits = load_digits().test
    block = _BLOCK if image == digits.images.shape[1] else 1
    camera = _DrawingCamera(saccades, DIGIT_CAMERA, image, block * image)
    examples = [digits.images[digits.labels == digit][0].numpy() for digit in range(10)]

    return WebInputs(
        kind="drawing",
        front_end=FrontEnd(camera.arrays, camera.inputs, camera.start),
        title="Digits before a hybrid camera",
        about="Draw a digit. It moves before a simulated camera: an ANN reads noisy frames, an SNN reads events.",
        grid=(camera.grid, camera.grid),
        sliders=[Slider(name, _LABELS[name], value, _HIGHEST[name]) for name, value in noise.items()],
        restart=saccades.num_steps,
        answer="answer",
        classes=[str(digit) for digit in range(10)],
        networks=VARIANTS,
        # the small digits are means of blocks of a drawing
        examples=[np.kron(one, np.ones((block, block))).ravel() for one in examples] if block > 1 else (),
    )
