"""A creature on a live stream: bin after bin, with questions in words between them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from research.creature.conversation import Conversation
from research.creature.model import TICKS_A_BIN, Creature
from research.creature.scene import BIN_RATE, BINS_A_FRAME, CreatureScene
from spikebridge.errors import DataError, ShapeError
from spikebridge.hybrid import NetworkState
from spikebridge.networks.reasoning.data.scene import COLORS
from spikebridge.networks.reasoning.parsing.operators import DESCRIBE
from spikebridge.networks.reasoning.parsing.parser import Parser, read_question
from spikebridge.ops.modes import evaluating


@dataclass(frozen=True)
class LiveAnswer:
    """An answer of a live creature, at a time of the stream [s]; the value is None if none, or two, fired."""

    time: float
    text: str
    value: str | None


@dataclass(eq=False)
class LiveCreature:
    """A creature that gets one bin at a time; `followed` is colour, x and y [px] of the object that is asked about."""

    creature: Creature
    parser: Parser | None = None
    followed: tuple[str, float, float] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._talk = Conversation(self.creature)
        self._texts: list[str] = []
        self._state: NetworkState | None = None
        self._bin = 0

    def ask(self, text: str) -> None:
        """Asks a question in words from now on."""
        if self.parser is None:
            raise DataError("a question in words needs a parser; give one, or ask_program")

        question = read_question(self.parser, "live", text)
        if question.kind != "descriptive" or question.program[-1] == DESCRIBE.token:
            raise DataError(f"a creature answers with one word or number, but {text!r} asks for more")

        self.ask_program(question.program, text)

    def ask_program(self, program: Iterable[str], text: str) -> None:
        """Asks a question as postfix tokens, with its text for the answer."""
        self._talk.ask(tuple(program))
        self._texts.append(text)

    def see(self, events: Float[Tensor, "2 H W"], frame: Float[Tensor, "3 H W"] | None = None) -> list[LiveAnswer]:
        """Takes a bin of events (0 or 1), and every 24th bin a frame (0 to 1); returns the answers of the bin."""
        is_due = self._bin % BINS_A_FRAME == 0
        if is_due != (frame is not None):
            wanted = "a frame" if is_due else "no frame"
            raise ShapeError(f"bin {self._bin} needs {wanted}; every {BINS_A_FRAME}th bin has one, from the first on")

        program, runs = self._talk.advance(TICKS_A_BIN)
        frames = torch.zeros(0, 1, 3, *events.shape[1:]) if frame is None else frame[None, None]
        inputs = {"frames": frames, "events": events[None, None], "program": program}

        with evaluating(self.creature), torch.no_grad():
            outputs, self._state = self.creature(inputs, self._state, ticks=TICKS_A_BIN)

        one = outputs["follow"][-1, 0]
        which = one[: len(COLORS)].nonzero().flatten().tolist()
        self.followed = (COLORS[which[0]], float(one[-2]), float(one[-1])) if which else None
        first = self._bin * TICKS_A_BIN
        self._bin = self._bin + 1

        return [
            LiveAnswer(
                run.tick / (BIN_RATE * TICKS_A_BIN) + 1 / BIN_RATE,
                self._texts[run.question],
                self._talk.answer(run, outputs["graph"][run.tick - first, 0]),
            )
            for run in runs
        ]


def converse(
    live: LiveCreature, scene: CreatureScene, asked: Callable[[float], str | None], write: Callable[[str], None]
) -> None:
    """Shows a scene to a creature, asks the questions of each time [s], and writes answers that are new."""
    frames = scene.frames()
    events = scene.events()
    last: tuple[str, str | None] | None = None

    for number, some in enumerate(events):
        if (text := asked(number / BIN_RATE)) is not None:
            try:
                live.ask(text)
            except DataError as reason:
                write(f"{number / BIN_RATE:6.3f} s  {text}  {reason}")

        frame = frames[number // BINS_A_FRAME] if number % BINS_A_FRAME == 0 else None
        for answer in live.see(some, frame):
            if (answer.text, answer.value) != last:
                last = (answer.text, answer.value)
                write(f"{answer.time:6.3f} s  {answer.text}  {answer.value or 'no answer'}")
