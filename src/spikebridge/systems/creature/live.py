"""A creature on a live stream: bin after bin, with questions in words between them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.errors import DataError, ShapeError
from spikebridge.hybrid import NetworkState
from spikebridge.networks.reasoning.data.scene import COLORS
from spikebridge.networks.reasoning.parsing.operators import DESCRIBE
from spikebridge.networks.reasoning.parsing.parser import Parser, read_question
from spikebridge.systems.creature.conversation import Conversation
from spikebridge.systems.creature.model import TICKS_A_BIN, Creature
from spikebridge.systems.creature.scene import BIN_RATE, BINS_A_FRAME, CreatureScene
from spikebridge.training.evaluation import evaluating


@dataclass(frozen=True)
class LiveAnswer:
    """An answer of a live creature.

    Args:
        time: of the stream, a bin after the tick at which it was read [s].
        text: of the question.
        value: a number, yes, no or an attribute value; None where none, or two, fired.
    """

    time: float
    text: str
    value: str | None


@dataclass(eq=False)
class LiveCreature:
    """A creature that sees one bin at a time.

    Args:
        creature: trained.
        parser: reads questions in words; None where programs are given alone.

    Attributes:
        followed: colour, x and y [px] of the object that the question names; None without one.

    Example:
        >>> from spikebridge.systems.creature.model import CreatureOptions
        >>> live = LiveCreature(Creature(CreatureOptions(num_objects=4, num_readout=8)))
        >>> live.ask_program(("objects", "count"), "How many objects are there?")
        >>> [answer.value for answer in live.see(torch.zeros(2, 96, 144), torch.rand(3, 96, 144))]  # no object yet
        ['0', '0']
    """

    creature: Creature
    parser: Parser | None = None
    followed: tuple[str, float, float] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._talk = Conversation(self.creature)
        self._texts: list[str] = []
        self._state: NetworkState | None = None
        self._bin = 0

    def ask(self, text: str) -> None:
        """Asks a question in words from now on.

        Args:
            text: of the question.

        Raises:
            DataError: there is no parser, words are not known, or it asks for what the creature does not remember.
        """
        if self.parser is None:
            raise DataError("a question in words needs a parser; give one, or ask_program")

        question = read_question(self.parser, "live", text)
        if question.kind != "descriptive" or question.program[-1] == DESCRIBE.token:
            raise DataError(f"a creature answers with one word or number, but {text!r} asks for more")

        self.ask_program(question.program, text)

    def ask_program(self, program: Iterable[str], text: str) -> None:
        """Asks a question as a program.

        Args:
            program: postfix tokens.
            text: its words, for the answer.
        """
        self._talk.ask(tuple(program))
        self._texts.append(text)

    def see(self, events: Float[Tensor, "2 H W"], frame: Float[Tensor, "3 H W"] | None = None) -> list[LiveAnswer]:
        """One bin of events, and the frame that begins with it, if there is one; gives the answers read in it.

        Args:
            events: ON and OFF, 0 or 1.
            frame: red, green and blue from 0 to 1; every 24th bin has one.

        Raises:
            ShapeError: a frame is missing, or comes where none is due.
        """
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
    """Shows a scene to a creature, and writes each answer that differs from the one before.

    Args:
        live: a creature with a parser.
        scene: that it sees.
        asked: a question that was typed by a time of the stream [s], else None.
        write: takes a line.
    """
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
