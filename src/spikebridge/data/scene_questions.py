"""Questions about scenes: words, a program of postfix tokens, and for three of the four kinds choices to judge.

A choice's program runs before its question's program: `(*choice.program, *question.program)` is one whole program.
"""

from dataclasses import dataclass

from spikebridge.errors import DataError, did_you_mean

KINDS = ("descriptive", "explanatory", "predictive", "counterfactual")
"""What a question asks: about what was seen, for causes, for what comes next, for what would be without an object."""


@dataclass(frozen=True)
class Choice:
    """One choice of a question, to be judged correct or wrong.

    Args:
        program: postfix tokens.
        text: its words.
        answer: `correct` or `wrong`, None where nobody knows.
    """

    program: tuple[str, ...]
    text: str = ""
    answer: str | None = None


@dataclass(frozen=True)
class Question:
    """A question about one video.

    Args:
        video: the scene it is about.
        kind: one of `KINDS`.
        program: postfix tokens.
        choices: none for a descriptive question.
        text: its words.
        subtype: a finer kind, such as `count`.
        answer: of a descriptive question, None where nobody knows.

    Raises:
        DataError: the kind is not known.

    Example:
        >>> question = Question(1, "descriptive", ("objects", "red", "filter_color", "count"), answer="2")
        >>> question.programs
        (('objects', 'red', 'filter_color', 'count'),)
        >>> which = Question(1, "explanatory", ("belong_to",), (Choice(("objects", "unique")), Choice(("events",))))
        >>> which.programs
        (('objects', 'unique', 'belong_to'), ('events', 'belong_to'))
    """

    video: int | str
    kind: str
    program: tuple[str, ...]
    choices: tuple[Choice, ...] = ()
    text: str = ""
    subtype: str = ""
    answer: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DataError(
                f"video {self.video}: unknown question type {self.kind!r}; {did_you_mean(self.kind, KINDS)}"
            )

    @property
    def programs(self) -> tuple[tuple[str, ...], ...]:
        """The whole programs: one for a descriptive question, else one a choice."""
        if self.kind == "descriptive":
            return (self.program,)
        return tuple((*choice.program, *self.program) for choice in self.choices)

    @property
    def answers(self) -> tuple[str | None, ...]:
        """The known answer of each whole program."""
        return (self.answer,) if self.kind == "descriptive" else tuple(choice.answer for choice in self.choices)
