"""The inputs that a page offers, and the front end that makes the inputs of a network of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from numpy.typing import NDArray

from spikebridge.deploy.streaming.activity import VoiceActivity


@dataclass(frozen=True)
class FrontEnd:
    """A front end for a page: `outputs, state = arrays(a, inputs, state)`, a block at a time.

    Args:
        arrays: the front end, for any arithmetic of `deploy.front_ends`.
        start: gives the state before the first block, tuples of arrays.
        ticks: base ticks of the network a block; outputs have a row for each sample of their clock in it.
        window: blocks after which everything starts again; 0 never does.
        activity: detector of utterances, with each of which everything starts again.
    """

    arrays: Callable[[Any, dict[str, Any], Any], tuple[Mapping[str, Any], Any]]
    inputs: Mapping[str, tuple[int, ...]]
    start: Callable[[], Any]
    ticks: int = 1
    window: int = 0
    activity: VoiceActivity | None = None


@dataclass(frozen=True)
class Slider:
    """A number that a visitor sets: an input of the front end, such as noise."""

    name: str
    label: str
    value: float
    high: float


@dataclass(frozen=True)
class WebInputs:
    """The inputs of a page.

    Args:
        kind: "numbers" (the bundle's sample, or a file of numbers), "drawing", "sound", "motion", or "tasks".
        front_end: makes the inputs of the network; without it they are numbers of a file or sample.
        rate_hz: samples a second of sound or motion.
        grid: rows and columns of a drawing.
        sliders: numbers that the visitor sets.
        restart: base ticks of a recording of a drawing, after which the network starts again.
        slowdown: the time that a second of the network takes on the page [s].
        recency: weight of the logits of an answer, relative to those of the answer before.
        answer: the output whose values are the scores of classes; None if there is none.
        examples: drawings or pictures to begin with, flat, from 0 to 1.
        tasks: an order of the values of the input for each task.
        phone: factors from the units of a browser (m/s^2, then degrees/s) to those of the channels of motion.
    """

    kind: Literal["numbers", "drawing", "sound", "motion", "tasks"] = "numbers"
    front_end: FrontEnd | None = None
    title: str = ""
    about: str = ""
    rate_hz: float | None = None
    channels: Sequence[str] = ()
    grid: tuple[int, int] = (0, 0)
    sliders: Sequence[Slider] = ()
    restart: int | None = None
    slowdown: float = 1.0
    recency: float = 1.0
    answer: str | None = None
    classes: Sequence[str] = ()
    networks: Mapping[str, str] = field(default_factory=dict)
    examples: Sequence[NDArray[Any]] = ()
    tasks: Sequence[Sequence[int]] = ()
    phone: Sequence[float] = ()
